"""sPRO against a loop over thresholds and defects, and its relation to PRO."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from adbench.benchmark_suites.judged_map import Kind
from adbench.benchmark_suites.map_metrics import SPRO_LIMITS
from adbench.benchmark_suites.metrics import pixel_metrics, spro_metrics


@dataclass
class Scene:
    """Arguments of ``spro_metrics``."""

    maps: list[NDArray[np.float32]] = field(default_factory=list)
    channels: list[NDArray[np.bool_]] = field(default_factory=list)
    saturations: list[list[int]] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)

    def add(
        self,
        kind: Kind,
        anomaly_map: Sequence[Sequence[int]],
        *defects: Sequence[Sequence[int]],
        saturations: Sequence[int],
    ) -> "Scene":
        self.maps.append(np.array(anomaly_map, dtype=np.float32))
        self.channels.append(np.array(defects, dtype=np.bool_).reshape(-1, *self.maps[-1].shape))
        self.saturations.append(list(saturations))
        self.kinds.append(kind)
        return self

    def measure(self) -> dict[str, float | None]:
        return spro_metrics(self.maps, self.channels, self.saturations, self.kinds)


@st.composite
def scenes(draw: st.DrawFn, kinds: tuple[Kind, ...] = ("good", "structural", "logical")) -> Scene:
    """Small images with few distinct scores; defects may overlap and touch."""
    scene = Scene()
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=5)):
        shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 5)))
        count = 0 if kind == "good" else draw(st.integers(1, 3))
        defects = np.zeros((count, *shape), dtype=np.bool_)
        for defect in defects:
            defect[:] = draw(hnp.arrays(np.bool_, shape))
            defect[0, draw(st.integers(0, shape[1] - 1))] = True
        scene.maps.append(draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 4))).astype(np.float32))
        scene.channels.append(defects)
        scene.saturations.append([draw(st.integers(1, int(defect.sum()))) for defect in defects])
        scene.kinds.append(kind)
    return scene


def curve_by_loop(scene: Scene, kind: Kind) -> tuple[list[float], list[float]] | None:
    """False positive rates and mean saturated overlaps at every score of the kind's and the good images."""
    images = [
        (scene.maps[i], scene.channels[i], scene.saturations[i])
        for i in range(len(scene.maps))
        if scene.kinds[i] in ("good", kind)
    ]
    n_normal = sum(int((~channels.any(axis=0)).sum()) for _, channels, _ in images)
    if kind not in scene.kinds or not n_normal:
        return None
    fprs, overlaps = [0.0], [0.0]
    for threshold in sorted(
        {float(value) for anomaly_map, _, _ in images for value in anomaly_map.flat}, reverse=True
    ):
        false, shares = 0, []
        for anomaly_map, channels, saturations in images:
            flagged = anomaly_map >= threshold
            false += int((flagged & ~channels.any(axis=0)).sum())
            for channel, saturation in zip(channels, saturations, strict=True):
                shares.append(min(int((flagged & channel).sum()) / saturation, 1.0))
        fprs.append(false / n_normal)
        overlaps.append(sum(shares) / len(shares))
    return fprs, overlaps


def area_to(limit: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    area = 0.0
    for x0, y0, x1, y1 in zip(xs, ys, xs[1:], ys[1:], strict=False):
        if x1 > limit:
            return (area + (limit - x0) * (y0 + (y1 - y0) * (limit - x0) / (x1 - x0) / 2)) / limit
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


@pytest.mark.slow
@settings(max_examples=1000)
@given(scenes())
def test_equals_a_loop_over_thresholds_and_defects(scene: Scene) -> None:
    curves = [curve for kind in ("structural", "logical") if (curve := curve_by_loop(scene, kind)) is not None]
    got = scene.measure()
    assert tuple(got) == tuple(SPRO_LIMITS)
    for name, limit in SPRO_LIMITS.items():
        expected = sum(area_to(limit, *curve) for curve in curves) / len(curves) if curves else None
        assert got[name] == pytest.approx(expected, abs=1e-9)


@given(scenes(), st.permutations(range(5)))
def test_invariant_under_monotone_maps_and_permutation_of_images(scene: Scene, order: list[int]) -> None:
    expected = scene.measure()
    warped = Scene([np.exp(5 * m) for m in scene.maps], scene.channels, scene.saturations, scene.kinds)
    assert warped.measure() == pytest.approx(expected, abs=1e-12)
    chosen = [index for index in order if index < len(scene.maps)]
    permuted = Scene(
        [scene.maps[i] for i in chosen],
        [scene.channels[i] for i in chosen],
        [scene.saturations[i] for i in chosen],
        [scene.kinds[i] for i in chosen],
    )
    assert permuted.measure() == pytest.approx(expected, abs=1e-12)


@given(st.sampled_from(["structural", "logical"]), st.data())
def test_saturation_at_the_full_area_of_single_regions_is_pro(kind: Kind, data: st.DataObject) -> None:
    scene = Scene()
    for _ in range(data.draw(st.integers(1, 3))):
        anomaly_map = data.draw(hnp.arrays(np.int64, (4, 6), elements=st.integers(0, 3)))
        top, left = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 2))
        defects = np.zeros((2, 4, 6), dtype=np.bool_)
        defects[0, top:, left] = True
        defects[1, :, 5] = data.draw(st.booleans())
        defects[1, 0, 5] = True  # apart from the first by at least two columns
        scene.add(kind, anomaly_map.tolist(), *defects.tolist(), saturations=defects.sum(axis=(1, 2)).tolist())
    scene.add("good", data.draw(hnp.arrays(np.int64, (3, 3), elements=st.integers(0, 3))).tolist(), saturations=[])
    unions = [np.asarray(defects.any(axis=0), dtype=np.bool_) for defects in scene.channels]
    pro = pixel_metrics(scene.maps, unions, aupro_limits=SPRO_LIMITS)
    assert scene.measure() == pytest.approx({name: pro[name] for name in SPRO_LIMITS}, abs=1e-12)


def test_a_defect_is_found_at_its_saturation_area() -> None:
    # Of a defect of four pixels two are above all background; the others are the lowest of all.
    scene = Scene().add("logical", [[9, 9, 0, 0, 1, 1]], [[1, 1, 1, 1, 0, 0]], saturations=[2])
    assert scene.measure()["spro_030"] == 1.0
    scene.saturations = [[4]]
    assert scene.measure()["spro_030"] == pytest.approx(0.5, abs=1e-12)


def test_pixels_of_any_channel_are_no_false_positives() -> None:
    # The second defect is flagged first: it lies outside the first channel, yet costs no false positive.
    scene = Scene().add("logical", [[5, 3, 1, 1]], [[0, 1, 0, 0]], [[1, 0, 0, 0]], saturations=[1, 1])
    assert set(scene.measure().values()) == {1.0}


def test_kinds_are_evaluated_apart_with_all_good_images_and_averaged() -> None:
    # Logical: found before all background (1). Structural: found after all of it (0). Pooled it would be 2/3,
    # since logical has two defects.
    scene = (
        Scene()
        .add("good", [[2, 2, 2]], saturations=[])
        .add("logical", [[9, 9, 1, 1]], [[1, 0, 0, 0]], [[0, 1, 0, 0]], saturations=[1, 1])
        .add("structural", [[0, 1, 1]], [[1, 0, 0]], saturations=[1])
    )
    assert scene.measure()["spro_100"] == pytest.approx(0.5, abs=1e-12)


def test_the_background_of_one_kind_does_not_count_for_the_other() -> None:
    # The structural image's background outscores the logical defect, but takes no part in its evaluation.
    logical = Scene().add("good", [[0, 0]], saturations=[]).add("logical", [[5, 0]], [[1, 0]], saturations=[1])
    assert set(logical.measure().values()) == {1.0}
    logical.add("structural", [[9, 8]], [[1, 0]], saturations=[1])
    assert set(logical.measure().values()) == {1.0}


def test_one_kind_alone_gives_its_own_value_and_none_gives_none() -> None:
    good = Scene().add("good", [[1, 2]], saturations=[])
    assert set(good.measure().values()) == {None}
    good.add("structural", [[5, 0]], [[1, 0]], saturations=[1])
    assert set(good.measure().values()) == {1.0}
    no_background = Scene().add("logical", [[1, 2]], [[1, 1]], saturations=[2])
    assert set(no_background.measure().values()) == {None}
    assert set(Scene().measure().values()) == {None}


def test_a_saturation_of_zero_counts_as_one_pixel() -> None:
    scene = Scene().add("logical", [[9, 0, 1]], [[1, 1, 0]], saturations=[0])
    assert scene.measure()["spro_001"] == 1.0


def test_good_images_may_have_empty_channels() -> None:
    with_none, with_empty = Scene(), Scene()
    for scene, empty in ((with_none, []), (with_empty, [[[0, 0]]])):
        scene.add("good", [[1, 3]], *empty, saturations=[]).add("logical", [[2, 0]], [[1, 0]], saturations=[1])
    assert with_none.measure() == with_empty.measure()


def test_wrong_input_is_refused_by_index() -> None:
    good = ([[1, 2]],)
    with pytest.raises(ValueError, match="image 0 is good but"):
        Scene().add("good", *good, [[1, 0]], saturations=[1]).measure()
    with pytest.raises(ValueError, match=r"image 0 .* areas"):
        Scene().add("logical", *good, [[0, 0]], saturations=[0]).measure()
    with pytest.raises(ValueError, match="defects must have pixels"):
        Scene().add("logical", *good, saturations=[]).measure()
    for saturations in ([2], [-1], [1, 1], []):
        with pytest.raises(ValueError, match="each defect needs a saturation"):
            Scene().add("logical", *good, [[1, 0]], saturations=saturations).measure()
    with pytest.raises(ValueError, match="image 0 has 'bent'"):
        Scene().add("bent", *good, [[1, 0]], saturations=[1]).measure()  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="0, 1, 1 and 1"):
        spro_metrics([], [np.zeros((0, 1, 2), dtype=np.bool_)], [[]], ["good"])
    anomaly_map = np.zeros((2, 3), dtype=np.float32)
    with pytest.raises(ValueError, match=r"channels must be bool .* image 0 are bool \[2, 3\]"):
        spro_metrics([anomaly_map], [np.zeros((2, 3), dtype=np.bool_)], [[]], ["good"])
    with pytest.raises(ValueError, match="image 0 is not"):
        spro_metrics([anomaly_map + math.nan], [np.zeros((0, 2, 3), dtype=np.bool_)], [[]], ["good"])
