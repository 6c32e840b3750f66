"""Tests over categories after Demšar (2006, Statistical comparisons of classifiers over multiple data sets).

They ask whether what is seen on these categories would hold on others, and take each category as one observation:
the mean over its seeds. The differences of ``intervals.py`` ask about other test images and seeds instead.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from adbench.reports.intervals import LEVEL, Pairs
from adbench.reports.statistics import Bools, Floats, rank_methods, rounded

ALPHA = 1 - LEVEL
MOST_ENUMERATED = 13  # categories: beyond that the signs of tied differences are too many to go through
_BLOCK = 256  # pairs whose signs are gone through at a time, to bound memory

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Comparison:
    """M methods in the order of their average ``ranks`` [M]; ``order`` [M]: their rows in what was compared.

    ``friedman``: chi-squared and its p-value, None with fewer than three methods or two categories.
    ``critical_difference``: of two average ranks, after Nemenyi; None likewise.
    ``groups``: first and last place of each largest run of methods between which no difference is shown: by Nemenyi
    where Friedman's test finds any (all methods otherwise), by Wilcoxon between two methods. None with one category.
    ``wins`` and ``ties`` [M, M]: categories in which the row's method is better than the column's, or equal.
    ``wilcoxon`` [M, M]: p-values of Wilcoxon's test adjusted after Holm; None with one category.
    ``pairs``: differences of the means, None where nothing is known of their chance; ``p`` [M, M]: their p-values
    adjusted after Holm.
    """

    order: Counts
    ranks: Floats
    n_categories: int
    friedman: tuple[float, float] | None
    critical_difference: float | None
    groups: tuple[tuple[int, int], ...] | None
    wins: Counts
    ties: Counts
    wilcoxon: Floats | None
    pairs: Pairs | None
    p: Floats | None


def compare(values: Floats, pairs: Pairs | None, higher_is_better: bool = True) -> Comparison:
    """Everything that tests say of M >= 2 methods with ``values`` [M, K], their means in K categories.

    ``pairs``: their differences as by ``intervals.estimate_means``, in the order of ``values``.
    """
    count = values.shape[1]
    ranks = rank_methods(values, higher_is_better).mean(axis=1)
    order = np.argsort(ranks, kind="stable")
    ranks, values = ranks[order], values[order]
    wins, ties = count_wins_and_ties(values, higher_is_better)
    wilcoxon = adjust_holm(wilcoxon_signed_rank(values)) if count > 1 else None
    friedman = friedman_test(values)
    critical = groups = None
    if friedman is not None:
        critical = critical_difference(len(values), count)
        # where Friedman's test finds nothing, no test that follows it counts
        groups = find_groups(np.abs(ranks[:, None] - ranks) < (critical if friedman[1] < ALPHA else np.inf))
    elif wilcoxon is not None:
        groups = find_groups(wilcoxon >= ALPHA)
    if pairs is not None:
        both = np.ix_(order, order)
        pairs = Pairs(pairs.difference[both], pairs.low[both], pairs.high[both], pairs.p[both])
    return Comparison(
        order=order.astype(np.int64),
        ranks=ranks,
        n_categories=count,
        friedman=friedman,
        critical_difference=critical,
        groups=groups,
        wins=wins,
        ties=ties,
        wilcoxon=wilcoxon,
        pairs=pairs,
        p=None if pairs is None else adjust_holm(pairs.p),
    )


def friedman_test(values: Floats) -> tuple[float, float] | None:
    """Friedman's chi-squared over M methods in K categories (``values`` [M, K], ties corrected) and its p-value.

    None with fewer than three methods or two categories. With ten categories or fewer the p-value is rough.
    """
    methods, count = values.shape
    if methods < 3 or count < 2:
        return None
    with np.errstate(invalid="ignore"):
        found = stats.friedmanchisquare(*rounded(values))
    return (0.0, 1.0) if np.isnan(found.statistic) else (float(found.statistic), float(found.pvalue))


@cache
def critical_difference(methods: int, categories: int) -> float:
    """By how much two average ranks must differ, after Nemenyi (Demšar 2006, section 3.2.2)."""
    quantile = stats.studentized_range.ppf(LEVEL, methods, np.inf)
    return float(quantile / np.sqrt(2) * _rank_error(methods, categories))


def nemenyi(difference: Floats, methods: int, categories: int) -> Floats:
    """Two-sided p-values of differences between two average ranks of ``methods`` over ``categories``."""
    standard = np.abs(difference) / _rank_error(methods, categories)
    return np.asarray(stats.studentized_range.sf(standard * np.sqrt(2), methods, np.inf), dtype=np.float64)


def _rank_error(methods: int, categories: int) -> float:
    return float(np.sqrt(methods * (methods + 1) / (6 * categories)))


def wilcoxon_signed_rank(values: Floats) -> Floats:
    """Two-sided p-values [M, M] of Wilcoxon's test over categories for each two of M methods (``values`` [M, K]).

    Categories in which both are equal are left out. The p-values are exact; with more than 13 categories of which
    some differences are equal or zero, or with more than 50, the normal distribution is used. None can be below
    ``smallest_p``.
    """
    first, second = np.triu_indices(len(values), 1)
    difference = rounded(values[first] - values[second])  # [P, K]
    size = np.sort(np.abs(difference), axis=1)
    tied = (size[:, 0] == 0) | (np.diff(size, axis=1) == 0).any(axis=1)
    p = np.ones(len(difference))
    if (~tied).any():
        p[~tied] = stats.wilcoxon(difference[~tied], axis=1).pvalue
    if tied.any():
        enumerable = values.shape[1] <= MOST_ENUMERATED
        p[tied] = _enumerated(difference[tied]) if enumerable else _approximate(difference[tied])
    found = np.ones((len(values), len(values)))
    found[first, second] = found[second, first] = p
    return found


def smallest_p(categories: int) -> float:
    """The smallest p-value that Wilcoxon's two-sided test can have."""
    return float(min(1.0, 2.0 ** (1 - categories)))


def _enumerated(difference: Floats) -> Floats:
    """Exact p-values of differences [P, K] with ties and zeros, from all signs that they could have had."""
    size = np.abs(difference)
    ranks = stats.rankdata(size, axis=1) - (size == 0).sum(axis=1, keepdims=True)
    ranks[size == 0] = 0
    signs = 1 - 2 * ((np.arange(2 ** difference.shape[1])[:, None] >> np.arange(difference.shape[1])) & 1)
    observed = np.abs((np.sign(difference) * ranks).sum(axis=1))
    p = np.empty(len(difference))
    for start in range(0, len(p), _BLOCK):
        own = slice(start, start + _BLOCK)
        p[own] = (np.abs(signs @ ranks[own].T) >= observed[own] - 1e-9).mean(axis=0)
    return p


def _approximate(difference: Floats) -> Floats:
    known = (difference != 0).any(axis=1)
    p = np.ones(len(difference))
    if known.any():
        p[known] = stats.wilcoxon(difference[known], axis=1, method="approx").pvalue
    return p


def holm(p: Floats) -> Floats:
    """P-values [N] of one family of tests, adjusted for their number after Holm (1979); NaN counts for none."""
    known = np.flatnonzero(~np.isnan(p))
    known = known[np.argsort(p[known], kind="stable")]
    adjusted = p.copy()
    steps = np.arange(len(known), 0, -1)
    adjusted[known] = np.minimum(np.maximum.accumulate(p[known] * steps), 1)
    return adjusted


def adjust_holm(p: Floats) -> Floats:
    """Symmetric p-values [M, M] of all pairs, adjusted as one family."""
    first, second = np.triu_indices(len(p), 1)
    found = np.ones_like(p)
    found[first, second] = found[second, first] = holm(p[first, second])
    return found


def find_groups(alike: Bools) -> tuple[tuple[int, int], ...]:
    """Largest runs of two or more methods, ordered by rank, whose first and last are ``alike`` ([M, M])."""
    runs: list[tuple[int, int]] = []
    for first in range(len(alike)):
        last = first + max(np.flatnonzero(alike[first, first:]), default=0)
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, int(last)))
    return tuple(runs)


def count_wins_and_ties(values: Floats, higher_is_better: bool = True) -> tuple[Counts, Counts]:
    """Categories in which the row's method is better than the column's, and in which both are equal, [M, M] each.

    Equal after rounding to twelve decimals, as for ranks.
    """
    v = rounded(values)
    above = (v[:, None] > v).sum(axis=2)
    equal = (v[:, None] == v).sum(axis=2)
    return (above if higher_is_better else above.T).astype(np.int64), equal.astype(np.int64)
