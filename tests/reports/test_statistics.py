"""Statistics against direct computation and scikit-learn."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from adbench.reports import statistics


@st.composite
def tied_images(draw: st.DrawFn) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Few distinct scores, both labels, and weights that keep an image of each label."""
    size = draw(st.integers(2, 30))
    scores = draw(st.lists(st.integers(0, 5), min_size=size, max_size=size))
    labels = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    weights = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    labels[:2], weights[:2] = [0, 1], [1, 2]
    return np.array(scores, dtype=np.float64), np.array(labels), np.array(weights)


@given(tied_images())
def test_weighted_auroc_and_ap_equal_scikit_learn_on_repeated_images(
    case: tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]],
) -> None:
    scores, labels, weights = case
    auroc, ap = statistics.weighted_auroc_ap(scores, labels, np.stack([np.ones_like(weights), weights], axis=1))
    for row, repeats in enumerate([np.ones_like(weights), weights]):
        y, s = np.repeat(labels, repeats), np.repeat(scores, repeats)
        assert auroc[row] == pytest.approx(roc_auc_score(y, s), abs=1e-9)
        assert ap[row] == pytest.approx(average_precision_score(y, s), abs=1e-9)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1]])
def test_metrics_of_one_label_are_undefined(labels: list[int]) -> None:
    auroc, ap = statistics.weighted_auroc_ap([0.1, 0.2, 0.3], labels, np.ones((3, 2)))
    assert np.isnan(auroc).all()
    assert np.isnan(ap).all()


def test_resamples_keep_the_number_of_normal_and_anomalous_images() -> None:
    labels = np.array([0, 1, 0, 0, 1, 0, 0])
    weights = statistics.stratified_weights(labels, 50, np.random.default_rng(0))
    assert (weights[labels == 0].sum(axis=0) == 5).all()
    assert (weights[labels == 1].sum(axis=0) == 2).all()
    assert len(np.unique(weights, axis=1).T) > 10


def test_bootstrap_is_seeded_and_gives_all_runs_the_same_resamples() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(40) % 2
    scores = labels + rng.normal(size=40)
    auroc, ap = statistics.bootstrap_images(np.stack([scores, 3 * scores + 7]), labels, seed=5, n=200)
    assert np.array_equal(auroc[0], auroc[1])
    assert np.array_equal(ap[0], ap[1])
    assert np.array_equal(auroc, statistics.bootstrap_images(np.stack([scores] * 2), labels, seed=5, n=200)[0])
    assert not np.array_equal(auroc[:1], statistics.bootstrap_images(scores, labels, seed=6, n=200)[0])


def test_bootstrap_of_a_large_test_set_takes_under_a_second() -> None:
    rng = np.random.default_rng(2)
    labels = np.arange(1000) % 2
    scores = labels + rng.normal(size=1000)
    began = time.perf_counter()
    auroc, _ = statistics.bootstrap_images(scores, labels, seed=0, n=2000)
    assert time.perf_counter() - began < 1
    assert auroc.std() == pytest.approx(_delong_error(scores, labels), rel=0.1)


def _delong_error(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Standard error of AUROC after DeLong, DeLong and Clarke-Pearson (1988)."""
    above = scores[labels == 1][:, None] > scores[labels == 0]
    return float(np.sqrt(sum(above.mean(axis=axis).var(ddof=1) / above.shape[1 - axis] for axis in (0, 1))))


def test_equal_values_share_ranks_and_nobody_wins() -> None:
    values = np.array([[0.9, 0.5], [0.9, 0.7], [0.1 + 0.2, 0.7], [0.3, 0.1]])
    assert statistics.rank_methods(values).tolist() == [[1.5, 3.0], [1.5, 1.5], [3.5, 1.5], [3.5, 4.0]]
    assert statistics.count_wins(values).tolist() == [0, 0, 0, 0]
    assert statistics.count_wins([[0.9, 0.5], [0.8, 0.5]]).tolist() == [1, 0]
    assert statistics.rank_methods(values, higher_is_better=False)[3].tolist() == [1.5, 1.0]
    assert statistics.count_wins(values, higher_is_better=False).tolist() == [0, 0, 0, 1]


GRIDS = st.integers(1, 5).flatmap(
    lambda methods: st.lists(
        st.tuples(st.integers(0, 3), st.lists(st.booleans(), min_size=methods, max_size=methods)),
        min_size=1,
        max_size=12,
    )
)


@given(GRIDS)
def test_shared_cells_are_held_by_every_compared_method(grid: list[tuple[int, list[bool]]]) -> None:
    category = np.array([place for place, _ in grid])
    defined = np.array([held for _, held in grid]).T
    methods, cells = statistics.shared_cells(defined, category)
    assert defined[np.ix_(methods, cells)].all()
    assert bool(methods.any()) == bool(cells.any())
    covered = [len(set(category[row])) for row in defined]
    if defined.any():
        assert cells.any() or max(covered) * 2 < len(set(category[defined.any(axis=0)]))
    if methods.any():
        assert (defined[methods].all(axis=0) == cells).all()  # none that could be used is wasted


def test_a_method_with_few_categories_does_not_take_away_the_others() -> None:
    category = np.array([0, 1, 2, 3])
    defined = np.array([[True] * 4, [True] * 4, [True, False, False, False]])
    methods, cells = statistics.shared_cells(defined, category)
    assert methods.tolist() == [True, True, False]
    assert cells.all()


def test_fewer_seeds_limit_the_cells_and_not_the_methods() -> None:
    category = np.array([0, 0, 1, 1])
    defined = np.array([[True] * 4, [True, False, True, False]])
    methods, cells = statistics.shared_cells(defined, category)
    assert methods.all()
    assert cells.tolist() == [True, False, True, False]


@given(st.lists(st.tuples(st.one_of(st.integers(0, 4), st.just(np.nan)), st.integers(0, 4)), min_size=1, max_size=8))
def test_pareto_front_equals_its_definition(points: list[tuple[float, float]]) -> None:
    cost, quality = np.array(points, dtype=np.float64).T
    expected = [
        not np.isnan(c)
        and not any(a <= c and b >= q and (a < c or b > q) for a, b in zip(cost, quality, strict=True))
        for c, q in zip(cost, quality, strict=True)
    ]
    assert statistics.pareto_front(cost, quality).tolist() == expected
