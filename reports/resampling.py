"""Bootstrap of the image metrics of many runs: how they vary, and vary together, with their test images."""

import zlib

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from adbench.reports import intervals, statistics
from adbench.reports.intervals import ImageNoise
from adbench.reports.statistics import Floats

RESAMPLED = ("image_auroc", "image_ap")
"""Metrics that the images table determines, so that test images can be resampled."""


class ResampledRuns:
    """Variances and covariances of RESAMPLED metrics over test images, of runs in a grid of entries and cells.

    Runs of a category with equal test images, be it of other methods or seeds, share their resamples, and so have
    covariances. ``variance[metric]``, ``size[metric]`` and ``freedom`` [M, C] are those of single runs, as ImageNoise
    has them; NaN where a run has no image rows or only images of one label.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.variance = {name: np.full(shape, np.nan) for name in RESAMPLED}
        self.size = {name: np.full(shape, np.nan) for name in RESAMPLED}
        self.freedom = np.full(shape, np.nan)
        self._covariances: list[dict[str, Floats]] = []
        self._group = np.full(shape, -1)
        self._row = np.full(shape, -1)

    def add(self, where: list[tuple[int, int]], scores: Floats, labels: NDArray[np.int8], seed: int, n: int) -> None:
        """Resample ``n`` times the runs at ``where``: ``scores`` [R, N] of the same images, with ``labels`` [N]."""
        anomalous = int((labels == 1).sum())
        normal = len(labels) - anomalous
        fewest = min(normal, anomalous)
        if fewest < 2:
            return
        draws = statistics.bootstrap_images(scores, labels, seed=seed, n=n)
        # a resample of n images varies like n - 1 of them
        found = [np.atleast_2d(np.cov(one)) * fewest / (fewest - 1) for one in draws]
        at = tuple(np.array(where, dtype=np.int64).T)
        for name, covariance in zip(RESAMPLED, found, strict=True):
            self.variance[name][at] = np.diag(covariance)
            self.size[name][at] = intervals.assumed_size(name, normal, anomalous)
        self.freedom[at] = fewest - 1
        self._group[at] = len(self._covariances)
        self._row[at] = np.arange(len(where))
        self._covariances.append(dict(zip(RESAMPLED, found, strict=True)))

    def noise(self, name: str, entries: NDArray[np.int64], columns: NDArray[np.int64]) -> ImageNoise | None:
        """Of the entries' means over ``columns``, the seeds of one category; None if one of the runs has none."""
        at = np.ix_(entries, columns)
        groups, rows = self._group[at].ravel(), self._row[at].ravel()
        if (groups < 0).any():
            return None
        covariance = np.zeros((len(groups), len(groups)))
        for group in np.unique(groups):
            own = np.flatnonzero(groups == group)
            covariance[np.ix_(own, own)] = self._covariances[group][name][np.ix_(rows[own], rows[own])]
        shape = (len(entries), len(columns), len(entries), len(columns))
        of_means = covariance.reshape(shape).mean(axis=(1, 3))
        return ImageNoise(of_means, float(self.size[name][at].min()), float(self.freedom[at].min()))


def resample_runs(
    images: pd.DataFrame, where: dict[str, tuple[int, int]], categories: list[str], shape: tuple[int, int], n: int
) -> ResampledRuns:
    """Resample the test images of every run of ``where``, run_id -> place in a grid of this ``shape`` [M, C].

    ``images`` has the columns of IMAGES_SCHEMA; ``categories`` [C] name each column's category, and seed its
    resamples together with the images' names.
    """
    found = ResampledRuns(shape)
    own = images[(images["split"] == "test") & images["run_id"].isin(where)]
    run, run_ids = pd.factorize(own["run_id"], sort=True)
    image, image_ids = pd.factorize(own["image_id"], sort=True)
    order = np.lexsort((image, run))
    run, image = run[order], image[order].astype(np.int64)
    labels, scores = own["label"].to_numpy(np.int8)[order], own["score"].to_numpy(np.float64)[order]
    starts = np.searchsorted(run, np.arange(len(run_ids) + 1))
    groups: dict[tuple[str, bytes, bytes], list[tuple[tuple[int, int], slice]]] = {}
    for run_id, start, end in zip(run_ids, starts[:-1], starts[1:], strict=True):
        at, rows = where[str(run_id)], slice(start, end)
        key = (categories[at[1]], image[rows].tobytes(), labels[rows].tobytes())
        groups.setdefault(key, []).append((at, rows))
    for (category, _, _), members in groups.items():
        same = members[0][1]
        names = "\0".join(image_ids[image[same]]).encode()
        seed = zlib.crc32(names, zlib.crc32(category.encode()))
        found.add([at for at, _ in members], np.stack([scores[rows] for _, rows in members]), labels[same], seed, n)
    return found
