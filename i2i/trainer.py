"""The trainer: plays any `Game`. Stages, turns, lanes, averages, checkpoints; the only importer of accelerate.

A *lane* is one slice of the global batch: several images that pass through a loss together. Lanes are the accumulation
on one rank and the shares of several ranks, and nothing depends on which of the two they are: before each lane of each
turn the generator is seeded by (seed, position of the lane's first image, turn), never by the rank.
"""

from __future__ import annotations

import copy
import inspect
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn

from i2i.aids import Aid, without_aids
from i2i.checkpoint import States, save_generator
from i2i.data.stream import Stream, stack_field, to_range
from i2i.errors import UserError
from i2i.game import Card, Clock, Game, Loss, Made, Origin, Player, describe
from i2i.host import deterministic, processor, seeded, threads
from i2i.journal import Journal, Means, Progress, contact_sheet, digits, save_sheet
from i2i.lanes import Buffers, Lane, coupled
from i2i.layers import power_iteration
from i2i.losses import wide
from i2i.schedules import Purpose, Rate, mix
from i2i.validation import Validator

if TYPE_CHECKING:
    from i2i.recipe import Training, Validation

__all__ = ["Seat", "Trainer", "fitting"]

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}
PREVIEWED = 4  # rows of a contact sheet
AGREE_EVERY = 16  # steps between two agreements of all ranks on whether to stop


@dataclass
class Seat:
    """A player at the table: the player, as DDP wraps it, and what moves and follows its weights."""

    player: Player
    wrapped: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: nn.ModuleDict | None

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self.player.parameters())


class Trainer:
    """Plays a game on a data set, and continues where it stopped.

    Args:
        game: what to play; built under `seeded(seed, Purpose.INIT)` for two runs to be equal.
        data: a data set of `i2i.data`, whose fields are those of `game.Batch`.
        settings: the `training` section of a recipe.
        out: the run's folder: state/, generators/, sheets/, journal.jsonl.
        card: the direction and origin that exported generators state; images, hours and hardware are filled in here.
        device: "auto" or "cpu".
        tensorboard: also log to OUT/tensorboard.
        say: where sentences go; default prints to stderr on the first rank.
        validation: the `validation` section of a recipe; None measures nothing.

    Raises:
        UserError: settings that do not fit the game, the data, or the number of ranks.
    """

    def __init__(
        self,
        game: Game,
        data: Any,
        settings: Training,
        out: Path,
        *,
        a: str = "A",
        b: str = "B",
        origin: Origin = Origin(),
        device: str = "auto",
        tensorboard: bool = False,
        say: Callable[[str], None] | None = None,
        validation: Validation | None = None,
    ) -> None:
        handlers = [DistributedDataParallelKwargs(broadcast_buffers=False)]  # buffers are averaged by `settle`
        self.accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no", kwargs_handlers=handlers)
        self.rank, self.ranks = self.accelerator.process_index, self.accelerator.num_processes
        self.device = self.accelerator.device
        self.game, self.data, self.settings, self.out = game, data, settings, out
        self.card = {"a": a, "b": b}
        self.origin = origin
        self.say = say or (lambda sentence: print(sentence, flush=True) if self.rank == 0 else None)
        self.states = States(out / "state", keep=settings.keep)
        self.batch, self.lane = settings.batch, fitting(game, data, settings, self.ranks)
        self.rate: Rate = settings.rate.build()
        self.augment = settings.augment.build() if settings.augment else None
        self.dtype = PRECISIONS.get(settings.precision)
        self.clock = Clock(stage=-1)
        self.stages = game.stages()
        self.seats: dict[str, Seat] = {}  # who plays in this stage
        self.retired: dict[str, Seat] = {}  # who played in an earlier one: its weights are kept and saved
        self.means = Means(self.device)
        self.seconds = 0.0
        self.stopping: str | None = None
        for name, export in game.exports().items():
            self._card(name, export.card)  # what the data holds must be something that the network can take
        for network in game.frozen():
            network.to(self.device).eval().requires_grad_(False)
            for module in network.modules():
                if self.dtype is not None and isinstance(module, nn.Conv2d):
                    module.to(self.dtype)  # once, as autocast would in every pass
        self.validator = Validator(validation, out / "generators", str(self.device)) if validation else None
        if self.rank == 0:
            out.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(out / "journal.jsonl", tensorboard=out / "tensorboard" if tensorboard else None)

    # --- stages -------------------------------------------------------------------------------------------------------

    def enter(self, index: int) -> None:
        """Begin stage `index`: let it grow or freeze, wrap its players, give them optimizers."""
        self.stage = self.stages[index]
        if self.ranks > 1:
            self.accelerator.free_memory()  # it keeps what wrapped the players of the stage before
        with seeded(self.settings.seed, Purpose.ENTER, index):
            self.stage.enter()
        self.clock = replace(self.clock, stage=index, stage_images=0)
        before, self.seats = self.seats, {}
        for player in self.stage.players:
            self.seats[player.name] = self._seat(player, before.get(player.name) or self.retired.pop(player.name, None))
        self.retired |= {name: seat for name, seat in before.items() if name not in self.seats}
        for module in self.modules():
            if isinstance(module, Aid):
                module.attend(self.game)
        for seat in self.retired.values():
            if seat.average is not None:  # others go on with what is kept of it
                seat.player.nets.load_state_dict(seat.average.state_dict())

    def modules(self) -> Iterator[nn.Module]:
        """All parts of the players of this stage."""
        return (module for seat in self.seats.values() for module in seat.player.modules())

    def _seat(self, player: Player, before: Seat | None) -> Seat:
        player.to(self.device).train().requires_grad_(True)
        if self.settings.channels_last:
            player.to(memory_format=torch.channels_last)
        parameters = list(player.parameters())
        fused = {"fused": True} if _takes_fused(player.optimizer, parameters) else {}
        optimizer = before.optimizer if before and not self.stage.fresh else player.optimizer(parameters, **fused)
        forget(optimizer, parameters)
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        average = copy.deepcopy(player.nets).requires_grad_(False) if player.average else None
        if average is not None and before is not None and before.average is not None:
            kept = {k: v for k, v in before.average.state_dict().items() if k in average.state_dict()}
            average.load_state_dict(kept, strict=False)  # a grown network keeps the average it has
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, message=".*broadcast_buffers.*")
            wrapped = self.accelerator.prepare_model(player)
        scaler = torch.amp.GradScaler(self.device.type, enabled=self.settings.precision == "fp16")
        return Seat(player, wrapped, optimizer, scaler, average)

    # --- the loop -----------------------------------------------------------------------------------------------------

    def run(self, *, stop_at: int | None = None, time_limit: float | None = None, quiet: bool = False) -> str:
        """Play until the recipe's last image, image `stop_at`, `time_limit` seconds, or a signal; then save.

        Continues from the newest whole checkpoint in `out`. The host program's random state, thread count and signal
        handlers are as before afterwards. Returns why it stopped: "done", "stop-at", "time-limit" or "interrupted".
        """
        total = self.settings.images
        end = min(total, stop_at if stop_at is not None else total)
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng())
            stack.enter_context(threads(self.settings.threads))
            stack.enter_context(deterministic(self.settings.deterministic))
            stack.enter_context(self._signals())
            self.resume()
            started, already = time.monotonic(), self.seconds
            progress = Progress(total, quiet=quiet or self.rank != 0)
            progress.begin(self.clock.images)
            if self.clock.images == 0:
                self.draw_sheet()
                self._say_what_couples()
            stream = iter(self._stream())
            saved = self.clock.images
            while self.clock.images < end and not self.stopping:
                if self.stage.images is not None and self.clock.stage_images >= self.stage.images:
                    self.enter(self.clock.stage + 1)
                self.step(next(stream))
                self.seconds = already + time.monotonic() - started
                images = self.clock.images
                if self._due(self.settings.log_every) or images >= total:
                    self.write_line(progress)
                if self._due(self.settings.grid_every) or images >= total:
                    self.draw_sheet()
                if self.validator and (self._due(self.validator.settings.every) or images >= total):
                    self.validate(self.validator)
                if self._due(self.settings.save_every):
                    self.save()
                    saved = images
                self._agree_to_stop(started, time_limit)
            if saved != self.clock.images:
                self.save()
        return self.stopping or ("done" if self.clock.images >= total else "stop-at")

    def close(self) -> None:
        """Leave the group of ranks together; a rank that just exits can take the others down with it."""
        if self.ranks > 1:
            self.accelerator.wait_for_everyone()
            dist.destroy_process_group()

    def step(self, drawn: tuple[int, Any]) -> None:
        """One turn of each player on one global batch."""
        lanes = list(self._deal(*drawn))
        rate = self.rate(self.clock)
        for module in self.modules():
            if hasattr(module, "clock"):
                setattr(module, "clock", self.clock)  # noqa: B010 (a module's own attribute)
        for turn, (player, loss) in enumerate(self.stage.turns(self.clock)):
            self.move(turn, player, loss, lanes, rate)  # the optimizer has stepped when turns() resumes
        self._average()
        self.clock = self.clock.advance(self.batch)

    def move(self, turn: int, player: Player, loss: Loss, lanes: list[Lane], rate: float) -> None:
        """One player's turn: every lane through the loss, one step of its optimizer."""
        seat = self.seats[player.name]
        for other in self.seats.values():
            other.player.requires_grad_(other is seat)  # before the graph is built, so rivals cost no backward
        buffers = Buffers([other.player for other in self.seats.values()], lanes=len(lanes) * self.ranks)
        for index, lane in enumerate(lanes):
            last = index == len(lanes) - 1
            torch.manual_seed(mix(self.settings.seed, Purpose.LOSS, lane.first, turn))
            buffers.before_lane()
            with nullcontext() if last else self.accelerator.no_sync(seat.wrapped):
                with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
                    terms = seat.wrapped(loss, lane.batch, lane.made)
                total = torch.stack([wide(term) for term in terms.values()]).sum()
                # a loss that is not finite can still have a gradient that is (|x - nan| has 0): make all of it nan
                gate = torch.where(torch.isfinite(total.detach()), 1.0, torch.nan)
                seat.scaler.scale(total * gate / len(lanes)).backward()
            buffers.after_lane()
            for name, term in (*terms.items(), *lane.made.notes.items()):
                self.means.note(f"{player.name}/{name}", term)
            lane.made.notes.clear()
        buffers.settle()
        self._apply(seat, rate)
        power_iteration(seat.player)

    def _apply(self, seat: Seat, rate: float) -> None:
        """Step an optimizer, unless a gradient is not finite: such a step is skipped on the device and counted."""
        optimizer, parameters = seat.optimizer, seat.parameters
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * rate
            group.update(seat.player.settings(self.clock) if seat.player.settings else {})
        if seat.scaler.is_enabled():
            seat.scaler.unscale_(optimizer)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)  # equal on all ranks: DDP has averaged the gradients
        skip = (~torch.isfinite(norm)).to(torch.float32)
        self.means.note(f"{seat.player.name}/skipped", skip)
        if self.settings.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.settings.clip, norm)
        if seat.scaler.is_enabled():
            seat.scaler.step(optimizer)
            seat.scaler.update()
        elif optimizer.defaults.get("fused"):
            optimizer.found_inf = skip  # type: ignore[attr-defined]  # what GradScaler itself hands fused optimizers
            optimizer.step()
        elif not skip.item():  # an optimizer that is not fused cannot skip on the device
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def _deal(self, first: int, batch: Any) -> Iterator[Lane]:
        """This rank's share of the batch, on the device and in [-1,1], dealt into lanes."""
        tensors = [to_range(tensor.to(self.device, non_blocking=True)) for tensor in batch]
        for start in range(0, len(tensors[0]), self.lane):
            part = [t[start : start + self.lane] for t in tensors]
            if self.settings.channels_last:
                part = [t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t for t in part]
            position = first + start
            made = Made((position - self.clock.images) // self.lane)
            batch = self.game.Batch(*part)
            if self.augment is not None:
                batch = self.augment(batch, mix(self.settings.seed, Purpose.AUGMENT, position))
            yield Lane(position, batch, made)

    def _stream(self) -> Stream:
        return Stream(
            self.data,
            batch=self.batch,
            start=self.clock.images,
            rank=self.rank,
            ranks=self.ranks,
            workers=self.settings.workers,
        )

    @torch.no_grad()
    def _average(self) -> None:
        for seat in self.seats.values():
            if seat.average is None or seat.player.average is None:
                continue
            weight = 1 - seat.player.average.decay(self.clock, self.batch)
            pairs = zip(seat.average.state_dict().values(), seat.player.nets.state_dict().values(), strict=True)
            kept = [(mean, now) for mean, now in pairs if mean.is_floating_point()]
            torch._foreach_lerp_([mean for mean, _ in kept], [now for _, now in kept], weight)

    def _say_what_couples(self) -> None:
        if self.lane == 1 or self.rank:
            return
        samples = [self.data[position] for position in range(2)]
        batch = self.game.Batch(*(stack_field(field) for field in zip(*samples, strict=True)))
        found = sorted(coupled(self.game, batch))
        if found:
            self.say(
                f"{', '.join(found)} see all {self.lane} images of a lane at once (batch norm and the like): "
                "another training.lane is another training"
            )

    def _due(self, every: int) -> bool:
        return self.clock.images // every > (self.clock.images - self.batch) // every

    # --- stopping -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM finish the step and save; a second one ends at once."""

        def stop(number: int, frame: object) -> None:
            if self.stopping and self.ranks == 1:  # a launcher repeats what the terminal has sent to its ranks already
                raise KeyboardInterrupt
            self.stopping = "interrupted"

        try:
            before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread: the host program keeps its signals
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _agree_to_stop(self, started: float, time_limit: float | None) -> None:
        if not self.stopping and time_limit is not None and time.monotonic() - started >= time_limit:
            self.stopping = "time-limit"
        if self.ranks == 1:
            return
        mine, self.stopping = self.stopping, None
        if self.clock.steps % AGREE_EVERY:
            self._asked = mine or getattr(self, "_asked", None)
            return
        reasons: list[str | None] = [None] * self.ranks
        dist.all_gather_object(reasons, mine or getattr(self, "_asked", None))
        self.stopping = next((reason for reason in reasons if reason), None)

    # --- what a run leaves --------------------------------------------------------------------------------------------

    def write_line(self, progress: Progress) -> None:
        """Journal, progress and `Game.observe`, from the means since the line before."""
        means = self.means.read(self._sum if self.ranks > 1 else None)
        self.means.clear()
        skipped = {name.split("/")[0]: share for name, share in means.items() if name.endswith("/skipped")}
        terms = {name: digits(value) for name, value in means.items() if not name.endswith("/skipped")}
        terms |= {name: digits(value.item()) for name, value in self._notes()}
        said = list(self.game.observe(terms))
        speed = progress.show(self.clock.images, terms)
        if self.rank == 0:
            self.journal.line(
                images=self.clock.images,
                stage=self.stage.name,
                rate=digits(self.rate(self.clock)),
                terms=terms,
                skipped={name: digits(share) for name, share in skipped.items() if share},
                seconds=round(self.seconds, 1),
                speed=digits(speed),
                **({"said": said} if said else {}),
            )
        for sentence in said:
            self.say(sentence)
        for name, share in skipped.items():
            if share == 1.0 and self.settings.precision != "fp16":
                raise UserError(
                    f"no gradient of '{name}' was finite in the images up to {self.clock.images:,}; the weights are "
                    f"those before. Lower the learning rate or set training.precision=fp32, and run the command again",
                    code=1,
                )
            if share:
                self.say(f"{share:.1%} of the steps of '{name}' were skipped: their gradients were not finite")

    def _notes(self) -> Iterator[tuple[str, Tensor]]:
        """Where parts of the players stand that tell it, equal on all ranks: the probability of an augmentation."""
        for name, seat in self.seats.items():
            for path, module in seat.player.named_modules():
                if isinstance(module, Aid):
                    of = path.split(".")[1] if len(seat.player.nets) > 1 else ""
                    yield from ((f"{name}/{of}{'_' * bool(of)}{key}", value) for key, value in module.notes().items())

    def _sum(self, tensor: Tensor) -> Tensor:
        dist.all_reduce(tensor)
        return tensor

    def networks(self) -> dict[str, nn.Module]:
        """The exported networks, averaged where their player keeps an average."""
        averages = {
            id(network): seat.average[key]
            for seat in (self.retired | self.seats).values()
            if seat.average is not None
            for key, network in seat.player.nets.items()
        }
        return {name: exchanged(export.network, averages) for name, export in self.game.exports().items()}

    @torch.no_grad()
    def draw_sheet(self) -> None:
        """The first pictures of the data through the networks as they are now, as one PNG."""
        if self.rank:
            return
        samples = [self.data[position] for position in range(min(PREVIEWED, len(self.data)))]
        batch = self.game.Batch(*(to_range(stack_field(field).to(self.device)) for field in zip(*samples, strict=True)))
        networks = self.networks()
        was_training = [(part, part.training) for network in networks.values() for part in network.modules()]
        for network in networks.values():
            network.eval()
        columns = self.game.preview(batch, networks)
        for part, training in was_training:
            part.training = training
        if hasattr(self.data, "shown"):
            columns = self.data.shown(columns)
        if columns:
            save_sheet(self.out / "sheets" / f"{self.clock.images:010d}.png", contact_sheet(columns))

    def validate(self, validator: Validator) -> None:
        """Measure the generators as they are now; the figures go into the journal. All ranks call it; one measures."""
        if self.rank == 0:
            with self._storing():
                found = {name: digits(value) for name, value in validator(self.export).items()}
            terms = {f"validation/{name}": value for name, value in found.items()}
            self.journal.line(images=self.clock.images, stage=self.stage.name, terms=terms)
            self.say(f"validation at {self.clock.images:,}: {', '.join(f'{k} {v:.4g}' for k, v in found.items())}")
        self.accelerator.wait_for_everyone()

    def save(self) -> None:
        """Write a checkpoint and the generators. All ranks call it; the first writes."""
        groups, facts = self.state()
        if self.rank == 0:
            with self._storing():
                self.states.save(self.clock.images, groups, facts)
                self.export(self.out / "generators")
        self.accelerator.wait_for_everyone()

    def export(self, folder: Path) -> list[Path]:
        """Write the generators as they are now, averaged where they are, to NAME.safetensors in a folder."""
        networks, files = self.networks(), []
        for name, export in self.game.exports().items():
            files.append(folder / f"{name}.safetensors")
            save_generator(files[-1], without_aids(networks[name]), export.spec, self._card(name, export.card))
        return files

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"cannot save to {self.out}: {error.strerror}; the checkpoint before is whole, make room and run "
                "the command again",
                code=1,
            ) from error

    def _card(self, name: str, card: Card) -> Card:
        origin = replace(
            self.origin,
            seed=self.settings.seed,
            images=self.clock.images,
            hours=round(self.seconds / 3600, 3),
            hardware=", ".join(f"{key} {value}" for key, value in self.circumstances().items()),
        )
        a, b = self.card["a"], self.card["b"]
        if name == "b2a":
            a, b = b, a
            origin = replace(origin, prepared=other_side(origin.prepared))
        elif card.kind == "classifier" and any(export.card.kind == "latent" for export in self.game.exports().values()):
            a, b = b, ", ".join(card.classes)  # it looks at what the generator draws
        holds = getattr(self.data, "holds", card.holds) if card.kind == "image" else card.holds
        try:
            card = replace(card, holds=holds[::-1] if name == "b2a" else holds)
        except ValueError as error:
            raise UserError(f"the generator '{name}' does not fit the data: {error}") from None
        return describe(card, a=a, b=b, origin=origin)

    def circumstances(self) -> dict[str, Any]:
        """What a bitwise resume needs unchanged."""
        return {
            "device": torch.cuda.get_device_name() if self.device.type == "cuda" else processor(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "ranks": self.ranks,
            "precision": self.settings.precision,
            "layout": "channels_last" if self.settings.channels_last else "contiguous",
        }

    def state(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """Everything a resume needs: groups of tensors, and facts for JSON. A collective call."""
        players: dict[str, Tensor] = {}
        averages: dict[str, Tensor] = {}
        optimizers: dict[str, Tensor] = {}
        for name, seat in (self.retired | self.seats).items():
            players |= {f"{name}/{key}": value for key, value in seat.player.nets.state_dict().items()}
            if seat.average is not None:
                averages |= {f"{name}/{key}": value for key, value in seat.average.state_dict().items()}
        for name, seat in self.seats.items():
            for index, slots in seat.optimizer.state_dict()["state"].items():
                optimizers |= {f"{name}/{index}/{key}": torch.as_tensor(value) for key, value in slots.items()}
        facts = {
            "clock": asdict(self.clock),
            "seconds": self.seconds,
            "lane": self.lane,
            "batch": self.batch,
            "circumstances": self.circumstances(),
            "scalers": {name: seat.scaler.state_dict() for name, seat in self.seats.items()},
            "best": self.validator.best if self.validator else {},
        }
        groups = {"players": players, "averages": averages, "optimizers": optimizers, "game": self._game_state()}
        return groups | {"means": self.means.state(self._sum if self.ranks > 1 else None)}, facts

    def _game_state(self) -> dict[str, Tensor]:
        """`Game.state` of all ranks: what belongs to a lane from the rank that holds it, the rest from the first."""
        mine = plain_cpu(self.game.state())
        shares: list[dict[str, Tensor]] = [mine] * self.ranks
        if self.ranks > 1:
            dist.all_gather_object(shares, mine)
        return {
            key: tensor
            for rank, share in enumerate(shares)
            for key, tensor in share.items()
            if self._holder(key) == rank
        }

    def _holder(self, key: str) -> int:
        """The rank that holds a key of `Game.state`."""
        parts = key.split("/")
        return int(parts[1]) * self.lane // (self.batch // self.ranks) if parts[0] == "lane" else 0

    def resume(self) -> None:
        """Continue from the newest whole checkpoint in `out`, or begin."""
        loaded = self.states.load(self.say) if self.rank == 0 or self.ranks == 1 else None
        if self.ranks > 1:
            box = [loaded]
            dist.broadcast_object_list(box, src=0)
            loaded = box[0]
        if loaded is None:
            self.enter(0)
            return
        groups, facts = loaded
        clock = Clock(**facts["clock"])
        for index in range(self.clock.stage + 1, clock.stage + 1):  # networks that have grown here stay so
            self.enter(index)
        self.clock, self.seconds = clock, facts["seconds"]
        self._check(facts)
        try:
            self._restore(groups, facts)
        except (RuntimeError, ValueError, KeyError) as error:
            raise UserError(
                f"{self.out} holds a training of other networks than the recipe's; name another folder with --out, or "
                f"continue with the recipe it began with ({self.out / 'recipe.yaml'})"
            ) from error
        mine = {k: v for k, v in groups["game"].items() if self._holder(k) == self.rank or not k.startswith("lane/")}
        self.game.load_state({key: tensor.to(self.device) for key, tensor in mine.items()})
        share = {name: pair if self.rank == 0 else pair * 0 for name, pair in groups["means"].items()}
        self.means.load(share)  # they are summed over ranks when read
        if self.validator:
            self.validator.best = facts.get("best", {})
        if self.rank == 0:
            self.journal.rewind(clock.images)
        self.say(f"continuing {self.out} at image {clock.images:,}")

    def _restore(self, groups: Mapping[str, Mapping[str, Tensor]], facts: Mapping[str, Any]) -> None:
        """Weights, averages, optimizers and scalers as a checkpoint has them."""
        for name, seat in (self.retired | self.seats).items():
            seat.player.nets.load_state_dict(_under(name, groups["players"]))
            if seat.average is not None:
                seat.average.load_state_dict(_under(name, groups["averages"]))
        for name, seat in self.seats.items():
            slots: dict[int, dict[str, Tensor]] = {}
            for key, value in _under(name, groups["optimizers"]).items():
                place, slot = key.split("/")
                slots.setdefault(int(place), {})[slot] = _laid_out_like(seat.parameters[int(place)], value)
            seat.optimizer.load_state_dict({**seat.optimizer.state_dict(), "state": slots})
            seat.scaler.load_state_dict(facts["scalers"][name])

    def _check(self, facts: Mapping[str, Any]) -> None:
        """Say what keeps this resume from being bitwise; refuse what would make it another training."""
        if (facts["batch"], facts["lane"]) != (self.batch, self.lane):
            raise UserError(
                f"{self.out} was trained with batch {facts['batch']} in lanes of {facts['lane']}, not batch "
                f"{self.batch} in lanes of {self.lane}; set training.batch={facts['batch']} "
                f"training.lane={facts['lane']}, or name another folder"
            )
        now = self.circumstances()
        changed = [
            f"{key} {value} instead of {facts['circumstances'].get(key)}"
            for key, value in now.items()
            if value != facts["circumstances"].get(key)
        ]
        if changed:
            self.say(f"this continuation is not bitwise: {'; '.join(changed)}")


def fitting(game: Game, data: Any, settings: Training, ranks: int) -> int:
    """Images of a lane. Raises UserError for a batch that cannot be dealt to so many ranks, and for data with other
    fields or classes than the game's."""
    batch, lane = settings.batch, settings.lane or settings.batch // ranks
    if lane < 1 or batch % (lane * ranks):
        raise UserError(
            f"a batch of {batch} cannot be dealt to {ranks} process{'es' * (ranks > 1)} in lanes of {lane or 1}; "
            f"set training.batch to a multiple of {ranks * max(lane, 1)}"
        )
    if tuple(game.Batch._fields) != tuple(data.fields._fields):
        raise UserError(
            f"{type(game).__name__} plays with {game.Batch._fields}, but {type(data).__name__} "
            f"yields {data.fields._fields}; {_missing(game.Batch._fields, data.fields._fields)}"
        )
    wanted, there = getattr(game, "classes", None), len(getattr(data, "classes", ()))
    if wanted and there and wanted != there:
        name = type(game).__name__
        raise UserError(f"{name} plays with {wanted} classes, but the data has {there}; set game.classes")
    return lane


def _missing(wanted: tuple[str, ...], there: tuple[str, ...]) -> str:
    """What to do where a data set yields other fields than a game wants."""
    if set(wanted) - set(there) == {"y"}:
        return "give the samples their classes with data.labels (true, or folders), or name another data set"
    if set(there) - set(wanted) == {"y"}:
        return "leave out the classes with data.labels (false, or none), or name another data set"
    return "name another data set under `data`"


def exchanged(network: nn.Module, averages: Mapping[int, nn.Module]) -> nn.Module:
    """The average of a network, or a copy with the averages of its parts in their places; itself where there is none.

    averages: `id` of a network -> its average.
    """
    if id(network) in averages:
        return averages[id(network)]
    parts = {name: exchanged(part, averages) for name, part in network.named_children()}
    if all(part is getattr(network, name) for name, part in parts.items()):
        return network
    made = copy.copy(network)
    made._modules = {**network._modules, **parts}
    return made


def plain_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state on the CPU, so that it can travel between ranks."""
    return {key: tensor.detach().to("cpu") for key, tensor in state.items()}


def other_side(prepared: str) -> str:
    """The folder of the other set's test pictures, where its name says which set it is: maps/testA => maps/testB."""
    swapped = {"testA": "testB", "testB": "testA"}
    head, tail = prepared[:-5], prepared[-5:]
    return head + swapped.get(tail, tail)


def _under(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{name}/"
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """An optimizer's slot in the memory layout of its parameter: fused steps walk both by raw memory."""
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value


def forget(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> None:
    """Let an optimizer that is carried over go of layers that have left; the others keep their order."""
    here = {id(parameter) for parameter in parameters}
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) in here]
    for left in [parameter for parameter in optimizer.state if id(parameter) not in here]:
        del optimizer.state[left]
    kept = sum(len(group["params"]) for group in optimizer.param_groups)
    assert kept == len(parameters), "a stage that adds layers must be fresh"


def _takes_fused(optimizer: Callable[..., Any], parameters: list[nn.Parameter]) -> bool:
    from i2i.spec import Spec, resolve

    target = resolve(optimizer.of) if isinstance(optimizer, Spec) else optimizer
    try:
        takes = "fused" in inspect.signature(target).parameters
    except (TypeError, ValueError):
        return False
    return takes and all(parameter.is_floating_point() for parameter in parameters)
