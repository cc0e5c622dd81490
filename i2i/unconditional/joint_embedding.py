"""Learning Deep Representations of Fine-Grained Visual Descriptions (Reed, Akata, Lee and Schiele 2016,
arXiv:1605.05395): the text encoder of StackGAN, by structured joint embedding.

A picture v and a text t fit by F(v, t) = theta(v) . phi(t) (Eq. 3), and of every class's the right one shall fit best,
by a margin of one (Eq. 4 and 5): the hinge losses

    l_v = max_y (0, D(y_n, y) + E_t[F(v_n, t)] - F(v_n, t_n))        a picture among texts
    l_t = max_y (0, D(y_n, y) + E_v[F(v, t_n)] - F(v_n, t_n))        a text among pictures

with D 0 for the true class and 1 for others. Like the authors' code this takes for a class's expectation its one sample
in the batch, and the mean of the hinges over all pairs for the largest.

phi is the character CNN-RNN of Sec. 4: three convolutions over one-hot characters, a plain recurrent network whose
states are averaged, and a linear layer. theta is the 1,024 features of a GoogLeNet that is not trained.

Deviations:
    a batch is drawn of all pictures, not one of each of its classes; texts and pictures of one class in a batch are no
    mistake of each other's;
    first weights keep the scale from layer to layer (He et al. 2015); the authors' code draws all from U(-0.08, 0.08),
    which leaves narrow networks mute.

Eq. 4 and 5 look at all of a lane: with one picture in it there is nothing to learn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import final

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from i2i.data.captioned import ALPHABET, Described, codes
from i2i.errors import UserError
from i2i.features import MEAN, STD
from i2i.game import Card, Clock, Export, Game, HalfLife, Loss, Made, Player, Spec, Stage
from i2i.layers import StoredBatchNorm
from i2i.losses import wide
from i2i.unconditional.dcgan import down, widths
from i2i.weights import find_weights, read_state

__all__ = ["RMSPROP", "CharCnnRnn", "GoogLeNet", "JointEmbedding", "PictureEncoder", "hinges"]

RMSPROP = Spec("torch.optim:RMSprop", {"lr": 7e-4})  # Sec. 5

KERNEL = 4  # characters that a convolution sees
POOLS = ((3, 3), (3, 3), (3, 2))  # (size, stride) behind each convolution
SHORTEST = 66  # characters of which convolutions and pools leave one state


class CharCnnRnn(nn.Module):
    """The character CNN-RNN of Sec. 4.

    Args:
        size: of an embedding.
        length: characters of a text that are read.
        filters: of the three convolutions; the last number is also the recurrent network's.
    """

    def __init__(self, size: int = 1024, *, length: int = 201, filters: tuple[int, int, int] = (384, 512, 256)) -> None:
        super().__init__()
        if length < SHORTEST:
            raise ValueError(f"a text encoder reads {SHORTEST} characters or more, not {length}")
        self.size, self.length = size, length
        layers: list[nn.Module] = []
        for (given, made), pool in zip(pairwise((len(ALPHABET), *filters)), POOLS, strict=True):
            layers += [nn.Conv1d(given, made, KERNEL), nn.ReLU(), nn.MaxPool1d(*pool)]
        self.convolutions = nn.Sequential(*layers)
        self.recurrent = nn.RNN(filters[-1], filters[-1], nonlinearity="relu", batch_first=True)
        self.last = nn.Linear(filters[-1], size)
        for layer in self.convolutions:
            if isinstance(layer, nn.Conv1d):
                seen = KERNEL * (1 if layer.in_channels == len(ALPHABET) else layer.in_channels)  # one of all is not 0
                nn.init.normal_(layer.weight, std=math.sqrt(2 / seen))
        nn.init.normal_(self.last.weight, std=1 / math.sqrt(filters[-1]))

    def forward(self, text: Tensor) -> Tensor:
        """text: [N,length] int64, places in the alphabet from 1 on, 0 for none => [N,size]."""
        characters = F.one_hot(text, len(ALPHABET) + 1)[..., 1:].to(self.last.weight.dtype)
        states, _ = self.recurrent(self.convolutions(characters.mT).mT)
        return self.last(states.mean(1))

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Sentences => [N,size]. Raises UserError for an empty one."""
        return self(torch.stack([codes(text, self.length) for text in texts]).to(self.last.weight.device))

    def card(self) -> Card:
        """What must be known to run it."""
        return Card("text", channels=(len(ALPHABET), self.size), size=self.length)


class PictureEncoder(nn.Module):
    """A small network in the GoogLeNet's place, for pictures of which no pretrained one knows anything.

    Args:
        size: of an embedding.
        pictures: their height and width, 8 doubled once or several times.
        width: filters of the first layer at half that size; they double as the maps halve.
    """

    def __init__(self, size: int = 1024, *, pictures: int = 64, width: int = 32) -> None:
        super().__init__()
        filters = widths(pictures // 2, width, 4)[::-1]
        inner = [down(given, made, 4, norm=StoredBatchNorm) for given, made in pairwise((3, *filters))]
        self.layers = nn.Sequential(nn.AvgPool2d(2), *inner, nn.Flatten(), nn.Linear(16 * filters[-1], size))

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,3,pictures,pictures] in [-1,1] => [N,size]."""
        return self.layers(x)


class GoogLeNet(nn.Module):
    """The 1,024 features of a GoogLeNet (Szegedy et al. 2015) with torchvision's weights, which are not trained on.

    Raises UserError where the weights are not there.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.network = torchvision.models.googlenet(weights=None, init_weights=False, aux_logits=False)
        self.network.load_state_dict(
            {k: v for k, v in read_state(find_weights("googlenet")).items() if not k.startswith("aux")}
        )
        self.network.fc = nn.Identity()
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).reshape(1, 3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N,3,H,W] in [-1,1] => [N,1024]."""
        return self.network(((x + 1) / 2 - self.mean) / self.std)


def hinges(scores: Tensor, y: Tensor) -> Tensor:
    """Eq. 4: how far every other class's score comes within one of the true one's.

    scores: [N,N], a row for each sample, its own score on the diagonal; y: the samples' classes [N] => a scalar, the
    mean over all pairs.
    """
    scores = wide(scores)
    margins = F.relu(1 + scores - scores.diagonal()[:, None])
    return torch.where(y[:, None] == y, 0, margins).mean()


@final
class JointEmbedding(Game):
    """One player: the encoder of texts and, where it is trained, that of pictures.

    Args:
        text: Spec of a network that makes embeddings of texts' character codes.
        picture: Spec of one that makes embeddings of pictures, or of `features`; None takes those as they are.
        features: Spec of a network before it that is not trained; None shows it the pictures.
        optimizer: Spec of an optimizer, its learning rate the peak.
        average: half-life of the averaged weights in images; None keeps the last weights.
    """

    Batch = Described

    def __init__(
        self,
        text: Spec,
        picture: Spec | None = None,
        *,
        features: Spec | None = None,
        optimizer: Spec = RMSPROP,
        average: HalfLife | None = None,
    ) -> None:
        if picture is None and features is None:
            raise ValueError("the pictures need a network too: name it as 'picture', or a fixed one as 'features'")
        self.spec = text
        self.text: CharCnnRnn = text.build()
        self.features: nn.Module = features.build() if features else nn.Identity()
        self.picture: nn.Module = picture.build() if picture else nn.Identity()
        self.player = Player("encoders", {"text": self.text, "picture": self.picture}, optimizer, average)

    def stages(self) -> list[Stage]:
        return [Stage("embed", (self.player,), self.turns)]

    def turns(self, clock: Clock) -> Iterator[tuple[Player, Loss]]:
        yield self.player, self.loss

    def loss(self, batch: Described, made: Made) -> dict[str, Tensor]:
        with torch.no_grad():
            features = self.features(batch.x)
        pictures, texts = self.picture(features), self.text(read(batch.text, self.text))
        if pictures.shape != texts.shape:
            raise UserError(
                f"pictures have embeddings of {pictures.shape[1]} numbers and texts of {texts.shape[1]}; "
                "set game.text.size and game.picture.size alike"
            )
        scores = pictures @ texts.T  # Eq. 3
        made.note("found", (batch.y[scores.argmax(1)] == batch.y).float().mean())
        return {"pictures": hinges(scores, batch.y), "texts": hinges(scores.T, batch.y)}  # Eq. 4 and 5

    def frozen(self) -> list[nn.Module]:
        return [self.features]

    def exports(self) -> dict[str, Export]:
        return {"encoder": Export(self.text, self.spec, self.text.card())}


def read(text: Tensor, encoder: CharCnnRnn) -> Tensor:
    """Character codes for an encoder. Raises UserError where they are embeddings, or of another length."""
    if text.is_floating_point():
        raise UserError("the data yields embeddings, where a text encoder reads characters; set data.text=characters")
    if text.shape[1] != encoder.length:
        raise UserError(
            f"the data's captions have {text.shape[1]} characters, but the text encoder reads {encoder.length}; "
            f"set data.length={encoder.length}"
        )
    return text
