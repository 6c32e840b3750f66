"""Reading images from disk for the first time, and from the cache, against bare decoding."""

import os
import shutil
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from adbench.datasets.cache import Cache
from adbench.datasets.file_index import kept_in
from adbench.datasets.imageset import ImageSet
from adbench.datasets.registry import open_dataset
from bench_pipeline import timed
from bench_tables import OthersLoad, spread, table, times

SIDE = 300
RESIZED = 256
BATCH = 32
TARGETS = {"cold": 0.8, "warm": 20.0}


def reading_report(folder: Path, images: int = 2000, rounds: int = 5) -> str:
    """All contenders in turn: each meets what the machine is doing meanwhile."""
    root = draw(folder / "images", images)
    paths = sorted((root / "train" / "good").iterdir())
    cores, cache = os.cpu_count() or 1, folder / "cache"
    load = OthersLoad()
    with (
        ThreadPoolExecutor(cores) as threads,
        ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as processes,
    ):
        list(processes.map(bare, paths[: 4 * cores]))  # Started and imported, as the threads are.
        runs: dict[str, Callable[[], object]] = {
            "bare": lambda: over(threads, bare, paths),
            "bare processes": lambda: over(processes, bare, paths),
            "cold": lambda: warmed(root, cache, SIDE),
            "bare resized": lambda: over(threads, bare_resized, paths),
            "cold resized": lambda: warmed(root, cache, RESIZED),
        }
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                shutil.rmtree(cache, ignore_errors=True)
                os.sync()  # The disk is still busy with what is gone, and nobody removes a cache just before a run.
                seconds[name].append(timed(run))
    warm = warmed(root, cache, SIDE)
    seconds["warm"] = [timed(lambda: epoch(warm)) for _ in range(rounds)]
    return f"{images} images of {SIDE}x{SIDE}, half JPEG, half PNG. {load.line()}\n{_tables(seconds)}"


def draw(root: Path, images: int) -> Path:
    """A folder dataset of noisy gratings; photographs compress as badly."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    good = root / "train" / "good"
    good.mkdir(parents=True)
    for number in range(images):
        angle, waves = rng.uniform(0, np.pi), rng.uniform(5, 40)
        grating = 110 + 40 * np.sin(2 * np.pi * waves * (x * np.cos(angle) + y * np.sin(angle)))
        pixels = np.clip(grating[..., None] + rng.normal(0, 6, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
        suffix = ".jpg" if number % 2 else ".png"
        Image.fromarray(pixels).save(good / f"{number:05d}{suffix}", quality=90)  # PNG has no quality.
    return root


def bare(path: Path) -> None:
    """What no reader can do without."""
    with Image.open(path) as image:
        np.asarray(image.convert("RGB"))


def bare_resized(path: Path) -> None:
    """The same for a smaller size."""
    with Image.open(path) as image:
        np.asarray(image.convert("RGB").resize((RESIZED, RESIZED), Image.Resampling.BILINEAR))


def over(pool: Executor, read: Callable[[Path], None], paths: Sequence[Path]) -> None:
    """Read all in parallel."""
    for _ in pool.map(read, paths, chunksize=16):
        pass


def warmed(root: Path, cache: Path, size: int) -> ImageSet:
    """The images as a method sees them. With an empty cache this is what planning a run on new images costs: they are
    found, hashed, checked, decoded and kept."""
    with kept_in(cache, size):
        dataset = open_dataset("folder", {"root": str(root)})
        (category,) = dataset.categories()
        if problems := dataset.verify(category):
            raise RuntimeError(problems[0])
        return ImageSet(dataset, category, dataset.samples(category), size, Cache(cache))


def epoch(images: ImageSet) -> None:
    """All images once, in batches and out of order, as a training takes them."""
    order = np.random.default_rng(0).permutation(len(images))
    for start in range(0, len(order), BATCH):
        images.pixels(order[start : start + BATCH])


def _tables(seconds: dict[str, list[float]]) -> str:
    def ratio(of: str, against: str) -> float:
        return statistics.median(a / b for a, b in zip(seconds[against], seconds[of], strict=True))

    rows = [
        [f"cold: index, check, cache at {SIDE}", "cold", "bare decoding, threads", "bare"],
        ["the same", "cold", "bare decoding, processes already started", "bare processes"],
        [f"cold: index, check, cache at {RESIZED}", "cold resized", "bare decoding and resizing", "bare resized"],
        ["warm: an epoch over the cache", "warm", "bare decoding, threads", "bare"],
    ]
    measured = table(
        ["what", "time", "against", "time", "speed of the first"],
        [
            [what, spread(seconds[ours]), other, spread(seconds[base]), times(ratio(ours, base))]
            for what, ours, other, base in rows
        ],
    )
    judged = [
        [name, f">= {target:g} x", times(ratio(name, "bare")), "met" if ratio(name, "bare") >= target else "missed"]
        for name, target in TARGETS.items()
    ]
    return f"{measured}\n{table(['target', '', 'measured', ''], judged)}"
