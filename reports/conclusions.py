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
        if dear != cheap:  # otherwise all on the front are equal in both
            text += (
                f". {methods[dear]} gains {quality[dear] - quality[cheap]:.1f} points over {methods[cheap]}, {price}"
            )
    text += ". Differences within the intervals may be chance"
    return f"{text}."


def of_rocs(found: Sequence[float], methods: Sequence[str], *, rate: float, n_anomalous: int) -> str:
    """Of ROC curves of images: ``found`` [methods], the share of ``n_anomalous`` images that are found at a false
    positive rate of at most ``rate``."""
    if len(methods) < 2:
        return "One method alone: nothing is compared."
    order = np.argsort(-np.asarray(found), kind="stable")
    first, second = order[:2]
    shares = f"{methods[first]} {100 * found[first]:.1f} %, {methods[second]} {100 * found[second]:.1f} %"
    missed = round((found[first] - found[second]) * n_anomalous)
    text = f"no method finds more than {methods[first]} ({shares})"
    if not missed:
        text = f"{methods[first]} and {methods[second]} find equally many ({shares})"
    return (
        f"With at most {100 * rate:.0f} % false alarms {text}. One of the {n_anomalous} anomalous images is "
        f"{100 / n_anomalous:.1f} points: a lead of few images may be chance, and so may one of a single seed."
    )


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more."""
    shown = list(names[:_MOST_NAMED])
    if len(names) > _MOST_NAMED:
        shown = [*shown[:-1], f"{len(names) - _MOST_NAMED + 1} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def of_curves(
    heights: Floats, rates: Floats, methods: Sequence[str], *, marked: float, what: str, n_categories: int
) -> str:
    """Of rising curves: ``heights`` [methods, rates] in [0, 1] at ascending ``rates``, of which ``marked`` is one."""
    if len(methods) < 2:
        return "One method alone: nothing is compared." if len(methods) else ""
    points, at = 100 * heights, int(np.searchsorted(rates, marked))
    order = np.argsort(-points[:, at], kind="stable")
    first, second = order[:2]
    lead = points[first, at] - points[second, at]
    values = f"{what} {points[first, at]:.1f} % at a rate of {marked:g}, {methods[second]} {points[second, at]:.1f} %"
    over = np.flatnonzero((points.max(axis=0) - points[first] > _ALIKE) & (rates > 0) & (rates < 1))
    if lead <= _ALIKE:
        text = f"At a rate of {marked:g}, {methods[first]} and {methods[second]} are alike ({values})"
    elif len(over):
        rival = methods[int(np.argmax(points[:, over[-1]]))]
        text = (
            f"{methods[first]} finds most at a rate of {marked:g} ({values}), but {rival} at {rates[over[-1]]:g}: "
            "which is better depends on the false positives that are allowed"
        )
    else:
        limit = f" up to {rates[-1]:g}" if rates[-1] < 1 else ""
        text = f"{methods[first]} finds most at every rate{limit} ({values})"
    where = "this one category" if n_categories == 1 else f"these {n_categories} categories"
    return f"{text}. That holds for {where}; curves have no intervals, so a small lead may be chance."
