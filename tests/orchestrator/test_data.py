"""`adbench data`: from an archive to a dataset that `adbench run` finds by itself."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from adbench.datasets.archives import unpack
from adbench.orchestrator.doctor import examine
from adbench.orchestrator.plan import Plan
from miniatures import MINIATURES

pytestmark = pytest.mark.usefixtures("uncounted")

Adbench = Callable[..., Result]


@pytest.fixture
def archive(tmp_path: Path, adbench: Adbench) -> str:
    MINIATURES["mvtec_ad"](tmp_path / "original")
    return Path(shutil.make_archive("mvtec", "gztar", tmp_path / "original")).name


def test_prepared_verified_and_found(adbench: Adbench, archive: str, plan_of: Callable[..., Plan]) -> None:
    done = adbench("data", "prepare", "mvtec_ad", archive)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert "checking mvtec_ad/carpet (2 of 2)" in lines and "no problems" in lines
    assert any(line.split()[:5] == ["bottle", "12", "4", "6", "0"] for line in lines), done.output
    assert f"prepared: {Path('adbench-data/mvtec_ad').absolute()}" in done.output
    assert lines[-1] == "use it:   adbench run suite=... dataset=mvtec_ad"
    again = adbench("data", "prepare", "mvtec_ad", archive)
    assert again.exit_code == 2 and "is prepared already" in again.output
    assert adbench("data", "prepare", "mvtec_ad", archive, "--force").exit_code == 0
    for where in ((), ("data_root=adbench-data",), ("root=adbench-data/mvtec_ad",), ("root=original",)):
        verified = adbench("data", "verify", "mvtec_ad", *where)
        assert verified.exit_code == 0 and "no problems" in verified.output, verified.output
    plan = plan_of("suite=smoke", "dataset=mvtec_ad", "method=padim")
    assert {cell.category for cell in plan.cells} == {"bottle", "carpet"}


def test_another_data_root(adbench: Adbench, archive: str) -> None:
    done = adbench("data", "prepare", "mvtec_ad", "data_root=elsewhere", archive)
    assert done.exit_code == 0 and Path("elsewhere/mvtec_ad/bottle").is_dir(), done.output
    assert done.output.endswith("use it:   adbench run suite=... dataset=mvtec_ad data_root=elsewhere\n")
    assert not Path("adbench-data").exists()
    assert adbench("data", "verify", "mvtec_ad", "data_root=elsewhere").exit_code == 0
    lost = adbench("data", "verify", "mvtec_ad")
    assert lost.exit_code == 2 and "adbench-data/mvtec_ad does not exist" in lost.output


def test_doctor_finds_what_was_prepared(adbench: Adbench, archive: str) -> None:
    for data_root in ((), ("data_root=elsewhere",)):
        assert adbench("data", "prepare", "mvtec_ad", archive, *data_root).exit_code == 0
        finding = next(found for found in examine(data_root) if found.what == "dataset mvtec_ad")
        assert (finding.ok, finding.seen) == (True, "2 categories")
    finding = next(found for found in examine(["data_root=nowhere"]) if "mvtec_ad" in found.seen)
    assert (finding.ok, finding.what) == (None, f"datasets not in {Path('nowhere').absolute()}")


def test_show_lists_the_categories_of_what_was_prepared(adbench: Adbench, archive: str) -> None:
    assert "bottle (industrial)" not in adbench("show", "dataset", "mvtec_ad").output
    assert adbench("data", "prepare", "mvtec_ad", archive).exit_code == 0
    assert "bottle (industrial), carpet (industrial)\n" in adbench("show", "dataset", "mvtec_ad").output


def test_every_problem_is_printed(adbench: Adbench, archive: str) -> None:
    for category, number in (("bottle", 3), ("carpet", 5)):
        Path(f"original/{category}/train/good/{number:03d}.png").write_bytes(b"torn")
    broken = Path(shutil.make_archive("broken", "zip", "original")).name
    for done in (adbench("data", "prepare", "mvtec_ad", broken), adbench("data", "verify", "mvtec_ad")):
        assert done.exit_code == 2 and "Traceback" not in done.output
        assert "2 problem(s):" in done.output
        assert "bottle/train/good/003.png" in done.output and "carpet/train/good/005.png" in done.output


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("prepare", "mvtec_ad"), ["no archive of dataset 'mvtec_ad' was given", "mvtec.com"]),
        (("prepare", "mvtec_da", "a.zip"), ["did you mean 'mvtec_ad'"]),
        (("prepare", "mvtec_ad", "a.zip"), ["a.zip does not exist"]),
        (("prepare", "mvtec_ad", "dataroot=x", "a.zip"), ["unknown key 'dataroot'; did you mean 'data_root'?"]),
        (("prepare", "mvtec_ad", "--download"), ["has no plain public address", "adbench data prepare mvtec_ad"]),
        (("prepare", "phantom", "a.zip"), ["'phantom' needs no preparation"]),
        (("verify", "mvtec_da"), ["did you mean 'mvtec_ad'"]),
        (("verify", "mvtec_ad"), ["adbench-data/mvtec_ad does not exist", "licence"]),
        (("verify", "mvtec_ad", "nowhere"), ["'nowhere' is not key=value", "data_root=..."]),
        (("verify", "phantom", "root=x"), ["'phantom' has no folder"]),
        (("vrify", "mvtec_ad"), ["vrify"]),
    ],
)
def test_wrong_requests(adbench: Adbench, words: tuple[str, ...], expected: list[str]) -> None:
    result = adbench("data", *words)
    assert result.exit_code == 2 and "Traceback" not in result.output
    for text in expected:
        assert text in result.output
    assert not list(Path("adbench-data").glob("*"))


def test_an_archive_may_have_an_equals_sign_in_its_name(adbench: Adbench, archive: str) -> None:
    Path(archive).rename("version=2.tgz")
    assert adbench("data", "prepare", "mvtec_ad", "version=2.tgz").exit_code == 0


def test_an_interruption_leaves_nothing(adbench: Adbench, archive: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path, folder: Path) -> int:
        unpack(path, folder)
        raise KeyboardInterrupt

    monkeypatch.setattr("adbench.datasets.prepare.unpack", interrupted)
    result = adbench("data", "prepare", "mvtec_ad", archive)
    assert result.exit_code == 130 and "interrupted" in result.output
    assert list(Path("adbench-data").iterdir()) == []
