"""Prediction of every method: milliseconds per image, how much of it its networks need, and what the rest is."""

import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.profiler import ProfilerActivity, profile

from adbench.datasets.cache import Cache
from adbench.datasets.imageset import ImageSet
from adbench.datasets.parameters import validate
from adbench.datasets.registry import open_dataset
from adbench.methods.base import PREDICT_BATCH, Context, Method, to_unit_tensor
from adbench.methods.registry import method_class, method_entry, methods
from bench_tables import table

ROUNDS = 5
SHOWN = 4
LENGTHS = ("epochs", "steps", "iterations", "pretrain_iterations")
DATA = {"n_train": 16, "n_labelled": 8, "n_val": 0, "n_val_anomalous": 0, "n_test": 16, "n_test_anomalous": 16}


def methods_report(
    folder: Path, names: Sequence[str] | None = None, size: int = 128, budget: str = "quick", rounds: int = ROUNDS
) -> str:
    """Batches of images through every method as its budget sets it up; in turns, on one thread or on the GPU."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    shown = [name for name in methods() if method_entry(name).extra is None] if names is None else names
    learned = {name: trained(name, size, budget, device, Cache(folder)) for name in shown}
    dataset = open_dataset("phantom", {"size": size, **DATA})
    test = [sample for sample in dataset.samples("weave") if sample.role == "test"]
    pixels = ImageSet(dataset, "weave", test, size, Cache(folder)).pixels(slice(0, PREDICT_BATCH))
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in shown}
    for turn in range(rounds + 1):
        for name, method in learned.items():
            measured = timed(method, pixels)
            if turn:  # The first call warms caches up.
                runs[name].append(measured)
    rows = [row(name, runs[name], len(pixels), profiled(learned[name], pixels)) for name in shown]
    where = torch.cuda.get_device_name() if device.type == "cuda" else "one thread"
    head = ["method", "ms per image", "of these in its networks", "ratio", "operators with most time of their own"]
    return f"{size} px, preset {budget}, batches of {len(pixels)}, {where}.\n\n" + table(head, rows)


def trained(name: str, size: int, budget: str, device: torch.device, cache: Cache) -> Method:
    """The method after a training too short to be good, but as large as in earnest."""
    kind = method_class(name).config_class
    dataset = open_dataset("phantom", {"size": size, **DATA})
    sets = {
        role: ImageSet(dataset, "weave", [s for s in dataset.samples("weave") if s.role == role], size, cache)
        for role in ("train", "labelled")
    }
    short = {key: 4 for key in LENGTHS if key in kind.model_fields}
    params: dict[str, Any] = {**kind.preset(budget, "industrial"), **short, **method_entry(name).fixed}
    method = method_class(name)(validate(kind, params), Context(0, device, size, cache))
    method.fit(sets["train"], sets["labelled"])
    return method


def timed(method: Method, pixels: NDArray[np.uint8]) -> tuple[float, float]:
    """Seconds of a prediction from pixels to maps, and of these the seconds within the method's networks."""
    with clocked(method) as inside:
        began = time.perf_counter()
        _, maps = method.predict_batch(to_unit_tensor(pixels, method.context.device))
        maps.cpu()
        return time.perf_counter() - began, sum(inside)


@contextmanager
def clocked(method: Method) -> Iterator[list[float]]:
    """Seconds of every call of the networks that the method holds, while the block runs."""
    seconds: list[float] = []
    began: list[float] = []

    def now() -> float:
        if method.context.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def enter(*_: Any) -> None:
        began.append(now())

    def leave(*_: Any) -> None:
        took = now() - began.pop()
        if not began:  # a network within a network is part of it
            seconds.append(took)

    held = [value for value in vars(method).values() if isinstance(value, nn.Module)]
    own = {network for value in held for network in (value, *value.children())}
    hooks = [hook for net in own for hook in (net.register_forward_pre_hook(enter), net.register_forward_hook(leave))]
    try:
        yield seconds
    finally:
        for hook in hooks:
            hook.remove()


def profiled(method: Method, pixels: NDArray[np.uint8]) -> str:
    """The operators that take most of a prediction, each with its share."""
    on_gpu = method.context.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as found:
        method.predict_batch(to_unit_tensor(pixels, method.context.device))
    taken: Counter[str] = Counter()
    for event in found.key_averages():
        own = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        taken[event.key.removeprefix("aten::")] += own
    total = sum(taken.values())
    return ", ".join(f"{name} {spent / total:.0%}" for name, spent in taken.most_common(SHOWN))


def row(name: str, runs: Sequence[tuple[float, float]], images: int, operators: str) -> list[str]:
    """A line of the table: medians, with the range of the whole."""
    whole = [1000 * total / images for total, _ in runs]
    inside = statistics.median(1000 * net / images for _, net in runs)
    middle = statistics.median(whole)
    ratio = f"{middle / inside:.2f} x" if inside else "no network"
    return [name, f"{middle:.3g} ({min(whole):.3g} - {max(whole):.3g})", f"{inside:.3g}", ratio, operators]
