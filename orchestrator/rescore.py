"""`adbench report --rescore`: metrics whose definition changed, recomputed from the kept scores and maps.

Nothing is trained and no row changes: a re-scored run is a new row of the same training, whose run_id is the one that
`adbench run` now plans. Its times stay those of the training, for they say which data are newest.
"""

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from adbench.benchmark_suites.metrics import METRIC_VERSION, METRICS
from adbench.datasets.base import Dataset, Sample
from adbench.datasets.errors import RequestError
from adbench.datasets.registry import open_dataset
from adbench.orchestrator.cell import canonical_json, training_of, with_metric_version
from adbench.orchestrator.evaluation import Judge, PixelLevel, image_level
from adbench.reports.encoding import load_record
from adbench.reports.entries import trials
from adbench.reports.errors import StoreError
from adbench.reports.leaderboard import rows_of_suite
from adbench.reports.schema import (
    EVAL_SPLITS,
    METRIC_COLUMNS,
    VAL_METRIC_COLUMNS,
    EvalSplit,
    ImageScores,
    KeptCurve,
    RunRecord,
)
from adbench.reports.store import ResultStore

_log = logging.getLogger(__name__)
_SHOWN_RUNS = 5
_COMMANDS = "`adbench show run ID` prints the command of each"
_PIXEL_LEVEL = {name for name, info in METRICS.items() if info.level == "pixel"}


@dataclass(frozen=True)
class Rescored:
    """How many runs were re-scored, how many were current before, and which could not be, by (problem, remedy)."""

    done: int
    current: int
    left: Mapping[tuple[str, str], Sequence[str]]

    def lines(self) -> list[str]:
        """What the user sees."""
        n_left = sum(map(len, self.left.values()))
        counts = f"{self.done} run(s) re-scored, {self.current} already current, {n_left} left as they are"
        lines = [f"metric_version {METRIC_VERSION}: {counts}"]
        for (problem, remedy), runs in self.left.items():
            more = [f"and {len(runs) - _SHOWN_RUNS} more"] if len(runs) > _SHOWN_RUNS else []
            lines += [
                f"  LEFT {len(runs)} run(s): {problem}",
                f"    to do: {remedy}",
                f"    runs:  {'; '.join([*runs[:_SHOWN_RUNS], *more])}",
            ]
        return lines


def rescore(store: ResultStore, suite: str | None = None, data_root: str | None = None) -> Rescored:
    """Record every successful run, or one suite's, under METRIC_VERSION where it is not yet, one run at a time.

    A run is re-scored whole or not at all. Image metrics need its image scores only; pixel metrics its maps (of
    ``maps=all``) and its dataset, whose folder may now lie under ``data_root``. Raises RequestError if that is no
    folder, and StoreError if the results folder cannot be used; what was re-scored before stays.
    """
    if data_root is not None and not Path(data_root).expanduser().is_dir():
        raise RequestError(f"data_root={data_root} is not a folder", remedy="give the folder that holds the datasets")
    store.prepare()
    runs = store.runs()
    newest = _newest_of_each_training(runs)
    if suite is not None:
        wanted = rows_of_suite(runs, suite, tuple(store.plans().values()))["run_id"].map(training_of)
        newest = newest[newest["training"].isin(wanted)]
    records = [load_record(row) for row in newest.to_dict("records")]
    older = [record for record in records if record.metric_version != METRIC_VERSION]
    judging = _Rescoring(store, data_root)
    left: dict[tuple[str, str], list[str]] = {}
    console = Console(stderr=True)
    for record in track(older, "re-scoring", console=console, transient=True, disable=not console.is_terminal):
        try:
            row, curves = judging.rescored(record)
            store.append_rescored(row, record.run_id, curves)
        except StoreError:
            raise
        except Exception as failure:  # One run that cannot be re-scored must not keep the others from it.
            label = f"{record.run_id[:12]} {record.method} {record.dataset}/{record.category} seed {record.seed}"
            left.setdefault(_reason(failure, label), []).append(label)
    _renew_plans(store)
    n_left = sum(map(len, left.values()))
    return Rescored(done=len(older) - n_left, current=len(records) - len(older), left=left)


def _newest_of_each_training(runs: pd.DataFrame) -> pd.DataFrame:
    """The successful run with the largest metric version of each training, which a further column names.

    Trials stay as they are: a search compares values of one metric version, and they have no scores on test.
    """
    ok = runs[(runs["status"] == "ok") & ~trials(runs)]
    ok = ok.assign(training=ok["run_id"].map(training_of))
    ordered = ok.sort_values("metric_version", kind="stable", na_position="first")
    return ordered.drop_duplicates("training", keep="last").sort_index()


def _reason(failure: Exception, label: str) -> tuple[str, str]:
    if isinstance(failure, RequestError):
        return failure.problem, failure.remedy or "train again"
    _log.error("%s cannot be re-scored", label, exc_info=failure)
    return f"{type(failure).__name__}: {failure}", "nobody expected this: the traceback is above; nothing was changed"


def _renew_plans(store: ResultStore) -> None:
    """Let the suites' plans name the re-scored runs, as the next `adbench run` will."""
    newest = _newest_of_each_training(store.runs())
    current = newest[newest["metric_version"] == METRIC_VERSION]
    run_ids = dict(zip(current["training"], current["run_id"], strict=True))
    for plan in store.plans().values():
        cells = tuple(
            dataclasses.replace(cell, run_id=run_ids.get(training_of(cell.run_id), cell.run_id))
            for cell in plan.cells
        )
        if cells != plan.cells:
            store.write_plan(dataclasses.replace(plan, cells=cells))


class _Rescoring:
    """Makes new rows of old ones. Keeps datasets open, but neither scores nor maps."""

    def __init__(self, store: ResultStore, data_root: str | None) -> None:
        self._store = store
        self._data_root = data_root
        self._opened: dict[tuple[str, str], Dataset] = {}

    def rescored(self, record: RunRecord) -> tuple[RunRecord, tuple[KeptCurve, ...] | None]:
        """The row of ``record`` under METRIC_VERSION, and if pixel metrics changed its curves, for then they may
        have too. Raises RequestError if something is missing for it."""
        version = record.metric_version or 0
        if version > METRIC_VERSION:
            raise RequestError(
                f"recorded under metric_version {version}, and this adbench knows {METRIC_VERSION}",
                remedy="use the adbench that recorded them, or a newer one",
            )
        changed = {name for name, info in METRICS.items() if info.changed_in > version}
        scores = self._scores(record)
        recomputed = image_level(scores) if changed - _PIXEL_LEVEL else {}
        bound, notes = record.pixel_error_bound, (record.notes or "").splitlines()
        curves = None
        if changed & _PIXEL_LEVEL:
            judge = Judge(self._dataset(record), record.category)
            level = self._pixel_level(judge, record, scores, sorted(changed & _PIXEL_LEVEL))
            recomputed |= level.metrics
            curves = level.curves
            # The bound of values carried over holds for them still.
            bounds = [level.error_bound, None if changed >= _PIXEL_LEVEL else bound]
            bound = max((each for each in bounds if each is not None), default=None)
            notes += judge.notes
        notes.append(
            f"re-scored on {datetime.now(UTC).date()} from its run of metric_version {version}: "
            f"the same run_id, ending in -m{version}"
        )
        row = dataclasses.replace(
            record,
            run_id=with_metric_version(record.run_id, METRIC_VERSION),
            metric_version=METRIC_VERSION,
            metrics={
                name: (recomputed if name.removeprefix("val_") in changed else record.metrics).get(name)
                for name in (*METRIC_COLUMNS, *VAL_METRIC_COLUMNS)
            },
            pixel_error_bound=bound,
            notes="\n".join(dict.fromkeys(notes)),
        )
        return row, curves

    def _scores(self, record: RunRecord) -> dict[EvalSplit, ImageScores]:
        scores = self._store.scores(record.run_id)
        if (len(scores["val"].scores), len(scores["test"].scores)) != (record.n_val, record.n_test):
            raise RequestError(
                "the scores of their images are not all in the results folder",
                remedy=f"run them again: {_COMMANDS}",
            )
        return scores

    def _pixel_level(
        self, judge: Judge, record: RunRecord, scores: Mapping[EvalSplit, ImageScores], changed: Sequence[str]
    ) -> PixelLevel:
        maps: dict[EvalSplit, NDArray[np.float32]] = {}
        samples: dict[EvalSplit, list[Sample]] = {}
        known = {sample.image_id: sample for sample in judge.dataset.samples(record.category)}
        for split in EVAL_SPLITS if judge.has_masks else ():
            kept = self._store.maps(record.run_id, split)
            if kept is None or kept.image_ids != scores[split].image_ids:
                raise RequestError(
                    f"{', '.join(changed)} changed, and the maps of their images are not in the results folder",
                    remedy=f"run them again with maps=all: {_COMMANDS}",
                )
            maps[split], samples[split] = kept.maps, [known[name] for name in kept.image_ids]
        return judge.pixel_level(maps, samples)

    def _dataset(self, record: RunRecord) -> Dataset:
        """The dataset of a run, with the same images of its category."""
        params = json.loads(record.dataset_params)
        remedy = "install what it needs, or run again"
        if isinstance(params.get("root"), str):
            params["root"] = _moved(params["root"], self._data_root)
            remedy = "say in which folder it is now: data_root=FOLDER"
        key = (record.dataset, canonical_json(params))
        try:
            if key not in self._opened:
                self._opened[key] = open_dataset(record.dataset, params)
            fingerprint = self._opened[key].fingerprint(record.category)
        except RequestError as error:
            raise RequestError(f"{record.dataset}: {error.problem}", remedy=remedy) from error
        if fingerprint != record.dataset_fingerprint:
            raise RequestError(
                f"the images of {record.dataset}/{record.category} are no longer those of the run (fingerprint)",
                remedy=f"restore the images, or run again: {_COMMANDS}",
            )
        return self._opened[key]


def _moved(root: str, data_root: str | None) -> str:
    """A dataset's folder: the longest end of its recorded path that is within ``data_root``, else as recorded."""
    if data_root is None:
        return root
    parts = Path(root).parts
    ends = (Path(data_root).expanduser().joinpath(*parts[start:]) for start in range(1, len(parts)))
    return next((str(end.absolute()) for end in ends if end.is_dir()), root)
