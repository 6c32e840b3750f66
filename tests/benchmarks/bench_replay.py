"""A search of `adbench sweep` on a recorded surface: its own searcher and scheduler, lanes and time simulated."""

import heapq
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from optuna.storages import InMemoryStorage
from ray.tune.result import TRAINING_ITERATION
from ray.tune.schedulers import TrialScheduler

from adbench.orchestrator.search import Search
from adbench.orchestrator.study import Sampler
from adbench.orchestrator.trial import PERCENT
from adbench.orchestrator.tuner import SPARE_PROXIES, Flag, Proposals, make_scheduler
from bench_surface import Curve, Surface


@dataclass
class Trace:
    """What a search has come to: the best whole trial's value, and the compute that all trials together took.

    ``trainings`` counts epochs, in whole trainings; the part of a training between two rungs counts once it begins.
    """

    best: float = float("-inf")
    trainings: float = 0.0
    seconds: float = 0.0
    whole: int = 0
    stopped: int = 0


@dataclass
class _Trial:
    """What Tune's scheduler and searcher need to know of a trial, and how far it has come."""

    trial_id: str
    curve: Curve
    passed: int = 0


@dataclass
class _Lanes:
    """Busy lanes by the simulated time at which each reaches its next point, and the trials that wait for one."""

    count: int
    busy: list[tuple[float, int, _Trial]] = field(default_factory=list)
    waiting: deque[_Trial] = field(default_factory=deque)
    now: float = 0.0
    _pushed: int = 0

    def go_on(self, trial: _Trial, trace: Trace) -> None:
        """Train until the trial's next point."""
        to = trial.curve[trial.passed]
        share, seconds = to.share, to.seconds
        if trial.passed:
            share -= trial.curve[trial.passed - 1].share
            seconds -= trial.curve[trial.passed - 1].seconds
        trace.trainings += share
        trace.seconds += seconds
        self._pushed += 1  # Settles ties.
        heapq.heappush(self.busy, (self.now + seconds, self._pushed, trial))

    def next(self) -> _Trial:
        """The trial that reaches its next point first."""
        self.now, _, trial = heapq.heappop(self.busy)
        trial.passed += 1
        return trial


def replay(
    search: Search,
    surface: Surface,
    how: tuple[Sampler, str],
    *,
    seed: int,
    lanes: int,
    most: int | None = None,
    goal: float = float("inf"),
    most_trainings: float = float("inf"),
) -> Trace:
    """Search with a sampler and a scheduler (``how``) until the ``goal``, or the trials or the compute, are reached.

    Larger values of the objective are better. Mirrors Ray Tune: as many trials as `adbench sweep` has proxies are
    under way, those without a lane wait.
    """
    sampler, scheduler_name = how
    spec = search.spec.model_copy(update={"sampler": sampler, "scheduler": scheduler_name})
    search = replace(search, spec=spec)
    objective = spec.objective[0]
    if search.modes != ["max"]:
        raise ValueError(f"{objective} is to be small; here larger values are better")
    scheduler, _ = make_scheduler(search)
    proposals = Proposals(search, InMemoryStorage(), Flag(), seed)
    rng = np.random.default_rng(seed)
    trace, at_work = Trace(), _Lanes(lanes)
    proposed = 0
    while True:
        while len(at_work.busy) + len(at_work.waiting) < lanes + SPARE_PROXIES and (most is None or proposed < most):
            trial = _Trial(str(proposed), ())
            trial.curve = surface.curve(proposals.suggest(trial.trial_id), rng)
            scheduler.on_trial_add(None, trial)
            at_work.waiting.append(trial)
            proposed += 1
        while at_work.waiting and len(at_work.busy) < lanes:
            at_work.go_on(at_work.waiting.popleft(), trace)
        if not at_work.busy:
            return trace
        trial = at_work.next()
        if _goes_on(trial, objective, scheduler, proposals, trace):
            at_work.go_on(trial, trace)
        if trace.best >= goal or trace.trainings > most_trainings:
            return trace


def _goes_on(trial: _Trial, objective: str, scheduler: TrialScheduler, proposals: Proposals, trace: Trace) -> bool:
    """Report the point that a trial has reached, as Tune does; False if it ends here."""
    point = trial.curve[trial.passed - 1]
    whole = trial.passed == len(trial.curve)
    result: dict[str, Any] = {objective: point.value, PERCENT: 100 * point.share, TRAINING_ITERATION: trial.passed}
    stop = scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP
    if not stop:
        proposals.on_trial_result(trial.trial_id, result)
    if not stop and not whole:
        return True
    proposals.on_trial_complete(trial.trial_id, result)
    if whole:
        trace.whole += 1
        trace.best = max(trace.best, point.value)
    else:
        trace.stopped += 1
    return False
