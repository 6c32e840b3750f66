"""Fitting a cell's method: recorded, within its time, watched if a search wants to know how it comes on."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from adbench.datasets.imageset import ImageSet
from adbench.methods.base import Method
from adbench.orchestrator.cell import Watch
from adbench.orchestrator.evaluation import Judge, image_level, image_scores
from adbench.orchestrator.lane_group import LaneGroup, Report
from adbench.orchestrator.peak_memory import PeakMemory
from adbench.reports.schema import EvalSplit, Gallery, ImageScores, KeptCurve, SplitMaps, TrainingMaps


class CellTimeoutError(RuntimeError):
    """The cell exceeded its time limit."""


@dataclass
class Progress:
    """What is known of a cell so far, so that a failed one is recorded with all of it."""

    memory: PeakMemory
    facts: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float | None] = field(default_factory=dict)
    images: tuple[ImageScores, ...] = ()
    history: list[tuple[int, str, float]] = field(default_factory=list)
    curves: tuple[KeptCurve, ...] = ()
    gallery: Gallery | None = None
    maps: tuple[SplitMaps, ...] = ()
    training_maps: tuple[TrainingMaps, ...] = ()
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Fit:
    """A fitted method, and what the row of every cell that is judged on it tells of its training."""

    method: Method
    seconds: float
    history: Sequence[tuple[int, str, float]]
    notes: Sequence[str]
    memory: PeakMemory

    def told(self, progress: Progress) -> None:
        """Let another cell tell of this training as the one did that trained."""
        progress.history.extend(self.history)
        progress.notes.extend(self.notes)
        progress.memory.at_least(self.memory.rss_mb, self.memory.vram_mb)
        self.method.context.notes = progress.notes


def fit(method: Method, train: ImageSet, labelled: ImageSet, group: LaneGroup, progress: Progress) -> Fit:
    """Fit the method, on all processes of the group."""
    context = method.context
    context.report = group.agreed(context.report)
    known = len(progress.notes)
    began = time.perf_counter()
    method.fit(train, labelled)
    if context.device.type == "cuda":
        torch.cuda.synchronize()
    # Features that another cell computed, or epochs of an attempt that was killed, must not make it look cheap.
    spared = context.cache.borrowed_feature_seconds + context.resumed_seconds
    seconds = time.perf_counter() - began + spared
    progress.memory.look()
    memory = PeakMemory(context.device.type)
    memory.at_least(progress.memory.rss_mb, progress.memory.vram_mb)
    return Fit(method, seconds, tuple(progress.history), tuple(progress.notes[known:]), memory)


def recorder(progress: Progress, report: Report, timeout: float | None) -> Report:
    """Keeps the history and enforces the time limit between epochs."""
    deadline = time.monotonic() + timeout if timeout else None

    def record(step: int, values: Mapping[str, float]) -> None:
        progress.history.extend((step, name, float(value)) for name, value in values.items())
        report(step, values)
        if deadline is not None and time.monotonic() > deadline:
            raise CellTimeoutError(f"not finished within cell_timeout={timeout:g} s (stopped after step {step})")

    return record


def watcher(watch: Watch, method: Method, sets: Mapping[EvalSplit, ImageSet], judge: Judge, report: Report) -> Report:
    """Adds to a report what the method has reached, whenever a watched share of the training is passed."""
    due = sorted(share for share in watch.shares if share < 1)

    def watched(step: int, values: Mapping[str, float]) -> None:
        epochs = method.context.epochs
        reached = False
        while epochs and due and step >= due[0] * epochs:
            due.pop(0)
            reached = True
        if reached and epochs and step < epochs:
            predictions = {split: method.predict(images) for split, images in sets.items()}
            metrics = image_level({split: image_scores(split, sets[split], predictions[split]) for split in sets})
            if watch.metric not in metrics:
                maps = {split: prediction.maps for split, prediction in predictions.items()}
                metrics |= judge.pixel_level(maps, {split: sets[split].samples for split in sets}).metrics
            value = metrics.get(watch.metric)
            if value is not None:
                values = {**values, watch.metric: value, "share": step / epochs}
        report(step, values)

    return watched
