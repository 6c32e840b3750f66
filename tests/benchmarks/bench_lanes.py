"""What a cell of `run` and a trial of `sweep` cost beside their own work, against other ways to run short jobs."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adbench.orchestrator.environment import package_version
from bench_jobs import Job, Served, empty_method, plan_of, serve
from bench_tables import OthersLoad, table, times

LANES = 2
CELLS = TRIALS = 200
NESTED, FRESH, REUSED, HYDRA = 4, 16, 50, 200
"""How many jobs the others are given: few of those that take long."""

TIME_LIMIT = 1800.0
TARGETS = {"run": 0.1, "sweep": 0.4}
"""Seconds that each cell and trial may cost."""

TIMES_BETTER = 30.0
"""Than the documented way to tune a training."""

_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Overhead:
    """``jobs``, ``at_a_time``, took ``wall`` seconds; ``inside`` of these, summed over jobs, they took themselves."""

    name: str
    jobs: int
    at_a_time: int
    wall: float
    inside: float = 0.0

    @property
    def each(self) -> float:
        """Wall-clock seconds that a job costs beside its own work."""
        return (self.wall - self.inside / self.at_a_time) / self.jobs


def lanes_report(
    cells: int = CELLS,
    trials: int = TRIALS,
    nested: int = NESTED,
    fresh: int = FRESH,
    reused: int = REUSED,
    hydra: int = HYDRA,
    lanes: int = LANES,
) -> str:
    """Overheads of adbench and of others, who are given as many jobs at a time as there are lanes, and targets."""
    load = OthersLoad()
    with tempfile.TemporaryDirectory() as folder, empty_method():
        settings = ["suite=smoke", "method=empty", "category=weave", f"search.trials={trials}", f"lanes={lanes}"]
        search = plan_of(settings, Path(folder))
        served = serve(search, plan_of([*settings, f"seed=range(0,{cells})"], Path(folder)).cells)
    others = [
        on_tune("a TorchTrainer nested in each Tune trial, as documented", "nested", nested, lanes),
        on_tune("the same, closing as quickly as lanes do", "nested, closing at once", nested, lanes),
        on_tune("Tune function trials, fresh actors", "fresh", fresh, lanes),
        on_tune("Tune function trials, `reuse_actors=True`", "reused", reused, lanes),
        on_hydra("Hydra multirun, basic launcher", hydra, 1, []),
        on_hydra("Hydra multirun, joblib launcher", hydra, lanes, ["hydra/launcher=joblib"]),
    ]
    ours = [cells_overhead(served), search_overhead(served)]
    start = max(warm_since(served.cells, served.lanes) - served.asked, 0.0)
    return (
        f"{load.line()}Starting Ray and {served.lanes} lanes, until each had served a cell: {start:.3g} s.\n\n"
        f"{_overheads_table(ours, others)}\n{_targets_table(ours, others)}"
    )


def warm_since(jobs: Sequence[Job], lanes: int) -> float:
    """When every lane had served its first cell."""
    firsts = [min((job.ended for job in jobs if job.lane == lane), default=None) for lane in range(lanes)]
    if None in firsts:
        raise RuntimeError(f"{len(jobs)} cells were too few: a lane had started only when all were served")
    return max(first for first in firsts if first is not None)


def cells_overhead(served: Served) -> Overhead:
    """From when all lanes were warm until the last row was on disk, for the cells that ended in this time."""
    warm = warm_since(served.cells, served.lanes)
    counted = [job for job in served.cells if job.ended > warm]
    wall = max(job.recorded for job in counted) - warm
    inside = sum(job.ended - max(job.began, warm) for job in counted)
    return Overhead("a cell of `run`", len(counted), served.lanes, wall, inside)


def search_overhead(served: Served) -> Overhead:
    """The whole search, Tuner start included, on warm lanes."""
    wall = served.search_ended - served.search_began
    inside = sum(job.ended - job.began for job in served.trials)
    return Overhead("a trial of `sweep` (Tuner start included)", len(served.trials), served.lanes, wall, inside)


def on_tune(name: str, way: str, trials: int, at_a_time: int) -> Overhead | str:
    """Empty trials on Tune alone, or why they could not be measured; Ray's start does not count."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [str(_HERE / "rival_tune.py"), way, str(trials), str(at_a_time), folder]
        done = _run(arguments, folder)
    if isinstance(done, str):
        return f"{name}: {done}"
    return Overhead(name, trials, at_a_time, float(done.stdout.split()[-1]))


def on_hydra(name: str, jobs: int, at_a_time: int, launcher: Sequence[str]) -> Overhead | str:
    """Empty jobs of a Hydra multirun, or why they could not be measured; Python's start counts."""
    if launcher and package_version("hydra-joblib-launcher") is None:
        return f"{name}: hydra-joblib-launcher is not installed"
    limited = [*launcher, f"hydra.launcher.n_jobs={at_a_time}"] if launcher else []
    with tempfile.TemporaryDirectory() as folder:
        words = ["--multirun", f"+x=range(0,{jobs})", f"hydra.sweep.dir={folder}", *limited]
        began = time.perf_counter()
        done = _run([str(_HERE / "rival_hydra.py"), *words], folder)
        wall = time.perf_counter() - began
        finished = len(list(Path(folder).glob("*/.hydra/config.yaml")))
    if isinstance(done, str) or finished != jobs:
        return f"{name}: {done if isinstance(done, str) else f'only {finished} of {jobs} jobs ran'}"
    return Overhead(name, jobs, at_a_time, wall)


def _run(arguments: Sequence[str], folder: str) -> "subprocess.CompletedProcess[str] | str":
    """A Python program in ``folder``, or the last line of what it complained of."""
    command = [sys.executable, *arguments]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        return f"stopped after {TIME_LIMIT:g} s"
    return (
        done if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
    )


def _overheads_table(ours: Sequence[Overhead], others: Sequence[Overhead | str]) -> str:
    run, sweep = ours
    rows = []
    for other in [*ours, *others]:
        if isinstance(other, str):
            name, _, reason = other.partition(": ")
            rows.append([name, "-", "-", f"not measured: {reason}", "-", "-", "-"])
            continue
        inside = f"{other.inside / other.jobs:.3g} s" if other.inside else "-"
        ratios = [times(other.each / mine.each) for mine in (run, sweep)]
        rows.append(
            [other.name, str(other.jobs), str(other.at_a_time), f"{other.wall:.3g} s", inside, f"{other.each:.3g} s"]
            + ratios
        )
    heads = [
        "empty jobs",
        "how many",
        "at a time",
        "took",
        "inside each",
        "overhead each",
        "of `run`'s",
        "of `sweep`'s",
    ]
    return table(heads, [[*row, *["-"] * (len(heads) - len(row))] for row in rows])


def _targets_table(ours: Sequence[Overhead], others: Sequence[Overhead | str]) -> str:
    run, sweep = ours
    rows = [
        [mine.name, f"<= {most:g} s each", f"{mine.each:.3g} s", met(mine.each <= most)]
        for mine, most in zip(ours, TARGETS.values(), strict=True)
    ]
    for other in others[:2]:  # Both ways of closing: the quicker one is the harder to beat.
        if isinstance(other, Overhead):
            factor = other.each / sweep.each
            what = f"`sweep` against {other.name}"
            rows.append([what, f">= {TIMES_BETTER:g} x less", times(factor), met(factor >= TIMES_BETTER)])
    return table(["target", "", "measured", ""], rows)


def met(holds: bool) -> str:
    """A word for a table."""
    return "met" if holds else "**missed**"
