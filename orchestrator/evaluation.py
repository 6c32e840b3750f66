"""Scores and maps of a cell -> metrics at the original resolution, per-image rows, and cases kept for the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from adbench.benchmark_suites.metrics import image_metrics, pixel_metrics, spro_metrics, val_threshold_metrics
from adbench.datasets.base import Dataset, Mask, Sample
from adbench.datasets.imageset import ImageSet
from adbench.methods.base import Prediction
from adbench.reports.schema import EvalSplit, Gallery, GalleryCase, ImageScores

Case = Literal["best", "typical", "worst"]


@dataclass(frozen=True)
class PixelLevel:
    """Metrics of maps, and the distance from the exact value that none of them exceeds: 0 where all are exact, None
    where none is defined."""

    metrics: dict[str, float | None]
    error_bound: float | None


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
    """Metrics of image scores: those of test, and those of val with the prefix ``val_``."""
    val, test = scores["val"], scores["test"]
    on_test = image_metrics(test.labels, test.scores)
    on_test |= val_threshold_metrics(val.labels, val.scores, test.labels, test.scores)
    return on_test | _on_val(image_metrics(val.labels, val.scores))


def _on_val(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    return {f"val_{name}": value for name, value in metrics.items()}


class Judge:
    """Compares maps of one category with its masks; ``notes`` collects doubts about these."""

    def __init__(self, dataset: Dataset, category: str) -> None:
        self.dataset = dataset
        self.category = category
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
        test, val = (self._map_metrics(samples[split], maps[split]) for split in ("test", "val"))
        bounds = [level.error_bound for level in (test, val) if level.error_bound is not None]
        return PixelLevel(test.metrics | _on_val(val.metrics), max(bounds, default=None))

    def mask(self, sample: Sample) -> Mask | None:
        """Ground truth of a sample: no channels for a normal one, None where it is unknown."""
        if sample.label == 0:
            height, width = self.dataset.image_size(self.category, sample)
            return Mask(np.zeros((0, height, width), np.bool_))
        return self.dataset.load_mask(self.category, sample)

    def _map_metrics(self, samples: Sequence[Sample], maps: NDArray[np.float32]) -> PixelLevel:
        """Pixel metrics and sPRO; none unless every anomalous image has its mask: an unknown one counts as normal."""
        masks = [self.mask(sample) for sample in samples]
        known = [mask for mask in masks if mask is not None]
        if len(known) < len(masks) or not samples:
            return PixelLevel({}, None)
        full = [to_size(anomaly_map, mask.channels.shape[1:]) for anomaly_map, mask in zip(maps, known, strict=True)]
        empty = sum(bool(sample.label) and not mask.union.any() for sample, mask in zip(samples, known, strict=True))
        if empty:
            self.notes.append(f"{empty} anomalous image(s) have empty masks: all their pixels count as normal")
        metrics = pixel_metrics(full, [mask.union for mask in known])
        if self.dataset.saturation_defined(self.category):
            areas = [
                [s.pixels(int(channel.sum())) for s, channel in zip(mask.saturation, mask.channels, strict=True)]
                for mask in known
            ]
            kinds = [sample.kind for sample in samples]
            metrics |= spro_metrics(full, [mask.channels for mask in known], areas, kinds)
        return PixelLevel(metrics, None if all(value is None for value in metrics.values()) else 0.0)


def to_size(anomaly_map: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """A map [S, S] at the resolution [H, W] of its mask, bilinear: masks are never resized."""
    if anomaly_map.shape == size:
        return anomaly_map
    tensor = torch.from_numpy(anomaly_map)[None, None]
    return functional.interpolate(tensor, size, mode="bilinear", align_corners=False)[0, 0].numpy()


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
