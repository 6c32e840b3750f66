"""Resampled test images: covariances of runs against the draws they come from."""

import numpy as np
import pandas as pd
import pytest

from adbench.reports.resampling import RESAMPLED, ResampledRuns, resample_runs
from adbench.reports.statistics import bootstrap_images

LABELS = np.array([0, 1] * 20 + [0] * 10, dtype=np.int8)


def table(
    run_id: str, scores: np.ndarray, labels: np.ndarray = LABELS, split: str = "test", first: int = 0
) -> pd.DataFrame:
    ids = [f"{first + index:03d}" for index in range(len(labels))]
    return pd.DataFrame({"run_id": run_id, "split": split, "image_id": ids, "label": labels, "score": scores})


def scores_of(seed: int, labels: np.ndarray = LABELS) -> np.ndarray:
    return np.asarray(labels + np.random.default_rng(seed).normal(size=len(labels)))


def test_covariance_of_means_over_seeds_is_that_of_the_draws() -> None:
    runs = ResampledRuns((2, 3))
    where = [(0, 0), (0, 2), (1, 0), (1, 2)]
    scores = np.stack([scores_of(seed) for seed in range(4)])
    runs.add(where, scores, LABELS, 7, 300)
    draws = dict(zip(RESAMPLED, bootstrap_images(scores, LABELS, seed=7, n=300), strict=True))
    for name in RESAMPLED:
        found = runs.noise(name, np.array([0, 1]), np.array([0, 2]))
        assert found is not None
        assert found.freedom == 19  # of 20 anomalies
        of_means = np.cov(draws[name].reshape(2, 2, 300).mean(axis=1)) * 20 / 19
        assert found.covariance == pytest.approx(of_means)
        assert runs.variance[name][1, 2] == pytest.approx(draws[name][3].var(ddof=1) * 20 / 19)
    assert runs.noise("image_ap", np.array([0]), np.array([1])) is None


def test_runs_on_other_images_vary_on_their_own() -> None:
    scores = scores_of(0)
    images = pd.concat(
        [table("a", scores), table("b", scores), table("c", scores, first=1), table("a", scores, split="val")]
    )
    found = resample_runs(images, {"a": (0, 0), "b": (1, 0), "c": (2, 0)}, ["gear"], (3, 1), 200)
    noise = found.noise("image_auroc", np.arange(3), np.array([0]))
    assert noise is not None
    assert noise.covariance[0, 1] == pytest.approx(noise.covariance[0, 0])
    assert noise.covariance[0, 2] == 0
    assert noise.covariance[2, 2] > 0


def test_order_of_the_rows_does_not_matter() -> None:
    images = table("a", scores_of(0))
    first, second = (
        resample_runs(one, {"a": (0, 0)}, ["gear"], (1, 1), 100).variance
        for one in (images, images.sample(frac=1, random_state=1))
    )
    assert first == second


@pytest.mark.parametrize("labels", [[0] * 6, [1] * 6, [0, 0, 0, 0, 0, 1]])
def test_fewer_than_two_images_of_a_label_have_no_variance(labels: list[int]) -> None:
    chosen = np.array(labels, dtype=np.int8)
    found = resample_runs(table("a", scores_of(0, chosen), chosen), {"a": (0, 0)}, ["gear"], (1, 1), 50)
    assert np.isnan(found.variance["image_auroc"]).all()
    assert found.noise("image_auroc", np.array([0]), np.array([0])) is None
