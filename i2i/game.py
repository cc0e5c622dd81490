"""The vocabulary: a GAN is a game, players take turns. A paper says who plays, whose turn it is, and by which loss.

Nothing here knows a trainer, a device or a file. `i2i.trainer.Trainer` plays any `Game`; `i2i.engine.Engine` runs what
a game exports.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from i2i.palettes import Palette
from i2i.schedules import Clock, HalfLife
from i2i.spec import Spec

__all__ = [
    "Card",
    "Clock",
    "Content",
    "Export",
    "Game",
    "HalfLife",
    "Loss",
    "Made",
    "Origin",
    "Part",
    "Player",
    "Spec",
    "Stage",
    "Turns",
]


class Made:
    """What one turn leaves for the later turns of the same lane, detached at the line that makes it.

    A plain object, never a dict or list: DDP rebuilds the containers it moves, and writes to those would vanish.
    `lane` is the index of this lane within the global batch; what belongs to a lane (an image pool) is kept under it.
    """

    def __init__(self, lane: int = 0) -> None:
        self.lane = lane
        self.notes: dict[str, Tensor] = {}

    def note(self, name: str, value: Tensor) -> None:
        """Leave a scalar for the journal that is no term of a loss: the critic's estimate of a distance, a spread."""
        self.notes[name] = value.detach()

    if TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None: ...

    def __getattr__(self, name: str) -> Any:  # only reached when the attribute is missing
        raise AttributeError(f"no earlier turn of this step made '{name}'")


Loss = Callable[[Any, Made], dict[str, Tensor]]
"""(batch, made) -> named, already weighted scalar terms; the trainer sums them."""


class Player(nn.Module):
    """Networks that move together under one optimizer.

    Its forward runs a whole loss, so it alone is wrapped by DDP and autocast; networks stay plain.

    Args:
        name: how the journal and the checkpoint call it; a Python identifier.
        nets: the networks this player moves.
        optimizer: called with the parameters (and `fused=True` where it takes that), returns the optimizer; its
            learning rate is the peak that the recipe's schedule scales.
        average: half-life, in images, of the exponential moving average of the weights; None keeps no average.
        settings: (clock) -> settings of the optimizer that change with time beside its learning rate, such as
            {"momentum": 0.7}.
    """

    def __init__(
        self,
        name: str,
        nets: Mapping[str, nn.Module],
        optimizer: Callable[..., torch.optim.Optimizer],
        average: HalfLife | None = None,
        settings: Callable[[Clock], Mapping[str, float]] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.nets = nn.ModuleDict(nets)
        self.optimizer = optimizer
        self.average = average
        self.settings = settings

    def forward(self, loss: Loss, batch: Any, made: Made) -> dict[str, Tensor]:
        return loss(batch, made)


Turns = Callable[[Clock], Iterator[tuple[Player, Loss]]]


def nothing() -> None:
    """The default of `Stage.enter`: a stage that changes no network."""


@dataclass(frozen=True)
class Stage:
    """A stretch of training with one set of players. Most games have one; SRGAN and StackGAN two; ProGAN many.

    Attributes:
        name: shown in the journal.
        images: length of the stage in images; None takes what the recipe's `training.images` leaves.
        players: who moves in this stage.
        turns: (clock) -> whose turn it is, by which loss; code after a `yield` runs after that optimizer has stepped.
        enter: called once at the start, before players are wrapped: grow, freeze. Seeded by (seed, stage).
        fresh: whether optimizers start anew here; False carries over those of players that also played before.
    """

    name: str
    players: tuple[Player, ...]
    turns: Turns
    images: int | None = None
    enter: Callable[[], None] = nothing
    fresh: bool = True


@dataclass(frozen=True)
class Origin:
    """Where a generator's weights come from. Filled by the trainer; `figures` by whoever measures."""

    data: str = ""  # name of the data set
    terms: str = ""  # terms of the data, and therefore of the weights
    recipe: str = ""  # name of the recipe and sha256 of its resolved text
    commit: str = ""
    seed: int = 0
    images: int = 0  # images seen
    hours: float = 0.0
    hardware: str = ""  # processor, threads, precision, build
    notes: str = ""
    prepared: str = ""  # folder of the prepared test split, under the current folder, datasets/ or $I2I_DATA
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """A stretch of the vector that a network of kind "latent" takes, and what may stand in it.

    Attributes:
        name: what it is called: "z", "class", "turn".
        size: how many numbers it has.
        kind: "normal": each drawn from N(0, 1); "uniform": each from U(low, high); "class": one 1 among zeros; "text":
            what the network's `encode` makes of a sentence.
        span: (low, high) of "uniform".
        labels: of "class": what each place stands for; empty where that has no name.
    """

    name: str = "z"
    size: int = 100
    kind: Literal["normal", "uniform", "class", "text"] = "normal"
    span: tuple[float, float] = (-1.0, 1.0)
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.labels and len(self.labels) != self.size:
            raise ValueError(f"'{self.name}' has {self.size} places and {len(self.labels)} labels")


@dataclass(frozen=True)
class Content:
    """What the channels of a picture hold, where a network takes or gives it.

    Attributes:
        kind: "colours": gray or red, green and blue, with or without alpha; "lightness": the L of CIE L*a*b*, 0 to 100
            over the range of values; "chroma": its a and b, -110 to 110; "labels": a channel for each class, of which
            the largest is the pixel's.
        name: of "labels": what their palette is called.
        classes: of "labels": what each channel stands for, and its colour.
        ignored: of "labels": colours of no class.
        within: of "labels": levels by which colours of a map that is read may be off.
        longest: of "lightness": the longer side of what the network sees: larger pictures are shrunk to it, and the
            chroma that it gives is enlarged to theirs; 0: it sees pictures as they are.
    """

    kind: Literal["colours", "lightness", "chroma", "labels"] = "colours"
    name: str = ""
    classes: tuple[tuple[str, tuple[int, int, int]], ...] = ()  # in a list, as JSON keeps no order of keys
    ignored: tuple[tuple[int, int, int], ...] = ()
    within: int = 0
    longest: int = 0

    def __post_init__(self) -> None:
        if (self.kind == "labels") != bool(self.classes):
            raise ValueError("labels need a palette, and nothing else has one")
        if self.longest < 0 or (self.longest and self.kind != "lightness"):
            raise ValueError(f"a longest side of {self.longest} pixels: 0 or more, and of lightness alone")

    @classmethod
    def of(cls, palette: Palette, *, within: int = 0) -> Content:
        """Label maps of a palette."""
        return cls("labels", palette.name, tuple(palette.classes.items()), palette.ignored, within)

    @property
    def palette(self) -> Palette | None:
        """Of "labels"."""
        return Palette(self.name, dict(self.classes), self.ignored) if self.classes else None

    def __str__(self) -> str:
        classes = ", ".join(name for name, _ in self.classes)
        if self.longest:
            return f"{self.kind} (at {self.longest} pixels)"
        return f"{self.kind} ({self.name}: {classes})" if classes else self.kind


@dataclass(frozen=True)
class Card:
    """What the engine must know to run a network; travels in the generator file.

    Attributes:
        kind: "image" takes [N,C,H,W]; "latent" takes [N,Z]; "classifier" takes [N,C,size,size] and gives [N,K] logits;
            "text" takes character codes [N,size] and gives embeddings.
        scale: output size / input size.
        multiple: height and width must be multiples of this (the engine reflect-pads and crops).
        minimum: smallest height and width the network takes.
        channels: (input, output).
        value_range: ((low, high) of the input, (low, high) of the output).
        tiling: "exact" where a halo of `halo` input pixels makes tiles equal the whole, "overlap" where tiles must be
            blended, "never" where the network sees the whole picture.
        halo: see `tiling`, in input pixels.
        modes: the test-time modes this network has; "paper" keeps dropout on, "deterministic" switches it off,
            "stored" too and takes the norms' statistics of training.
        mode: the one used unless the user names another.
        a, b: what goes in and what comes out, in words.
        latent: of kind "latent": the parts of the vector [N,Z], in order; their sizes sum to Z, which is channels[0].
        size: height and width of what a "latent" network draws, and of what a "classifier" takes; how many characters a
            "text" network reads; 0 for others.
        classes: of kind "classifier": the names of the K classes.
        holds: what the channels of the input and of the output hold. What gives chroma gives it to the lightness that
            went in.
    """

    kind: Literal["image", "latent", "classifier", "text"] = "image"
    scale: int = 1
    multiple: int = 1
    minimum: int = 1
    channels: tuple[int, int] = (3, 3)
    value_range: tuple[tuple[float, float], tuple[float, float]] = ((-1.0, 1.0), (-1.0, 1.0))
    tiling: Literal["exact", "overlap", "never"] = "never"
    halo: int = 0
    modes: tuple[str, ...] = ("deterministic",)
    mode: str = "deterministic"
    a: str = "A"
    b: str = "B"
    origin: Origin = Origin()
    latent: tuple[Part, ...] = ()
    size: int = 0
    classes: tuple[str, ...] = ()
    holds: tuple[Content, Content] = (Content(), Content())

    def __post_init__(self) -> None:
        if (self.holds[0].kind == "chroma" or self.holds[1].kind == "chroma") and (
            tuple(content.kind for content in self.holds) != ("lightness", "chroma")
            or self.channels != (1, 2)
            or self.scale != 1
        ):
            raise ValueError("card: chroma, two channels, is given to lightness, one channel, of the same size")
        for content, channels in zip(self.holds, self.channels, strict=True):
            if content.classes and len(content.classes) != channels:
                classes = f"the palette {content.name} has {len(content.classes)} classes"
                raise ValueError(f"card: {classes}, and the network has {channels} channels for them")
        if self.kind == "latent" and sum(part.size for part in self.latent) != self.channels[0]:
            raise ValueError(f"card: the parts of the latent vector are not {self.channels[0]} numbers together")
        if self.mode not in self.modes:
            raise ValueError(f"card: mode '{self.mode}' is none of {', '.join(self.modes)}")
        for low, high in self.value_range:
            if not -1e6 < low < high < 1e6:  # finite, too
                raise ValueError(f"card: {low} to {high} is no range of values")


class Export(NamedTuple):
    """One network a game leaves behind, with what is needed to build and to run it again."""

    network: nn.Module
    spec: Spec
    card: Card


class Game(ABC):
    """A paper's training procedure. Subclasses are final.

    `Batch` names what the data must yield: a NamedTuple of tensors, images as [N,C,H,W] in [-1,1].
    """

    Batch: Any

    @abstractmethod
    def stages(self) -> list[Stage]:
        """The stages in order; called once. Each player object appears with the same name in every stage."""

    @abstractmethod
    def exports(self) -> dict[str, Export]:
        """Name -> network, Spec, Card, of every network worth keeping."""

    def frozen(self) -> list[nn.Module]:
        """Networks used by a loss but never trained (VGG); the trainer moves them to the device."""
        return []

    def preview(self, batch: Any, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        """Columns of a contact sheet of fixed inputs, [N,C,H,W] in [-1,1] each; `networks`: the exports, averaged."""
        return []

    def observe(self, means: Mapping[str, float]) -> Sequence[str]:
        """Called with the all-reduced means of the terms and notes, as "player/name", at every line of the journal.

        Returns sentences that a reader of the run should know; they are said, and kept in the journal.
        """
        return ()

    def state(self) -> dict[str, Tensor]:
        """What must survive a restart beyond weights. A key "lane/K/..." belongs to lane K of the global batch: a save
        takes it from the rank that holds lane K, and a resume on other ranks deals the lanes out again."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned. Raises ValueError on keys this game does not know."""
        if state:
            raise ValueError(f"{type(self).__name__} keeps no state, but the checkpoint holds {sorted(state)[:3]}")


def describe(card: Card, *, a: str, b: str, origin: Origin) -> Card:
    """`card` with the direction in words and the origin filled in."""
    return replace(card, a=a, b=b, origin=origin)
