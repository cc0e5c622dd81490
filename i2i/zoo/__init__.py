"""Trained generators: which ones ship, what a MODEL means, and how a generator file becomes a network.

A generator file's header names a class. Only the classes of `ALLOWED` are ever built from one, whatever the header asks
for, and the network is built without memory and compared with the tensors before anything is allocated.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from i2i.download import Say, announce
from i2i.errors import UserError
from i2i.spec import Spec, is_address

if TYPE_CHECKING:
    import torch
    from torch import nn

    from i2i.checkpoint import Header

__all__ = ["ALLOWED", "find", "load_generator", "names", "one", "pick", "samples"]

ALLOWED = frozenset(
    {
        "i2i.translation.pix2pix:UnetGenerator",
        "i2i.translation.cyclegan:ResnetGenerator",
        "i2i.translation.srgan:MSRResNet",
        "i2i.translation.srgan:SRResNet",
        "i2i.translation.esrgan:RRDBNet",
        "i2i.unconditional.gan:MLPGenerator",
        "i2i.unconditional.gan:MLPDiscriminator",
        "i2i.unconditional.cgan:ConditionalMLPGenerator",
        "i2i.unconditional.cgan:ConditionalDCGenerator",
        "i2i.unconditional.dcgan:DCGenerator",
        "i2i.unconditional.dcgan:DCDiscriminator",
        "i2i.unconditional.lsgan:LSGenerator",
        "i2i.metrics.classifier:PictureClassifier",
        "i2i.unconditional.autoencoder:Decoder",
        "i2i.unconditional.autoencoder:Encoder",
        "i2i.unconditional.infogan:Discriminator",
        "i2i.unconditional.infogan:Generator",
        "i2i.unconditional.infogan:Recogniser",
        "i2i.unconditional.joint_embedding:CharCnnRnn",
        "i2i.unconditional.progan:GrowingGenerator",
        "i2i.unconditional.stackgan:StackedGenerator",
        "i2i.unconditional.stackgan:StageOne",
        "i2i.unconditional.stackgan:StageTwo",
        "i2i.unconditional.wgan_gp:LargeResCritic",
        "i2i.unconditional.wgan_gp:LayerNorm",
        "i2i.unconditional.wgan_gp:ResCritic",
        "i2i.unconditional.wgan_gp:ResGenerator",
        "i2i.zoo.foreign:Foreign",
        "i2i.layers:BatchNorm",
        "i2i.layers:BlurredDown",
        "i2i.layers:BlurredUp",
        "i2i.layers:GroupNorm",
        "i2i.layers:InstanceNorm",
        "i2i.layers:ResizeUp",
        "i2i.layers:StoredBatchNorm",
        "i2i.translation.cut:AntialiasedResnet",
        "i2i.translation.cut:SinGenerator",
        "i2i.translation.discogan:EncoderDecoder",
        "i2i.translation.discogan:PointGenerator",
        "torch.nn:Identity",
    }
)
"""The `nn.Module` classes that a generator file's header may name, itself or in nested nodes."""

LARGEST = 4096  # no width, depth or number of blocks of a real network is larger; a hostile one would never finish
HERE = Path(__file__).parent
WEIGHTS = HERE / "weights"
SAMPLES = {"street map": "street_maps", "aerial photograph": "aerial_photographs"}
"""What a card says goes in -> the folder of samples that ship."""


def names() -> list[str]:
    """The models that ship, as "family/name"."""
    return sorted(path.relative_to(WEIGHTS).with_suffix("").as_posix() for path in WEIGHTS.glob("*/*.safetensors"))


def choice() -> list[str]:
    """The models that can be named: those that ship, then those that others have published."""
    from i2i.zoo.published import published

    ours = names()
    return ours + [name for name in published() if name not in ours]


def families() -> list[str]:
    """The families of the models that can be named."""
    return sorted({name.split("/")[0] for name in choice()})


def pick(model: str, inputs: Sequence[str]) -> tuple[str, list[str]]:
    """The model and the inputs that `--model MODEL INPUT ...` means.

    `--model cyclegan map2aerial photos/` means the model cyclegan/map2aerial, and so does `photos/ --model cyclegan
    map2aerial`, whose parts come in the order photos/, map2aerial; any other MODEL stands as it is.
    """
    if model not in families() or Path(model).is_file():
        return model, list(inputs)
    known = [name.split("/")[1] for name in choice() if name.startswith(f"{model}/")]
    for place, given in enumerate(inputs):
        if given in known:
            return f"{model}/{given}", [*inputs[:place], *inputs[place + 1 :]]
    near = [name for given in inputs if not Path(given).exists() for name in get_close_matches(given, known, 1)]
    if near:
        raise UserError(f"'{model}' is a family of models: did you mean '--model {model} {near[0]}'?")
    ours = [name.split("/")[1] for name in names() if name.startswith(f"{model}/")] or known
    others = ", or another of those that `i2i models list` lists" if len(known) > len(ours) else ""
    raise UserError(f"'{model}' is a family of models: name one of {', '.join(ours)} after it{others}")


def one(words: Sequence[str]) -> str:
    """The model that the words of a command mean: "cyclegan/map2aerial", or "cyclegan" and "map2aerial".

    Raises UserError for more than one.
    """
    name, others = pick(words[0], words[1:])
    if others:
        raise UserError(f"one model at a time: '{others[0]}' is one too many after '{name}'")
    return name


def find(model: str, *, say: Say | None = announce) -> Path:
    """The generator file that MODEL means: "family/name", a file, or "hf://user/repo[/file]".

    A known name wins over a file of that name; "./name" is always a file. What is not here yet is fetched, and `say` is
    told so (None keeps silent). Raises UserError with what is near.
    """
    from i2i.zoo.published import obtain, published

    if model.startswith("hf://"):
        return _from_hub(model.removeprefix("hf://"), say)
    if model in names():
        return WEIGHTS / f"{model}.safetensors"
    if model in published():
        return obtain(model, say=say)
    path = Path(model).expanduser()
    if path.is_file():
        return path
    looks_like_path = model.startswith((".", "/", "~")) or path.suffix or path.exists()
    if looks_like_path:
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"the model file {model} {what}; name a .safetensors file of `i2i train` or `i2i convert`")
    near = get_close_matches(model, choice(), 1, 0.4)
    advice = f"did you mean '{near[0]}'?" if near else "`i2i models list` lists them."
    raise UserError(f"there is no model '{model}': {advice}")


HUB = {  # set before huggingface_hub is imported: no reports, no remarks, and plain http
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_SYMLINKS_WARNING": "1",
    "HF_HUB_DISABLE_XET": "1",
}


def _from_hub(address: str, say: Say | None) -> Path:
    """The file of a Hugging Face repository: the newest where the hub answers, else the one of its cache."""
    parts = address.split("/")
    if len(parts) < 2 or {"", ".", ".."} & set(parts):
        raise UserError(f"'hf://{address}' is no address; write hf://user/repository or hf://user/repository/file")
    repository, name = "/".join(parts[:2]), "/".join(parts[2:]) or "generator.safetensors"
    if not name.endswith(".safetensors"):
        raise UserError(f"hf://{address}: only .safetensors files are loaded, and '{name}' is none")
    for key, value in HUB.items():
        os.environ.setdefault(key, value)
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    try:
        # asked once and briefly: hf_hub_download would ask again and again for half a minute before it gave up
        get_hf_file_metadata(hf_hub_url(repository, name), timeout=10)
        return Path(hf_hub_download(repository, name))
    except Exception as error:  # the hub has dozens of kinds; for the user they are few
        reason = _hub_reason(error)
        kept = None if isinstance(error, ValueError) else try_to_load_from_cache(repository, name)
        if isinstance(kept, str):
            if say is not None:
                say(f"hf://{repository} gives nothing ({reason}); taking the {name} fetched earlier")
            return Path(kept)
        raise UserError(
            f"cannot get {name} of hf://{repository} ({reason}); fetch it by hand and name the file instead", code=1
        ) from None


def _hub_reason(error: Exception) -> str:
    """What the hub's library raised, in a few words."""
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return "its owner must let you in first: ask on its page, then `hf auth login`"
    if isinstance(error, RepositoryNotFoundError):
        return "there is no such repository, or it is private: then `hf auth login`"
    if isinstance(error, EntryNotFoundError) and not isinstance(error, FileNotFoundError):
        return "the repository holds no such file"
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def load_generator(
    model: str | os.PathLike[str], *, device: str | torch.device = "cpu", say: Say | None = announce
) -> nn.Module:
    """A trained generator: the very class that was trained, in float32 and evaluation mode.

    Args:
        model: "family/name", a generator file, or "hf://user/repo".
        device: where its weights go.
        say: what is told when it has to be fetched first; None keeps silent.

    Returns:
        The network, with the attributes `card` (i2i.Card), `spec` (i2i.Spec) and `source` (what was loaded).

    Raises:
        UserError: no such model; a file that is none, is damaged, or names a class that is not allowed.
    """
    import torch
    from safetensors.torch import load_file

    from i2i.checkpoint import read_header

    path = find(os.fspath(model), say=say)
    header = read_header(path)
    network = blank(header, path)
    kinds = {key: value.dtype for key, value in network.state_dict().items()}
    tensors = load_file(path, device=str(device))
    network.load_state_dict({key: value.to(kinds[key]) for key, value in tensors.items()}, assign=True)
    network.eval().requires_grad_(False)
    for name, buffer in network.named_buffers():
        if buffer.is_meta:
            raise UserError(f"{path}: the file lacks the buffer '{name}'; train or fetch it again")
    network.card, network.spec, network.source = header.card, header.spec, os.fspath(model)  # type: ignore[assignment]
    assert not any(isinstance(p, torch.Tensor) and p.is_meta for p in network.parameters())
    return network.to(device)  # fixed filters are in no file, and were made on the CPU


def blank(header: Header, path: Path) -> nn.Module:
    """The network of a header, on the meta device, its tensors equal in name and shape to the file's."""
    import torch
    from torch import nn

    try:
        for address in addresses(header.spec):
            if address not in ALLOWED:
                raise UserError(f"{path} asks for '{address}', which no generator file may name; it is not loaded")
        with torch.device("meta"):
            network = header.spec.build()
    except (AttributeError, ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: its header describes no network ({error}); train or fetch it again") from None
    assert isinstance(network, nn.Module)
    wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    if wanted != dict(header.shapes):
        strange = sorted(set(wanted.items()) ^ set(header.shapes.items()))
        raise UserError(
            f"{path}: the weights are of another architecture than the header's {header.spec.of.split(':')[1]} "
            f"(first difference: {strange[0][0]} {list(strange[0][1])}); train or fetch the file again"
        )
    return network


def addresses(value: Any) -> Iterator[str]:
    """All addresses in a Spec, nested ones included. Raises ValueError for numbers no network of ours has."""
    if isinstance(value, Spec):
        yield value.of
        yield from addresses(list(value.kwargs.values()))
    elif isinstance(value, dict):
        yield from addresses(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from addresses(item)
    elif is_address(value):
        yield value
    elif isinstance(value, int | float) and abs(value) > LARGEST:
        raise ValueError(f"{value} is larger than any network's {LARGEST}")


def samples(model: str) -> tuple[str, list[str]]:
    """What `i2i translate` and `i2i upscale` take without inputs: (a sentence that says which, files).

    The prepared test split of the model's data set where there is one, else the pictures that ship.
    """
    from i2i.checkpoint import read_header

    card = read_header(find(model)).card
    for home in (Path(), Path("datasets"), Path(os.environ.get("I2I_DATA") or ".")):
        folder = home / card.origin.prepared
        if card.origin.prepared and folder.is_dir():
            return f"the test split in {folder}", [str(folder)]
    # what enlarges or colours takes any picture
    kind = "aerial photograph" if card.scale > 1 or card.holds[0].kind == "lightness" else card.a
    if kind in SAMPLES:
        folder = HERE / "samples" / SAMPLES[kind]
        return f"the {kind}s that ship with i2i", sorted(str(path) for path in folder.glob("*.*g"))
    raise UserError(f"no pictures of the kind '{card.a}' ship with i2i; name files or folders")
