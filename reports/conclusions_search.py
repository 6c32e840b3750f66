"""What may, and what may not, be concluded from the figures of a search: a sentence or two made from its trials."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from adbench.reports.conclusions import listed

_BEST = 0.1  # share of the trials that count as the best ones
_FEWEST_BEST = 3
_NARROW = 0.5  # of the range tried: what the best trials share if they keep to less


def of_history(ranked: Sequence[FrozenTrial]) -> str:
    """``ranked`` are the complete trials, the best first."""
    best, last = ranked[0].number, max(trial.number for trial in ranked)
    later = sum(trial.number > best for trial in ranked)
    if later:
        found = f"none of the {later} complete trials after it is better" if later > 1 else "the one after it is not"
        text = f"Trial {best} is the best; {found}, which does not prove that no other would be"
    else:
        text = f"The best trial is the last complete one, {last}: more trials may well gain"
    return f"{text}. The best of many validation values is optimistic: only runs on fresh seeds and test images tell."


def of_importances(names: Sequence[str], shares: Sequence[float], n_trials: int) -> str:
    """``shares`` [names] of the variance between trials, in 0 to 1."""
    order = np.argsort(-np.asarray(shares), kind="stable")
    told = listed([f"{names[row]} ({100 * shares[row]:.0f} %)" for row in order])
    return (
        f"Of the differences between trials most is explained by {told}, as far as {n_trials} trials tell. It says "
        "what mattered in the ranges searched, not which value is best."
    )


def of_lines(ranked: Sequence[FrozenTrial]) -> str:
    """Of parallel coordinates: in what the best trials agree. ``ranked`` as of_history."""
    best = ranked[: max(_FEWEST_BEST, round(_BEST * len(ranked)))]
    if len(best) == len(ranked):
        return f"{len(ranked)} trials are too few to tell in what the best of them agree."
    names = [name for name in ranked[0].params if all(name in trial.params for trial in ranked)]
    shared = [text for name in names if (text := _agreed(name, best, ranked))]
    agreed = (
        f"have {listed(shared)}" if shared else "agree in no parameter: each is spread over much of the range tried"
    )
    return f"The best {len(best)} trials {agreed}. They may agree by chance, or because the sampler tried most there."


def of_slices(ranked: Sequence[FrozenTrial]) -> str:
    """``ranked`` as of_history."""
    setting = listed([f"{name} = {_spelled(value)}" for name, value in ranked[0].params.items()])
    return (
        f"The best trial has {setting}. From point to point all other parameters change too: a slope may be theirs, "
        "and where points are dense the sampler looked most."
    )


def of_front(n_front: int, n_trials: int) -> str:
    """``n_front`` of ``n_trials`` complete trials are on the Pareto front."""
    return (
        f"{n_front} of {n_trials} complete trials are on the front: no other is better in one objective and at least "
        "as good in all. Neighbours on it may differ by chance."
    )


def _agreed(name: str, best: Sequence[FrozenTrial], ranked: Sequence[FrozenTrial]) -> str:
    """In what the best trials agree on a parameter, beside all; empty if in nothing."""
    values, others = [trial.params[name] for trial in best], [trial.params[name] for trial in ranked]
    kind = ranked[0].distributions[name]
    if isinstance(kind, FloatDistribution | IntDistribution):
        place = math.log if kind.log else float
        span = place(max(others)) - place(min(others))
        if span > 0 and place(max(values)) - place(min(values)) <= _NARROW * span:
            ends = (min(values), max(values), min(others), max(others))
            return "{} from {} to {} (tried: {} to {})".format(name, *map(_spelled, ends))
        return ""
    return f"{name} = {_spelled(values[0])}" if len({*values}) == 1 < len({*others}) else ""


def _spelled(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
