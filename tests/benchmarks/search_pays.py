"""Whether a search pays: how much less compute it takes to find what random trials find.

    python tests/benchmarks/search_pays.py record FILE suite=elpv method=ckaad category=mono seed=0 [key=value ...]
    python tests/benchmarks/search_pays.py replay FILE [FILE ...]

`record` draws settings at random from the method's own search space, has lanes train each, and keeps what it reached
on val at the rungs and at the end; the same command goes on after an interruption. `replay` lets searches propose and
answers from the recorded surface (bench_surface.py): Optuna's sampler and Ray Tune's scheduler are the very ones of
`adbench sweep`, lanes and time are simulated.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import optuna

from adbench.datasets.errors import RequestError
from adbench.orchestrator.cell import canonical_json
from adbench.orchestrator.compose import compose
from adbench.orchestrator.events import CellFinished, CellProgress, CellStarted, Event
from adbench.orchestrator.overrides import parse_overrides
from adbench.orchestrator.plan import make_plan
from adbench.orchestrator.run import RunOptions, _launch, surroundings_of
from adbench.orchestrator.search import Search, searches
from adbench.orchestrator.search_space import decoded, draw
from adbench.orchestrator.study import Sampler, make_sampler
from adbench.orchestrator.trial import TrialJob, trial_cells
from adbench.orchestrator.tuner import make_scheduler
from bench_replay import Trace, replay
from bench_surface import Point, Surface, Way, read, write
from bench_tables import table

SETTINGS = 200
REPETITIONS = 10
RANDOM_TRIALS = 64
SHARE = 1 / 3
"""Target: TPE and ASHA reach the best of the random trials with this share of their compute, or less."""

PATIENCE = 3.0
"""A search that has not got there with so many times the compute of the random trials is given up."""

CONTENDERS: tuple[tuple[Sampler, str], ...] = (
    ("random", "none"),
    ("random", "asha"),
    ("tpe", "none"),
    ("tpe", "asha"),
)
WAYS: tuple[Way, ...] = ("forest", "nearest")


def search_of(overrides: Sequence[str]) -> Search:
    """The search that `adbench sweep` would make. ValueError if it has several cells: a surface is of one."""
    parsed = parse_overrides(list(overrides))
    found = searches(make_plan(compose(parsed), parsed), parsed.method_params)
    if len(found) != 1 or len(found[0].cells) != 1:
        raise ValueError("a surface is of one method, dataset, category and seed: name one of each (seed=0)")
    return found[0]


def random_settings(search: Search, count: int) -> list[str]:
    """Settings of the space as canonical JSON, drawn by the random sampler; more of them begin with the same."""
    study = optuna.create_study(sampler=make_sampler("random", search.space, seed=0))
    found = []
    for _ in range(count):
        trial = study.ask()
        draw(trial, search.space, search.base)
        found.append(canonical_json(trial.params))
    return found


def record(path: Path, overrides: Sequence[str], count: int) -> None:
    """Train the settings that ``path`` lacks, and write it anew after each."""
    request = compose(parse_overrides(list(overrides)))
    search = search_of(overrides)
    objective = search.spec.objective[0]
    _, rungs = make_scheduler(search)
    job = TrialJob("", search.sweep_id, search.cells, search.spec, rungs, {})
    curves = read(path)[1] if path.exists() else {}
    cells = {}
    for setting in (each for each in random_settings(search, count) if each not in curves):
        try:
            (cell,) = trial_cells(job, decoded(json.loads(setting)))
        except RequestError as error:
            sys.stdout.write(f"refused: {setting}: {error.problem}\n")
        else:
            cells[cell.run_id] = (setting, cell)
    began: dict[int, float] = {}
    points: dict[str, list[Point]] = {run_id: [] for run_id in cells}

    def handle(event: Event) -> bool:
        if isinstance(event, CellStarted):
            began[event.lane] = time.monotonic()
        elif isinstance(event, CellProgress) and objective in event.values:
            seconds = time.monotonic() - began[event.lane]
            points[event.run_id].append(Point(event.values["share"], event.values[objective], seconds))
        elif isinstance(event, CellFinished):
            setting, result = cells[event.cell.run_id][0], event.result.record
            value = result.metrics.get(objective)
            if value is not None:
                end = Point(1.0, value, (result.finished_at - result.started_at).total_seconds())
                curves[setting] = [*points[event.cell.run_id], end]
                write(path, overrides, curves)
            sys.stdout.write(f"{len(curves)} of {count}: {objective} {value} {setting}\n")
            sys.stdout.flush()
        return True

    surroundings = replace(surroundings_of(request, RunOptions()), scratch=None)
    _launch(request, [cell for _, cell in cells.values()], surroundings, handle)


def replay_report(path: Path, repetitions: int = REPETITIONS, trials: int = RANDOM_TRIALS, lanes: int = 2) -> str:
    """What searches need on a recorded surface to reach the best of ``trials`` random ones, as shares of these."""
    overrides, curves = read(path)
    search = search_of(overrides)
    parts = [f"### {path.stem}: {len(curves)} settings\n\n`{' '.join(overrides)}`\n"]
    for way in WAYS:
        surface = Surface(search.space, curves, way)
        check = surface.check(way)
        ranks = ", ".join(f"{rank:.2f}" for rank in surface.rung_ranks())
        parts.append(
            f"Answered by {way}; out of sample it foretells final values with rank correlation {check.rank:.2f}, R2 "
            f"{check.variance:.2f}. Rank correlation of the rungs with the end: {ranks}.\n"
        )
        heads = ["search", "share of the epochs", "share of the seconds", "reached", f"epochs <= {SHARE:.2f}"]
        parts.append(table(heads, _rows(search, surface, repetitions, trials, lanes)))
    return "\n".join(parts)


def _rows(search: Search, surface: Surface, repetitions: int, trials: int, lanes: int) -> list[list[str]]:
    shares: dict[str, list[tuple[float, float]]] = {f"{sampler}, {name}": [] for sampler, name in CONTENDERS}
    for repetition in range(repetitions):
        random = replay(search, surface, ("random", "none"), seed=repetition, lanes=lanes, most=trials)
        for sampler, scheduler in CONTENDERS:
            trace = replay(
                search,
                surface,
                (sampler, scheduler),
                seed=1000 + repetition,  # Not the random trials' own: else random search would repeat them.
                lanes=lanes,
                goal=random.best,
                most_trainings=PATIENCE * random.trainings,
            )
            shares[f"{sampler}, {scheduler}"].append(_shares(trace, random))
    rows = []
    for name, found in shares.items():
        epochs, seconds = ([pair[unit] for pair in found] for unit in (0, 1))
        reached = sum(share < float("inf") for share in epochs)
        met = "met" if statistics.median(epochs) <= SHARE else "missed"
        verdict = met if name == "tpe, asha" else ""
        rows.append([name, _spread(epochs), _spread(seconds), f"{reached} of {repetitions}", verdict])
    return rows


def _shares(trace: Trace, random: Trace) -> tuple[float, float]:
    """Of the random trials' epochs and seconds; infinite if the goal was not reached."""
    if trace.best < random.best:
        return float("inf"), float("inf")
    return trace.trainings / random.trainings, trace.seconds / random.seconds


def _spread(shares: Sequence[float]) -> str:
    """Median (lowest - highest)."""
    low, middle, high = (
        "not reached" if share == float("inf") else f"{share:.2f}"
        for share in (min(shares), statistics.median(shares), max(shares))
    )
    return f"{middle} ({low} - {high})"


def main() -> None:
    """Record a surface, or replay searches on recorded ones."""
    parser = argparse.ArgumentParser(description="Whether a search pays.")
    modes = parser.add_subparsers(dest="mode", required=True)
    recording = modes.add_parser("record", help="train random settings")
    recording.add_argument("file", type=Path)
    recording.add_argument("overrides", nargs="+", metavar="key=value")
    recording.add_argument("--settings", type=int, default=SETTINGS)
    replaying = modes.add_parser("replay", help="searches on recorded surfaces")
    replaying.add_argument("files", nargs="+", type=Path, metavar="file")
    replaying.add_argument("--repetitions", type=int, default=REPETITIONS)
    replaying.add_argument("--trials", type=int, default=RANDOM_TRIALS, help="random trials whose best is the goal")
    replaying.add_argument("--lanes", type=int, default=2)
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if chosen.mode == "record":
        record(chosen.file, chosen.overrides, chosen.settings)
        return
    for path in chosen.files:
        sys.stdout.write(f"{replay_report(path, chosen.repetitions, chosen.trials, chosen.lanes)}\n")


if __name__ == "__main__":
    main()
