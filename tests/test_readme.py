"""The README's promises: its commands are understood, its method works as anyone's package."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def _commands() -> list[str]:
    lines = [line for block in _blocks("sh") for line in block.splitlines()]
    return [" ".join(shlex.split(line, comments=True)) for line in lines if line.startswith("adbench ")]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The README's method, installed as its entry point says."""
    (source,) = _blocks("python")
    (entry_point,) = re.findall(r'^pixel_mean = "(.*)"$', README, re.MULTILINE)
    folder = tmp_path / "plugin"
    info = folder / "pixel_mean-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "pixel_mean.py").write_text(source)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pixel-mean\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[adbench.methods]\npixel_mean = {entry_point}\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


@pytest.mark.parametrize("command", _commands())
def test_commands_are_understood(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugin: Path, mvtec_folder: Callable[..., Path]
) -> None:
    """`run` as a dry run; commands on results only as far as a folder without results lets them go."""
    from adbench.orchestrator.cli import main

    monkeypatch.chdir(tmp_path)
    mvtec_folder(tmp_path / "my-images")
    (tmp_path / "mine.yaml").write_text((ROOT / "benchmark_suites" / "smoke.yaml").read_text())
    words = shlex.split(command)[1:]
    if words[0] in ("run", "sweep") and "--dry-run" not in words:
        words.append("--dry-run")
    if "dataset=elpv" in words or "suite=quickstart" in words or "elpv" in words:
        pytest.importorskip("elpv_dataset", reason="elpv-dataset is not installed (extra elpv)")
    if words[0] == "doctor":
        words.append("--help")  # tests/orchestrator/test_command_line.py runs it
    result = CliRunner().invoke(main, words)
    if words[0] in ("report", "simulate") or words[:2] == ["ls", "sweeps"]:
        assert "no results" in result.output
    else:
        assert result.exit_code == 0, result.output


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^ *make (\w+)", README + (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert {"quickstart", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_and_pictures_exist() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.slow
def test_method_in_one_file_runs(tmp_path: Path, plugin: Path) -> None:
    words = ["suite=smoke", "method=pixel_mean", "method.smoothing=2", "launcher=inprocess", "cache_dir=cache"]
    done = subprocess.run(
        [sys.executable, "-m", "adbench.orchestrator.cli", "run", *words],
        cwd=tmp_path,
        env={**os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 run, 0 already recorded, 0 failed" in done.stdout
