"""What the project as a whole promises: cheap imports, exit codes, silence on the network, a Makefile that explains."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import click
import pytest

import i2i
from i2i import cli
from i2i.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "numpy", "cv2", "PIL", "accelerate", "albumentations", "kornia")


def python(code: str, *arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    """Run Python code in a fresh interpreter."""
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, **more)  # type: ignore[call-overload]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `i2i` as a user does."""
    return subprocess.run([sys.executable, "-m", "i2i", *arguments], capture_output=True, text=True)


def test_import_is_quick_and_loads_nothing_heavy() -> None:
    code = "import time; start = time.perf_counter(); import i2i, sys; print(time.perf_counter() - start, *sys.modules)"
    runs = [python(code).stdout.split() for _ in range(3)]
    assert min(float(run[0]) for run in runs) < 0.3
    assert not set(HEAVY) & set(runs[0])


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, time; start = time.perf_counter()\n"
        "from i2i.cli import cli\n"
        "cli.main(['--help'], standalone_mode=False)\n"
        "print('SECONDS', time.perf_counter() - start, *sys.modules)"
    )
    runs = [python(code).stdout.split("SECONDS")[1].split() for _ in range(3)]
    assert min(float(run[0]) for run in runs) < 0.3
    assert not set(HEAVY) & set(runs[0])


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_command_modules_load_nothing_heavy(name: str) -> None:
    """Shell completion imports them all."""
    module, attribute, _ = cli.COMMANDS[name]
    run = python(f"import sys; from {module} import {attribute}; print(*sys.modules)")
    assert run.returncode == 0, run.stderr
    assert not {"torch", "numpy", "cv2"} & set(run.stdout.split())


def test_public_names_are_there() -> None:
    assert set(i2i.HOMES) == set(i2i.__all__) - {"__version__"}
    for name in i2i.__all__:
        assert getattr(i2i, name) is not None
    assert set(i2i.__all__) <= set(dir(i2i))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = i2i.no_such_name


def test_version() -> None:
    assert command("--version").stdout == f"i2i {i2i.__version__}\n"


def test_unknown_command_is_named_with_the_nearest() -> None:
    run = command("trnslate")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "i2i: there is no command 'trnslate': did you mean 'translate'?\n"
    assert command("quux").returncode == 2


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (UserError("there is no such thing", code=2), 2, "i2i: there is no such thing\n"),
        (UserError("some failed", code=1), 1, "i2i: some failed\n"),
        (KeyboardInterrupt(), 130, "i2i: interrupted\n"),
        (click.Abort(), 130, "i2i: interrupted\n"),
        (click.exceptions.Exit(1), 1, ""),
    ],
)
def test_exit_codes(
    raised: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    @click.command()
    def fail() -> None:
        raise raised

    home = types.ModuleType("i2i_fail")
    home.fail = fail  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "i2i_fail", home)
    monkeypatch.setitem(cli.COMMANDS, "fail", ("i2i_fail", "fail", ""))
    with pytest.raises(SystemExit) as left:
        cli.main(["fail"])
    assert left.value.code == code
    assert capsys.readouterr().err.lstrip("\n") == said  # click ends the line that shows ^C


def test_a_closed_pipe_is_no_traceback() -> None:
    run = subprocess.run(
        f"{sys.executable} -m i2i --help | true", shell=True, capture_output=True, text=True, timeout=60
    )
    assert run.stderr == ""


def test_completion_scripts() -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_I2I_COMPLETE" in command("completion", shell).stdout
    names = subprocess.run(
        [sys.executable, "-c", "from i2i.cli import main; main()"],
        env={**os.environ, "_I2I_COMPLETE": "fish_complete", "COMP_WORDS": "i2i tr", "COMP_CWORD": "tr"},
        capture_output=True,
        text=True,
    ).stdout
    assert "translate" in names and "train" in names


def test_doctor_reports_and_agrees_with_its_exit_code() -> None:
    run = command("doctor")
    for what in ("python", "torch", "device", "bf16 units", "opencv", "free disk"):
        assert what in run.stdout
    assert run.returncode == (0 if "Nothing is wrong." in run.stdout else 1)


def test_importing_every_module_asks_no_network() -> None:
    code = """
import pkgutil, socket, importlib
asked = []
def refuse(*arguments, **more):
    asked.append(arguments)
    raise OSError('no network here')
socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
import i2i
for found in pkgutil.walk_packages(i2i.__path__, 'i2i.'):
    if not found.name.endswith('__main__'):
        importlib.import_module(found.name)
assert not asked, asked
"""
    run = python(code)
    assert run.returncode == 0, run.stderr


def test_only_the_command_line_touches_the_allocator() -> None:
    callers = {path.name for path in (ROOT / "i2i").rglob("*.py") if ".mallopt(" in path.read_text("utf-8")}
    assert callers == {"__init__.py", "memory.py"}  # the latter undoes it for a large pass, where a command has done it
    assert python("import i2i.memory; print(i2i.memory.heap_is_kept)").stdout == "False\n"
    homes = [path for path in (ROOT / "i2i").rglob("*.py") if "tune_allocator(" in path.read_text("utf-8")]
    assert {path.parent.name for path in homes} == {"cli"}
    done = python("from i2i.cli import tune_allocator; print(tune_allocator(), tune_allocator())").stdout
    assert done in ("True True\n", "False False\n")


def test_datasets_is_no_package() -> None:
    """It would shadow Hugging Face's `datasets`: an editable install puts the repository on sys.path."""
    assert not (ROOT / "datasets" / "__init__.py").exists()


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:  # no clone, an unpacked archive: look at everything but what tools leave
        skipped = {".venv", "out", "runs", "__pycache__"}
        return [path for path in ROOT.rglob("*") if path.is_file() and not skipped & set(path.parts)]
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_paths_of_one_machine() -> None:
    roots = "|".join(["work", "farm", "opt/pypi", "opt/wheels", "root", "home/[a-z]+", "Users/[A-Za-z]+"])
    pattern = re.compile(rf"(?:^|[\s\"'=(:`])/(?:{roots})/".encode(), re.MULTILINE)
    text = (".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".json", ".cff", ".sh", "")
    found = [path.name for path in tracked_files() if path.suffix in text and pattern.search(path.read_bytes())]
    assert not found


def test_constraints_keep_one_opencv_and_the_tried_torch() -> None:
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"
    )
    assert pins["opencv-python"] == pins["opencv-python-headless"]
    assert (pins["torch"], pins["torchvision"]) == ("2.14.1", "0.29.1")
    assert not [name for name in pins if name.startswith(("nvidia-", "triton", "cuda-"))]


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 1", "i2i needs Python 3.11 or newer"),
        ('[ "$1" = -c ] && exit 0; exit 1', "cannot make a virtual environment"),
    ],
)
def test_make_explains_a_python_that_will_not_do(script: str, said: str, tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    fake = tmp_path / "fake-python"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    run = subprocess.run(["make", f"PYTHON={fake}", "demo"], cwd=tmp_path, env=clean, capture_output=True, text=True)
    assert run.returncode != 0
    assert said in run.stderr
