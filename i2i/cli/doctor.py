"""`i2i doctor`: what this installation runs on, and what is wrong with it."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import click

__all__ = ["Finding", "doctor", "examine"]

EXTRAS = {"log": ("tensorboard",), "metrics": ("torch_fidelity",), "onnx": ("onnx", "onnxruntime"),
          "video": ("av",)}  # fmt: skip
UNITS = {
    "AVX2": "_is_avx2_supported",
    "AVX-512": "_is_avx512_supported",
    "AVX-512 bf16": "_is_avx512_bf16_supported",
    "AMX": "_is_amx_tile_supported",
}  # what multiplies fast -> torch.cpu's question for it
LEAST_DISK = 2 * 2**30  # bytes; a run with its checkpoints fits
LEAST_MEMORY = 2**30
LEAST_SHARED = 2**28  # four workers with two batches of four pictures each
SHARED = Path("/dev/shm")
REINSTALL = "install i2i again"
CACHE = "it cannot be written: name another with I2I_CACHE"


class Finding(NamedTuple):
    """One line of the report; `advice` says what to do and marks it as a problem, empty where all is well."""

    what: str
    state: str
    advice: str = ""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def doctor(as_json: bool) -> None:
    """Look at this installation: versions, devices, memory, weights, caches. Exit code 1 if something is wrong."""
    findings = list(examine())
    problems = sum(bool(finding.advice) for finding in findings)
    if as_json:
        click.echo(json.dumps({"problems": problems, "findings": [finding._asdict() for finding in findings]}))
    else:
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            click.echo(f"{'!' if finding.advice else ' '} {finding.what:<{width}}  {finding.state}")
            if finding.advice:
                click.echo(f"  {'':<{width}}  -> {finding.advice}")
        click.echo(f"{problems} problem{'s' if problems != 1 else ''} found." if problems else "Nothing is wrong.")
    if problems:
        raise click.exceptions.Exit(1)


def examine() -> Iterator[Finding]:
    """Every finding, in the order of the report."""
    from i2i import __version__

    yield Finding("i2i", f"{__version__} in {Path(__file__).parents[1]}")
    yield Finding("python", f"{platform.python_version()} ({sys.executable}) on {platform.platform(terse=True)}")
    if version("i2i"):
        yield Finding("package i2i", version("i2i"), "another project's package of that name: pip uninstall i2i")
    yield from torch_findings()
    yield compiler_finding()
    yield from memory_findings()
    yield from opencv_findings()
    for name in ("accelerate", "albumentations", "kornia", "numpy", "pillow", "safetensors"):
        yield Finding(name, version(name) or "missing", "" if version(name) else f"pip install {name}")
    if importlib.util.find_spec("albumentations") and version("albumentationsx"):
        yield Finding(
            "albumentationsx",
            version("albumentationsx"),
            "replaces albumentations under its name (and is "
            "AGPL): pip uninstall albumentationsx; pip install --force-reinstall albumentations==2.0.8",
        )
    yield weights_finding()
    yield from cache_findings()
    yield disk_finding()
    yield data_finding()
    for extra, modules in EXTRAS.items():
        there = all(importlib.util.find_spec(module) for module in modules)
        versions = ", ".join(f"{module} {version(module)}" for module in modules if version(module))
        missing = f"not installed (pip install 'i2i-toolkit[{extra}]')"
        yield Finding(f"extra {extra}", (versions or "installed") if there else missing)


def version(distribution: str) -> str:
    """The installed version of a distribution; empty if there is none."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def torch_findings() -> Iterator[Finding]:
    try:
        import torch
    except ImportError as error:
        yield Finding("torch", f"does not load: {error}", "pip install 'torch>=2.6' torchvision")
        return
    old = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2]) < (2, 6)
    yield Finding("torch", torch.__version__, "i2i needs 2.6 or newer: pip install -U torch torchvision" if old else "")
    vision = version("torchvision")
    yield Finding("torchvision", vision or "missing", "" if vision else "pip install torchvision")
    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} threads"
    yield Finding("device", device if device != "cpu" else f"cpu, {threads}")
    for number in range(torch.cuda.device_count() if device == "cuda" else 0):
        properties = torch.cuda.get_device_properties(number)
        kind = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, {properties.major}.{properties.minor}"
        yield Finding(f"cuda:{number}", kind)
    try:
        from i2i.engine import fast_bf16
        from i2i.host import processor
    except ImportError as error:  # OpenCV and the rest have findings of their own
        yield Finding("engine", f"does not load: {error}", "see the other lines of this report")
        return
    units = [name for name, check in UNITS.items() if getattr(torch.cpu, check, bool)()]
    yield Finding("processor", f"{processor()}, {threads}" + (f"; {', '.join(units)}" if units else ""))
    yield Finding("bf16 units", "yes" if fast_bf16(torch.device(device)) else "no: --precision auto takes another")


def compiler_finding() -> Finding:
    """What torch.compile would call; i2i itself compiles nothing."""
    given = os.environ.get("CXX")
    names = [given] if given else ["g++", "clang++", "cl"]
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        return Finding("C++ compiler", "none; only torch.compile on a processor needs one, which i2i does not use")
    try:
        said = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        said = ""
    return Finding("C++ compiler", f"{said.splitlines()[0] if said else found} (for torch.compile, which is optional)")


def memory_findings() -> Iterator[Finding]:
    """What is free, the limit of a container, and the shared memory that data workers hand pictures over in."""
    try:
        import torch

        from i2i.memory import free_memory
    except ImportError:
        return
    free = free_memory(torch.device("cpu"))
    if free is not None:
        advice = "" if free > LEAST_MEMORY else "training and large pictures will not fit; close other programs"
        limit = container_limit()
        said = f"; this container may use {limit / 2**30:.1f} GiB in all" if limit else ""
        yield Finding("free memory", f"{free / 2**30:.1f} GiB{said}", advice)
    if SHARED.is_dir():
        size = shutil.disk_usage(SHARED).total
        advice = "too small for data workers: docker run --shm-size 1g, or training.workers=0"
        yield Finding("shared memory", f"{size / 2**30:.1f} GiB in {SHARED}", advice if size < LEAST_SHARED else "")


def container_limit() -> int | None:
    """Bytes that this process's control group (version 2) may use; None where there is no limit."""
    try:
        return int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # "max", or no such groups
        return None


def weights_finding() -> Finding:
    """Whether the weights that ship are all there and whole."""
    from i2i.cli.models import SUMS
    from i2i.download import digest
    from i2i.zoo import WEIGHTS

    try:
        sums = [line.split() for line in (WEIGHTS / SUMS).read_text().splitlines() if line]
        wrong = [name for sha256, name in sums if digest(WEIGHTS / name) != sha256]
    except OSError as error:
        return Finding("weights", f"{error.filename} cannot be read: {error.strerror}", REINSTALL)
    if wrong:
        return Finding("weights", f"not as they shipped: {', '.join(wrong)}", REINSTALL)
    return Finding("weights", f"all {len(sums)} that ship are whole")


def cache_findings() -> Iterator[Finding]:
    """Where fetched models are kept, and how many."""
    from i2i.download import cache_folder

    folder = cache_folder() / "models"
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    count = sum(path.suffix == ".safetensors" for path in files)
    size = sum(path.stat().st_size for path in files) / 1e6
    held = f"{count} model{'s' if count != 1 else ''}, {size:.0f} MB" if files else "empty"
    yield Finding("model cache", f"{folder} ({held})", "" if writable(folder) else CACHE)
    if importlib.util.find_spec("huggingface_hub"):
        from huggingface_hub.constants import HF_HUB_CACHE

        hub = Path(HF_HUB_CACHE)
        count = len(list(hub.glob("models--*"))) if hub.is_dir() else 0
        yield Finding("Hugging Face cache", f"{hub} ({f'{count} repositories' if count else 'empty'})")


def writable(folder: Path) -> bool:
    """Whether a file can be made in a folder that may not be there yet."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return there.is_dir() and os.access(there, os.W_OK)


def opencv_findings() -> Iterator[Finding]:
    """albumentations requires opencv-python-headless beside our opencv-python, and both write the one folder `cv2`."""
    wheels = {name: version(name) for name in ("opencv-python", "opencv-python-headless")}
    listed = ", ".join(f"{name} {found}" for name, found in wheels.items() if found) or "no opencv wheel"
    wanted = wheels["opencv-python"] or wheels["opencv-python-headless"]
    mend = "pip install --force-reinstall --no-deps opencv-python-headless" + (f"=={wanted}" if wanted else "")
    try:
        import cv2

        loaded = str(cv2.__version__)
    except ImportError as error:
        yield Finding("opencv", f"{listed}; cv2 does not load: {error}", mend)
        return
    except AttributeError:  # what is left when one of the two wheels was uninstalled
        yield Finding("opencv", f"{listed}; cv2 is an empty shell", mend)
        return
    disagree = [found for found in wheels.values() if found and not found.startswith(loaded)]
    yield Finding("opencv", f"{listed}; cv2 {loaded}", mend if disagree else "")


def disk_finding() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    advice = "checkpoints and images may not fit: free some space or use --out on another disk"
    return Finding("free disk here", f"{free / 2**30:.1f} GiB", advice if free < LEAST_DISK else "")


def data_finding() -> Finding:
    root = os.environ.get("I2I_DATA")
    if not root:
        return Finding("$I2I_DATA", "not set; relative data folders are looked for here and in ./datasets alone")
    return Finding("$I2I_DATA", root, "" if Path(root).is_dir() else "there is no such folder: set it anew or unset it")
