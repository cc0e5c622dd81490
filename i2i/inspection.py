"""What a network is made of and what it looks at: layers, parameters, operations, receptive field, filters, features;
and how much of a picture's class its features hold, by a linear classifier.

FLOPs are torch's count (`torch.utils.flop_counter`): two for each multiply-add of convolutions and matrix products, of
one picture; norms and activations, which are few, do not count.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from i2i import layers
from i2i.bands import Join, Node, Norm, Plan
from i2i.data.datasets import to_tensor, with_channels
from i2i.data.folders import find, read_pixels
from i2i.data.labelled import Digits, Labelled, Pictures
from i2i.data.resize import resize
from i2i.data.stream import to_range
from i2i.errors import UserError
from i2i.game import Card
from i2i.host import seeded
from i2i.journal import contact_sheet
from i2i.latents import fixed
from i2i.rows import Enlarged, Rows, Shuffled, Transposed
from i2i.spec import Spec

__all__ = ["Field", "Inspection", "Layer", "Probe", "features", "filters", "inspect", "picture", "probe", "sheet"]

USUAL = 256  # pixels of a picture whose operations are counted, where a network takes any size
MEASURED = 128  # pixels of a picture with which a receptive field is measured, where a network takes any size
LIGHT = 5 * 10**9  # FLOPs of a pass up to which that is done: a hundred passes take a minute
HIGH = 1 << 16  # rows of the highest picture that a receptive field is looked for in
Split = Literal["train", "test"]
SHOWN = 64  # filters or maps on a sheet
CELL = 32, 128  # pixels that one of them has at least and, but for a rest, at most
LONGEST = 256  # pixels of the longer side of a picture whose features are shown, or of what is made of it
GRID = 4  # cells a side that the probe pools each map to (Radford et al. 2016, Sec. 5.1)
COSTS = (1e-4, 1e-3, 1e-2)  # of which the classifier's C is chosen
WHOLE = (layers.InstanceNorm, layers.BatchNorm, nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm)  # look at all pixels


@dataclass(frozen=True)
class Layer:
    """A module without parts, or one with parameters of its own.

    Attributes:
        name: within the network; empty for the network itself.
        kind: its class.
        shape: of what it gives for one picture, without the batch; None where it was not used.
        parameters: of its own.
        flops: two for each multiply-add.
        sees: pixels a side of the picture that one pixel of its output depends on, norms aside; None where that is not
            known or there is no picture.
    """

    name: str
    kind: str
    shape: tuple[int, ...] | None
    parameters: int
    flops: int
    sees: int | None


@dataclass(frozen=True)
class Field:
    """What one pixel of the output, or one score, depends on.

    Attributes:
        pixels: side of the square, norms aside; the picture's own side where it is no smaller.
        through: kinds of the norms that let it depend on the whole picture.
        size: side of the picture, where the network takes one size only; 0 where it takes any.
        least: whether it may be larger: so many pixels were tried.
    """

    pixels: int
    through: tuple[str, ...] = ()
    size: int = 0
    least: bool = False

    @property
    def whole(self) -> bool:
        return bool(self.through) or self.pixels == self.size

    def words(self) -> str:
        if self.pixels == self.size:
            return f"the whole picture ({self.size} x {self.size})"
        square = f"{self.pixels} x {self.pixels} pixels{' or more' * self.least}"
        return f"the whole picture through {', '.join(self.through)}; {square} without" if self.through else square


@dataclass(frozen=True)
class Inspection:
    """A network, looked at.

    Attributes:
        given, made: shapes of one input and its output, without the batch.
        parameters: all of them.
        flops: for one input, two for each multiply-add.
        field: None where the network takes no picture, or where it would have to be tried out and that takes too long.
    """

    given: tuple[int, ...]
    made: tuple[int, ...]
    parameters: int
    flops: int
    field: Field | None
    layers: tuple[Layer, ...]


def inspect(network: nn.Module, card: Card, *, size: int | None = None) -> Inspection:
    """Look at a network.

    Args:
        network: it is copied, not changed.
        card: what it takes.
        size: height and width of a picture that goes in; None takes the card's, or one near 256.

    Raises UserError for a size that the network does not take.
    """
    shape = given_shape(card, size)
    network = layers.test_time(copy.deepcopy(network), card.mode)
    followed = follow(network, card, shape)
    field, seen = (None, {}) if card.kind in ("latent", "text") else sight(network, card, shape, followed.total)
    owners = owned(network)
    order = [*followed.shapes, *(name for name in owners if name not in followed.shapes)]
    found = tuple(
        Layer(
            name,
            type(network.get_submodule(name)).__name__.removeprefix("Parametrized"),
            followed.shapes.get(name),
            owners[name],
            followed.flops.get(name, 0),
            seen.get(name),
        )
        for name in order
    )
    made = followed.made
    return Inspection(shape, made, sum(owners.values()), followed.total, field, found)


def given_shape(card: Card, size: int | None) -> tuple[int, ...]:
    """Of one input, without the batch."""
    if card.kind == "latent":
        if size not in (None, card.size):
            raise UserError(f"this generator draws pictures of {card.size} pixels; leave --size out")
        return (card.channels[0],)
    if card.kind == "text":
        if size is not None:
            raise UserError("this network takes no picture; leave --size out")
        return (card.size,)
    if card.kind == "classifier":
        if size not in (None, card.size):
            raise UserError(f"this network takes pictures of {card.size} pixels; leave --size out")
        return card.channels[0], card.size, card.size
    if size is not None and (size % card.multiple or size < card.minimum):
        raise UserError(f"this network takes multiples of {card.multiple} pixels from {card.minimum} on, not {size}")
    side = size or rounded(max(USUAL, card.minimum), card.multiple)
    return card.channels[0], side, side


def rounded(size: int, multiple: int) -> int:
    """The next multiple."""
    return -(-size // multiple) * multiple


# --- layers -----------------------------------------------------------------------------------------------------------


def owned(network: nn.Module) -> dict[str, int]:
    """Parameters of each module without parts (a parametrized one counts as such) or with parameters of its own; each
    parameter counts once, at the first module that has it."""

    def single(module: nn.Module) -> bool:
        parts = {name for name, _ in module.named_children()} - {"parametrizations"}
        return not parts or any(True for _ in module.parameters(recurse=False))

    modules = [(name, m) for name, m in network.named_modules() if "parametrizations" not in name.split(".")]
    counts = {name: 0 for name, module in modules if single(module)}
    for name, parameter in network.named_parameters():
        owner = name.partition(".parametrizations.")[0] if "parametrizations" in name else name.rpartition(".")[0]
        counts[owner] += parameter.numel()
    return counts


class Followed(NamedTuple):
    """What happened in one pass."""

    shapes: dict[str, tuple[int, ...]]  # of the outputs, by the module's name, in the order of the first calls
    made: tuple[int, ...]
    flops: dict[str, int]
    total: int


def follow(network: nn.Module, card: Card, shape: Sequence[int]) -> Followed:
    """One input through the network, without computing anything where it permits that."""
    kind = torch.int64 if card.kind == "text" else torch.float32
    try:
        return traced(copy.deepcopy(network).to("meta"), torch.zeros(1, *shape, dtype=kind, device="meta"))
    except (NotImplementedError, RuntimeError):  # its way depends on numbers, or an operation has none without
        return traced(network, torch.zeros(1, *shape, dtype=kind))


@torch.no_grad()
def traced(network: nn.Module, x: Tensor) -> Followed:
    shapes: dict[str, tuple[int, ...]] = {}
    names = set(owned(network))

    def note(module: nn.Module, given: Any, made: Any, *, name: str) -> None:
        made = made[0] if isinstance(made, tuple) else made  # of a recurrent network: its state follows
        if isinstance(made, Tensor):
            shapes.setdefault(name, tuple(made.shape[1:]))

    hooks = [m.register_forward_hook(partial(note, name=n)) for n, m in network.named_modules() if n in names]
    counter = FlopCounterMode(display=False)
    try:
        with counter:
            made = network(x)
    finally:
        for hook in hooks:
            hook.remove()
    root = type(network).__name__
    flops = {
        name: sum(counts.values())
        for name in names
        if (counts := counter.get_flop_counts().get(f"{root}.{name}" if name else root))
    }
    return Followed(shapes, tuple(made.shape[1:]), flops, counter.get_total_flops())


# --- the receptive field ----------------------------------------------------------------------------------------------


def sight(network: nn.Module, card: Card, shape: Sequence[int], flops: int) -> tuple[Field | None, dict[str, int]]:
    """The field of the output, and of each layer by its name: by arithmetic where every operation is known, else
    measured, if a network of so many FLOPs for that shape is small enough for that."""
    plan = Plan.of(network)
    if plan is not None:
        return reckoned(plan, card, shape)
    size = card.size or min(shape[1], rounded(max(MEASURED, card.minimum), card.multiple))
    return (None, {}) if flops * (size / shape[1]) ** 2 > LIGHT else measured(network, card, size)


def reckoned(plan: Plan, card: Card, shape: Sequence[int]) -> tuple[Field, dict[str, int]]:
    """By arithmetic: the rows of the input that rows of a layer are made from, from one layer to the one before."""
    height, phases = rounded(1 << 12, card.multiple), card.multiple * card.scale
    while True:
        shapes = plan.shapes((shape[0], height, shape[2]))
        if 2 * widest(plan.output, shapes, phases) < height or 2 * height > HIGH:
            break
        height *= 2
    enlarged: set[Node] = set()  # whose rows differ in what they see, by their place in a row of a smaller map
    for node in plan.nodes:
        if isinstance(node.kind, Transposed | Shuffled | Enlarged) or enlarged & set(node.inputs):
            enlarged.add(node)
    most = {node: widest(node, shapes, phases if node in enlarged else 1) for node in plan.nodes}
    modules = [step for step in plan.ghost.graph.nodes if step.op != "output"]
    seen: dict[str, int] = {}
    for step, node in zip(modules, plan.nodes, strict=True):
        if step.op == "call_module":
            seen.setdefault(str(step.target), most[node])
    norms = [step.target for step, node in zip(modules, plan.nodes, strict=True) if isinstance(node.kind, Norm)]
    through = tuple(dict.fromkeys(type(plan.ghost.get_submodule(str(name))).__name__ for name in norms))
    if card.size:
        seen = {name: min(pixels, card.size) for name, pixels in seen.items()}
        return Field(min(most[plan.output], card.size), through, card.size), seen
    return Field(most[plan.output], through), seen


def widest(node: Node, shapes: Mapping[Node, tuple[int, ...]], phases: int) -> int:
    """The most rows of the input that one row in the middle of a node depends on; which of several rows it is matters
    where maps are enlarged again."""
    middle = shapes[node][1] // 2
    return max(last - first for row in range(middle, middle + min(phases, shapes[node][1] - middle))
               for first, last in [behind(node, (row, row + 1), shapes)])  # fmt: skip


def behind(node: Node, rows: Rows, shapes: Mapping[Node, tuple[int, ...]]) -> Rows:
    """The rows of the input that rows of a node are made from."""
    wanted, waiting = {node: rows}, [node]
    while True:
        now = max(waiting, key=lambda other: other.place)
        waiting.remove(now)
        if not now.inputs:
            return wanted[now]
        for given in now.inputs:
            first, last = wanted[now]
            if now.kind is not None and not isinstance(now.kind, Join | Norm):
                first, last = now.kind.needs((first, last), shapes[given][1])
            before = wanted.get(given)
            wanted[given] = (first, last) if before is None else (min(first, before[0]), max(last, before[1]))
            if before is None:
                waiting.append(given)


@torch.no_grad()
def measured(network: nn.Module, card: Card, size: int) -> tuple[Field, dict[str, int]]:
    """By trying, with a picture of `size` pixels: its first rows are made nan, more and more of them, until the middle
    of a layer's output is; then its last rows likewise. In float64, whose convolutions mix no pixels that they need
    not."""
    network = copy.deepcopy(network).double()
    touched: dict[str, bool] = {}

    def note(module: nn.Module, given: Any, made: Any, *, name: str) -> None:
        if isinstance(made, Tensor):
            middle = made[..., made.shape[-2] // 2, made.shape[-1] // 2] if made.ndim == 4 else made
            touched[name] = bool(middle.isnan().any())

    def spoilt(rows: slice) -> dict[str, bool]:
        touched.clear()
        x = torch.zeros(1, card.channels[0], size, size, dtype=torch.float64)
        x[:, :, rows] = torch.nan
        note(network, x, network(x), name="")
        return dict(touched)

    whole = spoilt(slice(0, 1))[""] and spoilt(slice(size - 1, size))[""]
    through = []
    for name, module in list(network.named_modules()):
        if isinstance(module, WHOLE) and not (isinstance(module, layers.StoredBatchNorm) and module.stored):
            through.append(type(module).__name__)
            network.set_submodule(name, nn.Identity())
    for name in owned(network):
        if name:
            network.get_submodule(name).register_forward_hook(partial(note, name=name))
    above = cache(lambda rows: spoilt(slice(0, rows)))
    below = cache(lambda rows: spoilt(slice(size - rows, size)))
    first = {name: edge(name, size, above) for name in above(0)}
    last = {name: edge(name, size, below) for name in first}
    seen = {name: max(0, size + 2 - first[name] - last[name]) for name in first}
    cut = not card.size and 1 in (first[""], last[""])  # it reaches the border, and may go on behind it
    return Field(seen.pop(""), tuple(dict.fromkeys(through)) if whole else (), card.size, cut), seen


def edge(name: str, size: int, spoilt: Callable[[int], Mapping[str, bool]]) -> int:
    """The fewest spoilt rows that reach a layer's middle; size + 1 where none do."""
    low, high = 0, size + 1
    while high - low > 1:
        rows = (low + high) // 2
        low, high = (low, rows) if spoilt(rows)[name] else (rows, high)
    return high


# --- pictures ---------------------------------------------------------------------------------------------------------


def filters(network: nn.Module, card: Card) -> tuple[str, Tensor] | None:
    """(name of the layer, its filters as pictures [N,C,h,w] in [-1,1]), 0 in the middle: of the first layer that looks
    at a picture, or of the last one of a generator that draws from a latent vector; filters of one pixel show nothing.
    None where there is no such."""
    draws = card.kind == "latent"
    channels = card.channels[1] if draws else card.channels[0]
    names = list(follow(network, card, given_shape(card, None)).shapes)
    for name in reversed(names) if draws else names:
        module = network.get_submodule(name)
        weight = getattr(module, "weight", None)
        if not isinstance(weight, Tensor) or weight.ndim not in (2, 4):
            continue
        if weight.ndim == 2:
            rows = weight.T if draws else weight
            if rows.shape[1] != channels * card.size**2:
                continue
            found = rows.reshape(-1, channels, card.size, card.size)
        else:
            found = weight.transpose(0, 1) if draws and not isinstance(module, nn.ConvTranspose2d) else weight
            if found.shape[1] != channels or found.shape[2:] == (1, 1):
                continue
        found = found.detach().float()
        found = found if channels in (1, 3) else found.mean(1, keepdim=True)
        return name, found / found.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-12)
    return None


@torch.no_grad()
def features(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """What each layer with filters makes of one input, norm and activation behind it included: name -> maps [K,1,h,w],
    each from its least value (-1) to its greatest (1)."""
    found: dict[str, Tensor] = {}

    def note(module: nn.Module, given: Any, made: Any, *, name: str) -> None:
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.ndim in (2, 4):
            found[name] = made[0]
        elif found and isinstance(made, Tensor) and made[0].numel() == found[last := list(found)[-1]].numel():
            found[last] = made[0]

    hooks = [network.get_submodule(n).register_forward_hook(partial(note, name=n)) for n in owned(network)]
    try:
        network(x)
    finally:
        for hook in hooks:
            hook.remove()
    maps = {name: made[:SHOWN, None].float() for name, made in found.items() if made.ndim == 3 and made.shape[1] > 1}
    return {name: spread(some) for name, some in maps.items()}


def spread(maps: Tensor) -> Tensor:
    low, high = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
    return (maps - low) / (high - low).clamp_min(1e-12) * 2 - 1


def sheet(pictures: Tensor) -> NDArray[np.uint8]:
    """The first of [N,C,h,w] in [-1,1] on one RGB picture, row by row, enlarged or reduced to be seen."""
    pictures = pictures[:SHOWN].cpu()
    side = min(pictures.shape[2:])
    pictures = F.interpolate(pictures, scale_factor=max(1, -(-CELL[0] // side)), mode="nearest")
    pictures = F.avg_pool2d(pictures, max(1, side // CELL[1]))
    columns = max(1, round(len(pictures) ** 0.5))
    made: NDArray[np.uint8] = contact_sheet([pictures[place::columns] for place in range(columns)])
    return made


def picture(card: Card, file: str | None, *, seed: int = 0) -> tuple[Tensor, str]:
    """(what goes into a network for its features to be seen, [1,...], a sentence where the picture was resized).

    Args:
        card: of the network.
        file: of the picture; a generator that draws from a latent vector takes none.
        seed: of such a vector; parts that a text would fill are 0.

    Raises UserError for a network that takes neither.
    """
    if card.kind == "text":
        raise UserError("this network reads texts: there are no maps to be shown; leave -o out")
    if card.kind == "latent":
        texts = {part.name: torch.zeros(1, part.size) for part in card.latent if part.kind == "text"}
        return fixed(card.latent, 1, given=texts, seed=seed), ""
    assert file is not None
    pixels = with_channels(read_pixels(find(file)), card.channels[0], file)
    height, width = pixels.shape[:2]
    if card.kind == "classifier":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        pixels = pixels[top : top + side, left : left + side]
        size = card.size, card.size
    else:
        scale = min(1.0, LONGEST / card.scale / max(height, width))
        size = tuple(max(rounded(round(side * scale), card.multiple), rounded(card.minimum, card.multiple))
                     for side in (height, width))  # type: ignore[assignment]  # fmt: skip
    said = "" if size == (height, width) else f"{file} is {width}x{height}: resized to {size[1]}x{size[0]}"
    x = to_range(to_tensor(np.ascontiguousarray(resize(np.ascontiguousarray(pixels), width=size[1], height=size[0]))))
    return ranged(x[None], card), said


def ranged(x: Tensor, card: Card) -> Tensor:
    """From [-1,1] to the range that the network takes."""
    low, high = card.value_range[0]
    return x if (low, high) == (-1.0, 1.0) else low + (x + 1) / 2 * (high - low)


# --- the probe --------------------------------------------------------------------------------------------------------


class Probe(NamedTuple):
    """How well a linear classifier tells classes by some features.

    Attributes:
        name: whose features.
        numbers: how many a picture has.
        accuracy: share of the test pictures.
        cost: the classifier's C that was chosen.
    """

    name: str
    numbers: int
    accuracy: float
    cost: float


def probe(
    network: nn.Module, card: Card, data: str, *, samples: int = 5000, tests: int = 10_000, seed: int = 0
) -> tuple[str, Iterator[Probe]]:
    """DCGAN's table: a discriminator's features under a linear classifier (Radford et al. 2016, Sec. 5.1), beside those
    of the same network before any training, and the pixels themselves.

    Args:
        network: its `features(x)` gives the maps of its layers.
        card: of it.
        data: folder of four idx files, or of train/ and test/ (or val/) with a folder of pictures for each class.
        samples, tests: pictures to learn from and to be tested on, at most.
        seed: of their choice.

    Returns (the protocol, rows). Raises UserError where the network has no such features, for data without classes, and
    where scikit-learn is missing.
    """
    if card.kind != "classifier" or not hasattr(network, "features"):
        raise UserError("the probe takes a discriminator whose layers' features can be had (features(x)), such as the "
                        "discriminator.safetensors of a DCGAN's run")  # fmt: skip
    try:
        import sklearn
    except ImportError:
        raise UserError("the probe needs scikit-learn: pip install 'i2i-toolkit[inspect]'") from None
    learn, test, said = known(data, card, samples, tests, seed)
    networks: dict[str, nn.Module | None] = {"this network": network}
    if isinstance(spec := getattr(network, "spec", None), Spec):
        with seeded(seed):
            networks["the same, untrained"] = spec.build().eval()
    networks["pixels"] = None
    protocol = (
        f"features of all layers, max-pooled to {GRID}x{GRID}, standardised; L2-regularised squared hinge, one class "
        f"against the rest (LinearSVC of scikit-learn {sklearn.__version__}), C of {', '.join(map(str, COSTS))} by a "
        f"fifth of the training pictures; {len(learn.y):,} training and {len(test.y):,} test pictures of {data}{said}, "
        f"seed {seed}"
    )

    def rows() -> Iterator[Probe]:
        for name, by in networks.items():
            ours, theirs = (numbers(by, ranged(to_range(part.x), card)) for part in (learn, test))
            yield Probe(name, ours.shape[1], *classified(ours, learn.y.numpy(), theirs, test.y.numpy(), seed))

    return protocol, rows()


def known(data: str, card: Card, samples: int, tests: int, seed: int) -> tuple[Labelled, Labelled, str]:
    """Pictures with classes to learn from and to be tested on, at most so many, of the network's size; and what a
    reader must know of them."""
    folder = find(data)
    size, channels, said = card.size, card.channels[0], ""
    if any(folder.glob("train-images-idx3-ubyte*")):
        sets: list[Any] = [
            Digits(str(folder), split=split, labels=True, size=max(size, 28), seed=seed) for split in get_args(Split)
        ]
        said = f" resized to {size}x{size}" if size < 28 else ""
    else:
        homes = [folder / "train", folder / ("val" if (folder / "val").is_dir() else "test")]
        if not all(home.is_dir() for home in homes):
            raise UserError(f"{folder} holds neither idx files nor train/ and test/ with a folder of pictures for each "
                            "class; name a folder that does")  # fmt: skip
        sets = [Pictures(str(home), labels="folders", size=size, channels=channels, seed=seed) for home in homes]
        if sets[0].classes != sets[1].classes:
            raise UserError(f"{homes[0]} and {homes[1]} have folders of different names, which are to be the classes")
    if len(sets[0].classes) < 2:
        raise UserError(f"{folder} holds pictures of one class; a classifier needs at least 2")
    parts = []
    for some, most in zip(sets, (samples, tests), strict=True):
        chosen = [some[position] for position in range(min(most, len(some)))]
        x = torch.stack([sample.x for sample in chosen])
        x = F.interpolate(x.float(), size, mode="area").round().to(torch.uint8) if x.shape[-1] != size else x
        parts.append(Labelled(x.expand(-1, channels, -1, -1), torch.stack([sample.y for sample in chosen])))
    return parts[0], parts[1], said


@torch.no_grad()
def numbers(network: nn.Module | None, x: Tensor) -> NDArray[np.float32]:
    """[N,D]: features of the pictures, pooled and side by side; without a network the pixels."""
    if network is None:
        return x.flatten(1).numpy()
    made = []
    for some in x.split(100):
        found: Tensor | Sequence[Tensor] = network.features(some)  # type: ignore[operator]
        maps = [found] if isinstance(found, Tensor) else found
        made.append(torch.cat([pooled(each).flatten(1) for each in maps], 1).float())
    return torch.cat(made).numpy()


def pooled(maps: Tensor) -> Tensor:
    """[N,K,h,w] to at most GRID x GRID."""
    return F.adaptive_max_pool2d(maps, [min(GRID, side) for side in maps.shape[2:]]) if maps.ndim == 4 else maps


def classified(
    x: NDArray[np.float32], y: NDArray[Any], test_x: NDArray[np.float32], test_y: NDArray[Any], seed: int
) -> tuple[float, float]:
    """(share of the test pictures that a linear classifier tells rightly, its C)."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    def fitted(cost: float, count: int) -> Any:
        machine = LinearSVC(C=cost, loss="squared_hinge", dual="auto", tol=1e-3, random_state=seed)
        return make_pipeline(StandardScaler(), machine).fit(x[:count], y[:count])

    held = len(x) - len(x) // 5
    best = max(COSTS, key=lambda cost: fitted(cost, held).score(x[held:], y[held:]))
    return float(fitted(best, len(x)).score(test_x, test_y)), best
