"""What a detector does at every threshold, exactly: the common ground of all threshold-free metrics.

Between two neighbouring scores of anomalous items nothing but the number of false positives changes, so every
curve is known from its points at the distinct scores of anomalous items; normal items need only be counted.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class OperatingPoints:
    """Counts at the K distinct scores of anomalous items, from the highest score to the lowest.

    An item is predicted anomalous when its score >= the threshold; tied items are therefore counted together.
    There is at least one normal and one anomalous item.
    """

    thresholds: Scores  # [K], strictly descending
    true_positives: NDArray[np.int64]  # [K], anomalous items with score >= threshold
    false_positives: NDArray[np.int64]  # [K], normal items with score >= threshold
    false_positives_above: NDArray[np.int64]  # [K], normal items with score > threshold
    order: NDArray[np.int64]  # [P], indices of the anomalous items, by descending score
    n_normal: int

    @property
    def n_anomalous(self) -> int:
        """Number of anomalous items, P."""
        return int(self.order.size)


def operating_points(normal_ascending: Scores, anomalous: Scores) -> OperatingPoints | None:
    """The operating points of a detector, or None if there are no normal or no anomalous items.

    ``normal_ascending`` holds the finite scores of the normal items [N], sorted upwards; ``anomalous`` those
    of the anomalous items [P] in any order. Larger scores are more anomalous.
    """
    if normal_ascending.size == 0 or anomalous.size == 0:
        return None
    order = np.argsort(anomalous)[::-1]
    descending = anomalous[order]
    last_of_ties = np.append(np.flatnonzero(descending[1:] != descending[:-1]), descending.size - 1)
    thresholds = descending[last_of_ties]
    # Ascending queries: the binary searches then walk through memory in one direction, which is faster.
    below = np.searchsorted(normal_ascending, thresholds[::-1], side="left")[::-1]
    not_above = np.searchsorted(normal_ascending, thresholds[::-1], side="right")[::-1]
    return OperatingPoints(
        thresholds=thresholds,
        true_positives=(last_of_ties + 1).astype(np.int64),
        false_positives=(normal_ascending.size - below).astype(np.int64),
        false_positives_above=(normal_ascending.size - not_above).astype(np.int64),
        order=order.astype(np.int64, copy=False),
        n_normal=int(normal_ascending.size),
    )


def auroc(points: OperatingPoints) -> float:
    """Area under the ROC curve: P(anomalous > normal) + P(equal) / 2 (Fawcett 2006), in exact integers."""
    gained = np.diff(points.true_positives, prepend=0)
    tied = points.false_positives - points.false_positives_above
    twice_pairs_won = int(np.sum(gained * (2 * (points.n_normal - points.false_positives) + tied)))
    return twice_pairs_won / (2 * points.n_anomalous * points.n_normal)


def average_precision(points: OperatingPoints) -> float:
    """Sum of precision x gain in recall over thresholds, without interpolation (Davis and Goadrich 2006)."""
    gained = np.diff(points.true_positives, prepend=0)
    precision = points.true_positives / (points.true_positives + points.false_positives)
    return min(1.0, float(np.sum(gained * precision)) / points.n_anomalous)


def best_f1(points: OperatingPoints) -> tuple[float, float]:
    """The highest F1 over all thresholds, and the largest threshold that reaches it."""
    predicted = points.true_positives + points.false_positives
    f1 = 2 * points.true_positives / (points.n_anomalous + predicted)
    best = int(np.argmax(f1))
    return float(f1[best]), float(points.thresholds[best])


def fpr_at_recall(points: OperatingPoints, recall: float) -> float:
    """False positive rate at the largest threshold with at least this recall in (0, 1]."""
    reached = int(np.argmax(points.true_positives / points.n_anomalous >= recall))
    return int(points.false_positives[reached]) / points.n_normal


def area_under_overlap(points: OperatingPoints, weights: NDArray[np.float64], limit: float) -> float:
    """Area under overlap over false positive rate from 0 to ``limit`` in (0, 1], divided by ``limit``.

    ``weights`` [P] is what each anomalous item adds to the overlap once found; they sum to 1. The curve
    starts at (0, 0), ends at (1, 1), is linear between the points of distinct scores, and is interpolated at
    the limit (Bergmann et al., IJCV 2021). Raises ValueError for another limit.
    """
    if not 0 < limit <= 1:
        raise ValueError(f"the limit of the false positive rate must lie in (0, 1]; got {limit}")
    overlap = np.cumsum(weights[points.order], dtype=np.float64)[points.true_positives - 1]
    # Just above each threshold only false positives have been added since the threshold before it.
    false_positives = np.column_stack([points.false_positives_above, points.false_positives]).ravel()
    overlaps = np.column_stack([np.concatenate([[0.0], overlap[:-1]]), overlap]).ravel()
    x = np.concatenate([[0], false_positives, [points.n_normal]])
    y = np.concatenate([[0.0], overlaps, overlap[-1:]])
    x_limit = limit * points.n_normal
    kept = int(np.searchsorted(x, x_limit, side="right"))
    area = float(np.sum(np.diff(x[:kept]) * (y[: kept - 1] + y[1:kept]))) / 2
    if kept < x.size:
        beyond = x_limit - int(x[kept - 1])
        slope = (y[kept] - y[kept - 1]) / (x[kept] - x[kept - 1])
        area += beyond * float(2 * y[kept - 1] + slope * beyond) / 2
    return min(1.0, area / x_limit)
