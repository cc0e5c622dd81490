"""Recipes: one YAML file says everything a training run needs. Strict, typed, with errors that name file, line, column.

    recipe = load("recipes/cyclegan-maps.yaml", ["game.cycle=5"])
    game = build(recipe.game)
    data = build(recipe.data, seed=recipe.training.seed)

A mapping with `of:` is a `Spec`: the object at that address, called with the other keys. A recipe may name any code
that can be imported, so a stranger's recipe is a stranger's program: read it before you run it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from i2i.errors import UserError
from i2i.marked import Leaf, Place, near, put, read, report, shown, write
from i2i.spec import Spec, resolve
from i2i.typed import WHOLE, Checker, Range

__all__ = ["About", "Recipe", "Training", "Validation", "build", "find", "load", "names", "plain"]

INJECTED = ("seed",)
"""What the trainer gives every data set itself; a recipe says it once, as training.seed."""

KNOWN = (
    "i2i.translation.pix2pix:Pix2Pix",
    "i2i.translation.pix2pix:UnetGenerator",
    "i2i.translation.pix2pix:PatchDiscriminator",
    "i2i.translation.cyclegan:CycleGAN",
    "i2i.translation.cyclegan:ResnetGenerator",
    "i2i.translation.cut:CUT",
    "i2i.translation.cut:AntialiasedResnet",
    "i2i.translation.cut:AntialiasedPatchDiscriminator",
    "i2i.translation.cut:SinGenerator",
    "i2i.translation.cut:SinDiscriminator",
    "i2i.translation.discogan:DiscoGAN",
    "i2i.translation.discogan:EncoderDecoder",
    "i2i.translation.discogan:MatchedDiscriminator",
    "i2i.translation.discogan:PointGenerator",
    "i2i.translation.discogan:PointDiscriminator",
    "i2i.translation.discogan:Curriculum",
    "i2i.translation.srgan:SRGAN",
    "i2i.translation.srgan:SRResNet",
    "i2i.translation.srgan:SRDiscriminator",
    "i2i.unconditional.gan:GAN",
    "i2i.unconditional.gan:MLPGenerator",
    "i2i.unconditional.gan:MLPDiscriminator",
    "i2i.unconditional.cgan:CGAN",
    "i2i.unconditional.cgan:ConditionalMLPGenerator",
    "i2i.unconditional.cgan:ConditionalMLPDiscriminator",
    "i2i.unconditional.cgan:ConditionalDCGenerator",
    "i2i.unconditional.cgan:ConditionalDCDiscriminator",
    "i2i.unconditional.dcgan:DCGenerator",
    "i2i.unconditional.dcgan:DCDiscriminator",
    "i2i.unconditional.lsgan:LSGenerator",
    "i2i.unconditional.progan:ProGAN",
    "i2i.unconditional.progan:GrowingGenerator",
    "i2i.unconditional.progan:GrowingCritic",
    "i2i.unconditional.infogan:InfoGAN",
    "i2i.unconditional.infogan:Generator",
    "i2i.unconditional.infogan:Discriminator",
    "i2i.unconditional.autoencoder:Autoencoder",
    "i2i.unconditional.autoencoder:Encoder",
    "i2i.unconditional.autoencoder:Decoder",
    "i2i.unconditional.autoencoder:Gaussian",
    "i2i.unconditional.autoencoder:Exact",
    "i2i.unconditional.wgan:WGAN",
    "i2i.unconditional.wgan:Cadence",
    "i2i.unconditional.wgan_gp:WGANGP",
    "i2i.unconditional.wgan_gp:ResGenerator",
    "i2i.unconditional.wgan_gp:ResCritic",
    "i2i.unconditional.wgan_gp:LargeResCritic",
    "i2i.unconditional.joint_embedding:JointEmbedding",
    "i2i.unconditional.joint_embedding:CharCnnRnn",
    "i2i.unconditional.joint_embedding:PictureEncoder",
    "i2i.unconditional.joint_embedding:GoogLeNet",
    "i2i.unconditional.stackgan:StackGAN",
    "i2i.unconditional.stackgan:StageOne",
    "i2i.unconditional.stackgan:StageTwo",
    "i2i.unconditional.stackgan:TextDiscriminator",
    "i2i.losses:Perceptual",
    "i2i.metrics.validation:SuperResolution",
    "i2i.data.datasets:Paired",
    "i2i.data.datasets:Unaligned",
    "i2i.data.datasets:Photographs",
    "i2i.data.captioned:Captioned",
    "i2i.data.mixtures:Mixtures",
    "i2i.data.patches:Patches",
    "i2i.data.coloured:Coloured",
    "i2i.data.augment:Augment",
    "i2i.augmented:augmented",
    "i2i.augmented:ADA",
    "i2i.augmented:DiffAugment",
    "i2i.schedules:Constant",
    "i2i.schedules:LinearToZero",
    "i2i.schedules:Steps",
    "i2i.schedules:Cosine",
    "i2i.schedules:Exponential",
    "i2i.schedules:Ramp",
    "i2i.schedules:PerStage",
    "i2i.schedules:HalfLife",
)
"""What the JSON Schema describes for editors; any other address is taken without being looked at."""


@dataclass(frozen=True)
class About:
    """What a recipe is about, in words. Goes into the generator files, changes no result and not the digest."""

    a: Annotated[str, "what A shows, in words: street maps"]
    b: Annotated[str, "what B shows, in words: aerial photographs"]
    data: Annotated[str, "name of the data set"]
    terms: Annotated[str, "licence or terms of the data, and therefore of the weights"]
    prepared: Annotated[str | None, "folder of the prepared test split: inputs of an `i2i translate` without any"] = (
        None
    )
    notes: Annotated[str, "anything a reader of the model's card should know"] = ""


@dataclass(frozen=True)
class Training:
    """How long, how large, how precise. Lengths are in images."""

    images: Annotated[int, Range(least=1), "length of the run in images"]
    batch: Annotated[int, Range(least=1), "images per optimizer step, over all ranks"] = 1
    lane: Annotated[
        Annotated[int, Range(least=1)] | None, "images that pass a loss together; divides the batch; null: the batch"
    ] = None
    seed: Annotated[int, Range(least=0, below=2**63), "two runs with the same seed are equal"] = 0
    precision: Annotated[Literal["bf16", "fp16", "fp32"], "number format of the networks' arithmetic"] = "fp32"
    threads: Annotated[Annotated[int, Range(least=1)] | None, "processor threads per rank; null: torch's choice"] = None
    rate: Annotated[Spec, WHOLE, "factor on the learning rate over time, such as i2i.schedules:LinearToZero"] = field(
        default=Spec("i2i.schedules:Constant")
    )
    augment: Annotated[Spec | None, WHOLE, "changes on the device, i2i.data.augment:Augment; null: none"] = None
    clip: Annotated[Annotated[float, Range(above=0)] | None, "largest norm of a player's gradient; null: any"] = None
    workers: Annotated[int, Range(least=0), "processes that read the data; 0: the training process reads"] = 0
    log_every: Annotated[int, Range(least=1), "images between lines of the journal"] = 1000
    save_every: Annotated[int, Range(least=1), "images between checkpoints"] = 5000
    grid_every: Annotated[int, Range(least=1), "images between sample grids"] = 5000
    keep: Annotated[int, Range(least=1), "how many checkpoints are kept"] = 2
    channels_last: Annotated[bool, "memory layout that is fast for convolutions; equal up to rounding"] = True
    deterministic: Annotated[bool, "only kernels that give the same bits every time, slower on CUDA"] = False

    def __post_init__(self) -> None:
        if self.lane is not None and self.batch % self.lane:
            raise ValueError(f"training.lane must divide training.batch ({self.batch}), and {self.lane} does not")


@dataclass(frozen=True)
class Validation:
    """What is measured while training goes on, by the engine, on the averaged weights. Changes no result and not the
    digest."""

    measure: Annotated[Spec, WHOLE, "of engines by the names of the generators, such as {a2b: Engine}: name -> number"]
    every: Annotated[int, Range(least=1), "images between two measurements"] = 10_000
    best: Annotated[str | None, "keep the best generators as *.best.safetensors: 'highest psnr', 'lowest fid'"] = None

    def __post_init__(self) -> None:
        if self.best is not None and not re.fullmatch(r"(highest|lowest) \S+", self.best):
            raise ValueError(f"validation.best is 'highest NAME' or 'lowest NAME', not {self.best!r}")


@dataclass(frozen=True)
class Recipe:
    """A recipe, checked and complete: what its file left to defaults is written out where YAML can say it.

    Attributes:
        where: the file it was read from.
    """

    name: str
    about: About
    game: Spec
    data: Spec
    training: Training
    validation: Validation | None = None
    where: Path = field(default=Path(), compare=False)

    def node(self) -> dict[str, Any]:
        """The recipe as plain values (mappings, lists, numbers, text), sections and keys in a fixed order."""
        return {
            "name": self.name,
            "about": {f.name: getattr(self.about, f.name) for f in fields(About)},
            "game": plain(self.game),
            "data": plain(self.data),
            "training": {f.name: plain(getattr(self.training, f.name)) for f in fields(Training)},
        } | ({} if self.validation is None else {"validation": plain(vars(self.validation))})

    def text(self) -> str:
        """The recipe as YAML; reading it gives an equal recipe."""
        return write(self.node())

    def digest(self) -> str:
        """sha256, in hex, of the recipe as canonical JSON without what changes no weights: `about` and `validation`.

        Folders count as they are written.
        """
        node = {key: value for key, value in self.node().items() if key not in ("about", "validation")}
        text = json.dumps(node, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


SECTIONS = tuple(f.name for f in fields(Recipe) if f.name != "where")
OPTIONAL = ("name", "validation")


def plain(value: Any) -> Any:
    """A value as YAML and JSON can say it: Specs become mappings with `of:`, tuples lists."""
    if isinstance(value, Spec):
        return {"of": value.of} | {key: plain(item) for key, item in value.kwargs.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def build(spec: Spec, **more: Any) -> Any:
    """The object a Spec of a recipe describes, `more` over its arguments: `spec(**more)`, with errors for the user.

    Raises UserError where the constructor, or that of a nested Spec, refuses its arguments with a ValueError.
    """
    target, kwargs = resolve(spec.of), spec.arguments(build, but=more)
    try:
        return target(**kwargs, **more)
    except ValueError as error:
        name = getattr(target, "__name__", spec.of)
        raise UserError(str(error) if name in str(error) else f"{name}: {error}") from error


def shelf() -> Path:
    """The folder of the recipes that ship."""
    inside = Path(__file__).parent / "_recipes"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "recipes"


def names() -> list[str]:
    """Names of the recipes that ship, sorted."""
    return sorted(path.stem for path in shelf().glob("*.yaml"))


def find(recipe: str | Path) -> Path:
    """The file that a path, or the name of a recipe that ships, means. Raises UserError, with what is near."""
    path = Path(recipe)
    if path.is_file():
        return path
    if path.is_dir():
        raise UserError(f"{path} is a folder; name one recipe in it, such as {path / 'x.yaml'}")
    if path.name == str(recipe) and (shelf() / f"{path.name.removesuffix('.yaml')}.yaml").is_file():
        return shelf() / f"{path.name.removesuffix('.yaml')}.yaml"
    if path.name == str(recipe) and path.suffix not in (".yaml", ".yml"):
        raise UserError(f"there is no recipe '{recipe}'{near(str(recipe), names())}")
    beside = [str(path.parent / other.name) for other in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
    raise UserError(f"there is no file {path}{near(str(path), sorted(beside))}")


def load(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        path: a YAML file, or the name of a recipe that ships.
        overrides: "section.key=value" as on the command line, the value in YAML; later ones win.

    Raises UserError with one line per problem: "recipes/x.yaml:4:3: CycleGAN has no 'cycles' (did you mean 'cycle'?)".
    """
    where = find(path)
    tree = read(where, str(where))
    for override in overrides:
        put(tree, override)
    check = Checker()
    sections: dict[str, Leaf] = tree.value
    for key, leaf in sections.items():
        if key not in SECTIONS:
            check.wrong(leaf.key, f"a recipe has no section '{key}'{near(key, SECTIONS)}")
    meant = {match for key in sections if key not in SECTIONS for match in get_close_matches(key, SECTIONS, 1)}
    for key in SECTIONS:
        if key not in sections and key not in (*OPTIONAL, *meant):
            check.wrong(tree.place, f"the recipe needs a section '{key}'")
    parts: dict[str, Any] = {"name": _name(sections, where, check), "where": where}
    for key, leaf in sections.items():
        if key == "about":
            parts[key] = _section(leaf, About, "about", check)
        elif key == "training":
            parts[key] = _section(leaf, Training, "training", check)
        elif key == "validation":
            parts[key] = _section(leaf, Validation, "validation", check)
        elif key in ("game", "data"):
            parts[key] = _role(leaf, key, check)
    report(check.problems)
    return Recipe(**parts)


def _name(sections: dict[str, Leaf], where: Path, check: Checker) -> str:
    """The recipe's name, by default that of its file; it becomes part of folder names."""
    leaf = sections.get("name", Leaf(where.stem, Place(str(where)), Place(str(where))))
    name = check.take(leaf, str, "name")
    if isinstance(name, str) and not re.fullmatch(r"\w[\w.-]*", name):
        check.wrong(leaf.place, f"name must be letters, digits, '-', '_' and '.', not {shown(name)}")
    return name


def _section(leaf: Leaf, kind: type[Any], path: str, check: Checker) -> Any:
    """A section with fixed keys as its dataclass, or None where something is wrong."""
    if not isinstance(leaf.value, dict):
        check.wrong(leaf.place, f"{path} must be a mapping, not {shown(leaf.value)}")
        return None
    before = len(check.problems)
    arguments = check.arguments(leaf.value, kind, path, path, leaf.key)
    if len(check.problems) > before:
        return None
    culprit = leaf
    try:
        culprit = leaf.value.get("lane", leaf)
        made = kind(**arguments)
        culprit = leaf.value.get("rate", leaf)
        if kind is Training:
            build(made.rate)  # cheap, and says now what it would say after the data have been scanned
        return made
    except (ValueError, UserError) as error:
        check.wrong(culprit.place, str(error))
        return None


def _role(leaf: Leaf, path: str, check: Checker) -> Spec | None:
    """The `game` or the `data` section."""
    if not isinstance(leaf.value, dict) or "of" not in leaf.value:
        check.wrong(leaf.place, f"{path} must be a mapping with 'of:', the address of a class (package.module:Name)")
        return None
    spec = check.spec(leaf, path, whole=True, given=INJECTED if path == "data" else ())
    if path == "game" and spec is not None:
        from i2i.game import Game  # torch

        target = resolve(spec.of)
        if isinstance(target, type) and not issubclass(target, Game):
            check.wrong(leaf.value["of"].place, f"{spec.of} is no Game; a game subclasses i2i.game.Game")
    return spec
