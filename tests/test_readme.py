"""What README and docs/datasets.md promise: their commands are understood, the method works as anyone's package."""

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from adbench.datasets.tables import read_csv
from drawn import draw, save
from mini_tables import visa
from miniatures import MINIATURES

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DATASETS = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")


def _blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)```", page, re.DOTALL | re.MULTILINE)


def _commands() -> list[str]:
    lines = [line for page in (README, DATASETS) for block in _blocks("sh", page) for line in block.splitlines()]
    commands = [" ".join(shlex.split(line, comments=True)) for line in lines if line.startswith("adbench ")]
    return [*dict.fromkeys(commands)]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The datasets of the commands, in miniature."""
    root = tmp_path_factory.mktemp("data")
    for name in ("isic2018", "br35h", "oct2017", "chest_xray2017", "mvtec_ad", "visa"):
        MINIATURES[name](root / name)
    return root


@pytest.fixture
def own_images(tmp_path: Path, mvtec_folder: Callable[..., Path]) -> None:
    """A user's folders as the pages describe them, beside the working directory's other things."""
    rng = np.random.default_rng(0)
    mvtec_folder(tmp_path / "my-images")
    for number in range(12):
        for name in ("healthy", "cyst", "scar"):
            save(tmp_path / "scans" / name / f"{number}.png", draw(rng, anomalous=name != "healthy")[0])
    visa(tmp_path / "boards")
    (table,) = _blocks("csv", DATASETS)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "parts.csv").write_text(table)
    for line in read_csv(tmp_path / "parts" / "parts.csv", ("path", "label", "mask")):
        image, mask = draw(rng, anomalous=bool(line.cells["mask"]))
        save(tmp_path / "parts" / line.cells["path"], image)
        if line.cells["mask"]:
            save(tmp_path / "parts" / line.cells["mask"], mask)


def _copied(source: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


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
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugin: Path, data: Path, own_images: None
) -> None:
    """`run` as a dry run; commands on results only as far as a folder without results lets them go; `data prepare`
    of archives of miniatures, whose images are too few."""
    from adbench.orchestrator.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text((ROOT / "benchmark_suites" / "smoke.yaml").read_text())
    words = shlex.split(command)[1:]
    if words[0] in ("run", "sweep") and "--dry-run" not in words:
        words.append("--dry-run")
    if "dataset=elpv" in words or "suite=quickstart" in words or "elpv" in words:
        pytest.importorskip("elpv_dataset", reason="elpv-dataset is not installed (extra elpv)")
    if words[0] == "doctor":
        words.append("--help")  # tests/orchestrator/test_command_line.py runs it
    preparing = words[:2] == ["data", "prepare"]
    if preparing:
        archive = shutil.make_archive("packed", "zip", data / words[2])
        Path(archive).rename("archive.zip")
        monkeypatch.setattr("adbench.datasets.prepare.download", lambda url, path, **_: _copied("archive.zip", path))
    else:
        (tmp_path / "adbench-data").symlink_to(data)
    result = CliRunner().invoke(main, words)
    if words[0] == "data":
        assert "are published" in result.output and ("\nprepared: " in result.output) == preparing, result.output
    elif words[0] == "merge":
        assert "no runs" in result.output
    elif words[0] in ("report", "export", "compare", "index", "simulate") or words[:2] == ["ls", "sweeps"]:
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
    for page, folder in ((README, ROOT), (DATASETS, ROOT / "docs")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page):
            assert (folder / target).exists(), target


def test_links_within_the_page_of_datasets_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^\w -]", "", name).lower().replace(" ", "-") for name in re.findall(r"^#+ (.*)$", DATASETS, re.M)
    }
    assert {*re.findall(r"\]\(#([^)]+)\)", DATASETS)} <= headings


def test_the_page_of_datasets_says_what_the_records_say() -> None:
    written = runpy.run_path(str(ROOT / "docs" / "make_dataset_pages.py"))["written"]
    assert written(DATASETS) == DATASETS, "python docs/make_dataset_pages.py"
    assert "### mvtec_ad\n" in DATASETS


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
