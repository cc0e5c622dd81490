"""The command line. Loads no torch, numpy or cv2: a command's module is imported when the command is asked for.

Exit codes: 0 all done, 1 some inputs failed, 2 the request itself is wrong, 130 interrupted.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from i2i import __version__
from i2i.errors import UserError

__all__ = ["cli", "fetch_each", "main", "tune_allocator"]

# name -> (module, command there, line in the help). Shell completion imports the modules: they too stay free of torch.
COMMANDS = {
    "translate": (
        "i2i.cli.translate",
        "translate",
        "Turn images into their counterparts, maps into aerials.",
    ),
    "upscale": ("i2i.cli.upscale", "upscale", "Enlarge photographs: folders of them, of any size and kind."),
    "sample": ("i2i.cli.sample", "sample", "Draw pictures from random numbers, classes or texts; walk between them."),
    "evaluate": ("i2i.cli.evaluate", "evaluate", "Measure pictures or a generator: PSNR, LPIPS, FID, mIoU, ..."),
    "inspect": ("i2i.cli.inspect", "inspect", "Show a network's layers, cost, receptive field, filters and features."),
    "gallery": ("i2i.cli.gallery", "gallery", "Write a page that compares folders, or shows a training run."),
    "train": ("i2i.cli.train", "train", "Train what a recipe describes, or continue a run."),
    "new": ("i2i.cli.new", "new", "Look at your own pictures and write a recipe that trains on them."),
    "convert": ("i2i.cli.convert", "convert", "Make a generator file of other programs' .pth weights."),
    "models": ("i2i.cli.models", "models", "List, show and verify trained generators."),
    "export": ("i2i.cli.export", "export", "Write a generator as one ONNX file."),
    "data": ("i2i.cli.data", "data", "Fetch data sets by name; check, pair, split and pack them."),
    "recipe": ("i2i.cli.recipe", "recipe", "Check recipes; export their JSON Schema for editors."),
    "doctor": ("i2i.cli.doctor", "doctor", "Look at this installation and say what is wrong with it."),
    "help": ("i2i.cli.help", "help_", "Explain a topic, such as data, modes or coming-from-cyclegan."),
    "completion": ("i2i.cli.completion", "completion", "Print the completion script for bash, zsh or fish."),
}

# What would otherwise ask the network on import or report usage. A value the user has set stays.
QUIET = {
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # the machine's fault, not the program's


class LazyGroup(click.Group):
    """A group that knows its commands' names and one-line helps without importing them."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = arguments[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = get_close_matches(name, COMMANDS, 1)
            advice = f"did you mean '{near[0]}'?" if near else "'i2i --help' lists the commands."
            raise UserError(f"there is no command '{name}': {advice}")
        return super().resolve_command(context, arguments)


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="'i2i COMMAND --help' says more about one of them.",
)
@click.version_option(__version__, prog_name="i2i", message="%(prog)s %(version)s")
def cli() -> None:
    """Image-to-image translation with GANs: train them, and run them over folders of images."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code.

    Args:
        arguments: what follows the program's name; None takes `sys.argv`.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        # click reports its own errors, but would answer Ctrl-C with exit code 1; hence standalone_mode=False
        result = cli.main(arguments, prog_name="i2i", standalone_mode=False)
        sys.stdout.flush()  # a reader that has gone is noticed here, not while the interpreter shuts down
        code = result if isinstance(result, int) else 0
    except UserError as error:
        print(f"i2i: {error}", file=sys.stderr)
        code = error.code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        if os.environ.get("LOCAL_RANK", "0") == "0":  # of several processes that train together, one says it
            print("i2i: interrupted", file=sys.stderr)
        code = 130
    except OSError as error:
        if error.errno in FULL:
            print(f"i2i: {error.filename or 'standard output'} cannot be written: {error.strerror}", file=sys.stderr)
        elif not isinstance(error, BrokenPipeError):  # a reader that has gone needs no word
            raise
        # whatever is still buffered for a full or closed standard output would raise again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def tune_allocator() -> bool:
    """Let glibc keep freed memory for reuse instead of returning it: large activations then cost no page faults.

    Makes networks up to twice as fast on a CPU, at the price of memory that is never returned; so commands that run
    networks call it, and importing the library never does. Must come before the large allocations.

    Returns:
        Whether it was done; False without glibc.
    """
    try:
        libc: Any = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  (musl and macOS have no such symbol; their mallopt, if any, differs)
    except (OSError, TypeError, AttributeError):
        return False
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of <malloc.h>
    return bool(libc.mallopt(mmap_max, 0)) and bool(libc.mallopt(trim_threshold, -1))


def fetch_each(names: Sequence[str], fetch: Callable[[str], Path], *, what: str) -> None:
    """Print where each of `names` is once it is fetched; one that fails stops none of the others.

    Raises UserError: of a single name its own, else how many of `what` failed.
    """
    failed = 0
    for name in names:
        try:
            click.echo(fetch(name))
        except UserError as error:
            if len(names) == 1:
                raise
            failed += 1
            click.echo(f"i2i: {error}", err=True)
    if failed:
        raise UserError(f"{failed} of {len(names)} {what} could not be fetched", code=1)
