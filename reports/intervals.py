"""Intervals of means over categories and of differences between methods, from two kinds of chance.

One is the choice of the test images, which the bootstrap of ``statistics.py`` turns into a covariance of the methods'
scores; the other is the seed. Both are variances with degrees of freedom. They add up over categories, which are
independent; a difference has a variance too, a small one where the same images are hard for both methods.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy import special

from adbench.reports.statistics import Floats, rounded

LEVEL = 0.95
FEWEST_SEEDS = 3  # fewer than this say nothing about a distribution: their range is shown instead
ASSUMED_WEIGHT = 4.0  # in errors; about 1.96 squared, the observations that Agresti and Coull (1998) add

Interval = Literal["images", "images+seeds", "seeds", "range", "none"]
"""What an interval covers: chance in test images (and seeds), in seeds, the seeds' range, nothing."""


@dataclass(frozen=True)
class ImageNoise:
    """How the scores of M methods in one category vary with the choice of its test images.

    ``covariance`` [M, M], of their means over the category's seeds; ``size`` as by ``assumed_size``; ``freedom``:
    degrees of freedom, one less than the images of the rarer label.
    """

    covariance: Floats
    size: float
    freedom: float


@dataclass(frozen=True)
class Pairs:
    """Differences between M methods' means, row minus column, [M, M]: intervals and two-sided p-values.

    ``p`` is NaN where two methods differ and nothing varies.
    """

    difference: Floats
    low: Floats
    high: Floats
    p: Floats


@dataclass(frozen=True)
class Estimates:
    """Means [M] over categories with their intervals, NaN where there is none, and their differences."""

    mean: Floats
    low: Floats
    high: Floats
    interval: Interval
    pairs: Pairs | None


@dataclass
class _Variance:
    """Of a sum of independent terms, any shape, with degrees of freedom as by Satterthwaite (1946)."""

    total: Floats = field(default_factory=lambda: np.zeros(()))
    _ratio: Floats = field(default_factory=lambda: np.zeros(()))
    _most: Floats = field(default_factory=lambda: np.zeros(()))

    def add(self, variance: Floats, freedom: Floats | float) -> None:
        self.total = self.total + variance
        self._ratio = self._ratio + variance**2 / freedom
        self._most = self._most + freedom

    @property
    def freedom(self) -> Floats:
        known = self._ratio > 0
        return np.where(known, self.total**2 / np.where(known, self._ratio, 1), self._most)


def assumed_size(metric: str, normal: int, anomalous: int) -> float:
    """The number of images whose right and wrong answers would vary as much as a nearly perfect ``metric`` does.

    For image_auroc after Hanley and McNeil's variance (1982) with the mean group size of Newcombe (2006, Confidence
    intervals for an effect size measure based on the Mann-Whitney statistic, part 2, method 5), in the limit of a
    perfect score. For image_ap twice the anomalous images, as AUROC has it for groups of equal size: a rule of
    our own, which the measurements at ``estimate_means`` bear out.
    """
    if metric == "image_ap":
        return 2.0 * anomalous
    return normal * anomalous / (1 + ((normal + anomalous) / 2 - 1) / 2)


def _assumed(score: Floats, size: Floats | float) -> tuple[Floats, Floats]:
    """Errors expected among ``size`` images, and the variance of their proportion.

    The variance is that with one success and one failure added (Agresti and Caffo 2000), and so never zero.
    """
    proportion = (size * score + 1) / (size + 2)
    return size * np.minimum(score, 1 - score), proportion * (1 - proportion) / (size + 2)


def contrasts(covariance: Floats) -> Floats:
    """Variances [M, M] of the differences between M quantities, and on the diagonal of the quantities themselves."""
    own = np.diag(covariance)
    found = np.maximum(own[:, None] + own - 2 * covariance, 0)
    np.fill_diagonal(found, own)
    return np.asarray(found, dtype=np.float64)


def _trust(errors: Floats) -> Floats:
    """The bootstrap's share in a variance: it knows as much as it has seen errors."""
    return errors / (errors + ASSUMED_WEIGHT)


def _moderated(bootstrap: Floats, score: Floats, size: float) -> Floats:
    """The variances [M, M] of ``contrasts`` by the ``bootstrap``, weighed with those of ``size`` answers.

    The correlation of two methods is the bootstrap's, and counts as much.
    """
    errors, assumed = _assumed(score, size)
    trust = _trust(contrasts(np.diag(errors)))
    own = np.diag(bootstrap)
    scale = np.sqrt(np.outer(own, own))
    covariance = (own[:, None] + own - bootstrap) / 2
    correlation = np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0)
    shared = trust * correlation * np.sqrt(np.outer(assumed, assumed))
    np.fill_diagonal(shared, assumed)
    return trust * bootstrap + (1 - trust) * contrasts(shared)


def _quantile(freedom: Floats) -> Floats:
    return np.asarray(special.stdtrit(freedom, (1 + LEVEL) / 2), dtype=np.float64)


def _score_interval(
    score: Floats, variance: Floats, freedom: Floats, size: Floats | float = np.inf
) -> tuple[Floats, Floats]:
    """Wilson's interval (1927) of scores in [0, 1], for as many observations as have that ``variance``.

    It lies in [0, 1], contains the score, and reaches further to the side of 0.5.
    """
    proportion = score if np.isinf(size).all() else (size * score + 1) / (size + 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        a = _quantile(freedom) ** 2 * np.where(variance > 0, variance / (proportion * (1 - proportion)), 0.0)
    middle = (score + a / 2) / (1 + a)
    half = np.sqrt(a * np.maximum(score * (1 - score), 0) + a**2 / 4) / (1 + a)
    return np.clip(middle - half, 0, score), np.clip(middle + half, score, 1)


def score_intervals(score: Floats, variance: Floats, size: Floats, freedom: Floats) -> tuple[Floats, Floats]:
    """Intervals of single runs' scores, over the choice of test images; all arguments [R], see ImageNoise.

    ``variance``: that of the bootstrap.
    """
    errors, assumed = _assumed(score, size)
    trust = _trust(errors)
    return _score_interval(score, trust * variance + (1 - trust) * assumed, freedom, size)


def estimate_means(
    by_category: Sequence[Floats], noise: Sequence[ImageNoise] | None, *, paired: bool = True
) -> Estimates:
    """Means over categories (of means over seeds) of M methods, and their differences, with 95 % intervals.

    ``by_category``: per category [M, S] values in [0, 1], one column per seed; ``noise``: per category, or None for
    metrics that the image scores do not determine. Without ``noise``, fewer than three seeds in any category give
    the mean of the categories' lowest and highest seeds and no differences, and one seed everywhere gives NaN: no
    interval is made up. ``paired``: whether the differences are wanted, which take most of the time.

    A mean has Wilson's interval, a difference a symmetric one, both with quantiles of Student's t. The variance over
    images is the bootstrap's, with that of ``assumed_size`` right and wrong answers mixed in where errors are few: of
    these the bootstrap knows little, and of a perfect score nothing.

    Percentiles of the bootstrap would be simpler, but hold the truth too rarely. Coverage of 95 % intervals, measured
    with 400 to 2,000 simulated test sets each (tests/reports/test_intervals.py repeats a part of it): scores of both
    labels normally distributed, independent or correlated between methods, AUROC .7 to .999, 20 + 5 to 500 + 500
    images, with and without ties; and some anomalies that look normal.

    ======================  =============  =====================  ========================================
    interval                AUROC          AP                     percentiles of the same resamples
    ======================  =============  =====================  ========================================
    one category            94 to 99.5 %   92 to 99.5 %           AUROC 55 to 95 %, AP 55 to 95 %
    mean over 3 to 15       92 to 99.8 %   89 to 99.9 %           AUROC 90 to 96 %, AP 74 to 96 %
    difference              93 to 100 %    90 to 100 %            AUROC 82 to 100 %, AP 82 to 100 %
    ======================  =============  =====================  ========================================

    So 15 + 15 images at AUROC .99 have 97 % instead of 58 %, 100 + 20 at .97 have 97 % instead of 87 %. The lowest:
    AP of poor methods (AP near .6, 89 to 92 %) and of five anomalies a category (91 to 93 %), for few images make AP
    too high on average; AUROC over ten categories where 2 % of 40 anomalies look normal (92 %). Near perfect scores
    the intervals are rather too wide, those of differences most. With seeds that vary as much as images: 95 to 98 %
    for three seeds or more, 92 to 98 % for two; for one, 69 to 92 %, for nothing is known of the seeds. Over seeds
    alone 95 to 96 %, where the percentiles of their bootstrap have 76 to 91 %.
    """
    count, seeds = len(by_category), [values.shape[1] for values in by_category]
    mean = np.mean([values.mean(axis=1) for values in by_category], axis=0)
    if noise is None and min(seeds) < FEWEST_SEEDS:
        return _without_distribution(by_category, mean)
    variance, size = _Variance(), np.inf
    if noise is not None:
        over_images = _Variance()
        for one in noise:
            over_images.add(contrasts(one.covariance) / count**2, one.freedom)
        size = count**2 / sum(1 / one.size for one in noise)
        variance.add(_moderated(over_images.total, mean, size), over_images.freedom)
    if max(seeds) > 1:
        over_seeds = _Variance()
        for values in by_category:
            if values.shape[1] > 1:
                covariance = np.atleast_2d(np.cov(values)) / values.shape[1]
                over_seeds.add(contrasts(covariance) / count**2, values.shape[1] - 1)
        variance.add(over_seeds.total, over_seeds.freedom)
    low, high = _score_interval(mean, np.diag(variance.total), np.diag(variance.freedom), size)
    covered: Interval = "seeds" if noise is None else "images+seeds" if max(seeds) > 1 else "images"
    return Estimates(mean, low, high, covered, _differences(mean, variance) if paired else None)


def _differences(mean: Floats, variance: _Variance) -> Pairs:
    difference = mean[:, None] - mean
    error = rounded(np.sqrt(variance.total))
    np.fill_diagonal(error, 0)
    reach = _quantile(variance.freedom) * error
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * special.stdtr(variance.freedom, -np.abs(difference) / error)
    p = np.where(error > 0, p, np.where(rounded(difference) == 0, 1.0, np.nan))
    return Pairs(difference, difference - reach, difference + reach, p)


def _without_distribution(by_category: Sequence[Floats], mean: Floats) -> Estimates:
    if max(values.shape[1] for values in by_category) == 1:
        return Estimates(mean, np.full(len(mean), np.nan), np.full(len(mean), np.nan), "none", None)
    low = np.mean([values.min(axis=1) for values in by_category], axis=0)
    high = np.mean([values.max(axis=1) for values in by_category], axis=0)
    return Estimates(mean, low, high, "range", None)
