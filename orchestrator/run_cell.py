"""Execute one cell. A plain function without Ray: the same in a test, a notebook, a debugger and a Ray worker."""

import functools
import json
import os
import random
import shutil
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from adbench.datasets.base import ROLES, Dataset, Sample
from adbench.datasets.cache import Cache
from adbench.datasets.file_index import hash_path, kept_in
from adbench.datasets.imageset import ImageSet
from adbench.datasets.multi_class import UnitedImageSet, trained_together
from adbench.datasets.protocol import Protocol, follow_protocol, n_hidden, seen_as_normal, shortfalls
from adbench.datasets.registry import open_dataset
from adbench.datasets.splits import Split, choose_labelled, labelled_wanted, leaks, make_split
from adbench.methods.base import Context, Method, MethodConfig, Prediction
from adbench.methods.registry import method_class
from adbench.orchestrator import environment
from adbench.orchestrator.cell import Cell, canonical_json
from adbench.orchestrator.evaluation import Judge, PixelLevel, image_level, image_scores, keep_gallery
from adbench.orchestrator.fitting import Fit, Progress, fit, recorder, watcher
from adbench.orchestrator.lane_group import ALONE, LaneGroup, Report
from adbench.orchestrator.peak_memory import PeakMemory
from adbench.orchestrator.record import cell_facts
from adbench.reports.schema import (
    EVAL_SPLITS,
    EvalSplit,
    RunRecord,
    RunResult,
    SplitMaps,
    TrainingMaps,
)

_FEW = 10
"""Training images below which a run carries a warning."""


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
    memory = PeakMemory(surroundings.device)
    progress = Progress(memory)
    status: Literal["ok", "failed"] = "ok"
    error = None
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
        curves=progress.curves,
        gallery=progress.gallery,
        maps=progress.maps,
        training_maps=progress.training_maps,
    )


_kept: dict[str, Fit] = {}
"""The model of the cell before, where others are judged on it too; at most one, for it may fill a GPU."""


def _execute(cell: Cell, surroundings: Surroundings, report: Report, group: LaneGroup, progress: Progress) -> None:
    fitted = _kept.pop(cell.fit_id, None) if cell.fit_id else None
    _kept.clear()
    if group.size != cell.workers:
        raise RuntimeError(f"planned for {cell.workers} worker(s) and run by {group.size}: run_id would not be true")
    _make_deterministic(cell.seed, surroundings.threads)
    dataset, config = _opened_as_planned(cell)
    cache = Cache(Path(surroundings.cache_dir) if surroundings.cache_dir else None)
    judged: tuple[EvalSplit, ...] = ("val",) if cell.watch and not cell.watch.test else EVAL_SPLITS
    sets = _image_sets(cell, dataset, config, cache, judged if group.leads else (), progress)
    judge = Judge(dataset, cell.category, device=torch.device(surroundings.device), threads=surroundings.threads)
    if fitted is None:
        context = Context(
            seed=cell.seed,
            device=torch.device(surroundings.device),
            image_size=cell.image_size,
            cache=cache,
            report=recorder(progress, report, surroundings.timeout if group.leads else None),
            checkpoint_dir=_checkpoint_dir(cell, surroundings),
            code_version=environment.code_version(),
            notes=progress.notes,
        )
        method: Method = method_class(cell.method)(config, context)
        if cell.watch is not None and cell.watch.shares and group.leads:
            watched = {split: sets[split] for split in judged}
            context.report = watcher(cell.watch, method, watched, judge, context.report)
        fitted = fit(method, sets["train"], sets["labelled"], group, progress)
    else:
        fitted.told(progress)
    if cell.fit_id:
        _kept[cell.fit_id] = fitted
    if not group.leads:
        return
    progress.facts["fit_seconds"] = fitted.seconds
    predictions = {split: fitted.method.predict(sets[split]) for split in judged}
    milliseconds = 1000 * sum(prediction.seconds for prediction in predictions.values())
    progress.facts["predict_ms_per_image"] = milliseconds / sum(len(sets[split]) for split in judged)
    kept = surroundings.maps if cell.watch is None else "none"
    pixels = _evaluate(judge, sets, predictions, kept, progress)
    if cell.watch is None:
        progress.curves = pixels.curves
    if kept != "none":
        progress.training_maps = tuple(
            TrainingMaps(name=kept.name, image_ids=kept.image_ids, maps=kept.maps, images=kept.images)
            for kept in fitted.method.kept_maps()
        )
    if checkpoints := fitted.method.context.checkpoint_dir:
        shutil.rmtree(checkpoints, ignore_errors=True)


def _opened_as_planned(cell: Cell) -> tuple[Dataset, MethodConfig]:
    """The cell's dataset and its method's parameters; RuntimeError if their files are not those of the plan."""
    dataset = _opened(cell.dataset, canonical_json(cell.dataset_params))
    if any(dataset.fingerprint(category) != planned for category, planned in _trained_on(cell).items()):
        raise RuntimeError("the images on this machine differ from those the plan was made from (fingerprint)")
    config = method_class(cell.method).config_class(**cell.params)
    for key, path in config.input_files().items():
        if hash_path(path) != cell.files[key]:
            raise RuntimeError(f"method.{key}={path} is not as it was when the plan was made: run the command again")
    return dataset, config


def _image_sets(
    cell: Cell,
    dataset: Dataset,
    config: MethodConfig,
    cache: Cache,
    judged: tuple[EvalSplit, ...],
    progress: Progress,
) -> dict[str, ImageSet]:
    """What the method is trained on and, of the cell's own category, the splits that it is judged on."""
    splits: dict[str, Split] = {}
    for category in _trained_on(cell):
        split = make_split(dataset.samples(category), category, cell.split_seed, dataset.split_rule())
        split = follow_protocol(split, cell.protocol, category, cell.split_seed)
        splits[category] = choose_labelled(split, *config.labelled_request(), category, cell.split_seed)
        notes = [*dataset.notes(category), *leaks(splits[category]), *shortfalls(splits[category], cell.protocol)]
        notes += _too_few_labelled(splits[category], config.labelled_request()[0])
        progress.notes.extend(f"{category}: {note}" if cell.trained_on else note for note in notes)
    split = trained_together(splits, cell.category) if cell.trained_on else splits[cell.category]
    _note_split(split, cell.protocol, progress)

    def images(category: str, samples: Sequence[Sample]) -> ImageSet:
        return ImageSet(dataset, category, samples, cell.image_size, cache)

    def trained_on(samples_of: Callable[[Split], Sequence[Sample]]) -> ImageSet:
        parts = {category: images(category, samples_of(own)) for category, own in splits.items()}
        return UnitedImageSet(parts) if cell.trained_on else parts[cell.category]

    sets: dict[str, ImageSet] = {role: images(cell.category, split.of(role)) for role in judged}
    sets["train"] = trained_on(lambda own: seen_as_normal(own.train))
    sets["labelled"] = trained_on(lambda own: own.labelled)
    _note_copies(sets, progress)
    return sets


def _trained_on(cell: Cell) -> dict[str, str]:
    """The categories whose images train the cell's model, with their fingerprints."""
    return cell.trained_on or {cell.category: cell.fingerprint}


def _checkpoint_dir(cell: Cell, surroundings: Surroundings) -> Path | None:
    if surroundings.scratch is None or cell.watch:
        return (
            None  # A trial starts anew: a resumed one would pass watched shares of the training with a later state.
        )
    return Path(surroundings.scratch) / (cell.fit_id or cell.run_id)


def _evaluate(
    judge: Judge,
    sets: Mapping[str, ImageSet],
    predictions: Mapping[EvalSplit, Prediction],
    keep_maps: Literal["report", "all", "none"],
    progress: Progress,
) -> PixelLevel:
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
    return pixels


def _note_split(split: Split, protocol: Protocol, progress: Progress) -> None:
    counts = {f"n_{role}": len(split.of(role)) for role in ROLES}
    progress.facts.update(counts, n_hidden=n_hidden(split) if protocol.noise else None)
    for label, what in ((0, "normal"), (1, "anomalous")):
        if not any(sample.label == label for sample in split.test):
            progress.notes.append(f"test holds no {what} images: metrics that need both kinds are null")
    if len(split.train) < _FEW and protocol.n_normal is None:
        progress.notes.append(f"only {len(split.train)} training images: expect little of the results")


def _too_few_labelled(split: Split, ratio: float) -> list[str]:
    wanted = labelled_wanted(len(split.train), ratio)
    got = len(split.labelled)
    if not 0 < got < wanted:
        return []
    share = got / (got + len(split.train))
    return [f"anomaly ratio {ratio:g} asks for {wanted} labelled anomalies, only {got} exist: true ratio {share:.3f}"]


def _note_copies(sets: Mapping[str, ImageSet], progress: Progress) -> None:
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
