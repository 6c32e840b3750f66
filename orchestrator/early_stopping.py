"""Which trials are stopped early: asynchronous successive halving, where early values have proved to tell the end."""

from collections.abc import Mapping
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from scipy.stats import spearmanr

WHOLE = 6
"""Trials that run to their end before any is stopped."""

AGREEMENT = 0.3
"""Least rank correlation of the values at a rung with the final ones, for trials to be stopped there."""


class EarlyStopping(AsyncHyperBandScheduler):  # type: ignore[misc]
    """ASHA (Li et al., MLSys 2020) that stops trials only at rungs whose ranks have agreed with those at the end.

    What a training has reached early may say nothing of its end, or the contrary: another layer or learning rate is
    ahead after an epoch and behind after ten. So the first trials run to their end. From then on a rung counts while
    Spearman's rank correlation of what whole trials had reached there with what they came to is large enough.
    """

    def __init__(self, share: str, metric: str, mode: str, rungs: tuple[float, ...], **settings: Any) -> None:
        """``share`` names the progress in percent that trials report; ``rungs`` are shares of a trial (0 to 1)."""
        # No report at a rung may fall short of it by rounding.
        first = 100 * rungs[0] * (1 - 1e-9)
        super().__init__(share, metric, mode, max_t=100, grace_period=first, **settings)
        self._shares = tuple(100 * rung for rung in rungs)
        self._reached: dict[str, dict[float, float]] = {}
        self._whole: list[tuple[dict[float, float], float]] = []

    def on_trial_result(self, controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """Called by Tune with each report of a trial; says whether it goes on."""
        decision: str = super().on_trial_result(controller, trial, result)
        percent, value = result[self._time_attr], float(result[self._metric])
        reached = self._reached.setdefault(trial.trial_id, {})
        passed = [share for share in self._shares if share <= percent * (1 + 1e-9)]
        for share in passed:
            reached.setdefault(share, value)
        if percent >= 100:
            self._whole.append((self._reached.pop(trial.trial_id), value))
        elif decision == TrialScheduler.STOP and not (passed and self._telling(passed[-1])):
            decision = TrialScheduler.CONTINUE
        return decision

    def _telling(self, share: float) -> bool:
        """Whether values at this rung have told the order of final ones."""
        early = [reached[share] for reached, _ in self._whole if share in reached]
        final = [value for reached, value in self._whole if share in reached]
        if len(final) < WHOLE or len(set(early)) == 1 or len(set(final)) == 1:
            return False
        return bool(spearmanr(early, final).statistic >= AGREEMENT)
