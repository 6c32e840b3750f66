"""Trials are stopped where early values have told the order of final ones, and nowhere else."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from ray.tune.schedulers import TrialScheduler

from adbench.orchestrator.early_stopping import WHOLE, EarlyStopping

RUNGS = (1 / 9, 1 / 3)
Curve = Callable[[float], tuple[float, float]]
"""What a trial that ends at a value has reached at the two rungs."""


@dataclass
class _Trial:
    trial_id: str


def _stopped_at(curve: Curve, finals: list[float], mode: str = "max") -> list[float]:
    """The share at which each trial, one after the other, was stopped; 1 for one that ran to its end."""
    scheduler = EarlyStopping("percent", "value", mode, RUNGS, reduction_factor=3)
    ends = []
    for number, final in enumerate(finals):
        trial = _Trial(str(number))
        scheduler.on_trial_add(None, trial)
        for share, value in zip((*RUNGS, 1.0), (*curve(final), final), strict=True):
            result = {"percent": 100 * share, "value": value}
            if scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP:
                break
        scheduler.on_trial_complete(None, trial, result)
        ends.append(share)
    return ends


def _finals(count: int) -> list[float]:
    return [float(value) for value in np.random.default_rng(0).random(count)]


def test_the_first_trials_run_to_their_end_however_poor() -> None:
    assert _stopped_at(lambda final: (final, final), [1 - 0.1 * step for step in range(WHOLE)]) == [1.0] * WHOLE


@pytest.mark.parametrize("mode", ["max", "min"])
def test_poor_trials_are_stopped_where_early_values_tell(mode: str) -> None:
    finals = _finals(60)
    ends = _stopped_at(lambda final: (final, final), finals, mode)
    assert ends[:WHOLE] == [1.0] * WHOLE
    later = ends[WHOLE:]
    assert later.count(RUNGS[0]) > len(later) / 2, "of three at a rung one goes on"
    sign = 1 if mode == "max" else -1
    whole = [sign * final for final, end in zip(finals, ends, strict=True) if end == 1.0][WHOLE:]
    stopped = [sign * final for final, end in zip(finals, ends, strict=True) if end < 1.0]
    assert min(whole) > np.median(stopped)


@pytest.mark.parametrize(
    "curve",
    [lambda final: (1 - final, 1 - final), lambda final: (0.5, 0.5)],
    ids=["the contrary", "nothing"],
)
def test_none_is_stopped_where_they_tell(curve: Curve) -> None:
    assert set(_stopped_at(curve, _finals(40))) == {1.0}


def test_a_rung_counts_for_itself() -> None:
    """The first misleads, the second tells."""
    ends = _stopped_at(lambda final: (1 - final, final), _finals(60))
    assert set(ends) == {RUNGS[1], 1.0}


def test_a_trial_that_passes_a_rung_late_is_judged_there() -> None:
    """Of four epochs the first ends after the first rung."""
    scheduler = EarlyStopping("percent", "value", "max", RUNGS, reduction_factor=3)
    decisions = []
    for number, value in enumerate([*_finals(WHOLE), 0.0]):
        trial = _Trial(str(number))
        scheduler.on_trial_add(None, trial)
        for percent in (25.0, 50.0, 100.0):
            decisions.append(scheduler.on_trial_result(None, trial, {"percent": percent, "value": value}))
            if decisions[-1] == TrialScheduler.STOP:
                break
    assert decisions[-1] == TrialScheduler.STOP and len(decisions) == 3 * WHOLE + 1
