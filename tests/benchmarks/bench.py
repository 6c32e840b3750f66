"""`make bench`: what is fast, as ratios of medians within one run. Times alone say more about the machine."""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from adbench.benchmark_suites.metrics import pixel_metrics
from adbench.datasets.cache import Cache
from adbench.datasets.imageset import ImageSet
from adbench.datasets.registry import open_dataset
from adbench.methods.backbone import BUNDLED, Backbone
from adbench.methods.base import to_unit_tensor
from adbench.methods.features import cached_features
from adbench.orchestrator.environment import processor

REPEATS = 5


@dataclass(frozen=True)
class Row:
    """A comparison: ``ours`` against ``other``, seconds of each repeat."""

    name: str
    other_name: str
    ours: list[float]
    other: list[float]

    def line(self) -> str:
        """A row of the Markdown table."""
        ratio = statistics.median(self.other) / statistics.median(self.ours)
        cells = [self.name, _spread(self.ours), self.other_name, _spread(self.other), f"{ratio:.1f} x"]
        return "| " + " | ".join(cells) + " |"


def compare(name: str, ours: Callable[[], object], other_name: str, other: Callable[[], object]) -> Row:
    """Run both in turn, so that a drifting machine drifts for both."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS):
        for run, seconds in zip((ours, other), times, strict=True):
            began = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - began)
    return Row(name, other_name, *times)


def _spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.4g} s ({min(seconds):.4g} - {max(seconds):.4g})"


def metrics() -> Row:
    """AUROC, AP, best F1 and AUPRO of 83 maps of 256x256 against scikit-learn's three without AUPRO."""
    rng = np.random.default_rng(0)
    maps = [gaussian_filter(rng.normal(size=(256, 256)), 3).astype(np.float32) for _ in range(83)]
    masks = [gaussian_filter(rng.normal(size=(256, 256)), 9) > 0.064 for _ in range(83)]
    flat, truth = np.concatenate([m.ravel() for m in maps]), np.concatenate([m.ravel() for m in masks])

    def sklearn() -> None:
        roc_auc_score(truth, flat)
        average_precision_score(truth, flat)
        precision, recall, _ = precision_recall_curve(truth, flat)
        np.nanmax(2 * precision * recall / np.maximum(precision + recall, 1e-12))

    return compare(
        f"pixel metrics, {truth.mean():.1%} anomalous",
        lambda: pixel_metrics(maps, masks),
        "scikit-learn's three",
        sklearn,
    )


def decoded_images(folder: Path) -> Row:
    """An epoch over the decoded-image cache against decoding."""
    dataset = open_dataset("elpv", {})
    samples = dataset.samples("mono")[:300]
    warm = ImageSet(dataset, "mono", samples, 128, Cache(folder))

    def decode() -> None:
        for sample in samples:
            dataset.load_image("mono", sample)

    return compare("warm epoch, 300 images", lambda: warm.pixels(slice(None)), "decoding them", decode)


def features(folder: Path) -> Row:
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

    return compare("features of 128 images, cached", read, "computed", compute)


def lanes(folder: Path) -> Row:
    """A tiny cell on a warm lane against an empty TorchTrainer, once each: both take seconds."""
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from adbench.orchestrator.compose import compose
    from adbench.orchestrator.events import CellFinished, CellStarted, Event
    from adbench.orchestrator.launch_ray import RayResources, launch_ray, ray_session
    from adbench.orchestrator.overrides import parse_overrides
    from adbench.orchestrator.plan import make_plan
    from adbench.orchestrator.run_cell import Surroundings

    parsed = parse_overrides(["suite=smoke", "method=recon", "category=weave", "seed=range(0,20)"])
    cells = make_plan(compose(parsed), parsed).cells
    stamps: list[float] = []

    def handle(event: Event) -> bool:
        if isinstance(event, CellFinished | CellStarted):
            stamps.append(time.perf_counter())
        return True

    with ray_session(None):
        launch_ray(cells, Surroundings(cache_dir=str(folder)), RayResources(lanes=1), handle)
        empty = []
        for index in range(2):
            began = time.perf_counter()
            run = RunConfig(name=f"empty{index}", storage_path=str(folder))
            TorchTrainer(_nothing, scaling_config=ScalingConfig(num_workers=1), run_config=run).fit()
            empty.append(time.perf_counter() - began)
        assert ray.is_initialized()
    # The first cell builds the caches; the others are warm.
    per_cell = (stamps[-1] - stamps[2]) / (len(cells) - 1)
    return Row("one-epoch cell on a warm lane", "an empty TorchTrainer", [per_cell], empty)


def _nothing() -> None:
    pass


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    say = sys.stdout.write
    say(f"{processor()}, torch {torch.__version__}, one thread, {REPEATS} repeats: median (min - max)\n\n")
    say("| what | time | against | time | ratio |\n|---|---|---|---|---|\n")
    with tempfile.TemporaryDirectory() as folder:
        say(metrics().line() + "\n")
        say(decoded_images(Path(folder)).line() + "\n")
        say(features(Path(folder)).line() + "\n")
        say(lanes(Path(folder)).line() + "\n")


if __name__ == "__main__":
    main()
