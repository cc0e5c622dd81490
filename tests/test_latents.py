"""The vectors that generators draw from: their parts, and what is refused."""

from __future__ import annotations

import pytest
import torch

from i2i.errors import UserError
from i2i.game import Card, Part
from i2i.latents import draw, fixed, latent_size, split

Z, CLASS, TURN = Part("z", 3), Part("class", 4, "class"), Part("turn", 2, "uniform", (-2.0, 1.0))
TEXT = Part("text", 5, "text")
PARTS = (Z, CLASS, TURN)


def test_a_vector_has_its_parts_in_order() -> None:
    vector = draw(PARTS, 6)
    assert vector.shape == (6, latent_size(PARTS)) == (6, 9) and vector.dtype == torch.float32
    parts = split(PARTS, vector)
    assert {name: tuple(part.shape) for name, part in parts.items()} == {"z": (6, 3), "class": (6, 4), "turn": (6, 2)}
    assert torch.equal(torch.cat(list(parts.values()), 1), vector)


def test_parts_are_distributed_as_they_say() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = split(PARTS, draw(PARTS, 4000))
    assert parts["z"].mean().abs() < 0.05 and parts["z"].std() == pytest.approx(1, abs=0.05)
    assert (parts["class"].sum(1) == 1).all() and set(parts["class"].unique().tolist()) == {0.0, 1.0}
    assert parts["class"].mean(0) == pytest.approx(torch.full((4,), 0.25), abs=0.03)
    assert -2 <= parts["turn"].min() < -1.9 and 0.9 < parts["turn"].max() < 1
    assert parts["turn"].mean() == pytest.approx(-0.5, abs=0.05)


def test_what_is_given_stands_where_it_belongs() -> None:
    numbers = torch.tensor([2, 0])
    parts = split(PARTS, draw(PARTS, 2, given={"class": numbers, "turn": torch.tensor([[0.0, 1], [1, 0]])}))
    assert parts["class"].argmax(1).tolist() == [2, 0] and parts["turn"].tolist() == [[0, 1], [1, 0]]
    shares = torch.full((2, 4), 0.25)  # between classes
    assert torch.equal(split(PARTS, draw(PARTS, 2, given={"class": shares}))["class"], shares)


def test_the_same_seed_draws_the_same_and_given_parts_take_nothing_from_the_generator() -> None:
    one, other = (draw(PARTS, 3, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, other)
    before = torch.get_rng_state()
    assert torch.equal(fixed(PARTS, 64), fixed(PARTS, 64))
    assert not torch.equal(fixed(PARTS, 64), fixed(PARTS, 64, seed=1))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_vector_is_of_the_kind_of_what_it_is_to_be_like() -> None:
    assert draw(PARTS, 2, like=torch.zeros(1, dtype=torch.float64)).dtype == torch.float64
    assert draw((Z,), 2, like=torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"z": torch.zeros(2, 4)}, r"'z' takes 3 numbers for each of 2 pictures, not \[2, 4\]"),
        ({"turn": torch.zeros(3, 2)}, r"'turn' takes 2 numbers for each of 2 pictures, not \[3, 2\]"),
        ({"class": torch.zeros(3, dtype=torch.long)}, r"'class' takes 4 numbers for each of 2"),
    ],
)
def test_what_does_not_fit_is_one_sentence(given: dict[str, torch.Tensor], said: str) -> None:
    with pytest.raises(UserError, match=said):
        draw(PARTS, 2, given=given)


def test_a_text_is_never_made_up() -> None:
    with pytest.raises(UserError, match="say it with --text"):
        draw((Z, TEXT), 2)
    assert draw((Z, TEXT), 2, given={"text": torch.ones(2, 5)})[:, 3:].eq(1).all()


def test_a_card_counts_the_numbers_of_its_parts() -> None:
    Card("latent", channels=(9, 1), size=8, latent=PARTS)
    with pytest.raises(ValueError, match="are not 8 numbers together"):
        Card("latent", channels=(8, 1), size=8, latent=PARTS)
    with pytest.raises(ValueError, match="'class' has 2 places and 3 labels"):
        Part("class", 2, "class", labels=("a", "b", "c"))
