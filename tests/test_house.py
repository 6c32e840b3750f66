"""The house itself: packaging, import directions, the tables' promises."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_is_listed() -> None:
    """An unlisted sub-package would vanish from the wheel without a warning."""
    rooms = [path.parent for path in ROOT.rglob("__init__.py") if not {".venv", ".typing", "build"} & set(path.parts)]
    found = {"adbench." + ".".join(room.relative_to(ROOT).parts) for room in rooms}
    assert found == set(CONFIG["tool"]["setuptools"]["packages"])


def test_type_checkers_see_every_room() -> None:
    for package in CONFIG["tool"]["setuptools"]["packages"]:
        room = package.removeprefix("adbench.")
        assert (ROOT / ".typing" / "adbench" / room).resolve() == ROOT / room


def test_rooms_import_in_one_direction() -> None:
    tool = Path(sys.executable).parent / "lint-imports"
    if not tool.exists():
        pytest.skip("import-linter is not installed (extra dev)")
    environment = {"PYTHONPATH": str(ROOT / ".typing"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([tool], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_files_stay_small() -> None:
    long = {
        path.name: lines
        for package in CONFIG["tool"]["setuptools"]["packages"]
        for path in (ROOT / package.removeprefix("adbench.")).glob("*.py")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert not long


def test_every_shipped_suite_is_package_data() -> None:
    patterns = CONFIG["tool"]["setuptools"]["package-data"]["adbench.benchmark_suites"]
    room = ROOT / "benchmark_suites"
    assert set(room.rglob("*.yaml")) == {path for pattern in patterns for path in room.glob(pattern)}


@pytest.mark.slow
def test_built_wheel_runs_elsewhere(tmp_path: Path) -> None:
    """The wheel holds all it needs: installed without this checkout, it runs a suite from any folder."""
    # Built from a copy: setuptools leaves a folder behind, from which a later build would take deleted modules.
    ignored = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "adbench-results")
    shutil.copytree(ROOT, tmp_path / "source", ignore=ignored)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "dist"), str(tmp_path / "source")],
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        suites = {name for name in archive.namelist() if name.endswith(".yaml") and "/benchmark_suites/" in name}
    assert suites == {
        f"adbench/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "benchmark_suites").rglob("*.yaml")
    }
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True, capture_output=True)
    # The dependencies come from this environment, by path: its own editable adbench is not on that path.
    here = next(path for path in sys.path if path.endswith("site-packages"))
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(here + "\n")
    where = subprocess.run(
        [python, "-c", "import adbench.orchestrator.cli as c; print(c.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(site) in where.stdout
    (tmp_path / "anywhere").mkdir()
    run = subprocess.run(
        [tmp_path / "venv" / "bin" / "adbench", "run", "suite=smoke", "launcher=inprocess", "cache_dir=cache"],
        cwd=tmp_path / "anywhere",
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert (tmp_path / "anywhere" / "adbench-results" / "report" / "index.html").exists()
