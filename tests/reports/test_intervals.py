"""Intervals against simulation, SciPy's tests and their own definition."""

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special, stats
from sklearn.metrics import average_precision_score, roc_auc_score

from adbench.reports import intervals
from adbench.reports.intervals import ImageNoise, estimate_means
from adbench.reports.resampling import RESAMPLED, ResampledRuns
from adbench.reports.statistics import bootstrap_images

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, int], Floats]


def two_normals(*aurocs: float, step: float | None = None) -> Draw:
    """Scores [M, N] of methods with these true AUROCs, which find the same images hard; rounded to ``step``."""

    def draw(rng: np.random.Generator, normal: int, anomalous: int) -> Floats:
        labels = np.repeat([0.0, 1.0], [normal, anomalous])
        shared, own = rng.normal(size=len(labels)), rng.normal(size=(len(aurocs), len(labels)))
        shift = np.sqrt(2) * special.ndtri(np.array(aurocs))[:, None]
        scores = shift * labels + np.sqrt(0.6) * shared + np.sqrt(0.4) * own
        return np.asarray(scores if step is None else np.round(scores / step) * step)

    return draw


def unseen(fraction: float) -> Draw:
    """Scores [2, N] of methods to which a fraction of the anomalies looks normal, and the others are plain."""

    def draw(rng: np.random.Generator, normal: int, anomalous: int) -> Floats:
        shared, own = rng.normal(size=normal + anomalous), rng.normal(size=(2, normal + anomalous))
        shift = np.where(rng.uniform(size=(2, anomalous)) < fraction, 0.0, 4.0)
        return np.asarray(np.sqrt(0.6) * shared + np.sqrt(0.4) * own + np.pad(shift, ((0, 0), (normal, 0))))

    return draw


def labels_of(normal: int, anomalous: int) -> NDArray[np.int8]:
    return np.repeat(np.array([0, 1], dtype=np.int8), [normal, anomalous])


def measured(scores: Floats, labels: NDArray[np.int8]) -> dict[str, Floats]:
    """The metrics [M] of scores [M, N]."""
    pairs = [(roc_auc_score(labels, row), average_precision_score(labels, row)) for row in scores]
    return dict(zip(RESAMPLED, np.array(pairs).T, strict=True))


def truth(draw: Draw, normal: int, anomalous: int) -> dict[str, Floats]:
    """The metrics [M] of a test set so large that chance is gone, with the same share of anomalies."""
    times = 2_000_000 // (normal + anomalous)
    return measured(
        draw(np.random.default_rng(99), normal * times, anomalous * times),
        labels_of(normal * times, anomalous * times),
    )


def coverage(draw: Draw, normal: int, anomalous: int, categories: int, trials: int) -> dict[str, float]:
    """Share of right intervals by metric, for means over like categories, and ("METRIC difference") differences."""
    true, labels = truth(draw, normal, anomalous), labels_of(normal, anomalous)
    held = defaultdict[str, list[bool]](list)
    rng = np.random.default_rng(1)
    for trial in range(trials):
        values, noise = defaultdict[str, list[Floats]](list), defaultdict[str, list[ImageNoise]](list)
        for category in range(categories):
            scores = draw(rng, normal, anomalous)
            runs = ResampledRuns((2, 1))
            runs.add([(0, 0), (1, 0)], scores, labels, trial * categories + category, 400)
            for name, found in measured(scores, labels).items():
                one = runs.noise(name, np.arange(2), np.array([0]))
                assert one is not None
                values[name].append(found[:, None])
                noise[name].append(one)
        for name, expected in true.items():
            means = estimate_means(values[name], noise[name])
            assert means.pairs is not None
            held[name].append(bool(means.low[0] <= expected[0] <= means.high[0]))
            difference = expected[0] - expected[1]
            held[f"{name} difference"].append(bool(means.pairs.low[0, 1] <= difference <= means.pairs.high[0, 1]))
    return {name: float(np.mean(hits)) for name, hits in held.items()}


def least(rate: float, trials: int) -> float:
    """What a true ``rate`` of coverage falls short of in one of ten thousand simulations."""
    return float(stats.binom.ppf(1e-4, trials, rate) / trials)


@pytest.mark.parametrize(("normal", "anomalous", "auroc"), [(100, 20, 0.97), (15, 15, 0.99)])
def test_intervals_hold_the_true_auroc_where_percentiles_do_not(normal: int, anomalous: int, auroc: float) -> None:
    labels, rng, trials = labels_of(normal, anomalous), np.random.default_rng(2), 400
    ours, percentiles = [], []
    for trial in range(trials):
        scores = two_normals(auroc)(rng, normal, anomalous)
        runs = ResampledRuns((1, 1))
        runs.add([(0, 0)], scores, labels, trial, 300)
        noise = (runs.variance["image_auroc"][0], runs.size["image_auroc"][0], runs.freedom[0])
        low, high = intervals.score_intervals(measured(scores, labels)["image_auroc"], *noise)
        ours.append(low[0] <= auroc <= high[0])
        low, high = np.quantile(bootstrap_images(scores, labels, seed=trial, n=300)[0], [0.025, 0.975], axis=1)
        percentiles.append(low[0] <= auroc <= high[0])
    assert np.mean(percentiles) < least(0.95, trials) <= np.mean(ours)


SIMULATIONS = {  # draw, normal and anomalous images, categories, least rate of AUROC, AP and the differences
    "500+500 at .9": (two_normals(0.9, 0.88), 500, 500, 1, 0.95, 0.95, 0.95),
    "60+40 at .9": (two_normals(0.9, 0.9), 60, 40, 1, 0.94, 0.92, 0.95),
    "100+20 at .97": (two_normals(0.97, 0.97), 100, 20, 1, 0.95, 0.95, 0.95),
    "15+15 at .99": (two_normals(0.99, 0.9), 15, 15, 1, 0.95, 0.95, 0.95),
    "ties": (two_normals(0.97, 0.93, step=1.0), 100, 20, 1, 0.95, 0.94, 0.95),
    "poor methods": (two_normals(0.7, 0.75), 60, 40, 1, 0.94, 0.91, 0.94),
    "unseen anomalies": (unseen(0.02), 100, 40, 1, 0.93, 0.95, 0.95),
    "five categories at .9": (two_normals(0.9, 0.88), 60, 40, 5, 0.95, 0.92, 0.94),
    "five categories at .99": (two_normals(0.99, 0.9), 15, 15, 5, 0.95, 0.95, 0.90),
    "ten categories with unseen anomalies": (unseen(0.02), 100, 40, 10, 0.92, 0.94, 0.95),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SIMULATIONS)
def test_intervals_hold_the_truth_as_often_as_they_say(name: str) -> None:
    draw, normal, anomalous, categories, auroc, ap, difference = SIMULATIONS[name]
    trials = 200 if categories == 10 else 400 if normal == 500 or categories > 1 else 1000
    found = coverage(draw, normal, anomalous, categories, trials)
    assert found["image_auroc"] >= least(auroc, trials)
    assert found["image_ap"] >= least(ap, trials)
    assert min(found["image_auroc difference"], found["image_ap difference"]) >= least(difference, trials)


@pytest.mark.parametrize(("seeds", "categories"), [(3, 1), (3, 5)])
def test_intervals_over_seeds_hold_the_truth(seeds: int, categories: int) -> None:
    rng, trials, held = np.random.default_rng(3), 1500, []
    for _ in range(trials):
        spread = rng.uniform(0.005, 0.03, size=categories)
        values = [np.array([[0.8], [0.78]]) + one * rng.normal(size=(2, seeds)) for one in spread]
        found = estimate_means(values, None)
        assert found.pairs is not None
        held.append([found.low[0] <= 0.8 <= found.high[0], found.pairs.low[0, 1] <= 0.02 <= found.pairs.high[0, 1]])
    assert (np.mean(held, axis=0) >= least(0.95, trials)).all()
    assert (np.mean(held, axis=0) <= 1 - least(0.02, trials)).all()  # and not by being endless


def test_one_category_over_seeds_is_the_paired_t_test() -> None:
    values = np.random.default_rng(4).uniform(0.6, 0.9, size=(2, 6))
    found = estimate_means([values], None).pairs
    assert found is not None
    expected = stats.ttest_rel(*values)
    ends = expected.confidence_interval()
    assert (found.low[0, 1], found.high[0, 1]) == pytest.approx((ends.low, ends.high))
    assert found.p[0, 1] == pytest.approx(expected.pvalue)


def test_two_categories_over_seeds_are_welchs_test() -> None:
    rng = np.random.default_rng(5)
    one, two = rng.uniform(0.6, 0.9, size=(2, 3)), rng.uniform(0.7, 0.75, size=(2, 6))
    found = estimate_means([one, two], None).pairs
    assert found is not None
    expected = stats.ttest_ind(one[0] - one[1], two[1] - two[0], equal_var=False)
    assert found.p[0, 1] == pytest.approx(expected.pvalue)
    assert found.high[0, 1] == pytest.approx(expected.confidence_interval().high / 2)


@pytest.mark.parametrize("categories", [1, 4])
def test_interval_of_a_proportion_is_wilsons(categories: int) -> None:
    right, images = 37, 40
    noise = ImageNoise(np.array([[right * (images - right) / images**3]]), size=1e12, freedom=1e12)
    found = estimate_means([np.array([[right / images]])] * categories, [noise] * categories)
    expected = stats.binomtest(right * categories, images * categories).proportion_ci(method="wilson")
    assert (found.low[0], found.high[0]) == pytest.approx((expected.low, expected.high), abs=1e-6)


@pytest.mark.parametrize("name", RESAMPLED)
def test_a_perfect_score_is_less_certain_the_fewer_the_images(name: str) -> None:
    ends = []
    for images in (5, 15, 50, 500):
        runs = ResampledRuns((1, 1))
        labels = labels_of(images, images)
        runs.add([(0, 0)], labels[None].astype(np.float64), labels, 0, 100)
        assert runs.variance[name][0, 0] == 0
        low, high = intervals.score_intervals(np.ones(1), runs.variance[name][0], runs.size[name][0], runs.freedom[0])
        assert high[0] == 1
        ends.append(float(low[0]))
    assert ends == sorted(ends)
    assert 0.8 < ends[1] < 0.95
    assert 0.99 < ends[3] < 0.999


NOISES = st.integers(1, 3).flatmap(
    lambda categories: st.lists(
        st.tuples(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.integers(0, 100), st.integers(2, 300)),
        min_size=categories,
        max_size=categories,
    )
)


@given(NOISES)
def test_intervals_contain_the_estimate_and_agree_with_p(drawn: list[tuple[list[float], int, int]]) -> None:
    by_category = [np.array(values)[:, None] for values, _, _ in drawn]
    noise = []
    for values, seed, images in drawn:
        factors = (
            np.random.default_rng(seed).normal(size=(3, 4))
            * np.sqrt(np.array(values) * (1 - np.array(values)))[:, None]
        )
        noise.append(ImageNoise(factors @ factors.T / images, float(images), images - 1))
    found = estimate_means(by_category, noise)
    assert ((found.low >= 0) & (found.low <= found.mean) & (found.mean <= found.high) & (found.high <= 1)).all()
    pairs = found.pairs
    assert pairs is not None
    assert pairs.low == pytest.approx(-pairs.high.T)
    assert pairs.p == pytest.approx(pairs.p.T)
    apart = (pairs.low > 1e-12) | (pairs.high < -1e-12)
    near = np.minimum(np.abs(pairs.low), np.abs(pairs.high)) < 1e-9
    assert ((apart == (pairs.p < 0.05)) | near).all()


def test_same_images_make_a_difference_more_certain() -> None:
    scores = np.array([[0.9], [0.88]])
    alone, together = (np.array([[1.0, c], [c, 1.0]]) * 1e-3 for c in (0.0, 0.9))
    found = [estimate_means([scores], [ImageNoise(one, 80.0, 39.0)]) for one in (alone, together)]
    assert found[0].low == pytest.approx(found[1].low)
    assert found[0].pairs is not None and found[1].pairs is not None
    widths = [pairs.high[0, 1] - pairs.low[0, 1] for pairs in (found[0].pairs, found[1].pairs)]
    assert widths[1] < 0.6 * widths[0]


@pytest.mark.parametrize(
    ("seeds", "expected"), [((3, 4), "seeds"), ((3, 2), "range"), ((1, 2), "range"), ((1, 1), "none")]
)
def test_no_interval_is_made_up(seeds: tuple[int, int], expected: str) -> None:
    rng = np.random.default_rng(5)
    values = [rng.uniform(size=(2, size)) for size in seeds]
    found = estimate_means(values, None)
    assert found.interval == expected
    assert (found.pairs is None) == (expected != "seeds")
    if expected == "none":
        assert np.isnan(found.low).all()
        assert np.isnan(found.high).all()
    if expected == "range":
        assert found.low == pytest.approx(np.mean([value.min(axis=1) for value in values], axis=0))
        assert found.high == pytest.approx(np.mean([value.max(axis=1) for value in values], axis=0))


@pytest.mark.parametrize(("seeds", "expected"), [((1, 1), "images"), ((1, 2), "images+seeds")])
def test_intervals_over_images_say_whether_they_cover_seeds(seeds: tuple[int, int], expected: str) -> None:
    noise = [ImageNoise(np.eye(2) * 1e-3, 80.0, 39.0)] * 2
    steady = [np.full((2, size), 0.8) for size in seeds]
    found = estimate_means(steady, noise)
    assert found.interval == expected
    shaken = [value + np.linspace(-0.1, 0.1, value.shape[1]) * (value.shape[1] > 1) for value in steady]
    assert (estimate_means(shaken, noise).low < found.low).all() == (max(seeds) > 1)


def test_methods_without_any_variation_have_no_p_value() -> None:
    found = estimate_means([np.array([[0.8] * 3, [0.7] * 3, [0.8] * 3])], None).pairs
    assert found is not None
    assert np.isnan(found.p[0, 1])
    assert found.p[0, 2] == 1
