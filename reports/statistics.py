"""Statistics over runs: bootstrap of image metrics, ranks and wins, shared cells, Pareto front."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

RESAMPLES = 2000
FEWEST_RESAMPLES = 200
MOST_DRAWS = 10**9  # images times resamples, some ten seconds
_BLOCK = 1 << 13  # elements of runs x resamples worked on at a time
_CHUNK = 1 << 22  # elements of one block of resamples x images, to bound memory

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def weighted_auroc_ap(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike) -> tuple[Floats, Floats]:
    """AUROC (ties averaged, as by mid-ranks) and step-wise average precision of weighted images.

    ``scores`` [N] of one run or [R, N] of several, larger = more anomalous; ``labels`` [N], 0 or 1; ``weights``
    [N, B], how often each image counts in each of B resamples. Returns two arrays [B] or [R, B] in [0, 1]; NaN where
    no normal or no anomalous image is left.
    """
    runs, y = np.asarray(scores, dtype=np.float64), np.asarray(labels).astype(bool)
    w = np.asarray(weights, dtype=np.float64)
    flat = runs.reshape(-1, len(y))
    positives, negatives = w[y].sum(axis=0), w[~y].sum(axis=0)
    pairs, ap = (np.empty((len(flat), w.shape[1])) for _ in range(2))
    rows = max(1, _BLOCK // max(1, w.shape[1]))
    for start in range(0, len(flat), rows):
        block = slice(start, start + rows)
        pairs[block], ap[block] = _pairs_and_steps(flat[block], y, w, negatives)
    shape = (*runs.shape[:-1], w.shape[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        undefined = (positives == 0) | (negatives == 0)
        return (
            np.where(undefined, np.nan, pairs / (positives * negatives)).reshape(shape),
            np.where(undefined, np.nan, ap / positives).reshape(shape),
        )


def _pairs_and_steps(scores: Floats, y: Bools, weights: Floats, negatives: Floats) -> tuple[Floats, Floats]:
    """Pairs in which the anomalous image has the larger score, and the sum of precision over anomalous images."""
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1)
    is_end = np.ones(order.shape, dtype=bool)  # of images with one score, the last
    is_end[:, :-1] = ranked[:, 1:] != ranked[:, :-1]
    # Sums over the images so far, and those up to the images with the score before.
    true, flagged, true_before, flagged_before, pairs, ap = (
        np.zeros((len(scores), weights.shape[1])) for _ in range(6)
    )
    # The loop is over images, its body over runs and resamples: these arrays stay in the processor's cache.
    for image, end in zip(order.T, is_end.T, strict=True):
        own = weights[image]
        flagged += own
        own[~y[image]] = 0
        true += own
        rows: slice | NDArray[np.intp] = slice(None) if end.all() else np.flatnonzero(end)
        hits, alarms = true[rows], flagged[rows]
        more = hits - true_before[rows]
        false_twice = (alarms - hits) + (flagged_before[rows] - true_before[rows])
        pairs[rows] += more * (negatives - false_twice / 2)
        ap[rows] += more * hits / np.maximum(alarms, 1)
        true_before[rows], flagged_before[rows] = hits, alarms
    return pairs, ap


def stratified_weights(labels: ArrayLike, n: int, rng: np.random.Generator) -> Floats:
    """``n`` bootstrap resamples of images, drawn within each label: counts [N, n] that keep both totals."""
    y = np.asarray(labels)
    counts = np.zeros((len(y), n))
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        drawn = rng.integers(len(members), size=(len(members), n))
        flat = np.bincount((drawn * n + np.arange(n)).ravel(), minlength=len(members) * n)
        counts[members] = flat.reshape(len(members), n)
    return counts


def bootstrap_images(scores: ArrayLike, labels: ArrayLike, *, seed: int, n: int = RESAMPLES) -> tuple[Floats, Floats]:
    """AUROC and AP of R runs under the same ``n`` resamples of their common test images.

    ``scores`` [R, N], ``labels`` [N]. Returns two arrays [R, n]; NaN where one label is absent.
    """
    runs, y = np.atleast_2d(np.asarray(scores, dtype=np.float64)), np.asarray(labels)
    rng = np.random.default_rng(seed)
    auroc = np.empty((len(runs), n))
    ap = np.empty_like(auroc)
    step = max(1, _CHUNK // max(1, len(y)))
    for start in range(0, n, step):
        block = slice(start, min(n, start + step))
        weights = stratified_weights(y, block.stop - start, rng)
        auroc[:, block], ap[:, block] = weighted_auroc_ap(runs, y, weights)
    return auroc, ap


def resamples_for(n_images: int) -> int:
    """How many resamples a store with so many image scores gets: fewer in a very large one, to bound the time.

    The variance that 200 resamples tell is right to a tenth, so an interval to a twentieth of its width.
    """
    return min(RESAMPLES, max(FEWEST_RESAMPLES, MOST_DRAWS // max(1, n_images)))


def rounded(values: ArrayLike) -> Floats:
    """``values`` to twelve decimals: what differs only by the order of a sum is equal."""
    return np.asarray(np.round(np.asarray(values, dtype=np.float64), 12), dtype=np.float64)


def rank_methods(values: ArrayLike, higher_is_better: bool = True) -> Floats:
    """Ranks [M, K] of M methods within each of K categories: 1 is best, equal values share their mean rank."""
    v = rounded(values)
    return np.asarray(stats.rankdata(-v if higher_is_better else v, method="average", axis=0), dtype=np.float64)


def count_wins(values: ArrayLike, higher_is_better: bool = True) -> NDArray[np.int64]:
    """Number of categories, per method, in which it alone is best of the M methods in ``values`` [M, K]."""
    v = rounded(values)
    best = v.max(axis=0) if higher_is_better else v.min(axis=0)
    is_best = v == best
    return np.asarray((is_best & (is_best.sum(axis=0) == 1)).sum(axis=1), dtype=np.int64)


def shared_cells(defined: Bools, category: NDArray[np.int64]) -> tuple[Bools, Bools]:
    """Which methods are compared, and on which cells: those that all of them have.

    ``defined`` [M, C]: whether a method has a value in a cell; ``category`` [C]: each cell's category.
    A method with values in fewer than half of the categories is not compared, or it would take the others'
    categories away; where nothing is shared even so, the methods with the fewest cells are left out until
    something is.
    Returns masks [M] and [C].
    """
    held = np.array([len(set(category[row])) for row in defined], dtype=np.int64)
    total = len(set(category[defined.any(axis=0)]))
    methods = (held > 0) & (2 * held >= total)
    size = defined.sum(axis=1)
    while methods.any():
        cells = np.asarray(defined[methods].all(axis=0), dtype=np.bool_)
        if cells.any():
            return methods, cells
        fewest = np.flatnonzero(methods & (size == size[methods].min()))
        methods[fewest[-1]] = False
    return methods, np.zeros(defined.shape[1], dtype=np.bool_)


def pareto_front(cost: ArrayLike, quality: ArrayLike) -> Bools:
    """Points [M] that no other beats: none is at least as cheap and as good, and better in one of the two.

    Lower cost and higher quality are better; points with a NaN are never on the front.
    """
    c, q = np.asarray(cost, dtype=np.float64), np.asarray(quality, dtype=np.float64)
    as_good = (c[:, None] <= c) & (q[:, None] >= q)
    better = (c[:, None] < c) | (q[:, None] > q)
    beaten = (as_good & better).any(axis=0)
    return np.asarray(~beaten & np.isfinite(c) & np.isfinite(q), dtype=np.bool_)
