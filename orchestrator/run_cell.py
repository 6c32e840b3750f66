"""Execute one cell. A plain function without Ray: the same in a test, a notebook, a debugger and a Ray worker."""

import functools
import json
import os
import random
import shutil
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import torch

from adbench.datasets.base import ROLES, Dataset, Role
from adbench.datasets.cache import Cache
from adbench.datasets.file_index import hash_path, kept_in
from adbench.datasets.imageset import ImageSet
from adbench.datasets.protocol import Protocol, follow_protocol, n_hidden, seen_as_normal, shortfalls
from adbench.datasets.registry import open_dataset
from adbench.datasets.splits import Split, choose_labelled, labelled_wanted, leaks, make_split
from adbench.methods.base import Context, Method, Prediction
from adbench.methods.registry import method_class
from adbench.orchestrator import environment
from adbench.orchestrator.cell import Cell, Watch, canonical_json
from adbench.orchestrator.evaluation import Judge, image_level, image_scores, keep_gallery
from adbench.orchestrator.lane_group import ALONE, LaneGroup, Report
from adbench.orchestrator.record import cell_facts
from adbench.reports.schema import (
    EVAL_SPLITS,
    EvalSplit,
    Gallery,
    ImageScores,
    RunRecord,
    RunResult,
    SplitMaps,
    TrainingMaps,
)

_FEW = 10
"""Training images below which a run carries a warning."""


class CellTimeoutError(RuntimeError):
    """The cell exceeded its time limit."""


@dataclass(frozen=True)
class Surroundings:
    """What a cell may use: not part of its identity. ``cache_dir`` None: nothing is kept; ``scratch`` holds
    checkpoints of unfinished cells, or None."""

    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = 1
    cache_dir: str | None = None
    scratch: str | None = None
    timeout: float | None = None
    maps: Literal["report", "all", "none"] = "report"


@dataclass
class _Progress:
    """What is known of a cell so far, so that a failed one is recorded with all of it."""

    facts: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float | None] = field(default_factory=dict)
    images: tuple[ImageScores, ...] = ()
    history: list[tuple[int, str, float]] = field(default_factory=list)
    gallery: Gallery | None = None
    maps: tuple[SplitMaps, ...] = ()
    training_maps: tuple[TrainingMaps, ...] = ()
    notes: list[str] = field(default_factory=list)


def run_cell(
    cell: Cell,
    surroundings: Surroundings,
    report: Report = lambda step, values: None,
    group: LaneGroup = ALONE,
) -> RunResult:
    """Split, fit, predict, judge. Never raises for what the cell itself does: a failure is a `failed` result.

    ``report(step, values)`` is called once an epoch and may raise CellStoppedError to abandon the cell. All processes
    of ``group`` call this with the same cell; the result of a follower, which only fits, holds no metrics.
    """
    started = datetime.now(UTC)
    progress = _Progress()
    status: Literal["ok", "failed"] = "ok"
    error = None
    memory = _PeakMemory(surroundings.device)
    folder = Path(surroundings.cache_dir) if surroundings.cache_dir else None
    try:
        with memory, kept_in(folder, cell.image_size):
            _execute(cell, surroundings, report, group, progress)
    except Exception as failure:  # Whatever a method raises is a recorded row, not a lost suite.
        status, error = "failed", _explain(failure)
    record = RunRecord(
        **cell_facts(cell),
        status=status,
        error=error,
        metrics=progress.metrics,
        peak_rss_mb=memory.rss_mb,
        peak_vram_mb=memory.vram_mb,
        device=surroundings.device,
        world_size=group.size,
        started_at=started,
        finished_at=datetime.now(UTC),
        hardware=_hardware(surroundings.device),
        notes="\n".join(progress.notes) or None,
        **progress.facts,
    )
    return RunResult(
        record=record,
        images=progress.images,
        history=tuple(progress.history),
        gallery=progress.gallery,
        maps=progress.maps,
        training_maps=progress.training_maps,
    )


def _execute(cell: Cell, surroundings: Surroundings, report: Report, group: LaneGroup, progress: _Progress) -> None:
    if group.size != cell.workers:
        raise RuntimeError(f"planned for {cell.workers} worker(s) and run by {group.size}: run_id would not be true")
    _make_deterministic(cell.seed, surroundings.threads)
    dataset = _opened(cell.dataset, canonical_json(cell.dataset_params))
    if dataset.fingerprint(cell.category) != cell.fingerprint:
        raise RuntimeError("the images on this machine differ from those the plan was made from (fingerprint)")
    config = method_class(cell.method).config_class(**cell.params)
    for key, path in config.input_files().items():
        if hash_path(path) != cell.files[key]:
            raise RuntimeError(f"method.{key}={path} is not as it was when the plan was made: run the command again")
    split = make_split(dataset.samples(cell.category), cell.category, cell.split_seed, dataset.split_rule())
    split = follow_protocol(split, cell.protocol, cell.category, cell.split_seed)
    split = choose_labelled(split, *config.labelled_request(), cell.category, cell.split_seed)
    progress.notes.extend(dataset.notes(cell.category))
    _note_split(split, cell.protocol, config.labelled_request()[0], progress)
    cache = Cache(Path(surroundings.cache_dir) if surroundings.cache_dir else None)
    judged: tuple[EvalSplit, ...] = ("val",) if cell.watch and not cell.watch.test else EVAL_SPLITS
    roles: tuple[Role, ...] = ("train", "labelled", *(judged if group.leads else ()))
    shown = {role: split.of(role) for role in roles} | {"train": seen_as_normal(split.train)}
    sets: dict[str, ImageSet] = {
        role: ImageSet(dataset, cell.category, samples, cell.image_size, cache) for role, samples in shown.items()
    }
    _note_copies(sets, progress)
    judge = Judge(dataset, cell.category, device=torch.device(surroundings.device), threads=surroundings.threads)
    context = Context(
        seed=cell.seed,
        device=torch.device(surroundings.device),
        image_size=cell.image_size,
        cache=cache,
        report=_recorder(progress, report, surroundings.timeout if group.leads else None),
        # A trial starts anew: a resumed one would pass watched shares of the training with a later state.
        checkpoint_dir=Path(surroundings.scratch) / cell.run_id if surroundings.scratch and not cell.watch else None,
        code_version=environment.code_version(),
        notes=progress.notes,
    )
    method: Method = method_class(cell.method)(config, context)
    if cell.watch is not None and cell.watch.shares and group.leads:
        watched = {split: sets[split] for split in judged}
        context.report = _watcher(cell.watch, method, watched, judge, context.report)
    context.report = group.agreed(context.report)
    began = time.perf_counter()
    method.fit(sets["train"], sets["labelled"])
    _synchronise(surroundings.device)
    if not group.leads:
        return
    # Features that another cell computed, or epochs of an attempt that was killed, must not make it look cheap.
    spared = cache.borrowed_feature_seconds + context.resumed_seconds
    progress.facts["fit_seconds"] = time.perf_counter() - began + spared
    predictions = {split: method.predict(sets[split]) for split in judged}
    milliseconds = 1000 * sum(prediction.seconds for prediction in predictions.values())
    progress.facts["predict_ms_per_image"] = milliseconds / sum(len(sets[split]) for split in judged)
    kept = surroundings.maps if cell.watch is None else "none"
    _evaluate(judge, sets, predictions, kept, progress)
    if kept != "none":
        progress.training_maps = tuple(
            TrainingMaps(name=kept.name, image_ids=kept.image_ids, maps=kept.maps) for kept in method.kept_maps()
        )
    if context.checkpoint_dir:
        shutil.rmtree(context.checkpoint_dir, ignore_errors=True)


def _evaluate(
    judge: Judge,
    sets: Mapping[str, ImageSet],
    predictions: Mapping[EvalSplit, Prediction],
    keep_maps: Literal["report", "all", "none"],
    progress: _Progress,
) -> None:
    scores = {split: image_scores(split, sets[split], predictions[split]) for split in predictions}
    progress.images = tuple(scores.values())
    maps = {split: prediction.maps for split, prediction in predictions.items()}
    pixels = judge.pixel_level(maps, {split: sets[split].samples for split in maps})
    progress.metrics = image_level(scores) | pixels.metrics
    progress.facts["pixel_error_bound"] = pixels.error_bound
    progress.notes.extend(dict.fromkeys(judge.notes))  # Of the looks amid the training too.
    if keep_maps == "all":
        progress.maps = tuple(SplitMaps(split=split, image_ids=sets[split].ids, maps=maps[split]) for split in maps)
    if keep_maps != "none":
        progress.gallery = keep_gallery(judge, sets["test"], predictions["test"])


def _note_split(split: Split, protocol: Protocol, ratio: float, progress: _Progress) -> None:
    counts = {f"n_{role}": len(split.of(role)) for role in ROLES}
    progress.facts.update(counts, n_hidden=n_hidden(split) if protocol.noise else None)
    progress.notes.extend([*leaks(split), *shortfalls(split, protocol)])
    for label, what in ((0, "normal"), (1, "anomalous")):
        if not any(sample.label == label for sample in split.test):
            progress.notes.append(f"test holds no {what} images: metrics that need both kinds are null")
    if len(split.train) < _FEW and protocol.n_normal is None:
        progress.notes.append(f"only {len(split.train)} training images: expect little of the results")
    wanted = labelled_wanted(len(split.train), ratio)
    got = len(split.labelled)
    if 0 < got < wanted:
        progress.notes.append(
            f"anomaly ratio {ratio:g} asks for {wanted} labelled anomalies, only {got} exist: "
            f"true ratio {got / (got + len(split.train)):.3f}"
        )


def _note_copies(sets: Mapping[str, ImageSet], progress: _Progress) -> None:
    """Images of val or test that training shows too make results look better than they are."""
    seen = np.concatenate([sets["train"].digests, sets["labelled"].digests])
    for role in (split for split in EVAL_SPLITS if split in sets):
        copies = np.flatnonzero(np.isin(sets[role].digests, seen))
        if len(copies):
            text = f"{len(copies)} {role} image(s) are copies of training images, such as {sets[role].ids[copies[0]]}"
            progress.notes.append(f"LEAK: {text}")


@functools.lru_cache(maxsize=4)
def _opened(name: str, params: str) -> Dataset:
    return open_dataset(name, json.loads(params))


def _make_deterministic(seed: int, threads: int) -> None:
    # The number of threads is fixed too: it changes the order of sums, and with it the last bits.
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - libraries may use the legacy generator
    torch.manual_seed(seed)


def _recorder(progress: _Progress, report: Report, timeout: float | None) -> Report:
    """Keeps the history and enforces the time limit between epochs."""
    deadline = time.monotonic() + timeout if timeout else None

    def record(step: int, values: Mapping[str, float]) -> None:
        progress.history.extend((step, name, float(value)) for name, value in values.items())
        report(step, values)
        if deadline is not None and time.monotonic() > deadline:
            raise CellTimeoutError(f"not finished within cell_timeout={timeout:g} s (stopped after step {step})")

    return record


def _watcher(
    watch: Watch, method: Method, sets: Mapping[EvalSplit, ImageSet], judge: Judge, report: Report
) -> Report:
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


def _explain(failure: Exception) -> str:
    text = "".join(traceback.format_exception(failure)).rstrip()
    if isinstance(failure, torch.OutOfMemoryError):
        return (
            f"{text}\nThe GPU's memory was exhausted: give each lane more of it (gpus_per_lane=1), or lower "
            "method.batch_size or image_size."
        )
    if "/gloo/" in str(failure):  # Its errors have no type of their own.
        return f"{text}\nAnother worker of the lane does not answer: killed, out of memory, crashed, or stuck."
    return text


def _hardware(device: str) -> str:
    # A worker that was given no GPU fails in its cell, and must still be able to say so.
    return torch.cuda.get_device_name() if device == "cuda" and torch.cuda.is_available() else environment.processor()


def _synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


class _PeakMemory:
    """Peak memory of this process while the block runs; sampled, because a warm process's own peak never falls."""

    _SECONDS = 0.05

    def __init__(self, device: str) -> None:
        self.rss_mb: float | None = None
        self.vram_mb: float | None = None
        self._cuda = device == "cuda"
        self._stop = threading.Event()
        self._process = psutil.Process()

    def __enter__(self) -> None:
        if self._cuda and torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._cuda and torch.cuda.is_available():
            self.vram_mb = torch.cuda.max_memory_allocated() / 2**20

    def _sample(self) -> None:
        peak = 0
        while True:
            peak = max(peak, self._process.memory_info().rss)
            self.rss_mb = peak / 2**20
            if self._stop.wait(self._SECONDS):
                return
