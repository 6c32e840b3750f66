"""The benchmarks of lanes, searches and long queues: their arithmetic, and all of them with tiny counts."""

from pathlib import Path

import pytest

from adbench.orchestrator.environment import package_version
from bench_idle import busy_share
from bench_jobs import Job, Served
from bench_lanes import (
    Overhead,
    cells_overhead,
    on_hydra,
    overheads_table,
    run_program,
    search_overhead,
    targets_table,
    warm_since,
)
from bench_queue import queue_report

HERE = Path(__file__).parent
RUN = Overhead("a cell of `run`", jobs=10, at_a_time=2, wall=1.5, inside=2.0)
SWEEP = Overhead("a trial of `sweep`", jobs=10, at_a_time=2, wall=5.0)

# Lane 1 starts late: both are warm at 13, when half of lane 0's second cell is over.
SERVED = Served(
    lanes=2,
    asked=2.0,
    cells=[
        Job(0, 10.0, 11.0, 11.1),
        Job(1, 12.0, 13.0, 13.1),
        Job(0, 12.5, 13.5, 13.6),
        Job(1, 13.2, 14.2, 14.3),
        Job(0, 13.6, 14.6, 15.0),
    ],
    trials=[Job(0, 21.0, 23.0, 23.0), Job(1, 22.0, 25.0, 25.0), Job(0, 23.5, 26.0, 26.0)],
    stopped=1,
    search_began=20.0,
    search_ended=26.5,
)


def run_here(code: str, folder: Path) -> str:
    """What the code prints in a process of its own in ``folder``, which may start and end a Ray of its own."""
    output, failure = run_program(["-c", f"import sys\nsys.path.insert(0, {str(HERE)!r})\n{code}"], str(folder))
    assert failure is None
    return output


def test_the_overhead_of_cells_counts_from_when_all_lanes_are_warm() -> None:
    assert warm_since(SERVED.cells, 2) == 13.0
    found = cells_overhead(SERVED)
    assert found.jobs == 3
    assert found.wall == pytest.approx(2.0)
    assert found.inside == pytest.approx(0.5 + 1.0 + 1.0)
    assert found.each == pytest.approx((2.0 - 2.5 / 2) / 3)


def test_cells_that_one_lane_served_alone_are_no_measure() -> None:
    with pytest.raises(RuntimeError, match="too few"):
        warm_since([job for job in SERVED.cells if job.lane == 0], 2)


def test_the_overhead_of_trials_counts_the_whole_search() -> None:
    found = search_overhead(SERVED)
    assert (found.jobs, found.at_a_time) == (3, 2)
    assert found.each == pytest.approx((6.5 - 7.5 / 2) / 3)


def test_lanes_are_busy_while_trialsrun_program() -> None:
    assert busy_share(SERVED) == pytest.approx(7.5 / (2 * (26.0 - 21.0)))


def test_tables_tell_ratios_targets_and_what_was_not_measured() -> None:
    nested = Overhead("nested", jobs=2, at_a_time=2, wall=20.0)
    missing = Overhead("missing", jobs=2, at_a_time=1, wall=0.0, failure="it is not installed")
    rows = overheads_table(RUN, SWEEP, [nested, missing]).splitlines()
    assert rows[2] == "| a cell of `run` | 10 | 2 | 1.5 s | 0.2 s | 0.05 s | 1 x | 0.1 x |"
    assert rows[4] == "| nested | 2 | 2 | 20 s | - | 10 s | 200 x | 20 x |"
    assert rows[5] == "| missing | 2 | 1 | not measured: it is not installed | - | - | - | - |"
    targets = targets_table(RUN, SWEEP, [nested, missing]).splitlines()
    assert targets[2] == "| a cell of `run` | <= 0.1 s each | 0.05 s | met |"
    assert targets[3] == "| a trial of `sweep` | <= 0.4 s each | 0.5 s | **missed** |"
    assert targets[4] == "| a trial of `sweep` against nested | >= 30 x less | 20 x | **missed** |"
    assert len(targets) == 5


def test_a_program_that_fails_tells_why(tmp_path: Path) -> None:
    assert run_program(["-c", "print(1)"], str(tmp_path)) == ("1\n", None)
    assert run_program(["-c", "raise ValueError('this is why')"], str(tmp_path))[1] == "ValueError: this is why"
    assert run_program(["-c", "raise SystemExit(3)"], str(tmp_path))[1] == "ended with 3"


def test_hydra_runs_its_jobs() -> None:
    found = on_hydra("Hydra", 3, 1, [])
    assert found.failure is None
    assert found.wall > 0
    joblib = on_hydra("Hydra, joblib", 3, 2, ["hydra/launcher=joblib"])
    installed = package_version("hydra-joblib-launcher") is not None
    assert joblib.failure == (None if installed else "hydra-joblib-launcher is not installed")


@pytest.mark.slow
def test_a_queue_is_planned_handed_out_and_simulated() -> None:
    report = queue_report(cells=200, lanes=4).splitlines()
    assert report[2] == "| 210 cells | measured | target |  |"  # A seed of the suite has 70 cells.
    assert report[-1].startswith("| busy share of 4 simulated lanes, 60 s a cell | 9")
    assert report[-1].endswith("| >= 95% | met |")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_lanes_and_their_rivals_with_few_jobs(tmp_path: Path) -> None:
    code = (
        "from bench_lanes import lanes_report\n"
        "print(lanes_report(cells=4, trials=4, nested=1, fresh=2, reused=4, hydra=3, lanes=1))\n"
    )
    report = run_here(code, tmp_path)
    lines = reversed(report.splitlines())  # The table of targets, which names some again, is the last.
    rows = {line.split(" | ")[0].strip("| "): line for line in lines if line.startswith("|")}
    assert rows["a cell of `run`"].startswith("| a cell of `run` | 3 | 1 | ")
    counts = {
        "a trial of `sweep` (Tuner start included)": 4,
        "a TorchTrainer nested in each Tune trial, as documented": 1,
        "the same, closing as quickly as lanes do": 1,
        "Tune function trials, fresh actors": 2,
        "Tune function trials, `reuse_actors=True`": 4,
        "Hydra multirun, basic launcher": 3,
    }
    for name, count in counts.items():
        assert f"| {name} | {count} | 1 | " in report
        assert "not measured" not in rows[name]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_short_real_search_keeps_its_lane_busy(tmp_path: Path) -> None:
    code = (
        "from bench_idle import idle_report\n"
        "print(idle_report(trials=3, settings=['budget=smoke', 'method.epochs=3', 'lanes=1']))\n"
    )
    row = run_here(code, tmp_path).strip().splitlines()[-1].strip("| ").split(" | ")
    assert row[0].startswith("3 (")
    assert row[1] == "1"
    assert 50 < float(row[4].rstrip("%")) <= 100
