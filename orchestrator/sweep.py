"""`adbench sweep`: Ray Tune asks Optuna for parameters, lanes run what it proposes, the best runs on fresh seeds."""

import contextlib
import hashlib
import json
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import optuna
import pandas as pd
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from adbench.datasets.errors import RequestError
from adbench.methods.registry import method_class, method_entry
from adbench.orchestrator.cell import Cell, canonical_json
from adbench.orchestrator.dispatcher import COSTS
from adbench.orchestrator.display import format_seconds
from adbench.orchestrator.launch_ray import LanePool, lane_pool
from adbench.orchestrator.plan import Plan
from adbench.orchestrator.reproduce import hydra_value
from adbench.orchestrator.request import Request, SearchSpec
from adbench.orchestrator.run import Recorder, RunOptions, guarded, ray_resources, surroundings_of, write_splits
from adbench.orchestrator.search_space import Space, decoded, draw, encoded, space_of
from adbench.orchestrator.study import best, ended, lost, make_sampler, open_storage, open_study, try_first
from adbench.orchestrator.trial import PERCENT, TrialJob, run_trial, with_params
from adbench.reports.page import render_page
from adbench.reports.schema import METRIC_COLUMNS, VAL_METRIC_COLUMNS
from adbench.reports.store import ResultStore

os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
# Tune's tables would get into our display, also at its lowest verbosity.

_ETA = 3
"""Of every so many trials, one goes on at a rung."""

_RUNGS = (1 / 9, 1 / 3)
_WARM_STARTS = 3
_SPARE_PROXIES = 2
"""Trials that are ready while every lane is busy, so that none waits."""


class _Search(OptunaSearch):  # type: ignore[misc]
    """Tells Optuna what happened: a trial that the scheduler stopped is pruned, not complete at its last value."""

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        whole = result is not None and not error and result.get(PERCENT, 0) >= 100
        super().on_trial_complete(trial_id, dict(result) if result and whole else None, error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study in the results folder is the memory. Tune wants the file."""
        Path(checkpoint_path).touch()


class Flag(tune.Stopper):  # type: ignore[misc]
    """Stops the search when it is raised, or when its time is over."""

    _raised: ClassVar[set[str]] = set()  # Of the process, for Tune copies its stoppers.

    def __init__(self, seconds: float | None) -> None:
        self._name = uuid.uuid4().hex
        self._end = None if seconds is None else time.monotonic() + seconds

    @property
    def raised(self) -> bool:
        """Whether somebody wants the search to end."""
        return self._name in self._raised

    def wave(self) -> None:
        """Raise it."""
        self._raised.add(self._name)

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.raised or (self._end is not None and time.monotonic() > self._end)


def mode_of(objective: str) -> Literal["min", "max"]:
    """Whether an objective is to be small or large."""
    return "min" if objective in COSTS or "fpr" in objective or "ece" in objective else "max"


@dataclass(frozen=True)
class Search:
    """The search for one method's parameters."""

    method: str
    sweep_id: str
    cells: tuple[Cell, ...]
    space: Space
    spec: SearchSpec


@dataclass(frozen=True)
class Found:
    """What a search came to: trials by state, the best setting and its objectives; None if no trial was completed."""

    search: Search
    complete: int
    stopped: int
    failed: int
    setting: Mapping[str, Any] | None
    values: tuple[float, ...]


def searches(plan: Plan, fixed: Mapping[str, Sequence[Any]]) -> tuple[Search, ...]:
    """One search for each method of the plan; ``fixed`` are parameters that the user set.

    Raises RequestError for an objective that nobody measures or that is one of the test split, several settings of
    one method, and a space that cannot be.
    """
    spec = plan.request.search
    _check_objectives(spec)
    found = []
    for method in dict.fromkeys(cell.method for cell in plan.cells):
        cells = tuple(cell for cell in plan.cells if cell.method == method)
        if len({cell.variant for cell in cells}) > 1:
            raise RequestError(
                f"a search starts from one setting, but there are several of '{method}'",
                remedy="give single values of method.NAME=, or a suite with one setting of each method",
            )
        base = method_class(method).config_class(**cells[0].params)
        space = space_of(base, {*fixed, *method_entry(method).fixed}, spec.space)
        identity = {
            "cells": [cell.run_id for cell in cells],
            "space": {name: repr(parameter) for name, parameter in space.items()},
            "spec": spec.model_dump(include={"sampler", "scheduler", "objective", "seed", "allow_test_selection"}),
        }
        digest = hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:10]
        found.append(Search(method, f"{plan.request.name}-{method}-{digest}", cells, space, spec))
    return tuple(found)


def _check_objectives(spec: SearchSpec) -> None:
    of_test = [name for name in spec.objective if name in METRIC_COLUMNS]
    if of_test and not spec.allow_test_selection:
        raise RequestError(
            f"search.objective={of_test[0]} is a metric of the test split: what it chooses looks better than it is",
            allowed=f"val_{of_test[0]}, another metric with val_, or a cost: {', '.join(COSTS)}",
            remedy="with search.allow_test_selection=true every row and page says that it was done",
        )
    for name in spec.objective:
        if name not in {*METRIC_COLUMNS, *VAL_METRIC_COLUMNS, *COSTS}:
            raise RequestError(
                f"search.objective={name} is nothing that a run measures", allowed="`adbench ls metrics`"
            )


def run_search(
    search: Search,
    pool: LanePool,
    folder: Path,
    scratch: str,
    known: Mapping[str, Any],
    first: Sequence[Mapping[str, Any]],
    flag: Flag,
) -> Found:
    """Let Tune propose until the trials, or the time, are spent."""
    spec = search.spec
    modes = [mode_of(name) for name in spec.objective]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = open_storage(folder, search.sweep_id)
    study = open_study(storage, search.sweep_id, modes)
    if spec.sampler != "grid":
        try_first(study, first)
    left = spec.trials - ended(study)
    if left > 0 and not flag.stop_all():
        single = len(modes) == 1
        algorithm = _Search(
            lambda trial: (
                draw(trial, search.space, method_class(search.method).config_class(**search.cells[0].params)) and None
            ),
            metric=spec.objective[0] if single else list(spec.objective),
            mode=modes[0] if single else modes,
            sampler=make_sampler(spec.sampler, search.space, spec.seed + ended(study)),
            study_name=search.sweep_id,
            storage=storage,
        )
        scheduler, rungs = _scheduler(spec, modes)
        job = TrialJob(pool.name, search.sweep_id, search.cells, spec.objective, rungs, known)
        proxies = pool.size + _SPARE_PROXIES
        # Every cluster has this resource, once. Counting proxies by it, and not by a limit on trials, keeps a trial
        # waiting while another ends: only then does Tune use its process again.
        resources = tune.PlacementGroupFactory([{"node:__internal_head__": 1 / proxies}])
        tune.Tuner(
            tune.with_resources(tune.with_parameters(run_trial, job=job), resources),
            tune_config=tune.TuneConfig(
                search_alg=algorithm, scheduler=scheduler, num_samples=left, reuse_actors=True
            ),
            run_config=tune.RunConfig(name=search.sweep_id, storage_path=scratch, stop=flag, verbose=0),
        ).fit()
        study = open_study(storage, search.sweep_id, modes)
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    setting, values = best(study) or (None, ())
    return Found(
        search,
        states.count(optuna.trial.TrialState.COMPLETE),
        states.count(optuna.trial.TrialState.PRUNED),
        states.count(optuna.trial.TrialState.FAIL) - lost(study),
        None if setting is None else decoded(setting),
        values,
    )


def _scheduler(spec: SearchSpec, modes: Sequence[str]) -> tuple[TrialScheduler, tuple[float, ...]]:
    """Tune's scheduler and the shares of a trial at which it may stop one."""
    if spec.scheduler == "none" or len(modes) > 1:
        return FIFOScheduler(), ()
    # Tune's synchronous Hyperband pauses trials, which proxies cannot; the asynchronous one has its brackets too.
    brackets = 3 if spec.scheduler == "hyperband" else 1
    grace = 100 * _RUNGS[0]
    scheduler = AsyncHyperBandScheduler(
        PERCENT, spec.objective[0], modes[0], max_t=100, grace_period=grace, reduction_factor=_ETA, brackets=brackets
    )
    return scheduler, _RUNGS


def tuned_cells(found: Found, seeds: int) -> list[Cell]:
    """The best setting on seeds that the search has not used: what the leaderboard shows of it."""
    if found.setting is None:
        return []
    used = max(cell.seed for cell in found.search.cells)
    places = {(cell.dataset, cell.category, cell.image_size): cell for cell in found.search.cells}
    selection = (
        "test"
        if any(not name.startswith("val_") and name in METRIC_COLUMNS for name in found.search.spec.objective)
        else "val"
    )
    return [
        with_params(
            cell,
            found.setting,
            seed=used + 1 + index,
            sweep_id=found.search.sweep_id,
            selection=selection,
            variant="tuned",
        )
        for cell in places.values()
        for index in range(seeds)
    ]


@dataclass(frozen=True)
class SweepOutcome:
    """How a sweep ended."""

    found: tuple[Found, ...]
    failures: tuple[tuple[str, str], ...]
    page: Path
    seconds: float


def execute_sweep(plan: Plan, fixed: Mapping[str, Sequence[Any]], options: RunOptions) -> SweepOutcome:
    """Search, then run what was found on fresh seeds, and render the page.

    Raises what `execute` raises. What has ended is recorded; the same command goes on from there.
    """
    began = time.monotonic()
    request = plan.request
    todo = searches(plan, fixed)
    if request.launcher != "ray" or "://" in request.out:
        raise RequestError("a sweep needs launcher=ray, and a local or shared folder as out=")
    surroundings, resources = surroundings_of(request, options), ray_resources(request)
    store = ResultStore(request.out)
    store.prepare()
    write_splits(plan, list(plan.cells), store)
    recorder = Recorder(store, options, sum(len(search.cells) for search in todo) * request.search.trials)
    flag = Flag(_seconds(request))
    found: list[Found] = []
    with guarded(request.out), recorder.display as display:
        names = ", ".join(search.method for search in todo)
        display.say(f"{request.name}: up to {request.search.trials} trials of {names}; starting Ray")
        most = request.search.trials * len(todo)
        with lane_pool(surroundings, resources, more=most) as pool, tempfile.TemporaryDirectory() as scratch:
            conductor = _Conductor(
                todo, pool, store, Path(request.out) / "sweeps", resources.storage or scratch, flag, found
            )
            conductor.start()
            try:
                pool.serve(recorder.handle)
            finally:
                flag.wave()
                conductor.join()
            conductor.check()
    store.compact()
    return SweepOutcome(tuple(found), tuple(recorder.failures), render_page(store), time.monotonic() - began)


class _Conductor(threading.Thread):
    """Runs the searches one after the other, beside the thread that records what the lanes report."""

    def __init__(
        self,
        todo: Sequence[Search],
        pool: LanePool,
        store: ResultStore,
        folder: Path,
        scratch: str,
        flag: Flag,
        found: list[Found],
    ) -> None:
        super().__init__(name="searches", daemon=True)
        self._todo, self._pool, self._store, self._folder = todo, pool, store, folder
        self._scratch, self._flag, self._found = scratch, flag, found
        self._error: BaseException | None = None

    def run(self) -> None:
        """Search after search; then no more cells will come."""
        try:
            runs = self._store.runs()
            for search in self._todo:
                found = run_search(
                    search,
                    self._pool,
                    self._folder,
                    self._scratch,
                    recorded_figures(runs),
                    first_settings(search, runs),
                    self._flag,
                )
                self._found.append(found)
                if not self._flag.raised:
                    done = self._store.done()
                    self._pool.submit(
                        [cell for cell in tuned_cells(found, search.spec.fresh_seeds) if cell.run_id not in done]
                    )
        except BaseException as error:  # Told to the main thread, which waits for cells.
            self._error = error
        with contextlib.suppress(Exception):
            self._pool.close()

    def check(self) -> None:
        """Raise what ended the searches early."""
        if self._error is not None:
            raise self._error


def recorded_figures(runs: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """Metrics and costs of the recorded trials by run_id: what need not be run again."""
    trials = runs[runs["sweep_id"].notna() & (runs["status"] == "ok")]
    names = [name for name in (*VAL_METRIC_COLUMNS, *COSTS) if name in trials]
    return {
        row["run_id"]: {name: None if pd.isna(row[name]) else float(row[name]) for name in names}
        for row in trials[["run_id", *names]].to_dict("records")
    }


def first_settings(search: Search, runs: pd.DataFrame) -> list[dict[str, Any]]:
    """The setting that the method has without a search, and the best recorded ones, as Optuna stores them."""
    settings = [dict(search.cells[0].params)]
    objective = search.spec.objective[0]
    like = runs[
        (runs["status"] == "ok") & (runs["method"] == search.method) & (runs["budget"] == search.cells[0].budget)
    ]
    if search.spec.warm_start and objective in like and len(like):
        means = like.groupby("params")[objective].agg(["mean", "count"])
        means = means[means["count"] == means["count"].max()].sort_values(
            "mean", ascending=mode_of(objective) == "min"
        )
        settings += [json.loads(params) for params in means.index[:_WARM_STARTS]]
    found = [encoded(setting, search.space) for setting in settings]
    return [setting for setting in found if setting]


def _seconds(request: Request) -> float | None:
    """The time after which no trial starts."""
    spec = request.search
    limits = [] if spec.hours is None else [3600 * spec.hours]
    if spec.gpu_hours is not None:
        if request.lanes == "auto":
            raise RequestError("search.gpu_hours needs a number of lanes", remedy="give lanes=N too")
        limits.append(3600 * spec.gpu_hours / (request.lanes * request.gpus_per_lane))
    return min(limits, default=None)


def summary(outcome: SweepOutcome) -> list[str]:
    """The last lines that the user sees."""
    lines = []
    for found in outcome.found:
        search = found.search
        counts = f"{found.complete} trials complete, {found.stopped} stopped early, {found.failed} failed"
        lines.append(f"{search.sweep_id}: {counts}")
        if found.setting is not None:
            objectives = ", ".join(
                f"{name} {value:.4g}" for name, value in zip(search.spec.objective, found.values, strict=True)
            )
            setting = " ".join(f"method.{name}={hydra_value(value)}" for name, value in found.setting.items())
            lines.append(f"  best: {objectives}  {setting}")
    lines += [f"  FAILED {label}: {reason}" for label, reason in outcome.failures]
    return [*lines, f"in {format_seconds(outcome.seconds)}", f"leaderboard: {outcome.page}"]
