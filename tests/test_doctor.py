"""`i2i doctor`, and what shells complete."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from i2i.cli import doctor as module
from i2i.cli.doctor import Finding, cache_findings, compiler_finding, doctor, memory_findings, weights_finding

EXPECTED = {
    "i2i", "python", "torch", "device", "processor", "bf16 units", "C++ compiler", "free memory", "opencv", "weights",
    "model cache", "free disk here", "$I2I_DATA", "extra log", "extra metrics", "extra onnx",
}  # fmt: skip


def test_as_json_it_says_the_same_and_counts_the_problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("I2I_DATA", str(tmp_path / "nowhere"))
    result = CliRunner().invoke(doctor, ["--json"])
    said = json.loads(result.stdout)
    findings = {finding["what"]: finding for finding in said["findings"]}
    assert set(findings) >= EXPECTED
    assert findings["$I2I_DATA"]["advice"]
    assert said["problems"] == sum(bool(finding["advice"]) for finding in said["findings"]) >= 1
    assert result.exit_code == 1


def test_the_cache_is_where_the_environment_says_and_its_models_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("I2I_CACHE", str(tmp_path / "cache"))
    empty = next(cache_findings())
    assert empty == Finding("model cache", f"{tmp_path / 'cache' / 'models'} (empty)")
    assert not (tmp_path / "cache").exists()  # looking makes nothing
    kept = tmp_path / "cache" / "models" / "cyclegan"
    kept.mkdir(parents=True)
    (kept / "horse2zebra.safetensors").write_bytes(bytes(2_000_000))
    (kept / "horse2zebra.json").write_text("{}")
    assert "(1 model, 2 MB)" in next(cache_findings()).state
    monkeypatch.setenv("I2I_CACHE", str(kept / "horse2zebra.json"))
    assert "I2I_CACHE" in next(cache_findings()).advice


def test_weights_that_are_gone_or_changed_are_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from i2i import zoo

    assert not weights_finding().advice
    shutil.copytree(zoo.WEIGHTS, tmp_path / "weights")
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path / "weights")
    changed = tmp_path / "weights/pix2pix/map2aerial.safetensors"
    changed.write_bytes(changed.read_bytes()[:-1] + b"x")
    assert weights_finding().state == "not as they shipped: pix2pix/map2aerial.safetensors"
    changed.unlink()
    found = weights_finding()
    assert str(changed) in found.state
    assert found.advice == "install i2i again"


def test_a_missing_compiler_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    found = compiler_finding()
    assert found.state.startswith("none;")
    assert not found.advice


@pytest.mark.skipif(not module.SHARED.is_dir(), reason="this system has no /dev/shm")
def test_shared_memory_that_is_too_small_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_SHARED", 2**62)
    assert any("--shm-size" in finding.advice for finding in memory_findings())


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("i2i ", {"new", "help", "doctor"}),
        ("i2i translate --model pix2pix/map", {"pix2pix/map2aerial"}),
        ("i2i models show cyclegan/", {"cyclegan/aerial2map", "cyclegan/horse2zebra"}),
        ("i2i train pix2pix-m", {"pix2pix-maps"}),
        ("i2i help exit", {"exit-codes"}),
        ("i2i new --o", {"--out", "--overwrite"}),
    ],
)
def test_what_a_shell_is_offered(line: str, wanted: set[str]) -> None:
    code = (
        "import sys; from i2i.cli import cli\n"
        "try: cli.main([], prog_name='i2i')\n"
        "finally: assert not {'torch', 'numpy', 'cv2'} & set(sys.modules)"
    )
    words = {"_I2I_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    run = subprocess.run([sys.executable, "-c", code], env=os.environ | words, capture_output=True, text=True)
    assert run.stderr == ""
    assert wanted <= {text.partition(",")[2] for text in run.stdout.splitlines()}
