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
from bench_tables import load_before, table, times

LANES = 2
CELLS = TRIALS = 200
NESTED, FRESH, REUSED, HYDRA = 4, 16, 50, 200
"""How many jobs the others are given: few of those that take long."""

TIME_LIMIT = 1800.0
RUN_SECONDS, SWEEP_SECONDS, TIMES_LESS = 0.1, 0.4, 30.0
"""Targets: seconds that a cell and a trial may cost, and how much less than the documented way to tune a training."""

_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Overhead:
    """``jobs``, ``at_a_time``, took ``wall`` seconds; ``inside`` of these, summed over jobs, they took themselves.

    ``failure`` says why there is none to tell.
    """

    name: str
    jobs: int
    at_a_time: int
    wall: float
    inside: float = 0.0
    failure: str | None = None

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
    load = load_before()
    with tempfile.TemporaryDirectory() as folder, empty_method():
        settings = ["suite=smoke", "method=empty", "category=weave", f"search.trials={trials}", f"lanes={lanes}"]
        search = plan_of(settings, Path(folder))
        served = serve(search, plan_of([*settings, f"seed=range(0,{cells})"], Path(folder)).cells)
    run, sweep = cells_overhead(served), search_overhead(served)
    # Ours closes its trainers at once; given that, the documented way is the harder to beat.
    documented = [
        on_tune("a TorchTrainer nested in each Tune trial, as documented", "nested", nested, lanes),
        on_tune("the same, closing as quickly as lanes do", "nested, closing at once", nested, lanes),
    ]
    others = [
        *documented,
        on_tune("Tune function trials, fresh actors", "fresh", fresh, lanes),
        on_tune("Tune function trials, `reuse_actors=True`", "reused", reused, lanes),
        on_hydra("Hydra multirun, basic launcher", hydra, 1, []),
        on_hydra("Hydra multirun, joblib launcher", hydra, lanes, ["hydra/launcher=joblib"]),
    ]
    start = warm_since(served.cells, served.lanes) - served.asked
    return (
        f"{load}Starting Ray and {served.lanes} lanes, until each had served a cell: {start:.3g} s.\n\n"
        f"{overheads_table(run, sweep, others)}\n{targets_table(run, sweep, documented)}"
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


def on_tune(name: str, way: str, trials: int, at_a_time: int) -> Overhead:
    """Empty trials on Tune alone; Ray's start does not count."""
    with tempfile.TemporaryDirectory() as folder:
        output, failure = run_program([_HERE / "rival_tune.py", way, trials, at_a_time, folder], folder)
    return Overhead(name, trials, at_a_time, 0.0 if failure else float(output.split()[-1]), failure=failure)


def on_hydra(name: str, jobs: int, at_a_time: int, launcher: Sequence[str]) -> Overhead:
    """Empty jobs of a Hydra multirun; Python's start counts."""
    if launcher and package_version("hydra-joblib-launcher") is None:
        return Overhead(name, jobs, at_a_time, 0.0, failure="hydra-joblib-launcher is not installed")
    limited = [*launcher, f"hydra.launcher.n_jobs={at_a_time}"] if launcher else []
    with tempfile.TemporaryDirectory() as folder:
        words = ["--multirun", f"+x=range(0,{jobs})", f"hydra.sweep.dir={folder}", *limited]
        began = time.perf_counter()
        _, failure = run_program([_HERE / "rival_hydra.py", *words], folder)
        wall = time.perf_counter() - began
        finished = len(list(Path(folder).glob("*/.hydra/config.yaml")))
    if failure is None and finished != jobs:
        failure = f"only {finished} jobs ran"
    return Overhead(name, jobs, at_a_time, wall, failure=failure)


def run_program(words: Sequence[object], folder: str) -> tuple[str, str | None]:
    """What a Python program in ``folder`` prints, and the last line of its complaint if it fails."""
    command = [sys.executable, *map(str, words)]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        return "", f"stopped after {TIME_LIMIT:g} s"
    complaint = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
    return done.stdout, complaint[-1] if done.returncode else None


def overheads_table(run: Overhead, sweep: Overhead, others: Sequence[Overhead]) -> str:
    """All of them, in wall-clock seconds for each job and as multiples of ours."""
    rows = []
    for one in (run, sweep, *others):
        if one.failure:
            rows.append([one.name, str(one.jobs), str(one.at_a_time), f"not measured: {one.failure}", *["-"] * 4])
            continue
        inside = f"{one.inside / one.jobs:.3g} s" if one.inside else "-"
        ratios = (times(one.each / ours.each) for ours in (run, sweep))
        seconds = (f"{one.wall:.3g} s", inside, f"{one.each:.3g} s")
        rows.append([one.name, str(one.jobs), str(one.at_a_time), *seconds, *ratios])
    heads = ["empty jobs", "how many", "at a time", "took", "inside each", "overhead each", "of `run`", "of `sweep`"]
    return table(heads, rows)


def targets_table(run: Overhead, sweep: Overhead, nested: Sequence[Overhead]) -> str:
    """What must hold, and whether it does; ``nested`` are ways to tune a training as documented."""
    rows = [
        [ours.name, f"<= {most:g} s each", f"{ours.each:.3g} s", met(ours.each <= most)]
        for ours, most in ((run, RUN_SECONDS), (sweep, SWEEP_SECONDS))
    ]
    for other in (each for each in nested if each.failure is None):
        factor = other.each / sweep.each
        name = f"{sweep.name} against {other.name}"
        rows.append([name, f">= {TIMES_LESS:g} x less", times(factor), met(factor >= TIMES_LESS)])
    return table(["target", "", "measured", ""], rows)


def met(holds: bool) -> str:
    """A word for a table."""
    return "met" if holds else "**missed**"
