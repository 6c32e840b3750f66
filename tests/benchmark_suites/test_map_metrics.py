"""One ordering for all metrics, whatever the array library, the threads, the parts and the memory."""

import tracemalloc
from collections.abc import Iterator
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from adbench.benchmark_suites import bounded_memory, map_metrics, sorted_scores
from adbench.benchmark_suites.bounded_memory import Counts, Thresholds
from adbench.benchmark_suites.judged_map import Anomalies, JudgedMap, Kind
from adbench.benchmark_suites.map_metrics import MapMetrics
from adbench.benchmark_suites.metrics import image_metrics, pixel_metrics
from adbench.benchmark_suites.operating_points import (
    AreaUnderOverlap,
    Auroc,
    AveragePrecision,
    BestF1,
    CurveMetric,
    FprAtRecall,
    measure,
)
from adbench.benchmark_suites.sorted_scores import Anomalous, complete_curve, packed, unpacked

judge = map_metrics.map_metrics
SMALLEST_BUDGET = 0  # nothing fits: one image at a time, and the fewest thresholds there can be

shapes = st.tuples(st.integers(1, 7), st.integers(1, 7))
scores = st.one_of(
    st.integers(-3, 3).map(float),
    st.floats(-(2.0**100), 2.0**100, width=32),
    st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 3.4e38, -3.4e38]),
)


@st.composite
def categories(draw: st.DrawFn) -> list[JudgedMap]:
    """One to six images of different sizes and kinds, with ties, overlapping defects and saturations."""
    images = []
    kinds: tuple[Kind, ...] = ("good", "structural", "logical")
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=6)):
        shape = draw(shapes)
        channels = np.zeros((0 if kind == "good" else draw(st.integers(1, 2)), *shape), dtype=np.bool_)
        for channel in channels:
            channel[:] = draw(hnp.arrays(np.bool_, shape))
            channel[0, 0] = True
        areas = [draw(st.integers(0, int(channel.sum()))) for channel in channels]
        images.append(JudgedMap(draw(hnp.arrays(np.float32, shape, elements=scores)), channels, areas, kind))
    return images


def assert_equal(got: MapMetrics, expected: MapMetrics, within: float = 1e-12) -> None:
    assert got.values == pytest.approx(expected.values, abs=within)
    assert got.error_bound == pytest.approx(expected.error_bound, abs=within)


def smooth(seed: int, n: int = 12, size: int = 96, share: float = 0.02) -> list[JudgedMap]:
    """Noise over square defects of random places; every score is distinct for all practical purposes."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(n):
        mask = np.zeros((size, size), dtype=np.bool_)
        side = max(1, round(size * share**0.5))
        top, left = rng.integers(0, size - side + 1, size=2)
        mask[top : top + side, left : left + side] = True
        images.append(JudgedMap((rng.normal(size=mask.shape) + 2 * mask).astype(np.float32), mask[None]))
    return images


@given(categories(), st.integers(1, 6), st.sampled_from([1, 4, 30]), st.sampled_from([1, 3]))
def test_neither_parts_nor_stretches_nor_threads_change_anything(
    images: list[JudgedMap], stretch: int, part: int, threads: int
) -> None:
    expected = judge(images, spro=True, threads=1)
    assert expected.error_bound in (0.0, None)
    assert judge(images[::-1], spro=True, threads=threads) == expected  # to the last bit
    with (
        mock.patch.object(sorted_scores, "STRETCH", stretch),
        mock.patch.object(map_metrics, "_FIRST_CHUNK", part),
    ):
        assert_equal(judge(images, spro=True, threads=threads), expected)


@given(categories())
def test_torch_gives_what_numpy_gives(images: list[JudgedMap]) -> None:
    tensors = [JudgedMap(torch.from_numpy(i.anomaly_map.copy()), i.channels, i.saturations, i.kind) for i in images]
    assert_equal(judge(tensors, spro=True), judge(images, spro=True))
    assert_equal(judge(tensors, spro=True, memory_budget=SMALLEST_BUDGET), judge(images, spro=True, memory_budget=0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("budget", [map_metrics.MEMORY_BUDGET, SMALLEST_BUDGET])
def test_a_gpu_gives_what_the_processor_gives(budget: int) -> None:
    images = smooth(0)
    on_gpu = [JudgedMap(torch.from_numpy(i.anomaly_map).cuda(), i.channels) for i in images]
    got = judge(on_gpu, spro=False, memory_budget=budget)
    assert_equal(got, judge(images, spro=False, memory_budget=budget), within=1e-9)


@given(categories())
def test_double_precision_gives_what_single_gives(images: list[JudgedMap]) -> None:
    double = [JudgedMap(i.anomaly_map.astype(np.float64), i.channels, i.saturations, i.kind) for i in images]
    assert_equal(judge(double, spro=True), judge(images, spro=True))


@given(categories())
def test_pixels_are_items(images: list[JudgedMap]) -> None:
    """Pixel metrics are the image metrics of pixels: written for both, and true of both."""
    flat = np.concatenate([image.anomaly_map.ravel() for image in images])
    labels = np.concatenate([image.channels.any(axis=0).ravel() for image in images]).astype(np.int64)
    expected = image_metrics(labels, flat)
    values = judge(images, spro=False).values
    for name in ("auroc", "ap", "f1max_oracle"):
        assert values[f"pixel_{name}"] == pytest.approx(expected[f"image_{name}"], abs=1e-12)


def test_negative_zero_is_zero_and_scores_that_only_double_precision_tells_apart_are_not_tied() -> None:
    mask = np.array([[True, False]])
    tied = pixel_metrics([np.array([[-0.0, 0.0]], dtype=np.float32)], [mask])
    assert tied["pixel_auroc"] == 0.5
    apart = pixel_metrics([np.array([[1.0 + 1e-12, 1.0]])], [mask])
    assert apart["pixel_auroc"] == 1.0


@given(
    hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
)
def test_keys_order_floats_to_the_last_bit_and_give_them_back(values: NDArray[np.float32]) -> None:
    values = np.concatenate([values, np.nextafter(values, np.float32(-np.inf))])
    values = values[np.isfinite(values)]
    regions = np.arange(len(values))
    scores, found = unpacked(np.sort(packed(values, regions)))
    assert scores.tolist() == np.sort(values).tolist()
    assert np.array_equal(values[found], scores)


@pytest.mark.parametrize("dtype", [np.float16, torch.bfloat16])
def test_half_precision_is_read_as_it_is(dtype: object) -> None:
    values = np.array([[1.5, 1.0, 2.0, 0.5]], dtype=np.float32)
    half = torch.from_numpy(values).to(dtype) if isinstance(dtype, torch.dtype) else values.astype(np.float16)
    mask = np.array([[True, False, False, True]])
    assert pixel_metrics([half], [mask]) == pixel_metrics([values], [mask])


class Uncached:
    """Images made anew in each pass, of which it counts the passes."""

    def __init__(self, images: list[JudgedMap]) -> None:
        self.images, self.passes = images, 0

    def __iter__(self) -> Iterator[JudgedMap]:
        self.passes += 1
        yield from self.images


@given(categories(), st.sampled_from([1, 3]))
@settings(max_examples=200)
def test_with_next_to_no_memory_every_exact_value_lies_within_its_bounds(
    images: list[JudgedMap], threads: int
) -> None:
    exact = judge(images, spro=True)
    got = judge(images, spro=True, memory_budget=SMALLEST_BUDGET, threads=threads)
    for name, value in exact.values.items():
        bounds = got.bounds[name]
        assert (value is None) == (bounds is None)
        if value is not None and bounds is not None:
            assert bounds.lower - 1e-12 <= value <= bounds.upper + 1e-12
            assert 0 <= bounds.lower <= bounds.upper + 1e-12 <= 1 + 2e-12


@given(categories())
def test_with_little_memory_few_distinct_scores_are_exact(images: list[JudgedMap]) -> None:
    coarse = [JudgedMap(np.sign(i.anomaly_map), i.channels, i.saturations, i.kind) for i in images]
    got = judge(coarse, spro=True, memory_budget=SMALLEST_BUDGET)
    assert_equal(got, judge(coarse, spro=True))


@given(
    hnp.arrays(np.float32, st.integers(1, 30), elements=scores),
    hnp.arrays(np.float32, st.integers(1, 30), elements=scores),
    st.data(),
)
def test_bounds_from_any_thresholds_hold_the_exact_value(
    anomalous: NDArray[np.float32], normal: NDArray[np.float32], data: st.DataObject
) -> None:
    """Whichever thresholds are left out, the lowest apart."""
    n_anomalous, n_normal = len(anomalous), len(normal)

    def metrics() -> list[CurveMetric]:
        return [
            Auroc(n_anomalous, n_normal),
            AveragePrecision(n_anomalous),
            BestF1(n_anomalous),
            *(FprAtRecall(n_anomalous, n_normal, recall) for recall in (0.1, 0.5, 0.95, 1.0)),
            *(AreaUnderOverlap(n_normal, limit) for limit in (0.05, 0.3, 1.0)),
        ]

    normal.sort()
    areas, regions = np.array([n_anomalous]), np.zeros(n_anomalous, dtype=np.int64)
    exact, got = metrics(), metrics()
    measure(complete_curve(Anomalous([(anomalous, regions)]), areas, [normal]), exact)
    distinct = np.unique(anomalous)
    kept = data.draw(hnp.arrays(np.bool_, distinct.shape))
    kept[0] = True
    counts = Counts(distinct[kept][::-1].copy())
    counts.add_normal([normal])
    counts.add_anomalous([Anomalies(anomalous, regions, areas)], n_regions=1)
    measure(counts.points(), got)
    for one, other in zip(exact, got, strict=True):
        assert one.bounds().lower == one.bounds().upper
        assert other.bounds().lower - 1e-12 <= one.bounds().lower <= other.bounds().upper + 1e-12
        if kept.all():
            assert other.bounds().error < 1e-12


def test_bounds_are_the_corners_between_the_points_of_a_small_curve() -> None:
    """Of the anomalous scores 5, 3, 2, 1 5 and 1 are kept: 3 and 2 lie in the gap, with 1.5 and 2.5."""
    counts = Counts(np.array([5, 1], dtype=np.float32))
    counts.add_normal([np.array([1, 1.5, 2.5, 6], dtype=np.float32)])
    anomalous = np.array([5, 3, 2, 1], dtype=np.float32)
    counts.add_anomalous([Anomalies(anomalous, np.zeros(4, dtype=np.int32), np.array([4]))], n_regions=1)
    metrics: list[CurveMetric] = [
        Auroc(4, 4),
        AveragePrecision(4),
        BestF1(4),
        FprAtRecall(4, 4, 0.75),
        AreaUnderOverlap(4, 1.0),
    ]
    measure(counts.points(), metrics)
    expected = [(11 / 32, 19 / 32), (0.45, 0.625), (2 / 3, 0.75), (0.25, 0.75), (1.375 / 4, 2.375 / 4)]
    for metric, bounds in zip(metrics, expected, strict=True):
        assert (metric.bounds().lower, metric.bounds().upper) == pytest.approx(bounds, abs=1e-12)


def test_counts_do_not_depend_on_stretches() -> None:
    images = smooth(0, n=3, size=16, share=0.2)
    expected = judge(images, spro=False, memory_budget=SMALLEST_BUDGET)
    with mock.patch.object(bounded_memory, "STRETCH", 3):
        assert_equal(judge(images, spro=False, memory_budget=SMALLEST_BUDGET), expected)


def test_above_the_budget_images_are_gone_through_again_and_below_it_once() -> None:
    images = Uncached(smooth(1))
    exact = judge(images, spro=False)
    assert (images.passes, exact.error_bound) == (1, 0.0)
    images.passes = 0
    got = judge(images, spro=False, memory_budget=100_000)
    assert images.passes == 3  # the first of which found that they do not fit
    assert got.error_bound is not None and 0 < got.error_bound < 0.01
    assert got.values == pytest.approx(exact.values, abs=got.error_bound)


@pytest.mark.parametrize("seed", range(3))
def test_bounds_shrink_with_the_number_of_thresholds_as_stated(seed: int) -> None:
    images = smooth(seed, n=40, size=128, share=0.3)
    for room in (16, 128, 1024):
        with mock.patch.object(bounded_memory, "_MOST_THRESHOLDS", room):
            bounds = judge(images, spro=False, memory_budget=1_600_000).bounds
        for name in ("pixel_auroc", "aupro_030", "aupro_005"):
            own = bounds[name]
            assert own is not None
            assert 0 < own.error < 2 / room, (name, room)


@given(st.lists(hnp.arrays(np.float32, st.integers(1, 60), elements=scores), min_size=1), st.integers(2, 40))
def test_thresholds_are_few_scores_that_include_the_lowest(parts: list[NDArray[np.float32]], room: int) -> None:
    thresholds = Thresholds(room)
    for part in parts:
        thresholds.add(part)
    chosen = thresholds.chosen()
    given_scores = np.unique(np.concatenate(parts))
    assert len(chosen) <= room
    assert (np.diff(chosen) < 0).all()
    assert set(chosen.tolist()) <= set(given_scores.tolist())
    assert chosen[-1] == given_scores[0]
    if len(given_scores) < room:
        assert chosen.tolist() == given_scores[::-1].tolist()


def test_thresholds_hold_no_more_than_they_may() -> None:
    parts = np.random.default_rng(0).normal(size=(400, 5000)).astype(np.float32)
    thresholds = Thresholds(1000)
    thresholds.add(parts[0])
    tracemalloc.start()
    for part in parts:
        thresholds.add(part)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 3 * 1000 * parts.itemsize + 100_000  # Python's own objects, and an array or two


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_peak_memory_is_below_four_times_the_maps(share: float) -> None:
    images = smooth(0, n=20, size=512, share=share)
    size = sum(image.anomaly_map.nbytes for image in images)
    judge(images[:1], spro=False)
    tracemalloc.start()
    judge(images, spro=False, threads=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size + peak < 4 * size


def test_memory_stays_near_the_budget_however_many_images_there_are() -> None:
    image = smooth(0, n=1, size=512, share=0.2)[0]
    rng = np.random.default_rng(0)

    class Many:
        def __iter__(self) -> Iterator[JudgedMap]:
            for shift in rng.normal(size=100):
                yield JudgedMap(image.anomaly_map + np.float32(shift), image.channels)

    budget = 20_000_000  # of 105 million bytes of maps
    judge([image], spro=False)
    tracemalloc.start()
    got = judge(Many(), spro=False, memory_budget=budget, threads=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * budget
    assert got.error_bound is not None and 0 < got.error_bound < 1e-3


@pytest.mark.parametrize("budget", [map_metrics.MEMORY_BUDGET, SMALLEST_BUDGET])
def test_the_callers_maps_are_left_as_they_are(budget: int) -> None:
    images = [*smooth(0, n=3), JudgedMap(smooth(1, n=1)[0].anomaly_map, np.zeros((0, 96, 96), dtype=np.bool_))]
    before = [image.anomaly_map.copy() for image in images]
    with mock.patch.object(map_metrics, "_FIRST_CHUNK", 1):  # each image alone, also the normal one
        judge(images, spro=False, memory_budget=budget)
    assert all(np.array_equal(image.anomaly_map, copy) for image, copy in zip(images, before, strict=True))


def test_errors_name_the_image_also_in_later_chunks() -> None:
    images = smooth(0, n=4)
    images[3].anomaly_map[5, 5] = np.nan
    with mock.patch.object(map_metrics, "_FIRST_CHUNK", 1), pytest.raises(ValueError, match="image 3 is not"):
        judge(images, spro=False)


def test_wrong_input_is_refused() -> None:
    images = smooth(0, n=2)
    with pytest.raises(ValueError, match="iterable more than once"):
        judge(iter(images), spro=False)
    mixed = [images[0], JudgedMap(torch.from_numpy(images[1].anomaly_map), images[1].channels)]
    with pytest.raises(ValueError, match=r"one type; that of image 1 is torch"):
        judge(mixed, spro=False)
    mixed[1] = JudgedMap(images[1].anomaly_map.astype(np.float64), images[1].channels)
    with pytest.raises(ValueError, match=r"image 1 is numpy float64 .* numpy float32"):
        judge(mixed, spro=False)
    with pytest.raises(ValueError, match="floating point; that of image 0 is int64"):
        judge([JudgedMap(np.ones((1, 2), dtype=np.int64), np.zeros((0, 1, 2), dtype=np.bool_))], spro=False)
    broken: list[Kind] = ["good", "structural"]
    for kind in broken:
        with pytest.raises(ValueError, match="image 0"):
            judge([JudgedMap(images[0].anomaly_map, images[0].channels, [], kind)], spro=True)
