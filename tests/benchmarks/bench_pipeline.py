"""Caches and the bootstrap: what else adbench makes fast."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from adbench.datasets.cache import Cache
from adbench.datasets.imageset import ImageSet
from adbench.datasets.registry import open_dataset
from adbench.methods.backbone import BUNDLED, Backbone
from adbench.methods.base import to_unit_tensor
from adbench.methods.features import cached_features
from adbench.reports.statistics import bootstrap_images
from bench_tables import spread, table, times

ROUNDS = 5


@dataclass(frozen=True)
class Row:
    """A comparison: ``ours`` against ``other``, seconds of each repeat."""

    name: str
    other_name: str
    ours: list[float]
    other: list[float]

    def cells(self) -> list[str]:
        """A row of the table."""
        ratio = times(statistics.median(self.other) / statistics.median(self.ours))
        return [self.name, spread(self.ours), self.other_name, spread(self.other), ratio]


def compare(name: str, ours: Callable[[], object], other_name: str, other: Callable[[], object], rounds: int) -> Row:
    """Run both in turn, so that a drifting machine drifts for both."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for run, taken in zip((ours, other), seconds, strict=True):
            taken.append(timed(run))
    return Row(name, other_name, *seconds)


def timed(run: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def bootstrap_report(rounds: int = ROUNDS) -> str:
    """AUROC and AP of 1,000 images under 2,000 resamples, as for an interval of the leaderboard."""
    rng = np.random.default_rng(0)
    labels = np.arange(1000) % 2
    scores = labels + rng.normal(size=(1, 1000))
    seconds = [timed(lambda: bootstrap_images(scores, labels, seed=0, n=2000)) for _ in range(rounds)]
    return table(["what", "time"], [["bootstrap of AUROC and AP, 2,000 resamples of 1,000 images", spread(seconds)]])


def pipeline_report(folder: Path, rounds: int = ROUNDS) -> str:
    """Caches against none."""
    torch.set_num_threads(1)
    rows = [decoded_images(folder, rounds), features(folder, rounds)]
    return table(["what", "time", "against", "time", "ratio"], [row.cells() for row in rows])


def decoded_images(folder: Path, rounds: int) -> Row:
    """An epoch over the decoded-image cache against decoding."""
    dataset = open_dataset("elpv", {})
    samples = dataset.samples("mono")[:300]
    warm = ImageSet(dataset, "mono", samples, 128, Cache(folder))

    def decode() -> None:
        for sample in samples:
            dataset.load_image("mono", sample)

    return compare("warm epoch, 300 images", lambda: warm.pixels(slice(None)), "decoding them", decode, rounds)


def features(folder: Path, rounds: int) -> Row:
    """An epoch over cached features against computing them."""
    dataset = open_dataset("elpv", {})
    cache = Cache(folder)
    images = ImageSet(dataset, "mono", dataset.samples("mono")[:128], 128, cache)
    backbone = Backbone(BUNDLED, (2, 3))
    stored = cached_features(backbone, images, cache, torch.device("cpu"))

    @torch.inference_mode()
    def compute() -> None:
        for start in range(0, len(images), 32):
            backbone(to_unit_tensor(images.pixels(slice(start, start + 32)), torch.device("cpu")))

    def read() -> None:
        for indices in torch.arange(len(images)).split(32):  # type: ignore[no-untyped-call]
            stored.batch(indices, torch.device("cpu"))

    return compare("features of 128 images, cached", read, "computed", compute, rounds)
