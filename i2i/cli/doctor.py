"""`i2i doctor`: what this installation runs on, and what is wrong with it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import click

__all__ = ["Finding", "doctor", "examine"]

EXTRAS = {"log": ("tensorboard",), "metrics": ("torch_fidelity", "torchmetrics")}
LEAST_DISK = 2 * 2**30  # bytes; a run with its checkpoints fits


class Finding(NamedTuple):
    """One line of the report; `advice` says what to do and marks it as a problem, empty where all is well."""

    what: str
    state: str
    advice: str = ""


@click.command()
def doctor() -> None:
    """Look at this installation: versions, device, OpenCV, disk. Exit code 1 if something is wrong."""
    findings = list(examine())
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        click.echo(f"{'!' if finding.advice else ' '} {finding.what:<{width}}  {finding.state}")
        if finding.advice:
            click.echo(f"  {'':<{width}}  -> {finding.advice}")
    problems = sum(bool(finding.advice) for finding in findings)
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
    yield disk_finding()
    yield data_finding()
    for extra, modules in EXTRAS.items():
        there = all(importlib.util.find_spec(module) for module in modules)
        yield Finding(f"extra {extra}", "installed" if there else f"not installed (pip install 'i2i-toolkit[{extra}]')")


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
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        device, words = "cuda", f"cuda: {torch.cuda.get_device_name(0)}, {memory:.0f} GiB"
    elif torch.backends.mps.is_available():
        device, words = "mps", "mps"
    else:
        device, words = "cpu", f"cpu, {torch.get_num_threads()} of {os.cpu_count()} threads"
    yield Finding("device", words)
    try:
        from i2i.engine import fast_bf16
    except ImportError as error:  # OpenCV and the rest have findings of their own
        yield Finding("engine", f"does not load: {error}", "see the other lines of this report")
        return
    yield Finding("bf16 units", "yes" if fast_bf16(torch.device(device)) else "no: --precision auto takes another")


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
