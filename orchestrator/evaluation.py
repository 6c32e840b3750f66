"""Scores and maps of a cell -> metrics at the original resolution, per-image rows, and cases kept for the page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from adbench.benchmark_suites.metrics import JudgedMap, image_metrics, map_metrics, val_threshold_metrics
from adbench.benchmark_suites.sampled_curve import FALSE_POSITIVE_RATES
from adbench.datasets.base import Dataset, Mask, Sample
from adbench.datasets.imageset import ImageSet
from adbench.methods.base import Prediction
from adbench.reports.schema import EvalSplit, Gallery, GalleryCase, ImageScores, KeptCurve

Case = Literal["best", "typical", "worst"]


@dataclass(frozen=True)
class PixelLevel:
    """Metrics of maps, and the distance from the exact value that none of them exceeds: 0 where all are exact, None
    where none is defined. ``curves`` are those of test, which is what a page shows."""

    metrics: dict[str, float | None]
    error_bound: float | None
    curves: tuple[KeptCurve, ...] = ()


def image_scores(split: EvalSplit, images: ImageSet, prediction: Prediction) -> ImageScores:
    """The rows of the images table for one split."""
    return ImageScores(
        split=split,
        image_ids=images.ids,
        labels=images.labels,
        defect_types=tuple(sample.defect_type for sample in images.samples),
        scores=prediction.scores,
    )


def image_level(scores: Mapping[EvalSplit, ImageScores]) -> dict[str, float | None]:
    """Metrics of image scores: those of val with the prefix ``val_`` and, where it is given, those of test."""
    val = scores["val"]
    on_val = _on_val(image_metrics(val.labels, val.scores))
    if "test" not in scores:
        return on_val
    test = scores["test"]
    on_test = image_metrics(test.labels, test.scores)
    return on_test | val_threshold_metrics(val.labels, val.scores, test.labels, test.scores) | on_val


def _on_val(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    return {f"val_{name}": value for name, value in metrics.items()}


class Judge:
    """Compares maps of one category with its masks; ``notes`` collects doubts about these."""

    def __init__(
        self,
        dataset: Dataset,
        category: str,
        *,
        device: torch.device = torch.device("cpu"),  # noqa: B008 - immutable
        threads: int | None = None,
    ) -> None:
        """``device`` and ``threads`` (all cores if None) are those that compute; they do not change the result."""
        self.dataset = dataset
        self.category = category
        self.device = device
        self.threads = threads
        self.notes: list[str] = []

    @property
    def has_masks(self) -> bool:
        """Whether there is anything to compare maps with."""
        return self.dataset.has_masks(self.category)

    def pixel_level(
        self, maps: Mapping[EvalSplit, NDArray[np.float32]], samples: Mapping[EvalSplit, Sequence[Sample]]
    ) -> PixelLevel:
        """Metrics of maps [N, S, S] of the N samples of each split, named as those of ``image_level``.

        Where the category has no masks, there are none, and neither maps nor samples are looked at.
        """
        if not self.has_masks:
            return PixelLevel({}, None)
        levels = {split: self._map_metrics(split, samples[split], own) for split, own in maps.items()}
        bounds = [level.error_bound for level in levels.values() if level.error_bound is not None]
        bound = max(bounds, default=None)
        if bound:
            self.notes.append(f"pixel metrics are within {bound:.1g} of the exact ones: too many pixels for memory")
        on_test = levels.get("test", PixelLevel({}, None))
        return replace(on_test, metrics=on_test.metrics | _on_val(levels["val"].metrics), error_bound=bound)

    def mask(self, sample: Sample) -> Mask | None:
        """Ground truth of a sample: no channels for a normal one, None where it is unknown."""
        if sample.label == 0:
            height, width = self.dataset.image_size(self.category, sample)
            return Mask(np.zeros((0, height, width), np.bool_))
        return self.dataset.load_mask(self.category, sample)

    def _map_metrics(self, split: EvalSplit, samples: Sequence[Sample], maps: NDArray[np.float32]) -> PixelLevel:
        """Pixel metrics and sPRO; none unless every anomalous image has its mask: an unknown one counts as normal."""
        spro = self.dataset.saturation_defined(self.category)
        judged = _JudgedMaps(self, samples, maps, self.device)
        try:
            try:
                found = map_metrics(judged, spro=spro, threads=self.threads)
            except torch.OutOfMemoryError:  # of a GPU: the method's work must not be lost for it
                judged.device = torch.device("cpu")
                found = map_metrics(judged, spro=spro, threads=self.threads)
        except _UnknownMaskError:
            return PixelLevel({}, None)
        if judged.empty:
            self.notes.append(f"{judged.empty} anomalous image(s) have empty masks: all their pixels count as normal")
        rates = tuple(FALSE_POSITIVE_RATES.tolist())
        curves = tuple(KeptCurve(split=split, name=name, x=rates, y=y) for name, y in found.curves.items())
        return PixelLevel(found.values, found.error_bound, curves)


class _UnknownMaskError(Exception):
    """An anomalous image has no mask."""


class _JudgedMaps:
    """The maps of a split beside their masks, at the masks' resolution: made anew in each pass, never all at once.

    ``empty`` is the number of anomalous images with empty masks, as of the last pass.
    """

    def __init__(
        self, judge: Judge, samples: Sequence[Sample], maps: NDArray[np.float32], device: torch.device
    ) -> None:
        self.device = device
        self.empty = 0
        self._judge = judge
        self._samples = samples
        self._maps = maps

    def __iter__(self) -> Iterator[JudgedMap]:
        self.empty = 0
        for sample, anomaly_map in zip(self._samples, self._maps, strict=True):
            mask = self._judge.mask(sample)
            if mask is None:
                raise _UnknownMaskError
            areas = [int(np.count_nonzero(channel)) for channel in mask.channels]
            self.empty += sample.label == 1 and not any(areas)
            full = to_size(torch.from_numpy(anomaly_map).to(self.device), mask.channels.shape[1:])
            # Where sPRO is not defined, masks have no saturation.
            saturated = [saturation.pixels(area) for saturation, area in zip(mask.saturation, areas, strict=False)]
            on_gpu = self.device.type == "cuda"
            yield JudgedMap(full if on_gpu else full.numpy(), mask.channels, saturated, sample.kind)


def to_size(anomaly_map: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """A map [S, S] at the resolution [H, W] of its mask, bilinear: masks are never resized."""
    if anomaly_map.shape == size:
        return anomaly_map
    return functional.interpolate(anomaly_map[None, None], size, mode="bilinear", align_corners=False)[0, 0]


def keep_gallery(judge: Judge, images: ImageSet, prediction: Prediction) -> Gallery:
    """Best, typical and worst test images by score: of the anomalous ones high is good, of the normal ones low.

    One colour range serves all maps of the run: from the median to the 99.9 % quantile over the test maps.
    """
    cases = []
    for label in (1, 0):
        members = np.flatnonzero(images.labels == label)
        if len(members) == 0:
            continue
        best_first = members[np.argsort(prediction.scores[members] * (-1 if label else 1), kind="stable")]
        picks: dict[Case, np.int64] = {
            "best": best_first[0],
            "typical": best_first[len(members) // 2],
            "worst": best_first[-1],
        }
        for case, index in picks.items():
            cases.append(_case(case, judge, images, prediction, int(index)))
    low, high = np.quantile(prediction.maps[:: max(1, len(images) // 50)], [0.5, 0.999])
    return Gallery(low=float(low), high=float(high), cases=tuple(cases))


def _case(case: Case, judge: Judge, images: ImageSet, prediction: Prediction, index: int) -> GalleryCase:
    sample = images.samples[index]
    truth = judge.mask(sample) if judge.dataset.has_masks(judge.category) else None
    mask = None
    if truth is not None:
        # Only a picture: nearest neighbour is enough here.
        union = torch.from_numpy(truth.union.astype(np.float32))[None, None]
        mask = functional.interpolate(union, (images.size, images.size))[0, 0].numpy() > 0.5
    return GalleryCase(
        case=case,
        image_id=sample.image_id,
        label=sample.label,
        defect_type=sample.defect_type,
        score=float(prediction.scores[index]),
        image=images.pixels([index])[0],
        mask=mask,
        anomaly_map=prediction.maps[index],
    )
