"""The benchmark's own pieces, on tiny arrays and with no other libraries than the tests need."""

import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import bench
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import bench_metrics
from bench_arrays import draw, load, save
from bench_contenders import METRICS, OTHERS, OURS, OURS_ONE_THREAD, Contender
from bench_metrics import Record, gpu_report, in_turn, metrics_report
from bench_reading import reading_report
from bench_streaming import streaming_report
from bench_tables import OthersLoad, load_before
from bench_worker import Run, Worker

SHAPE = (6, 32, 32)
SCIKIT_LEARN = OTHERS[0]
ABSENT = replace(OTHERS[2], name="absent", module="no_such_library")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arrays")
    save(path, *draw(SHAPE, share=0.1))
    return path


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_arrays_have_the_share_asked_for_and_maps_that_find_it(share: float, tmp_path: Path) -> None:
    maps, masks = draw((12, 64, 48), share)
    assert maps.shape == masks.shape == (12, 64, 48)
    assert maps.dtype == np.float32
    assert masks.dtype == np.bool_
    assert masks.mean() == pytest.approx(share, rel=0.02)
    assert not masks[::3].any()
    assert 0 < maps.min() < maps.max() < 1
    assert 0.75 < roc_auc_score(masks.ravel(), maps.ravel()) < 0.95
    save(tmp_path, maps, masks)
    for stored, again in zip(load(tmp_path), draw((12, 64, 48), share), strict=True):
        assert np.array_equal(stored, again)
    assert not np.array_equal(maps, draw((12, 64, 48), share, seed=1)[0])


def test_arrays_that_cannot_hold_the_share_are_refused() -> None:
    with pytest.raises(ValueError, match="90%"):
        draw((3, 8, 8), share=0.9)


def test_contenders_take_turns_agree_and_are_told_when_absent(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, one_thread, scikit_learn, absent = in_turn([OURS, OURS_ONE_THREAD, SCIKIT_LEARN, ABSENT], folder, 2)
    assert absent.failure == "not measured: no_such_library is not installed"
    assert not absent.runs
    assert set(ours.values) == {"auroc", "ap", "f1max", "aupro"}
    assert one_thread.off(ours) == 0
    assert set(scikit_learn.runs) == {"auroc", "ap", "f1max"}
    assert scikit_learn.off(ours) == pytest.approx(0, abs=1e-9)
    assert [len(record.seconds) for record in (ours, one_thread, scikit_learn)] == [2, 2, 2]
    progress = [line.partition(":")[0].strip() for line in capsys.readouterr().err.splitlines()]
    rounds = [OURS.name, OURS_ONE_THREAD.name, *[SCIKIT_LEARN.name] * 3]
    assert progress == rounds * 2


def test_who_has_run_for_long_is_not_run_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_metrics, "ENOUGH", 0.0)
    (record,) = in_turn([SCIKIT_LEARN], folder, 3)
    assert len(record.seconds) == 1


def test_a_step_over_its_time_limit_is_stopped_and_told(folder: Path) -> None:
    worker = Worker(SCIKIT_LEARN, folder)
    began = time.monotonic()
    assert worker.measure("auroc", time_limit=0.0) == "stopped after 0 s"
    assert worker.measure("ap", time_limit=60.0) == "stopped after 0 s"
    assert time.monotonic() - began < 5
    worker.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what a process allocates")
def test_a_step_over_its_memory_limit_is_told_and_others_go_on(tmp_path: Path) -> None:
    save(tmp_path, *draw((20, 256, 256)))
    worker = Worker(SCIKIT_LEARN, tmp_path, memory_limit=1 << 20)
    assert worker.measure("auroc", time_limit=60.0) == "out of memory: needs over 0.000977 GiB"
    assert worker.measure("ap", time_limit=60.0) == "out of memory: needs over 0.000977 GiB"
    worker.close()


def test_a_contender_that_fails_or_dies_is_told(folder: Path) -> None:
    broken = replace(SCIKIT_LEARN, prepare=np.add)  # type: ignore[arg-type]  # a sum has no steps
    worker = Worker(broken, folder)
    assert worker.failure == "AttributeError: 'numpy.ndarray' object has no attribute 'values'"
    worker.close()
    dying = Worker(SCIKIT_LEARN, folder)
    dying._process.kill()
    outcome = dying.measure("auroc", time_limit=60.0)
    assert isinstance(outcome, str)
    assert "-9" in outcome
    dying.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak")
def test_peak_memory_is_that_of_the_step_alone() -> None:
    """In a fresh process, as contenders are measured: this one may give memory back at any time."""
    code = (
        "import numpy as np\n"
        "from bench_memory import ProcessMemory\n"
        "np.ones(20_000_000)  # an earlier peak\n"
        "memory = ProcessMemory()\n"
        "memory.restart()\n"
        "np.ones(5_000_000)\n"
        "print(memory.peak())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    assert 38e6 < int(done.stdout) < 50e6


def test_tables_show_times_ratios_differences_and_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def record(name: str, seconds: float, value: float, *steps: str) -> Record:
        return Record(name, {step: [Run(seconds, 2 * 24576, {step: value})] for step in steps})

    ours = Record("adbench", {"all": [Run(0.1, 24576, dict.fromkeys(METRICS, 0.5))]})
    scikit_learn = record("scikit-learn", 1.0, 0.5, "auroc", "ap", "f1max")
    absent = "not measured: torchmetrics is not installed"
    torchmetrics = Record("torchmetrics", {}, {"start": absent})
    anomalib = record("anomalib", 2.0, 0.25, "auroc", "ap", "aupro")
    anomalib.failures["f1max"] = "stopped after 300 s"
    answers = {5: [ours, ours, scikit_learn, torchmetrics, anomalib], 1: [replace(ours)]}
    monkeypatch.setattr(bench_metrics, "in_turn", lambda contenders, *_: answers[len(contenders)])
    lines = metrics_report([SHAPE]).splitlines()
    rows = {line.split(" | ")[0].strip("| "): line for line in lines if line.startswith("|")}
    assert lines[2] == "### 6 maps of 32x32 (0.0 MB)"
    assert rows["scikit-learn's three + anomalib's AUPRO"].endswith("| 5 s | 50 x | 0.0 MB | 2 x | 2.5e-01 |")
    assert rows["scikit-learn"].endswith("| AUROC, AP, F1max | 3 s | 30 x | 0.0 MB | 2 x | 0 |")
    assert absent in rows["torchmetrics"]
    assert "stopped after 300 s" in rows["anomalib"]
    assert rows["F1max"] == f"| F1max | 0.500000 | 1 s, 0 | {absent} | stopped after 300 s |"
    assert rows["AUPRO 0.30"] == f"| AUPRO 0.30 | 0.500000 | has none | {absent} | 2 s, 2.5e-01 |"


def test_the_load_by_others_leaves_out_the_benchmark_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([(100.0, 10.0, 400.0), (130.0, 20.0, 480.0)])  # of all processes, of the benchmark's, of all cores
    monkeypatch.setattr(OthersLoad, "_seconds", lambda self: next(seconds))
    assert OthersLoad().line() == "Other processes took 25% of the cores meanwhile.\n"


def test_the_load_before_a_benchmark_is_one_of_a_short_while() -> None:
    assert re.fullmatch(r"Other processes took \d+% of the cores before\.\n", load_before(0.1))


def test_the_load_is_counted_in_seconds_of_cores() -> None:
    before = OthersLoad._seconds()
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass
    everybody, own, total = (now - then for now, then in zip(OthersLoad._seconds(), before, strict=True))
    assert own > 0.25
    assert own - 0.05 <= everybody <= total + 0.05


def test_without_a_gpu_its_table_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    report = gpu_report([SHAPE])
    assert "| 6 maps of 32x32 (0.0 MB) | - | not measured: no GPU on this machine |" in report


def test_with_a_gpu_its_table_has_the_ratio_and_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = Record("adbench", {"all": [Run(1.0, 0, {"auroc": 0.5})]})
    gpu = Record("adbench, GPU", {"all": [Run(0.05, 3 * 24576, {"auroc": 0.5 + 2**-40})]})
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "A GPU")
    monkeypatch.setattr(bench_metrics, "in_turn", lambda *_: [cpu, gpu])
    report = gpu_report([SHAPE])
    assert report.startswith("A GPU. Other processes took ")
    assert report.endswith("| 6 maps of 32x32 (0.0 MB) | 1 s | 0.05 s | 20 x | 0.1 MB | 3 x | 9.1e-13 |\n")


def test_reading_is_measured_against_bare_decoding(tmp_path: Path) -> None:
    report = reading_report(tmp_path, images=8, rounds=2)
    assert report.startswith("8 images of 300x300, half JPEG, half PNG. Other processes took ")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in report.splitlines() if "|" in line]
    ratios = [float(row[4].removesuffix(" x")) for row in rows if len(row) == 5 and row[4].endswith(" x")]
    assert len(ratios) == 4 and all(ratio > 0 for ratio in ratios)
    assert [row[0] for row in rows if row[-1] in ("met", "missed")] == ["cold", "warm"]


def test_writing_a_part_keeps_all_else_on_the_page() -> None:
    page = bench.PAGE.read_text()
    for name in bench.PARTS:
        once = bench.with_part(page, name, "| a \\1 table |\n")
        assert "| a \\1 table |" in once
        assert bench.with_part(once, name, "") == bench.with_part(page, name, "")
        assert once.startswith(page[: page.index(f"<!-- bench {name} -->")])
        assert once.endswith(page[page.index(f"<!-- end of bench {name} -->") :])
    with pytest.raises(ValueError, match="nowhere"):
        bench.with_part(page, "nowhere", "")


def test_unknown_parts_are_refused_with_those_there_are() -> None:
    command = [sys.executable, bench.__file__, "metric"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "metric; there are metrics, gpu, streaming, bootstrap, pipeline" in done.stderr


def test_contenders_are_what_the_page_describes() -> None:
    described = bench.PAGE.read_text()
    for contender in OTHERS:
        assert isinstance(contender, Contender)
        assert f"| {contender.name} | `" in described


def test_the_error_of_a_small_budget_is_measured_and_within_its_bound() -> None:
    last_rows = streaming_report((6, 64, 64), budgets=(100_000, 1 << 40)).splitlines()[-2:]
    cramped, unlimited = ([cell.strip() for cell in row.strip("|").split("|")] for row in last_rows)
    assert 0 < float(cramped[6]) <= float(cramped[5])
    assert (unlimited[0], float(unlimited[5]), float(unlimited[6])) == ("no limit", 0, 0)
