"""Kept curves: the heights of a curve found threshold by threshold, and the areas of the metrics within the bound."""

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import label

from adbench.benchmark_suites import map_metrics, sorted_scores
from adbench.benchmark_suites.judged_map import JudgedMap, Kind
from adbench.benchmark_suites.map_metrics import AUPRO_LIMITS, SPRO_LIMITS
from adbench.benchmark_suites.sampled_curve import AREA_BOUND, FALSE_POSITIVE_RATES, SampledCurve

judge = map_metrics.map_metrics
Floats = NDArray[np.float64]
LIMITS = {
    "pixel_roc": {"pixel_auroc": 1.0},
    "pro": dict(AUPRO_LIMITS),
    "spro": dict(SPRO_LIMITS),
}


@st.composite
def categories(draw: st.DrawFn) -> list[JudgedMap]:
    """Images with ties and, so that there are steps within 0.05, hundreds of normal pixels."""
    images = []
    kinds: tuple[Kind, ...] = ("good", "structural", "logical")
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=5)):
        shape = draw(st.tuples(st.integers(1, 30), st.integers(1, 30)))
        rng = np.random.default_rng(draw(st.integers(0, 10**6)))
        channels = np.zeros((0 if kind == "good" else draw(st.integers(1, 2)), *shape), dtype=np.bool_)
        for channel in channels:
            channel[:] = rng.random(shape) < draw(st.sampled_from([0.02, 0.3, 0.9]))
            channel[0, 0] = True
        areas = [draw(st.integers(1, int(channel.sum()))) for channel in channels]
        scores = rng.normal(size=shape) + draw(st.sampled_from([0, 2, 6])) * channels.any(axis=0)
        if draw(st.booleans()):
            scores = np.round(scores)
        images.append(JudgedMap(scores.astype(np.float32), channels, areas, kind))
    return images


def brute_curve(images: list[JudgedMap], saturated: bool, roc: bool = False) -> tuple[Floats, Floats] | None:
    """The points of a curve in normal pixels and overlap, from one look at all pixels for each distinct score."""
    regions, normal = [], []
    for image in images:
        union = image.channels.any(axis=0)
        normal.append(image.anomaly_map[~union])
        if saturated:
            found = [image.anomaly_map[channel] for channel in image.channels]
            regions += list(zip(found, image.saturations, strict=True))
        elif roc and union.any():
            regions.append((image.anomaly_map[union], 0))
        else:
            labels, count = label(union, np.ones((3, 3)))
            parts = [image.anomaly_map[labels == number + 1] for number in range(count)]
            regions += [(part, len(part)) for part in parts]
    background = np.concatenate(normal)
    if roc and regions:
        every = np.concatenate([scores for scores, _ in regions])
        regions = [(every, len(every))]
    if not regions or not len(background):
        return None
    xs, ys = [0.0], [0.0]
    for threshold in np.unique(np.concatenate([image.anomaly_map.ravel() for image in images]))[::-1]:
        xs.append(float((background >= threshold).sum()))
        ys.append(float(np.mean([min(1.0, (part >= threshold).sum() / area) for part, area in regions])))
    return np.array(xs), np.array(ys)


def heights(curve: tuple[Floats, Floats]) -> Floats:
    """The curve at the rates; of a jump the upper end, as numpy.interp takes the last of equal places."""
    xs, ys = curve
    return np.asarray(np.interp(FALSE_POSITIVE_RATES * xs[-1], xs, ys))


def brute(images: list[JudgedMap]) -> dict[str, Floats]:
    found = {"pixel_roc": brute_curve(images, False, roc=True), "pro": brute_curve(images, False)}
    kept = {name: heights(curve) for name, curve in found.items() if curve is not None}
    by_kind = []
    for kind in ("structural", "logical"):
        own = [image for image in images if image.kind in ("good", kind)]
        curve = brute_curve(own, True) if any(image.kind == kind for image in own) else None
        if curve is not None:
            by_kind.append(heights(curve))
    return kept | ({"spro": np.mean(by_kind, axis=0)} if by_kind else {})


def area(y: Floats, limit: float) -> float:
    inside = limit >= FALSE_POSITIVE_RATES
    return float(np.trapezoid(y[inside], FALSE_POSITIVE_RATES[inside])) / limit


def rectangles(y: Floats, limit: float) -> float:
    """Half of what lies between neighbouring points: how far a rising curve's area can be from that of the points."""
    inside = limit >= FALSE_POSITIVE_RATES
    return float(np.sum(np.diff(FALSE_POSITIVE_RATES[inside]) * np.diff(y[inside]))) / 2 / limit


def test_the_rates_are_few_and_end_at_the_limits() -> None:
    limits = {limit for own in LIMITS.values() for limit in own.values()}
    assert {0.0, 1.0} | limits <= set(FALSE_POSITIVE_RATES.tolist())
    assert (np.diff(FALSE_POSITIVE_RATES) > 0).all()
    assert (FALSE_POSITIVE_RATES <= 0.3).sum() == 156
    for limit in limits:
        steps = np.diff(FALSE_POSITIVE_RATES[limit >= FALSE_POSITIVE_RATES])
        assert steps.max() / 2 / limit <= AREA_BOUND + 1e-12, "a curve of one step is the worst there is"


@settings(max_examples=60, deadline=None)
@given(categories())
def test_kept_curves_are_those_of_a_loop_over_all_thresholds(images: list[JudgedMap]) -> None:
    got, expected = judge(images, spro=True).curves, brute(images)
    assert set(got) == set(expected)
    for name, curve in got.items():
        np.testing.assert_allclose(curve, expected[name], atol=1e-9, err_msg=name)


@settings(max_examples=60, deadline=None)
@given(categories(), st.sampled_from([map_metrics.MEMORY_BUDGET, 0]))
def test_areas_under_kept_curves_are_the_metrics_within_the_bound(images: list[JudgedMap], budget: int) -> None:
    """With next to no memory too, beyond what the metric itself is uncertain by."""
    got = judge(images, spro=True, memory_budget=budget)
    for name, curve in got.curves.items():
        y = np.array(curve)
        assert (np.diff(y) >= -1e-12).all() and y.min() >= 0 and y[-1] == pytest.approx(1)
        for metric, limit in LIMITS[name].items():
            bounds = got.bounds[metric]
            assert bounds is not None
            apart = abs(area(y, limit) - bounds.value) - bounds.error
            assert apart <= rectangles(y, limit) + 1e-9, metric
            assert apart <= AREA_BOUND + 1e-9, metric
    assert ("pro" in got.curves) == (got.values["aupro_005"] is not None)
    assert ("spro" in got.curves) == (got.values["spro_005"] is not None)


@settings(deadline=None)
@given(categories(), st.integers(1, 6), st.sampled_from([1, 3]))
def test_neither_stretches_nor_threads_nor_the_library_change_a_curve(
    images: list[JudgedMap], stretch: int, threads: int
) -> None:
    expected = judge(images, spro=True, threads=1).curves
    tensors = [JudgedMap(torch.from_numpy(i.anomaly_map.copy()), i.channels, i.saturations, i.kind) for i in images]
    with mock.patch.object(sorted_scores, "STRETCH", stretch):
        for given_images in (images, tensors):
            got = judge(given_images, spro=True, threads=threads).curves
            assert got.keys() == expected.keys()
            for name, curve in expected.items():
                np.testing.assert_allclose(got[name], curve, atol=1e-12)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_curves() -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((1, 64, 64)) < 0.02
    scores = (rng.normal(size=mask.shape[1:]) + 2 * mask[0]).astype(np.float32)
    expected = judge([JudgedMap(scores, mask)], spro=False).curves
    got = judge([JudgedMap(torch.from_numpy(scores).cuda(), mask)], spro=False).curves
    for name, curve in expected.items():
        np.testing.assert_allclose(got[name], curve, atol=1e-9)


def test_at_a_rate_of_zero_stands_what_is_found_without_a_false_positive() -> None:
    scores = np.array([[9, 8, 3, 2, 1, 0]], dtype=np.float32)
    mask = np.array([[[True, False, True, False, False, False]]])
    curve = judge([JudgedMap(scores, mask)], spro=False).curves["pro"]
    assert curve[0] == 0.5
    at = dict(zip(FALSE_POSITIVE_RATES.tolist(), curve, strict=True))
    assert (at[0.2], at[0.3], at[1.0]) == (0.5, 1.0, 1.0), "a region is found after one of four normal pixels"
    tied = judge([JudgedMap(np.zeros_like(scores), mask)], spro=False).curves["pro"]
    np.testing.assert_allclose(tied, FALSE_POSITIVE_RATES, atol=1e-12)


def test_metrics_are_those_without_curves_to_the_last_bit() -> None:
    rng = np.random.default_rng(1)
    images = []
    for kind in ("good", "structural", "logical"):
        mask = np.zeros((0 if kind == "good" else 1, 60, 60), dtype=np.bool_)
        mask[:, 10:20, 30:40] = True
        scores = (rng.normal(size=(60, 60)) + mask.any(axis=0)).astype(np.float32)
        images.append(JudgedMap(scores, mask, [50] * len(mask), kind))
    with_curves = judge(images, spro=True)
    with mock.patch.object(SampledCurve, "add", lambda self, points: None):
        assert judge(images, spro=True).bounds == with_curves.bounds
