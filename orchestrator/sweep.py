"""`adbench sweep`: Ray Tune asks Optuna for parameters, lanes run what it proposes, the best runs on fresh seeds."""

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import optuna
import ray
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, HyperBandScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from adbench.datasets.errors import RequestError
from adbench.methods.registry import method_class, method_entry
from adbench.orchestrator.cell import Cell, canonical_json
from adbench.orchestrator.dispatcher import COSTS, figures
from adbench.orchestrator.errors import RunAbortedError
from adbench.orchestrator.events import Event
from adbench.orchestrator.launch_ray import LanePool, RayResources, lane_pool
from adbench.orchestrator.plan import Plan
from adbench.orchestrator.request import SearchSpec
from adbench.orchestrator.run_cell import Surroundings
from adbench.orchestrator.search_space import Space, decoded, draw, encoded, space_of
from adbench.orchestrator.study import best, ended, make_sampler, open_storage, open_study, try_first
from adbench.orchestrator.trial import PERCENT, TrialJob, run_trial, with_params
from adbench.reports.schema import METRIC_COLUMNS

_ETA = 3
"""Of every so many trials, one goes on at a rung."""

_RUNGS = (1 / 9, 1 / 3)
_SPARE_PROXIES = 2
"""Trials that are ready while every lane is busy, so that none waits."""


class _Search(OptunaSearch):  # type: ignore[misc]
    """Tells Optuna what happened: a trial that the scheduler stopped is pruned, not complete at its last value."""

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        whole = result is not None and not error and result.get(PERCENT, 0) >= 100
        super().on_trial_complete(trial_id, dict(result) if result and whole else None, error)


class _Flag(tune.Stopper):  # type: ignore[misc]
    """Stops the search when it is raised, or when its time is over."""

    def __init__(self, seconds: float | None) -> None:
        self.raised = threading.Event()
        self._end = None if seconds is None else time.monotonic() + seconds

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.raised.is_set() or (self._end is not None and time.monotonic() > self._end)


def mode_of(objective: str) -> Literal["min", "max"]:
    """Whether an objective is to be small or large."""
    return "min" if objective in COSTS or "fpr" in objective or "ece" in objective else "max"
