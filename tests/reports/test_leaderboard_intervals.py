"""The leaderboard's intervals and comparisons, from stored scores and seeds."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from adbench.reports.leaderboard import Aggregate, Leaderboard, Slice
from adbench.reports.schema import ImageScores, RunResult
from adbench.reports.statistics import bootstrap_images

Make = Callable[..., RunResult]
Build = Callable[..., Leaderboard]


def whole(board: Leaderboard) -> Slice:
    """The slice of all modalities and datasets, of the first budget."""
    return board.slices[0]


def mean(aggregate: Aggregate, place: int) -> float:
    """That of the method at a place of the ranking, best first."""
    estimate = aggregate.estimates[aggregate.compared[place]]
    assert estimate is not None
    return estimate.mean


def image_scores(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> ImageScores:
    order = np.random.default_rng(9).permutation(len(labels))  # the order of the rows must not matter
    return ImageScores(
        split="test",
        image_ids=tuple(f"{index:03d}" for index in order),
        labels=labels[order],
        defect_types=tuple("crack" if label else "good" for label in labels[order]),
        scores=scores[order].astype(np.float32),
    )


def test_image_interval_follows_from_the_stored_scores(make_result: Make, build: Build) -> None:
    labels = np.arange(60, dtype=np.int64) % 2
    scores = labels + np.random.default_rng(0).normal(size=60)
    auroc = float(roc_auc_score(labels, scores))
    board = build(
        make_result(run_id="r", images=(image_scores(scores, labels),), metrics={"image_auroc": auroc}),
        resamples=2000,
    )
    aggregate = whole(board).metrics["image_auroc"]
    (estimate,) = aggregate.estimates
    assert aggregate.interval == "images"
    assert estimate is not None
    assert estimate.low is not None and estimate.high is not None
    error = bootstrap_images(scores, labels, seed=99)[0].std()
    assert estimate.high - estimate.low == pytest.approx(2 * 2.045 * error, rel=0.07)  # t with 29 degrees of freedom
    assert estimate.low < auroc < estimate.high
    ends = [board.run_intervals.at["r", f"image_auroc_{end}"] for end in ("low", "high")]
    assert ends == pytest.approx([estimate.low, estimate.high])
    cell = board.cell_intervals["smoke", "image_auroc"][0, 0]
    assert (cell.low, cell.high, cell.interval) == pytest.approx((estimate.low, estimate.high, "images"))


def test_methods_are_compared_on_the_same_resamples_of_shared_cells(make_result: Make, build: Build) -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(80, dtype=np.int64) % 2
    results = []
    for category in ("gear", "texture", "weave"):
        hard = rng.normal(size=80)
        for method, skill in (("good", 2.0), ("bad", 1.0), ("twin", 1.0)):
            scores = skill * labels + hard + (0.05 * rng.normal(size=80) if method != "twin" else 0)
            metrics = {"image_auroc": float(roc_auc_score(labels, scores)), "image_fpr95": 0.5 - 0.1 * skill}
            images = (image_scores(scores, labels),)
            results.append(make_result(method=method, category=category, images=images, metrics=metrics))
    board = build(*results, make_result(method="good", category="alone"))
    aggregate = whole(board).metrics["image_auroc"]
    found = aggregate.comparison
    assert found is not None and found.pairs is not None and found.p is not None
    assert found.wins[0, 1:].tolist() == [3, 3]
    names = [board.entries[entry].label for entry in aggregate.compared]
    assert names[0] == "good"
    assert found.pairs.difference[0, 1] == pytest.approx(mean(aggregate, 0) - mean(aggregate, 1))
    assert found.p[0, 1] < 0.01
    assert found.pairs.low[0, 1] > 0
    twins = found.pairs.high[1, 2] - found.pairs.low[1, 2]
    estimate = aggregate.estimates[aggregate.compared[1]]
    assert estimate is not None and estimate.low is not None and estimate.high is not None
    assert twins < 0.7 * (estimate.high - estimate.low)  # what is hard is hard for both
    errors = whole(board).metrics["image_fpr95"]
    assert board.entries[errors.compared[0]].label == "good"  # the lower, the better
    assert errors.comparison is not None
    assert errors.comparison.pairs is None  # one seed, and not determined by image scores


def test_one_method_has_no_comparison(make_result: Make, build: Build) -> None:
    aggregate = whole(build(make_result())).metrics["image_auroc"]
    assert aggregate.comparison is None
    assert aggregate.compared == (0,)


def test_intervals_of_cells_are_over_the_own_seeds_of_each_method(make_result: Make, build: Build) -> None:
    board = build(
        *(make_result(method="a", seed=seed) for seed in range(3)),
        make_result(method="b", seed=0),
        make_result(method="c", seed=0, images=()),
        make_result(method="c", seed=1, status="failed"),
    )
    images = board.cell_intervals["smoke", "image_auroc"]
    assert {key: one.interval for key, one in images.items()} == {(0, 0): "images+seeds", (0, 1): "images"}
    pixels = board.cell_intervals["smoke", "pixel_ap"]
    assert {key: one.interval for key, one in pixels.items()} == {(0, 0): "seeds"}
    assert board.run_intervals["image_ap_low"].notna().sum() == 4


def test_equal_scores_get_equal_intervals_across_methods(make_result: Make, build: Build) -> None:
    shared = make_result().images
    board = build(*(make_result(method=method, images=shared, metrics={"image_ap": 0.8}) for method in ("a", "b")))
    first, second = whole(board).metrics["image_ap"].estimates
    assert first is not None
    assert second is not None
    assert (first.low, first.high) == (second.low, second.high)


@pytest.mark.parametrize(("seeds", "expected"), [(1, "none"), (2, "range"), (3, "seeds")])
def test_runs_without_image_scores_get_intervals_over_seeds(
    make_result: Make, build: Build, seeds: int, expected: str
) -> None:
    board = build(*(make_result(seed=seed, images=()) for seed in range(seeds)))
    assert {aggregate.interval for aggregate in whole(board).metrics.values()} == {expected}
