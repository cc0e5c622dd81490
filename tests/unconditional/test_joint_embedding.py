"""The joint embedding of texts and pictures: the published encoder's size, the hinges, and what it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from games import TEXT, Said, Told, tiny_joint_embedding

from i2i.data.captioned import ALPHABET, Described, codes
from i2i.errors import UserError
from i2i.game import Made, Spec
from i2i.host import seeded
from i2i.recipe import Training, build, load
from i2i.testing import assert_sound
from i2i.trainer import Trainer
from i2i.unconditional.joint_embedding import CharCnnRnn, JointEmbedding, PictureEncoder, hinges
from i2i.zoo import load_generator

PICTURE = Spec.to(PictureEncoder, size=6, pictures=16, width=2)


def test_joint_embedding_is_sound() -> None:
    both = {"encoders/pictures", "encoders/texts"}
    assert_sound(tiny_joint_embedding, Told(), lane=2, sees_all=both)


def test_the_published_encoder() -> None:
    with torch.device("meta"):
        encoder = CharCnnRnn()
        convolved = encoder.convolutions(torch.zeros(1, 70, 201))
    assert convolved.shape == (1, 256, 8)  # Sec. 4: 201 characters become 66, 21, 8
    convolutions = 70 * 4 * 384 + 384 + 384 * 4 * 512 + 512 + 512 * 4 * 256 + 256
    recurrent, last = 2 * (256 * 256 + 256), 256 * 1024 + 1024
    assert sum(p.numel() for p in encoder.parameters()) == convolutions + recurrent + last == 1_814_144
    card = encoder.card()
    assert (card.kind, card.channels, card.size) == ("text", (70, 1024), 201)


def test_characters_become_one_of_seventy_and_others_none() -> None:
    assert len(ALPHABET) == 70
    assert codes("Ab é9", 8).tolist() == [1, 2, 70, 0, 36, 0, 0, 0]
    encoder = TEXT.build()
    assert torch.equal(encoder.encode(["A RED é"]), encoder.encode(["a red ~".replace("~", "ü")]))
    assert encoder.encode(["one", "two"]).shape == (2, 6)
    assert not torch.equal(encoder.encode(["a red one"]), encoder.encode(["a red two"]))
    with pytest.raises(UserError, match="the caption is empty"):
        encoder.encode(["a red one", "  "])


def test_hinges_are_equation_4_with_the_batchs_samples_for_its_classes() -> None:
    torch.manual_seed(0)
    scores, y = torch.randn(4, 4), torch.tensor([0, 1, 2, 1])
    by_hand = sum(
        max(0.0, float(1 + scores[n, other] - scores[n, n])) for n in range(4) for other in range(4) if y[n] != y[other]
    )
    assert hinges(scores, y) == pytest.approx(by_hand / 16, rel=1e-6)
    assert hinges(100 * torch.eye(4), y) == 0


def test_both_directions_are_asked() -> None:
    torch.manual_seed(0)
    game, made = tiny_joint_embedding(), Made()
    batch = Described(*(torch.stack(field) for field in zip(*(Told()[n] for n in range(4)), strict=True)))
    batch = batch._replace(x=batch.x / 127.5 - 1)
    terms = game.loss(batch, made)
    scores = game.picture(batch.x) @ game.text(batch.text).T
    assert torch.allclose(terms["pictures"], hinges(scores, batch.y), rtol=1e-4)
    assert torch.allclose(terms["texts"], hinges(scores.T, batch.y), rtol=1e-4)


class Fixed(torch.nn.Module):
    """Six features of a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.mean((2, 3)))


def test_fixed_features_are_taken_as_they_are_and_stay(tmp_path: Path) -> None:
    with seeded(0):
        game = JointEmbedding(TEXT, features=Spec.to(Fixed))
    before = game.features.linear.weight.clone()  # type: ignore[union-attr, operator]
    trainer = Trainer(game, Told(), Training(images=8, batch=4), tmp_path, device="cpu", say=lambda sentence: None)
    trainer.run(quiet=True)
    assert torch.equal(game.features.linear.weight, before)  # type: ignore[union-attr]
    assert isinstance(load_generator(tmp_path / "generators" / "encoder.safetensors"), CharCnnRnn)
    with pytest.raises(ValueError, match="the pictures need a network too"):
        JointEmbedding(TEXT)


def test_data_that_does_not_fit_is_refused_in_a_sentence() -> None:
    game, x = tiny_joint_embedding(), torch.zeros(2, 3, 16, 16)
    with pytest.raises(UserError, match="yields embeddings, where a text encoder reads characters"):
        game.loss(Described(x, torch.zeros(2, 6), torch.zeros(2)), Made())
    with pytest.raises(UserError, match="have 10 characters, but the text encoder reads 66; set data.length=66"):
        game.loss(Described(x, torch.ones(2, 10).long(), torch.zeros(2)), Made())
    wider = JointEmbedding(TEXT, replace(PICTURE, kwargs={**PICTURE.kwargs, "size": 7}))
    with pytest.raises(UserError, match="embeddings of 7 numbers and texts of 6"):
        wider.loss(Described(x, torch.ones(2, 66).long(), torch.zeros(2)), Made())


def test_it_learns_which_text_belongs_to_which_picture(tmp_path: Path) -> None:
    class Shades(Told):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, position: int) -> Described:
            name = ("black", "red", "blue", "white")[position % 4]
            colour = torch.tensor([[0, 0, 0], [255, 0, 0], [0, 0, 255], [255, 255, 255]])[position % 4]
            x = colour[:, None, None].expand(3, 16, 16).to(torch.uint8)
            return Described(x, codes(f"all of it is {name}", 66), torch.tensor(position % 4))

    with seeded(1):
        text = Spec.to(CharCnnRnn, size=6, length=66, filters=[16, 16, 16])
        game = JointEmbedding(text, PICTURE, optimizer=Spec("torch.optim:Adam", {"lr": 0.01}))
    settings = Training(images=600, batch=4, threads=1)
    Trainer(game, Shades(), settings, tmp_path, device="cpu", say=lambda sentence: None).run(quiet=True)
    made = Made()
    batch = Described(*(torch.stack(field) for field in zip(*(Shades()[n] for n in range(4)), strict=True)))
    game.loss(batch._replace(x=batch.x / 127.5 - 1), made)
    assert made.notes["found"] == 1


@pytest.mark.parametrize("name", ["captions-digits"])
def test_recipes_build(name: str) -> None:
    game = build(load(name).game)
    assert Said.fields is not game.Batch
    assert game.text.length == load(name).data.kwargs["length"]
