"""Tests over categories: published numbers, scikit-posthocs, statsmodels, and enumeration."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from adbench.reports import intervals, significance

Floats = NDArray[np.float64]

DEMSAR = np.array(
    [  # AUC of C4.5, C4.5+m, C4.5+cf, C4.5+m+cf on 14 data sets (Demšar 2006, table 6)
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],  # printed .975 twice, but ranked 2 and 3
        [0.957, 0.978, 0.946, 0.970],
    ]
).T


def test_published_example_is_reproduced() -> None:
    found = significance.compare(DEMSAR, None)
    assert found.order.tolist() == [3, 1, 2, 0]
    assert found.ranks == pytest.approx([1.964, 2.000, 2.893, 3.143], abs=5e-4)
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)
    assert found.friedman is not None
    # the paper's 9.28 takes no account of ties
    ties = [np.unique(row, return_counts=True)[1] for row in DEMSAR.T]
    correction = 1 - sum((count**3 - count).sum() for count in ties) / (14 * 4 * (4**2 - 1))
    assert found.friedman[0] * correction == pytest.approx(9.28, abs=0.005)
    assert found.friedman[1] < 0.05
    assert found.groups == ((0, 3),)  # best and worst differ by 1.18: Nemenyi's test finds nothing, as in the paper


@pytest.mark.parametrize(("methods", "expected"), [(2, 1.960), (3, 2.343), (4, 2.569), (7, 2.949), (10, 3.164)])
def test_critical_values_are_those_of_the_published_table(methods: int, expected: float) -> None:
    scale = np.sqrt(methods * (methods + 1) / (6 * 20))
    assert significance.critical_difference(methods, 20) / scale == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("methods", "count"), [(3, 6), (5, 12), (12, 20)])
def test_tests_equal_scikit_posthocs(methods: int, count: int) -> None:
    posthocs = pytest.importorskip("scikit_posthocs")
    values = np.random.default_rng(methods).normal(size=(methods, count)) + np.arange(methods)[:, None] / 4
    ranks = stats.rankdata(-values, axis=0).mean(axis=1)
    expected = posthocs.posthoc_nemenyi_friedman(values.T).to_numpy()
    found = significance.nemenyi(ranks[:, None] - ranks, methods, count)
    assert found == pytest.approx(expected, abs=1e-6)
    assert (
        (found < 0.05) == (np.abs(ranks[:, None] - ranks) > significance.critical_difference(methods, count))
    ).all()
    expected = posthocs.posthoc_wilcoxon(list(values), p_adjust="holm").to_numpy()
    found = significance.adjust_holm(significance.wilcoxon_signed_rank(values))
    assert found == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.floats(0, 1), min_size=6, max_size=6), st.integers(1, 6))
def test_holm_is_the_closed_test_of_bonferronis(p: list[float], known: int) -> None:
    first, second = np.triu_indices(4, 1)
    square = np.full((4, 4), np.nan)
    square[first[:known], second[:known]] = p[:known]
    adjusted = significance.adjust_holm(square)[first, second]
    sets = [one for size in range(1, known + 1) for one in itertools.combinations(range(known), size)]
    for index in range(known):
        expected = max(min(1, len(one) * min(p[j] for j in one)) for one in sets if index in one)
        assert adjusted[index] == pytest.approx(expected, abs=1e-12)
    assert np.isnan(adjusted[known:]).all()


def _wilcoxon_by_hand(difference: Floats) -> float:
    """Two-sided p-value from every sign that the differences other than zero could have had."""
    known = difference[difference != 0]
    ranks = stats.rankdata(np.abs(known))
    observed = abs((np.sign(known) * ranks).sum())
    signs = list(itertools.product((-1, 1), repeat=len(known)))
    return float(np.mean([abs(np.dot(sign, ranks)) >= observed - 1e-9 for sign in signs]))


@given(st.lists(st.lists(st.integers(0, 6), min_size=6, max_size=6), min_size=2, max_size=4))
def test_wilcoxon_is_exact_with_ties_and_zeros(rows: list[list[int]]) -> None:
    values = np.array(rows) / 10
    p = significance.wilcoxon_signed_rank(values)
    for first, second in itertools.combinations(range(len(values)), 2):
        expected = _wilcoxon_by_hand(np.round(values[first] - values[second], 12))
        assert p[first, second] == pytest.approx(expected, abs=1e-12)
        assert p[second, first] == p[first, second]


@pytest.mark.parametrize("count", [14, 60])
def test_wilcoxon_of_many_categories_equals_scipy(count: int) -> None:
    rng = np.random.default_rng(count)
    values = np.round(rng.normal(size=(3, count)), 1)  # ties and zeros
    values[2] = values[0]
    p = significance.wilcoxon_signed_rank(values)
    assert p[0, 1] == pytest.approx(stats.wilcoxon(np.round(values[0] - values[1], 12), method="approx").pvalue)
    assert p[0, 2] == 1


@pytest.mark.parametrize("count", [2, 5, 6, 9])
def test_no_p_value_is_below_the_smallest(count: int) -> None:
    values = np.stack([np.linspace(0.5, 0.9, count), np.linspace(0.4, 0.7, count)])
    assert significance.wilcoxon_signed_rank(values)[0, 1] == pytest.approx(significance.smallest_p(count))


def test_sums_in_another_order_are_ties() -> None:
    values = np.array([[0.1 + 0.2, 0.5, 0.7], [0.3, 0.5, 0.7]])
    assert significance.wilcoxon_signed_rank(values)[0, 1] == 1
    wins, ties = significance.count_wins_and_ties(values)
    assert wins.tolist() == [[0, 0], [0, 0]]
    assert ties.tolist() == [[3, 3], [3, 3]]


@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=2, max_size=5), st.booleans())
def test_wins_ties_and_losses_are_all_categories(rows: list[list[int]], higher: bool) -> None:
    values = np.array(rows, dtype=np.float64)
    wins, ties = significance.count_wins_and_ties(values, higher)
    assert (wins + ties + wins.T == 4).all()
    expected = sum(a > b if higher else a < b for a, b in zip(rows[0], rows[1], strict=True))
    assert wins[0, 1] == expected


@given(st.lists(st.integers(0, 12), min_size=2, max_size=8), st.floats(0.5, 6))
def test_groups_are_the_largest_runs_within_the_critical_difference(places: list[int], difference: float) -> None:
    ranks = np.sort(places) / 2
    found = significance.find_groups(np.abs(ranks[:, None] - ranks) < difference)
    every = range(len(ranks))
    runs = [(a, b) for a in every for b in every if a < b and ranks[b] - ranks[a] < difference]
    largest = [(a, b) for a, b in runs if not any((c, d) != (a, b) and c <= a and b <= d for c, d in runs)]
    assert list(found) == largest


def test_friedman_needs_three_methods_and_two_categories() -> None:
    values = np.random.default_rng(0).uniform(size=(4, 5))
    assert significance.friedman_test(values) is not None
    assert significance.friedman_test(values[:2]) is None
    assert significance.friedman_test(values[:, :1]) is None
    assert significance.friedman_test(np.full((3, 4), 0.5)) == (0.0, 1.0)


def test_without_a_finding_of_friedman_all_methods_are_one_group() -> None:
    alike = np.array([[0.5, 0.9, 0.7], [0.9, 0.7, 0.5], [0.7, 0.5, 0.9]])
    assert significance.compare(alike, None).groups == ((0, 2),)
    # here two average ranks lie further apart than the critical difference
    nearly = np.array([[0, 9, 0, 8], [-4, 0, -1, 5], [6, 9, 4, 5], [5, 7, 5, 9], [1, 4, 2, 8]]) / 10
    found = significance.compare(nearly, None)
    assert found.friedman is not None and found.critical_difference is not None
    assert found.friedman[1] > 0.05
    assert np.ptp(found.ranks) > found.critical_difference
    assert found.groups == ((0, 4),)


def test_clear_differences_leave_no_group() -> None:
    values = np.array([[0.3], [0.9], [0.6]]) + np.linspace(0, 0.05, 30)
    found = significance.compare(values, None)
    assert found.order.tolist() == [1, 2, 0]
    assert found.groups == ()
    assert found.wins.tolist() == [[0, 30, 30], [0, 0, 30], [0, 0, 0]]


def test_two_methods_are_joined_unless_wilcoxon_tells_them_apart() -> None:
    few, many = (np.stack([np.linspace(0.5, 0.9, n), np.linspace(0.4, 0.7, n)]) for n in (5, 6))
    assert significance.compare(few, None).groups == ((0, 1),)  # p = 1/16, the smallest there is
    assert significance.compare(many, None).groups == ()
    assert significance.compare(many, None).critical_difference is None


def test_one_category_has_ranks_and_no_test() -> None:
    found = significance.compare(np.array([[0.5], [0.9], [0.7]]), None)
    assert found.order.tolist() == [1, 2, 0]
    assert (found.friedman, found.critical_difference, found.groups, found.wilcoxon) == (None, None, None, None)


def test_differences_follow_the_order_of_the_ranks() -> None:
    values = [np.array([[0.2, 0.25, 0.3], [0.8, 0.85, 0.9], [0.5, 0.5, 0.6]])]
    means = np.stack([value.mean(axis=1) for value in values], axis=1)
    for higher, best in ((True, 1), (False, 0)):
        found = significance.compare(means, intervals.estimate_means(values, None).pairs, higher)
        assert found.order[0] == best
        assert found.pairs is not None
        ordered = means[found.order, 0]
        assert found.pairs.difference == pytest.approx(ordered[:, None] - ordered)
        assert (found.pairs.low <= found.pairs.difference).all()
        assert found.p is not None
        assert (found.p >= found.pairs.p).all()
