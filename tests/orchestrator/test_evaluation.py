"""Judging maps: one pass over masks made on the fly, whatever the memory and the device."""

import functools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from adbench.benchmark_suites.metrics import map_metrics, pixel_metrics, spro_metrics
from adbench.datasets.base import Dataset, Sample
from adbench.datasets.registry import open_dataset
from adbench.orchestrator import evaluation
from adbench.orchestrator.evaluation import Judge, to_size

Maps = NDArray[np.float32]


@pytest.fixture(scope="module")
def kit() -> Dataset:
    """A category with structural and logical anomalies, overlapping channels and saturation."""
    return open_dataset("phantom", {})


@pytest.fixture(scope="module")
def samples(kit: Dataset) -> list[Sample]:
    every = kit.samples("kit")
    return [sample for kind in ("good", "structural", "logical") for sample in every if sample.kind == kind][::15]


@pytest.fixture(scope="module")
def maps(samples: Sequence[Sample]) -> Maps:
    """At a size of the method's own, so that they are enlarged."""
    return np.random.default_rng(0).normal(size=(len(samples), 40, 40)).astype(np.float32)


def level(judge: Judge, maps: Maps, samples: Sequence[Sample]) -> evaluation.PixelLevel:
    return judge.pixel_level({"test": maps, "val": maps}, {"test": samples, "val": samples})


def test_metrics_are_those_of_all_maps_and_masks_at_once(kit: Dataset, samples: list[Sample], maps: Maps) -> None:
    judge = Judge(kit, "kit")
    got = level(judge, maps, samples)
    masks = [mask for sample in samples if (mask := judge.mask(sample)) is not None]
    full = [
        to_size(torch.from_numpy(one), mask.channels.shape[1:]).numpy() for one, mask in zip(maps, masks, strict=True)
    ]
    areas = [
        [s.pixels(int(channel.sum())) for s, channel in zip(mask.saturation, mask.channels, strict=True)]
        for mask in masks
    ]
    expected = pixel_metrics(full, [mask.union for mask in masks])
    expected |= spro_metrics(full, [mask.channels for mask in masks], areas, [sample.kind for sample in samples])
    assert {sample.kind for sample in samples} == {"good", "structural", "logical"}
    assert got.metrics == expected | {f"val_{name}": value for name, value in expected.items()}
    assert got.error_bound == 0.0
    assert judge.notes == []


def test_what_is_not_exact_is_marked(
    kit: Dataset, samples: list[Sample], maps: Maps, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = level(Judge(kit, "kit"), maps, samples)
    cramped = functools.partial(map_metrics, memory_budget=0)
    monkeypatch.setattr(evaluation, "map_metrics", cramped)
    judge = Judge(kit, "kit")
    got = level(judge, maps, samples)
    assert got.error_bound is not None and got.error_bound > 0
    assert got.metrics == pytest.approx(exact.metrics, abs=got.error_bound)
    (note,) = judge.notes
    assert note.startswith(f"pixel metrics are within {got.error_bound:.1g} of the exact ones")


def test_a_gpu_without_memory_left_costs_no_metrics(
    kit: Dataset, samples: list[Sample], maps: Maps, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = level(Judge(kit, "kit"), maps, samples)
    calls: list[str] = []

    def full_at_first(judged: evaluation._JudgedMaps, **options: object) -> object:
        calls.append(judged.device.type)
        if judged.device.type == "cuda":
            raise torch.OutOfMemoryError("no memory left")
        return map_metrics(judged, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluation, "map_metrics", full_at_first)
    got = level(Judge(kit, "kit", device=torch.device("cuda")), maps, samples)
    assert got == expected
    assert calls == ["cuda", "cpu", "cuda", "cpu"]


def test_one_unknown_mask_leaves_no_pixel_metrics(
    kit: Dataset, samples: list[Sample], maps: Maps, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = Judge(kit, "kit")
    known = judge.mask
    monkeypatch.setattr(judge, "mask", lambda sample: None if sample is samples[-1] else known(sample))
    assert level(judge, maps, samples) == evaluation.PixelLevel({}, None)
