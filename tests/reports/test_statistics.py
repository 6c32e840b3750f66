"""Statistics against direct computation, scikit-learn and simulation."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm
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


def test_image_interval_covers_the_true_auroc_near_its_nominal_rate() -> None:
    rng = np.random.default_rng(2)
    truth = norm.cdf(1 / np.sqrt(2))  # two normal distributions, one standard deviation apart
    labels = np.repeat([0, 1], 50)
    covered = 0
    for trial in range(300):
        scores = labels + rng.normal(size=100)
        auroc, _ = statistics.bootstrap_images(scores, labels, seed=trial, n=400)
        low, high = statistics.percentile_interval(auroc[0])
        covered += bool(low <= truth <= high)
    assert 0.90 <= covered / 300 <= 0.985  # 0.95 within about four standard errors, and some small-sample loss


def test_seed_interval_equals_the_enumeration_of_all_resamples() -> None:
    values = np.array([[0.70, 0.80, 0.95]])
    means = [np.mean(pick) for pick in itertools.product(values[0], repeat=3)]
    low, high, interval = statistics.interval_of_mean([values], None, [0])
    assert interval == "seeds"
    assert low[0] == pytest.approx(np.quantile(means, 0.025), abs=0.035)
    assert high[0] == pytest.approx(np.quantile(means, 0.975), abs=0.052)
    assert 0.70 <= low[0] < np.mean(values) < high[0] <= 0.95


def test_seeds_and_images_are_resampled_together() -> None:
    rng = np.random.default_rng(3)
    constant = np.repeat(rng.uniform(size=(2, 4))[:, :, None], 500, axis=2)
    only_seeds = statistics.resample_seeds(constant[:, :, 0], seed=1, n=500)
    assert np.allclose(statistics.resample_seeds(constant, seed=1, n=500), only_seeds)
    noisy = constant + rng.normal(scale=0.1, size=constant.shape)
    assert statistics.resample_seeds(noisy, seed=1, n=500).std() > only_seeds.std()


def test_one_draw_of_seeds_serves_all_methods() -> None:
    drawn = statistics.resample_seeds(np.array([[0.1, 0.5, 0.9], [0.2, 0.6, 1.0]]), seed=4, n=100)
    assert np.allclose(drawn[1] - drawn[0], 0.1)


@pytest.mark.parametrize(
    ("seeds", "expected"), [((3, 4), "seeds"), ((3, 2), "range"), ((1, 2), "range"), ((1, 1), "none")]
)
def test_no_interval_is_made_up(seeds: tuple[int, int], expected: str) -> None:
    rng = np.random.default_rng(5)
    values = [rng.uniform(size=(2, size)) for size in seeds]
    low, high, interval = statistics.interval_of_mean(values, None, [0, 1])
    assert interval == expected
    if expected == "none":
        assert np.isnan(low).all()
        assert np.isnan(high).all()
    if expected == "range":
        assert np.allclose(low, np.mean([value.min(axis=1) for value in values], axis=0))
        assert np.allclose(high, np.mean([value.max(axis=1) for value in values], axis=0))


@pytest.mark.parametrize(("seeds", "expected"), [((1, 1), "images"), ((1, 2), "images+seeds")])
def test_intervals_over_images_say_whether_they_cover_seeds(seeds: tuple[int, int], expected: str) -> None:
    draws = [np.random.default_rng(6).uniform(size=(2, size, 50)).astype(np.float32) for size in seeds]
    low, high, interval = statistics.interval_of_mean([draw.mean(axis=2) for draw in draws], draws, [0, 1])
    assert interval == expected
    assert (low < high).all()


def test_intervals_hold_the_draws_of_one_category_at_a_time() -> None:
    methods, categories, n = 4, 100, 2000
    values = [np.full((methods, 1), 0.5)] * categories
    drawn = (np.full((methods, 1, n), 0.5, dtype=np.float32) for _ in range(categories))
    tracemalloc.start()
    try:
        low, high, interval = statistics.interval_of_mean(values, drawn, list(range(categories)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert interval == "images"
    assert (low == 0.5).all() and (high == 0.5).all()
    assert peak < methods * categories * n * 4 / 4  # a quarter of all draws as float32


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
