"""Ray Tune at work: proposals from Optuna, proxies for trials, poor ones stopped early."""

import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import optuna
import ray
from optuna.storages import BaseStorage
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from adbench.orchestrator.early_stopping import EarlyStopping
from adbench.orchestrator.lane import NAMESPACE
from adbench.orchestrator.lane_pool import LanePool
from adbench.orchestrator.search import Search
from adbench.orchestrator.search_space import draw
from adbench.orchestrator.study import ended, make_sampler
from adbench.orchestrator.trial import PERCENT, TrialJob, run_trial

os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
# Tune's tables would get into our display, also at its lowest verbosity.

ETA = 3
"""Of every so many trials, one goes on at a rung."""

RUNGS = (1 / 9, 1 / 3)
"""The shares of a trial, all its cells together, at which the scheduler may stop it."""

SPARE_PROXIES = 2
"""Trials that are ready while every lane is busy, so that none waits."""


_RAY_UNITS = 10_000
"""The parts into which Ray divides a resource."""


class Flag(tune.Stopper):  # type: ignore[misc]
    """Stops the search when it is raised, or when its budget is spent."""

    # Of the process, for Tune copies its stoppers.
    _raised: ClassVar[set[str]] = set()
    _budgets: ClassVar[dict[str, Callable[[], bool]]] = {}

    def __init__(self, spent: Callable[[], bool] = lambda: False) -> None:
        """``spent`` is asked often, by any thread of this process."""
        self._name = uuid.uuid4().hex
        self._budgets[self._name] = spent

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
        return self.raised or self._budgets[self._name]()


class Proposals(OptunaSearch):  # type: ignore[misc]
    """The study's proposals. A trial that the scheduler stopped is told as pruned, not as complete."""

    def __init__(self, search: Search, storage: BaseStorage, flag: Flag, seed: int) -> None:
        objective, single = search.spec.objective, len(search.modes) == 1
        super().__init__(
            _drawn(search),
            metric=objective[0] if single else list(objective),
            mode=search.modes[0] if single else search.modes,
            sampler=make_sampler(search.spec.sampler, search.space, seed),
            study_name=search.sweep_id,
            storage=storage,
        )
        self._flag = flag

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        whole = result is not None and not error and result.get(PERCENT, 0) >= 100
        if whole or not self._flag.stop_all():  # What the end of the search cut off is tried again by the next one.
            if result is not None and not whole and not error:
                self.on_trial_result(trial_id, dict(result))  # The sampler learns from where it was stopped.
            super().on_trial_complete(trial_id, dict(result) if result and whole else None, error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study in the results folder is the memory. Tune wants the file."""
        Path(checkpoint_path).touch()


def tune_search(
    search: Search,
    study: optuna.Study,
    storage: BaseStorage,
    pool: LanePool,
    scratch: str,
    known: Mapping[str, Mapping[str, float | None]],
    flag: Flag,
) -> None:
    """Let Tune propose until the trials, or the time, are spent. ``known`` are figures of recorded trials' cells."""
    left = search.trials - ended(study)
    if left <= 0 or flag.stop_all():
        return
    scheduler, rungs = make_scheduler(search)
    job = TrialJob(pool.name, search.sweep_id, search.cells, search.spec, rungs, known)
    algorithm = Proposals(search, storage, flag, search.spec.seed + ended(study))
    tune.Tuner(
        tune.with_resources(tune.with_parameters(run_trial, job=job), proxy_size(pool.name, pool.size)),
        tune_config=tune.TuneConfig(search_alg=algorithm, scheduler=scheduler, num_samples=left, reuse_actors=True),
        run_config=tune.RunConfig(name=search.sweep_id, storage_path=scratch, stop=flag, verbose=0),
    ).fit()


def proxy_size(dispatcher: str, least: int) -> Callable[[Mapping[str, Any]], tune.PlacementGroupFactory]:
    """What Tune asks for each trial's resources: such that as many fit as there are lanes then, and a few to spare.

    ``least`` lanes are counted also before they have joined the dispatcher.
    """

    def resources(config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
        joined = ray.get(ray.get_actor(dispatcher, namespace=NAMESPACE).call.remote("lanes"))
        proxies = max(joined, least) + SPARE_PROXIES
        # Every cluster has this resource, once. Counting proxies by it, and not by a limit on trials, keeps a trial
        # waiting while another ends: only then does Tune use its process again. Ray counts in ten-thousandths.
        share = max(1, _RAY_UNITS // proxies) / _RAY_UNITS
        return tune.PlacementGroupFactory([{"node:__internal_head__": share}])

    return resources


def _drawn(search: Search) -> Callable[[optuna.Trial], None]:
    """What OptunaSearch calls with each trial; it keeps what is drawn itself."""

    def define(trial: optuna.Trial) -> None:
        draw(trial, search.space, search.base)

    return define


def make_scheduler(search: Search) -> tuple[TrialScheduler, tuple[float, ...]]:
    """Tune's scheduler and the shares of a trial at which it may stop one."""
    if search.spec.scheduler == "none" or len(search.modes) > 1:
        return FIFOScheduler(), ()
    # Tune's synchronous Hyperband pauses trials, which proxies cannot; the asynchronous one has its brackets too.
    brackets = 3 if search.spec.scheduler == "hyperband" else 1
    scheduler = EarlyStopping(
        PERCENT,
        search.spec.objective[0],
        search.modes[0],
        RUNGS,
        reduction_factor=ETA,
        brackets=brackets,
    )
    return scheduler, RUNGS
