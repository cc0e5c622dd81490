"""Run a network over a picture that is too large for memory: a band of rows at a time, from top to bottom.

Tiles break a network whose norm layers take their statistics from the whole picture, and tiles with a halo compute the
halo again. Here every layer computes each of its rows once, and keeps the few that the layer after it still needs. The
statistics are the whole picture's: one pass of bands measures what goes into a norm, which from there on is a scale and
shift per channel. What a later pass needs again is kept if it is smaller than the picture; the maps as large as the
picture, the first and the last few, are cheap, and are made again. There are no seams, as nothing is approximated.
"""

from __future__ import annotations

import copy
import math
import mmap
import operator
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from i2i import layers
from i2i.layers import Moments, Statistics
from i2i.memory import Ledger
from i2i.rows import Convolution, Enlarged, Layer, Padding, Pointwise, Rows, Shuffled, Transposed

__all__ = ["Plan"]

BAND = 24 << 20  # bytes of the widest map in a band: glibc maps 32 MB and more anew every time, less costs calls
LEAST = 8  # rows of the smallest map in a band ...
MOST = 8  # ... as long as the widest map of the band is not so many times BAND: pictures can be 40,000 pixels wide

Read = Callable[[Rows], Tensor]
"""rows -> [1,C,h,W]"""


class Norm(NamedTuple):
    """A norm that takes its statistics from the whole picture."""

    weight: Tensor | None
    bias: Tensor | None
    eps: float

    def fixed(self, found: Statistics) -> Pointwise:
        """This norm with those statistics."""
        return Pointwise(lambda band: layers.normalised(band, found, self.weight, self.bias, self.eps))


class Join(NamedTuple):
    """What makes one map of several, pixel by pixel: a sum, a concatenation."""

    function: Callable[..., Tensor]


@dataclass(eq=False)
class Node:
    """One operation of the network, the `place`-th; `kind` is None for the picture itself."""

    name: str
    place: int
    kind: Layer | Join | Norm | None
    inputs: tuple[Node, ...] = ()
    users: list[Node] = field(default_factory=list)


class Unknown(Exception):
    """The network holds an operation that is not known here."""


class Plan:
    """A network as operations on rows. `Plan.of` makes one where all its operations are known."""

    def __init__(self, network: nn.Module, graph: fx.Graph) -> None:
        self.nodes: list[Node] = []
        made: dict[fx.Node, Node] = {}
        for step in graph.nodes:
            if step.op == "output":
                self.output = made[step.args[0]] if isinstance(step.args[0], fx.Node) else unknown(step)
                continue
            inputs = tuple(made[given] for given in step.all_input_nodes)
            made[step] = node = Node(step.name, len(self.nodes), kind_of(step, network), inputs)
            self.nodes.append(node)
            for given in inputs:
                given.users.append(node)
        if sum(node.kind is None for node in self.nodes) != 1:
            raise Unknown("several inputs")
        self.norms = [node for node in self.nodes if isinstance(node.kind, Norm)]
        self.ghost = fx.GraphModule(copy.deepcopy(network).to("meta"), graph)
        self.kind = next((values.dtype for values in network.parameters()), torch.float32)
        self.known: tuple[tuple[int, ...], dict[Node, tuple[int, ...]]] = ((), {})
        self.columns: tuple[float, float] | None = None

    @classmethod
    def of(cls, network: nn.Module) -> Plan | None:
        """The plan of a network; None where there is none."""
        try:
            graph = Tracer().trace(network)
        except Exception:  # a forward that is run without numbers can raise anything
            return None
        try:
            return cls(network, graph)
        except Unknown:
            return None

    @torch.inference_mode()
    def run(
        self,
        read: Read,
        shape: Sequence[int],
        write: Callable[[Rows, Tensor], None],
        *,
        rows: int | None = None,
        most: int | None = None,
        statistics: Sequence[Statistics] | None = None,
    ) -> list[Statistics]:
        """The network over a picture.

        Args:
            read: (first, after the last) row -> [1,C,h,W] of the padded input, in the network's precision.
            shape: (C, H, W) of that input.
            write: told each band of the output, [1,C,h,W], from top to bottom.
            rows: of the output at a time; None takes what is fast.
            most: rows of the input at a time, what layers look at beside them not counted; None sets no bound.
            statistics: of a smaller version of the picture, for its norms in order: then nothing is kept, and memory
                is bounded by a band. None measures them.

        Returns the statistics.
        """
        passes = self.measured(read, shape, statistics, most)
        for span, band in passes.stream(self.output, rows):
            write(span, band)
        return [passes.found[norm] for norm in self.norms]

    @torch.inference_mode()
    def bands(
        self,
        read: Read,
        shape: Sequence[int],
        *,
        rows: int | None = None,
        most: int | None = None,
        statistics: Sequence[Statistics] | None = None,
    ) -> Iterator[tuple[Rows, Tensor]]:
        """As `run`, but each band of the output is handed out when it is asked for."""
        yield from self.measured(read, shape, statistics, most).stream(self.output, rows)

    def measured(
        self, read: Read, shape: Sequence[int], statistics: Sequence[Statistics] | None, most: int | None = None
    ) -> Passes:
        """The passes over a picture, its norms measured or given."""
        passes = Passes(self, self.shapes(shape), read, most)
        for place, norm in enumerate(self.norms):
            if statistics is not None:
                passes.found[norm] = statistics[place]
                continue
            moments = Moments()
            for _, band in passes.stream(norm.inputs[0]):
                moments.add(band)
            passes.found[norm] = moments.found()
        return passes

    def wanted(self, shape: Sequence[int], bytes_each: int) -> int:
        """The most bytes of maps that `run` keeps at once for an input (C, H, W)."""
        passes = Passes(self, self.shapes(shape), lambda rows: torch.empty(0))
        kept: set[Node] = set()
        most = 0

        def size(nodes: set[Node]) -> int:
            return sum(math.prod(passes.shapes[node]) for node in nodes)

        for norm in self.norms:
            inside = passes.computed(norm.inputs[0])
            stored, reused = passes.to_keep(inside)
            stays = kept & (passes.read_later(stored) | set(reused.values()))
            most = max(most, size(kept), size(stays) + size(set(stored) - reused.keys()))
            passes.kept |= dict.fromkeys(stored)  # type: ignore[arg-type]
            kept = passes.kept.keys() & passes.read_later()
            passes.kept = {node: passes.kept[node] for node in kept}
        return most * bytes_each

    def per_column(self, shape: Sequence[int]) -> tuple[float, float]:
        """Bytes that are alive at once per column of the input: however low a band is, and for each row of the input
        in a band. What `wanted` counts is not among them. Found without computing anything, with an input (C, H, W).
        """
        if self.columns is None:
            ghost = Plan(self.ghost, self.ghost.graph)
            shapes = ghost.shapes(shape)
            sizes = [(shapes[norm.inputs[0]][0],) for norm in ghost.norms]
            statistics = [Statistics(*torch.empty(2, *size, device="meta")) for size in sizes]

            def read(rows: Rows) -> Tensor:
                return torch.empty(1, shape[0], rows[1] - rows[0], shape[2], dtype=self.kind, device="meta")

            def alive(rows: int) -> float:
                with Ledger() as ledger:
                    for (_, last), _ in ghost.bands(read, shape, most=rows, statistics=statistics):
                        if last > 2 * rows * shapes[ghost.output][1] // shape[1]:
                            return ledger.peak / shape[2]
                return ledger.peak / shape[2]

            low, high = alive(1), alive(65)
            self.columns = low - (high - low) / 64, (high - low) / 64
        return self.columns

    def shapes(self, shape: Sequence[int]) -> dict[Node, tuple[int, ...]]:
        """(C, H, W) of every node for an input of that shape, found without computing anything."""
        if self.known[0] != tuple(shape):
            seen = Shapes(self.ghost)
            seen.run(torch.empty(1, *shape, device="meta", dtype=self.kind))
            self.known = tuple(shape), {node: seen.found[node.name] for node in self.nodes}
        return self.known[1]


class Passes:
    """The state of one run: what is kept, and what the norms have measured."""

    def __init__(self, plan: Plan, shapes: dict[Node, tuple[int, ...]], read: Read, most: int | None = None) -> None:
        self.plan, self.shapes, self.read, self.most = plan, shapes, read, most
        self.kept: dict[Node, Kept] = {}
        self.found: dict[Node, Statistics] = {}
        self.full = next(shapes[node][1] for node in plan.nodes if node.kind is None)

    def computed(self, target: Node, more: Collection[Node] = ()) -> list[Node]:
        """What has to be computed for `target`, in order; what is kept, or `more`, does not, nor what is behind it."""
        kept = self.kept.keys() | set(more)
        wanted = {target} - kept
        for node in reversed(self.plan.nodes):
            if node in wanted:
                wanted |= set(node.inputs) - kept
        return [node for node in self.plan.nodes if node in wanted]

    def to_keep(self, inside: list[Node]) -> tuple[list[Node], dict[Node, Node]]:
        """What of `inside` a later pass needs and is worth keeping; and which of those take an earlier one's place."""
        later = set(self.computed(self.plan.output)) - set(inside)
        kept = [node for node in inside if node.kind is not None and self.shapes[node][1] < self.full
                and any(user in later for user in node.users)]  # fmt: skip
        reused = {}
        for node in kept:
            # row by row a sum may be written over what was added, if nobody else wants that
            for given in node.inputs if isinstance(node.kind, Join) else ():
                free = given in self.kept and not any(user in later or user in inside for user in given.users
                                                      if user is not node)  # fmt: skip
                if free and node not in reused and self.shapes[given] == self.shapes[node]:
                    reused[node] = given
        return kept, reused

    def read_later(self, stored: Collection[Node] = ()) -> set[Node]:
        """What is read once `stored` are kept, too."""
        return {given for node in self.computed(self.plan.output, stored) for given in node.inputs}

    def forget(self) -> None:
        """Let go of what no later pass reads."""
        later = self.read_later()
        self.kept = {node: values for node, values in self.kept.items() if node in later}
        for values in self.kept.values():
            values.asked.clear()

    def stream(self, target: Node, rows: int | None = None) -> Iterator[tuple[Rows, Tensor]]:
        """All rows of `target` in order, `rows` at a time or as many as are fast: [1,C,h,W]; one pass."""
        inside = self.computed(target)
        stored, reused = self.to_keep(inside)
        windows = self.windows(inside, target, stored, reused)
        height = self.shapes[target][1]
        read = windows[target].reader() if inside else self.kept[target].reader(last=False)
        if rows is None:
            shapes, each = [self.shapes[node] for node in (*inside, target)], self.plan.kind.itemsize
            smallest = max(min(shape[1] for shape in shapes), self.full // 4)
            fast, least = BAND * height // (max(map(math.prod, shapes)) * each), LEAST * height // smallest
            rows = max(fast, min(least, MOST * fast), 1)
        if self.most is not None:
            rows = max(1, min(rows, self.most * height // self.full))
        for first in range(0, height, rows):
            span = first, min(height, first + rows)
            yield span, read(span)
        for node in stored:
            windows[node].advance(self.shapes[node][1])
            if (whole := windows[node].all) is not None:
                self.kept[node] = whole
        self.forget()

    def windows(
        self, inside: list[Node], target: Node, stored: list[Node], reused: dict[Node, Node]
    ) -> dict[Node, Window]:
        """What hands out the rows of each node of a pass, for those that do more than pass on."""
        windows: dict[Node, Window] = {}
        readers: dict[Node, Read] = {}
        again = self.read_later(stored) | set(reused.values())

        def reader(node: Node) -> Read:
            if node in self.kept:
                return self.kept[node].reader(last=node not in again)
            return windows[node].reader() if node in windows else readers[node]

        for node in inside:
            make = self.read
            if node.kind is not None:
                inputs = {given.place: reader(given) for given in node.inputs}
                make = maker(self.kind(node), inputs, self.shapes[node.inputs[0]][1])
            light = isinstance(self.kind(node), Pointwise | Padding | Join | None)
            if light and node not in stored and node is not target and len(set(node.users) & set(inside)) == 1:
                readers[node] = make
                continue
            over = self.kept.get(reused[node]) if node in reused else None
            windows[node] = Window(make, self.shapes[node][1], keep=node in stored, over=over)
        return windows

    def kind(self, node: Node) -> Layer | Join | None:
        """What a node does, a norm by what it has measured."""
        return node.kind.fixed(self.found[node]) if isinstance(node.kind, Norm) else node.kind


def maker(kind: Layer | Join | None, inputs: Mapping[int, Read], given: int) -> Read:
    """What makes the rows of a node out of those of its inputs, by their places, which have `given` rows."""
    if isinstance(kind, Join):
        function, last_first = kind.function, sorted(inputs, reverse=True)

        def join(rows: Rows) -> Tensor:
            # the last asks for more rows of what the others are, so that these are made all at once
            found = {place: inputs[place](rows) for place in last_first}
            return function(*(found[place] for place in inputs))

        return join
    assert kind is not None
    (read,) = inputs.values()

    def make(rows: Rows) -> Tensor:
        have = kind.needs(rows, given)
        return kind.run(read(have), have, rows, given)

    return make


class Kept:
    """All rows of a map, in memory of its own: a large one gets it from the system, and gives back what has been read.

    In a heap that is kept (see `i2i.memory`) maps of ever other sizes would leave holes. In channels_last the rows of a
    band are one piece.
    """

    def __init__(self, band: Tensor, height: int) -> None:
        shape = 1, height, band.shape[3], band.shape[1]
        self.row, self.memory = band[:, :, :1].numel() * band.element_size(), None
        if band.device.type == "cpu" and hasattr(mmap, "MAP_PRIVATE") and self.row * height >= BAND:
            try:
                self.memory = mmap.mmap(-1, self.row * height, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            except OSError as error:
                raise MemoryError(error.strerror) from None
            own = torch.frombuffer(self.memory, dtype=band.dtype).view(shape)
        else:
            own = torch.empty(shape, dtype=band.dtype, device=band.device)
        self.values = own.permute(0, 3, 1, 2)
        self.asked: list[int] = []
        self.released = 0  # bytes

    def reader(self, *, last: bool) -> Read:
        """A way to ask for rows, each time for later ones; in the `last` pass that reads them they are given back."""
        self.asked.append(0)
        place = len(self.asked) - 1

        def read(rows: Rows) -> Tensor:
            self.asked[place] = rows[0]
            if last and self.memory is not None:
                done = min(self.asked) * self.row // BAND * BAND  # BAND is whole pages
                if done > self.released:
                    self.memory.madvise(mmap.MADV_DONTNEED, self.released, done - self.released)
                    self.released = done
            return self.values[:, :, rows[0] : rows[1]]

        return read


class Window:
    """Rows of one map: each made once, from top to bottom, and held while somebody may still ask for it."""

    def __init__(self, make: Read, height: int, *, keep: bool = False, over: Kept | None = None) -> None:
        self.make, self.height, self.keep = make, height, keep
        self.all = over  # where all rows are kept
        self.held: Tensor | None = None
        self.first = self.last = 0
        self.asked: list[int] = []  # the first row that each reader has asked for last; none goes back

    def reader(self) -> Read:
        """A way to ask for rows, each time for later ones."""
        self.asked.append(0)
        place = len(self.asked) - 1

        def read(rows: Rows) -> Tensor:
            self.asked[place] = rows[0]
            self.advance(rows[1])
            assert self.held is not None and rows[0] >= self.first
            return self.held[:, :, rows[0] - self.first : rows[1] - self.first]

        return read

    def advance(self, last: int) -> None:
        """Make the rows before `last` that have not been made."""
        if last <= self.last:
            return
        new = self.make((self.last, last))
        if self.keep:
            self.all = Kept(new, self.height) if self.all is None else self.all
            self.all.values[:, :, self.last : last] = new
        start = max(self.first, min(self.asked, default=last))
        held = self.held
        if held is not None and start < self.last:
            new = torch.cat([held[:, :, start - self.first :], new], 2)
            self.first = start
        else:
            self.first = self.last
        self.held, self.last = new, last


class Tracer(fx.Tracer):
    """Follows a forward down to the modules that are known here."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, LEAVES) or super().is_leaf_module(module, name)


class Shapes(fx.Interpreter):
    """Notes what shapes the values of a graph have."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.found: dict[str, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.found[n.name] = tuple(value.shape[1:])
        return value


LEAVES = (nn.Conv2d, nn.ConvTranspose2d, layers.InstanceNorm, layers.BatchNorm, layers.Dropout, layers.Narrow,
          layers.Wide, layers.PReLU)  # fmt: skip
PADS = {nn.ReflectionPad2d: "reflect", nn.ReplicationPad2d: "replicate", nn.ZeroPad2d: "constant"}
ENLARGES = ("nearest", "bicubic")
POINTWISE = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.Tanh, nn.Sigmoid, nn.Identity, layers.Narrow, layers.Wide,
             layers.PReLU)  # fmt: skip
FUNCTIONS = (operator.add, operator.iadd, operator.sub, operator.mul, operator.truediv, operator.neg, torch.add,
             torch.mul, torch.relu, torch.tanh, torch.sigmoid, torch.clamp, F.relu, F.leaky_relu)  # fmt: skip


def kind_of(step: fx.Node, network: nn.Module) -> Layer | Join | Norm | None:
    """What an operation is. Raises Unknown."""
    if step.op == "placeholder":
        return None
    if step.op == "call_module":
        return kind_of_module(network.get_submodule(str(step.target)))
    if step.op != "call_function":
        return unknown(step)
    function: Any = step.target
    args, kwargs = step.args, dict(step.kwargs)
    if function in FUNCTIONS:
        count = len(step.all_input_nodes)

        def apply(*bands: Tensor) -> Tensor:
            left = dict(zip(step.all_input_nodes, bands, strict=True))
            return function(*fx.map_arg(args, left.__getitem__), **fx.map_arg(kwargs, left.__getitem__))

        return Pointwise(apply) if count == 1 else Join(apply)
    if function is torch.cat:
        given, dim = args[0], kwargs.get("dim", args[1] if len(args) > 1 else 0)
        if dim == 1 and isinstance(given, list | tuple) and len(set(given)) == len(given):
            return Join(lambda *bands: torch.cat(bands, 1))
    if function is F.interpolate and len(args) == 1 and set(kwargs) <= {"scale_factor", "mode", "size"} | UNSET:
        factor, mode = kwargs.get("scale_factor"), kwargs.get("mode", "nearest")
        if isinstance(factor, int) and mode in ENLARGES and not any(kwargs.get(key) for key in UNSET):
            return Enlarged(factor, str(mode))
    if function in (F.pixel_shuffle, F.pixel_unshuffle) and len(args) == 2:
        return Shuffled(int(str(args[1])), back=function is F.pixel_unshuffle)
    return unknown(step)


UNSET = {"size", "align_corners", "recompute_scale_factor", "antialias"}


def kind_of_module(module: nn.Module) -> Layer | Norm:
    """What a module is. Raises Unknown."""
    kind = type(module)
    if isinstance(module, nn.ReflectionPad2d | nn.ReplicationPad2d | nn.ZeroPad2d) and kind in PADS:
        return Padding(PADS[kind], module.padding)
    plain = kind.forward in (nn.Conv2d.forward, layers.Conv2d.forward)  # and not a subclass that does more
    if isinstance(module, nn.Conv2d) and plain and module.padding_mode == "zeros" and type(module.padding) is not str:
        return Convolution(module)
    if isinstance(module, nn.ConvTranspose2d) and module.kernel_size[0] >= module.stride[0]:
        return Transposed(module)
    if isinstance(module, nn.PixelShuffle):
        return Shuffled(module.upscale_factor)
    if isinstance(module, nn.PixelUnshuffle):
        return Shuffled(module.downscale_factor, back=True)
    if isinstance(module, nn.Upsample) and module.mode in ENLARGES and module.align_corners is None:
        factor = module.scale_factor
        if isinstance(factor, int | float) and factor == int(factor):
            return Enlarged(int(factor), module.mode)
    if kind in POINTWISE or (isinstance(module, layers.StoredBatchNorm) and module.stored):
        return Pointwise(module)
    if isinstance(module, layers.Dropout) and module.draws is None:
        return Pointwise(nn.Identity())
    if isinstance(module, layers.InstanceNorm):
        return Norm(None, None, module.eps)
    if isinstance(module, layers.BatchNorm):
        return Norm(module.weight, module.bias, module.eps)
    raise Unknown(kind.__name__)


def unknown(step: fx.Node) -> NoReturn:
    raise Unknown(f"{step.op} {step.target}")
