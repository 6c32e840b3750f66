"""Metrics of one score per image: ranking, a threshold fixed on val, and calibration."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adbench.benchmark_suites.operating_points import (
    Auroc,
    AveragePrecision,
    BestF1,
    CurveMetric,
    FprAtRecall,
    OperatingPoints,
    measure,
)
from adbench.benchmark_suites.sorted_scores import Anomalous, complete_curve

Scores = NDArray[np.floating[Any]]

NORMAL_QUANTILE = 0.95
ECE_BINS = 15


def image_metrics(labels: NDArray[np.int64], scores: Scores) -> dict[str, float | None]:
    """Ranking metrics of one category's images; all None unless both classes are present.

    ``labels`` [N] are 0 (normal) or 1 (anomalous), ``scores`` [N] finite, larger = more anomalous. Gives
    ``image_auroc``, ``image_ap``, ``image_f1max_oracle`` and ``image_fpr95``, each in [0, 1].
    Raises ValueError for shapes that differ, other labels or non-finite scores.
    """
    labels, scores = _checked("", labels, scores)
    n_anomalous, n_normal = int(labels.sum()), int((labels == 0).sum())
    if not n_anomalous or not n_normal:
        return dict.fromkeys(("image_auroc", "image_ap", "image_f1max_oracle", "image_fpr95"))
    metrics: dict[str, CurveMetric] = {
        "image_auroc": Auroc(n_anomalous, n_normal),
        "image_ap": AveragePrecision(n_anomalous),
        "image_f1max_oracle": BestF1(n_anomalous),
        "image_fpr95": FprAtRecall(n_anomalous, n_normal, 0.95),
    }
    measure(_image_curve(labels, scores), metrics.values())
    return {name: metric.bounds().value for name, metric in metrics.items()}


def val_threshold_metrics(
    val_labels: NDArray[np.int64], val_scores: Scores, labels: NDArray[np.int64], scores: Scores
) -> dict[str, float | None]:
    """What a system with all choices made on val gets on test: ``image_f1_val``, ``image_ece``, in [0, 1].

    Arguments as in ``image_metrics``, for val [M] and test [N]. The threshold of F1 is the one with the best
    F1 on val or, if val holds normal images only, their 95 % quantile, above which an image is predicted
    anomalous. F1 is None unless test holds both classes and val holds normal images; the calibration error is
    None unless val holds both classes and test is not empty. Raises ValueError as ``image_metrics`` does.
    """
    val_labels, val_scores = _checked("val ", val_labels, val_scores)
    labels, scores = _checked("test ", labels, scores)
    return {
        "image_f1_val": _f1_at_val_threshold(val_labels, val_scores, labels, scores),
        "image_ece": _calibration_error(val_labels, val_scores, labels, scores),
    }


def _checked(split: str, labels: NDArray[Any], scores: NDArray[Any]) -> tuple[NDArray[np.int64], Scores]:
    labels, scores = np.asarray(labels), np.asarray(scores)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise ValueError(
            f"{split}labels and scores must be [N] and [N]; got {list(labels.shape)} and {list(scores.shape)}"
        )
    wrong = np.flatnonzero((labels != 0) & (labels != 1))
    if wrong.size:
        raise ValueError(f"labels must be 0 or 1; {split}image {wrong[0]} has {labels[wrong[0]]}")
    broken = np.flatnonzero(~np.isfinite(scores))
    if broken.size:
        raise ValueError(f"scores must be finite; {split}image {broken[0]} has {scores[broken[0]]}")
    return labels.astype(np.int64), scores.astype(np.float64)


def _image_curve(labels: NDArray[np.int64], scores: Scores) -> Iterator[OperatingPoints]:
    anomalous = scores[labels == 1]
    one_region = Anomalous([(anomalous, np.zeros(anomalous.size, dtype=np.int64))])
    return complete_curve(one_region, np.array([anomalous.size]), [np.sort(scores[labels == 0])])


def _f1_at_val_threshold(
    val_labels: NDArray[np.int64], val_scores: Scores, labels: NDArray[np.int64], scores: Scores
) -> float | None:
    if np.unique(labels).size < 2 or not (val_labels == 0).any():
        return None
    if (val_labels == 1).any():
        best = BestF1(int(val_labels.sum()))
        measure(_image_curve(val_labels, val_scores), [best])
        predicted = scores >= best.threshold
    else:
        # Strictly above, since the quantile is itself the score of a normal image.
        predicted = scores > np.quantile(val_scores, NORMAL_QUANTILE, method="higher")
    found = int(np.sum(predicted & (labels == 1)))
    return 2 * found / (int(labels.sum()) + int(predicted.sum()))


def _calibration_error(
    val_labels: NDArray[np.int64], val_scores: Scores, labels: NDArray[np.int64], scores: Scores
) -> float | None:
    if np.unique(val_labels).size < 2 or labels.size == 0:
        return None
    # Imported here because listing the metrics must stay fast, and this import takes a second.
    from sklearn.linear_model import LogisticRegression

    mean = np.mean(val_scores)
    spread = np.std(val_scores) if np.ptp(val_scores) > 0 else 1.0
    platt = LogisticRegression().fit(((val_scores - mean) / spread)[:, None], val_labels)
    probability = platt.predict_proba(((scores - mean) / spread)[:, None])[:, 1]
    bins = np.minimum((probability * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    # (count / N) x |share of anomalies - mean probability|, where the count of each bin cancels.
    gaps = np.bincount(bins, weights=labels - probability, minlength=ECE_BINS)
    return float(np.abs(gaps).sum()) / labels.size
