"""What may, and what may not, be concluded from a figure: a sentence or two made from its numbers."""

from collections.abc import Sequence

import numpy as np

from adbench.reports.statistics import Bools, Floats

_MOST_NAMED = 3
_ALIKE = 0.05  # Points: what a table in per cent with one digit shows as equal.


def of_categories(values: Floats, methods: Sequence[str], categories: Sequence[str], *, higher: bool) -> str:
    """Of the heat map: ``values`` [categories, methods] in per cent, NaN where there is none."""
    if values.shape[1] < 2:
        return "One method alone: nothing is compared."
    signed = values if higher else -values
    known = ~np.isnan(signed)
    shared = np.flatnonzero(known.sum(axis=1) > 1)
    if not len(shared):
        return "No category has values of two methods: nothing is compared."
    best = np.nanmax(signed[shared], axis=1, keepdims=True)
    firsts = (best - signed[shared] <= _ALIKE) & known[shared]
    counts = firsts.sum(axis=0)
    leaders = [name for name, count in zip(methods, counts, strict=True) if count == counts.max()]
    where = f"{counts.max()} of {len(shared)} categories" if len(shared) > 1 else "the one category"
    verb = "has" if len(leaders) == 1 else "have each"
    text = f"{listed(leaders)} {verb} the best mean (or one equal to it) in {where}"
    spread = np.nanmax(signed[shared], axis=1) - np.nanmin(signed[shared], axis=1)
    widest = int(np.argmax(spread))
    text += f"; methods are furthest apart on {categories[shared[widest]]}, by {spread[widest]:.1f} points. "
    return f"{text}A colour does not tell whether a difference is chance: the interval of each value does."


def of_cost(methods: Sequence[str], spent: Floats, quality: Floats, front: Bools) -> str:
    """Of the cost figure: ``spent`` [methods], ``quality`` [methods] in per cent and better where larger, ``front``
    [methods] True for those on the Pareto front."""
    if len(methods) < 2:
        return "One method alone: nothing is compared."
    chosen = np.flatnonzero(front)
    names = [methods[index] for index in chosen[np.argsort(spent[chosen], kind="stable")]]
    if len(names) == 1:
        text = f"No method is better than {names[0]}, and none costs less"
    else:
        dear, cheap = chosen[np.argmax(quality[chosen])], chosen[np.argmin(spent[chosen])]
        text = "No method is beaten by one that costs no more"
        if len(names) < len(methods):
            text = f"Worth their cost are {listed(names)}: every other method is beaten by one that costs no more"
        price = (
            f"at {spent[dear] / spent[cheap]:.3g} times its cost" if spent[cheap] > 0 else "which costs nothing here"
        )
        text += f". {methods[dear]} gains {quality[dear] - quality[cheap]:.1f} points over {methods[cheap]}, {price}"
    text += ". Differences within the intervals may be chance"
    return f"{text}."


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more."""
    shown = list(names[:_MOST_NAMED])
    if len(names) > _MOST_NAMED:
        shown = [*shown[:-1], f"{len(names) - _MOST_NAMED + 1} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
