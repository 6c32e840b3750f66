"""Pixel metrics against scikit-learn and a region-by-region loop, and a case for every known trap."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from adbench.benchmark_suites.metrics import pixel_metrics

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]
Images = tuple[list[Map], list[Mask]]
Point = tuple[int, int]

shapes = st.tuples(st.integers(1, 6), st.integers(1, 6))


@st.composite
def images(draw: st.DrawFn, levels: int = 4) -> Images:
    """One to four images of different sizes, some normal, with few distinct scores."""
    maps, masks = [], []
    for shape in draw(st.lists(shapes, min_size=1, max_size=4)):
        maps.append(draw(hnp.arrays(np.int64, shape, elements=st.integers(0, levels - 1))).astype(np.float32))
        masks.append(draw(hnp.arrays(np.bool_, shape)) if draw(st.booleans()) else np.zeros(shape, dtype=np.bool_))
    return maps, masks


def regions_of(mask: Mask) -> list[set[Point]]:
    """8-connected components by flood fill."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    regions = []
    while left:
        region, frontier = set[Point](), [left.pop()]
        while frontier:
            y, x = frontier.pop()
            region.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            frontier += near
        regions.append(region)
    return regions


def area_to(limit: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """Normalised area under the polyline up to the limit."""
    area = 0.0
    for x0, y0, x1, y1 in zip(xs, ys, xs[1:], ys[1:], strict=False):
        if x1 <= limit:
            area += (x1 - x0) * (y0 + y1) / 2
        else:
            y_limit = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            return (area + (limit - x0) * (y0 + y_limit) / 2) / limit
    return area / limit


def aupro_by_loop(maps: Sequence[Map], masks: Sequence[Mask], limit: float) -> float | None:
    regions = [
        (anomaly_map, region) for anomaly_map, mask in zip(maps, masks, strict=True) for region in regions_of(mask)
    ]
    n_normal = sum(int((~mask).sum()) for mask in masks)
    if not regions or not n_normal:
        return None
    fprs, pros = [0.0], [0.0]
    for threshold in sorted({float(value) for anomaly_map in maps for value in anomaly_map.flat}, reverse=True):
        false = sum(
            int((anomaly_map[~mask] >= threshold).sum()) for anomaly_map, mask in zip(maps, masks, strict=True)
        )
        overlaps = [
            sum(1 for pixel in region if anomaly_map[pixel] >= threshold) / len(region)
            for anomaly_map, region in regions
        ]
        fprs.append(false / n_normal)
        pros.append(sum(overlaps) / len(overlaps))
    return area_to(limit, fprs, pros)


def defined(value: float | None) -> float:
    assert value is not None
    return value


def aupro(maps: Sequence[Map], masks: Sequence[Mask], limit: float = 0.3) -> float:
    return defined(pixel_metrics(maps, masks, aupro_limits={"aupro": limit})["aupro"])


@pytest.mark.slow
@settings(max_examples=1000)
@given(images())
def test_equal_to_scikit_learn_and_to_a_loop_over_all_thresholds(data: Images) -> None:
    maps, masks = data
    scores = np.concatenate([anomaly_map.ravel() for anomaly_map in maps])
    labels = np.concatenate([mask.ravel() for mask in masks])
    got = pixel_metrics(maps, masks)
    if labels.all() or not labels.any():
        assert set(got.values()) == {None}
        return
    predictions = [scores >= threshold for threshold in np.unique(scores)]
    f1 = max(2 * int((labels & flags).sum()) / int(labels.sum() + flags.sum()) for flags in predictions)
    assert got["pixel_auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
    assert got["pixel_ap"] == pytest.approx(average_precision_score(labels, scores), abs=1e-9)
    assert got["pixel_f1max_oracle"] == pytest.approx(f1, abs=1e-9)


@pytest.mark.slow
@settings(max_examples=1000)
@given(images(), st.sampled_from([0.01, 0.05, 0.3, 0.5, 1.0]))
def test_aupro_equals_a_loop_over_thresholds_and_regions(data: Images, limit: float) -> None:
    got = pixel_metrics(*data, aupro_limits={"aupro": limit})["aupro"]
    assert got == pytest.approx(aupro_by_loop(*data, limit), abs=1e-9)


@given(images(levels=200), st.permutations(range(4)))
def test_invariant_under_monotone_maps_and_permutation_of_images(data: Images, order: list[int]) -> None:
    maps, masks = data
    expected = pixel_metrics(maps, masks)
    for warped in (
        [np.exp(anomaly_map / 8) for anomaly_map in maps],
        [3 * anomaly_map - 100 for anomaly_map in maps],
        [anomaly_map.astype(np.float64) ** 3 for anomaly_map in maps],
    ):
        assert pixel_metrics(warped, masks) == pytest.approx(expected, abs=1e-12)
    chosen = [index for index in order if index < len(maps)]
    permuted = pixel_metrics([maps[index] for index in chosen], [masks[index] for index in chosen])
    assert permuted == pytest.approx(expected, abs=1e-12)


def scene() -> Images:
    """Random scores, raised over two regions of different size; the second image is normal."""
    rng = np.random.default_rng(3)
    mask = np.zeros((40, 40), dtype=np.bool_)
    mask[2:6, 2:6] = mask[20:35, 20:30] = True
    masks = [mask, np.zeros((30, 50), dtype=np.bool_)]
    maps = [(rng.normal(size=m.shape) + 1.5 * m).astype(np.float32) for m in masks]
    return maps, masks


def test_trap_thresholds_are_the_scores_not_a_grid_over_their_range() -> None:
    maps, masks = scene()
    warped = [np.exp(4 * anomaly_map.astype(np.float64)) for anomaly_map in maps]
    exact = aupro(maps, masks)
    assert aupro(warped, masks) == pytest.approx(exact, abs=1e-12)
    # On a grid of 100 thresholds the warp moves the result, so this case can tell the two apart.
    grid = np.linspace(max(m.max() for m in warped), min(m.min() for m in warped), 100)
    snapped = [grid[::-1][np.searchsorted(grid[::-1], m, side="right") - 1].astype(np.float32) for m in warped]
    assert abs(aupro(snapped, masks) - exact) > 0.1


def test_trap_overlap_is_averaged_over_regions_not_over_images() -> None:
    three = np.array([[True, False, True, False, True]])
    one = np.array([[True, False, False, False, False]])
    found, missed = np.where(three, 2, 1).astype(np.float32), np.where(one, 0, 1).astype(np.float32)
    # Three of four regions (by image: one of two) are found without false positives; then all background ties
    # at once, before the last region is found.
    assert aupro([found, missed], [three, one]) == pytest.approx(3 / 4, abs=1e-12)


def test_trap_the_false_positive_rate_is_not_stretched_to_its_observed_maximum() -> None:
    # At 3 half of the region is found; at 2 the rest of it, with 3 of 5 background pixels, so that the curve
    # passes the limit 0.3 halfway on a straight line from (0, 0.5) to (0.6, 1).
    anomaly_map = np.array([[3, 2, 2, 2, 2, 1, 1]], dtype=np.float32)
    mask = np.array([[True, True, False, False, False, False, False]])
    assert aupro([anomaly_map], [mask]) == pytest.approx((0.5 + 0.75) / 2, abs=1e-12)


def test_trap_ties_are_counted_together() -> None:
    mask = np.array([[True, False, False, True]])
    got = pixel_metrics([np.zeros((1, 4), dtype=np.float32)], [mask])
    assert got == pytest.approx(
        {
            "pixel_auroc": 0.5,
            "pixel_ap": 0.5,
            "pixel_f1max_oracle": 2 / 3,
            "aupro_030": 0.15,  # the diagonal from (0, 0): its mean height up to the limit is half the limit
            "aupro_005": 0.025,
        },
        abs=1e-12,
    )


def test_trap_average_precision_is_not_trapezoidal() -> None:
    anomaly_map = np.array([[4, 3, 2, 1]], dtype=np.float32)
    mask = np.array([[True, False, False, True]])
    assert pixel_metrics([anomaly_map], [mask])["pixel_ap"] == pytest.approx(3 / 4, abs=1e-12)


def test_trap_f1_is_not_read_off_21_thresholds() -> None:
    anomaly_map = np.array([[-1.0, 0.5, 0.50001, 0.50002, 0.5]], dtype=np.float32)
    mask = np.array([[False, False, True, True, False]])
    assert pixel_metrics([anomaly_map], [mask])["pixel_f1max_oracle"] == 1.0


def test_trap_maps_are_not_scaled_per_image() -> None:
    # Within each image the anomaly is highest, but the loud image's background outscores the quiet anomaly.
    quiet, loud = np.array([[0, 1, 2]], dtype=np.float32), np.array([[10, 11, 12]], dtype=np.float32)
    mask = np.array([[False, False, True]])
    assert pixel_metrics([quiet, loud], [mask, mask])["pixel_auroc"] == pytest.approx(6 / 8, abs=1e-12)


def test_trap_masks_are_never_resized_to_the_map() -> None:
    mask = np.zeros((8, 8), dtype=np.bool_)
    mask[3, 3] = True  # a mask resized down to 4 x 4 and re-binarised would lose this region
    with pytest.raises(ValueError, match="image 0"):
        pixel_metrics([np.zeros((4, 4), dtype=np.float32)], [mask])
    anomaly_map = np.zeros((8, 8), dtype=np.float32)
    anomaly_map[3, 3] = 1
    assert aupro([anomaly_map], [mask]) == 1.0


def snake(size: int) -> Mask:
    """One path, a pixel wide, that goes to and fro over the whole image."""
    mask = np.zeros((size, size), dtype=np.bool_)
    mask[::2] = True
    mask[1::4, -1] = mask[3::4, 0] = True
    return mask


@pytest.mark.parametrize("turn", [lambda m: m, np.transpose, np.rot90, lambda m: np.rot90(m, 2)])
def test_trap_a_snake_is_one_region(turn: object) -> None:
    assert callable(turn)
    mask = turn(snake(31))
    dot = np.array([[True, False]])
    # The snake is missed and the dot found: two regions, one found.
    maps = [np.where(mask, 0, 1).astype(np.float32), np.array([[2, 1]], dtype=np.float32)]
    assert aupro(maps, [mask, dot]) == pytest.approx(1 / 2, abs=1e-12)


def test_diagonal_neighbours_are_one_region_and_one_pixel_regions_count() -> None:
    mask = np.array([[1, 0, 0, 0, 1], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=np.bool_)
    anomaly_map = np.full((3, 5), 1, dtype=np.float32)
    anomaly_map[mask] = 0
    anomaly_map[0, 4] = 2  # one of two regions found; of three, had the diagonal been two
    assert aupro([anomaly_map], [mask]) == pytest.approx(1 / 2, abs=1e-12)


def test_regions_of_different_images_are_different() -> None:
    mask = np.array([[True, False, False]])
    found, missed = np.array([[2, 1, 1]], dtype=np.float32), np.array([[0, 1, 1]], dtype=np.float32)
    assert aupro([found, missed, found], [mask] * 3) == pytest.approx(2 / 3, abs=1e-12)


def test_trap_counts_beyond_the_integers_of_float32() -> None:
    side = 4100  # more than 2^24 pixels, which a float32 sum of ones cannot pass
    anomaly_map = np.zeros((side, side), dtype=np.float32)
    mask = np.zeros((side, side), dtype=np.bool_)
    mask[0, :2] = True
    anomaly_map[0, 0] = -1
    n_normal = side * side - 2
    got = pixel_metrics([anomaly_map], [mask])
    assert got["pixel_auroc"] == pytest.approx(0.25, abs=1e-12)
    # Half of recall at 1 of n + 1 pixels (tied with all background), the other half at 2 of n + 2.
    assert got["pixel_ap"] == pytest.approx(0.5 / (n_normal + 1) + 1 / (n_normal + 2), rel=1e-12)


def test_trap_small_weights_do_not_drown_in_a_long_sum() -> None:
    # One region of a million pixels: a float32 sum of its steps of 1e-6 is off by about 1 %.
    side = 1000
    mask = np.ones((side, side), dtype=np.bool_)
    mask[:, -1] = False
    anomaly_map = np.arange(side * side, 0, -1, dtype=np.float32).reshape(side, side)
    # Row by row: each row's part of the region is found before its one background pixel.
    assert aupro([anomaly_map], [mask], limit=1.0) == pytest.approx((side + 1) / (2 * side), abs=1e-9)


@pytest.mark.parametrize("value", [True, False])
def test_undefined_is_none(value: bool) -> None:
    maps, masks = [np.eye(3, dtype=np.float32)], [np.full((3, 3), value, dtype=np.bool_)]
    assert set(pixel_metrics(maps, masks).values()) == {None}
    assert set(pixel_metrics([], []).values()) == {None}


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_non_finite_maps_are_refused_by_index(broken: float) -> None:
    maps: list[Map] = [np.zeros((2, 2), dtype=np.float32), np.array([[0, broken]], dtype=np.float32)]
    with pytest.raises(ValueError, match="image 1 is not"):
        pixel_metrics(maps, [np.zeros(m.shape, dtype=np.bool_) for m in maps])


def test_wrong_input_is_refused() -> None:
    anomaly_map, mask = np.zeros((2, 2), dtype=np.float32), np.array([[True, False], [False, False]])
    with pytest.raises(ValueError, match="1 maps and 2 masks"):
        pixel_metrics([anomaly_map], [mask, mask])
    with pytest.raises(ValueError, match="uint8"):
        pixel_metrics([anomaly_map], [mask.astype(np.uint8) * 255])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"\[1, 2, 2\]"):
        pixel_metrics([anomaly_map[None]], [mask[None]])
    for limit in (0.0, -0.1, 1.1):
        with pytest.raises(ValueError, match="limit"):
            pixel_metrics([anomaly_map], [mask], aupro_limits={"aupro": limit})
