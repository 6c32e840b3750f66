"""The store: the tables of a results folder or bucket, one row per run (see ResultStore)."""

import io
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from adbench.reports import bulk, compaction, encoding
from adbench.reports.errors import StoreError
from adbench.reports.files import TEMPORARY, Folder, LocalFolder, open_folder
from adbench.reports.schema import (
    CURVES_SCHEMA,
    HISTORY_SCHEMA,
    IMAGES_SCHEMA,
    RUNS_SCHEMA,
    EvalSplit,
    Gallery,
    ImageScores,
    KeptCurve,
    RunRecord,
    RunResult,
    SearchRecord,
    SplitMaps,
    SuitePlan,
    TrainingMaps,
)

SCHEMAS: dict[str, pa.Schema] = {
    "runs": RUNS_SCHEMA,
    "images": IMAGES_SCHEMA,
    "history": HISTORY_SCHEMA,
    "curves": CURVES_SCHEMA,
}
LOCAL_FOLDERS = (*SCHEMAS, "maps", "report", "logs")
COMPACTION_THRESHOLD = 200
READ_ATTEMPTS = 20
READ_PAUSE_SECONDS = 0.05
_GALLERY = ".npz"
_TRAINING_MAPS = "-training.npz"
_MAPS: dict[EvalSplit, str] = {"val": "-val.npz", "test": "-test.npz"}
MAPS_ENDINGS = (_GALLERY, _TRAINING_MAPS, *_MAPS.values())
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


_Kept = TypeVar("_Kept", SuitePlan, SearchRecord)

_NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}


@dataclass(frozen=True)
class _Copy:
    """A file with the content of another, ``of``."""

    of: str


class ResultStore:
    """The results folder ``out``: a local path, or a URL such as s3://, gs:// or file:///.

    ``filesystem``: the pyarrow file system within which ``out`` is a path, for stores that no URL describes.

    A run is in the store once its file in ``runs`` is there, which is written last; its images, history, curves
    and gallery are there before. On a local folder writers exclude each other by a lock, and may be many. On an
    object store there is no lock: concurrent writers must not write the same run, and nothing is compacted.

    Constructing touches no file. Every method raises StoreError if the folder cannot be used.
    """

    def __init__(self, out: str | Path, filesystem: pafs.FileSystem | None = None) -> None:
        self._folder = open_folder(out, filesystem)
        self._compacted: dict[str, frozenset[str]] | None = None

    @property
    def out(self) -> str:
        """The folder as it was given."""
        return self._folder.shown

    @property
    def folder(self) -> Folder:
        """Where the store itself writes, whatever file system that is on; for what else belongs beside the tables."""
        return self._folder

    def prepare(self) -> None:
        """Create the folders, prove that they are writable, and clear what an interrupted writer left."""
        local = isinstance(self._folder, LocalFolder)
        folders = LOCAL_FOLDERS if local else (*SCHEMAS, "maps")
        with self._folder.explained("write to the results folder"), self._folder.lock():
            for name in folders:
                self._folder.make(name)
            self._finish()
            probe = f"runs/.probe{TEMPORARY}"
            self._folder.write(probe, b"adbench")
            self._folder.delete(probe)
            if local:
                # The lock is held, so nobody is writing: these are of writers that died.
                self._sweep()

    def append(self, result: RunResult) -> bool:
        """Record a run; the moment its row appears, all else of it is readable.

        A failed run is replaced by a later result of the same run_id; an ok one never changes, and then
        nothing is written and False returned. Raises ValueError for a result that the tables cannot hold.
        """
        run_id = result.record.run_id
        kept = {maps.split: encoding.maps_bytes(maps) for maps in result.maps}
        contents: dict[str, bytes | _Copy | None] = {
            f"images/{run_id}.parquet": encoding.images_bytes(result),
            f"history/{run_id}.parquet": encoding.history_bytes(result),
            f"curves/{run_id}.parquet": encoding.curves_bytes(run_id, result.curves),
            f"maps/{run_id}{_GALLERY}": encoding.gallery_bytes(result.gallery),
            f"maps/{run_id}{_TRAINING_MAPS}": encoding.training_maps_bytes(result.training_maps),
            **{f"maps/{run_id}{ending}": kept.get(split) for split, ending in _MAPS.items()},
        }
        return self._record(result.record, contents)

    def append_rescored(self, record: RunRecord, source: str, curves: Sequence[KeptCurve] | None = None) -> bool:
        """Record a run of which all but the row is that of the recorded run ``source``; otherwise as append.

        Images, history, curves (unless others are given), gallery and maps are then in the store under both
        run_ids. Gallery and maps are not read for this, and take no more room on a local disk that has hard links.
        """
        run_id = record.run_id
        contents: dict[str, bytes | _Copy | None] = {
            f"{table}/{run_id}.parquet": encoding.renamed_bytes(self.rows(table, [source]), run_id)
            for table in SCHEMAS
            if table != "runs"
        }
        if curves is not None:
            contents[f"curves/{run_id}.parquet"] = encoding.curves_bytes(run_id, curves)
        with self._folder.explained("read the results folder"):
            for ending in MAPS_ENDINGS:
                kept = f"maps/{source}{ending}"
                contents[f"maps/{run_id}{ending}"] = _Copy(kept) if self._folder.exists(kept) else None
        return self._record(record, contents)

    def runs(self) -> pd.DataFrame:
        """The runs table, one row per run, oldest first; undefined values are NA. Integers are Int64, truth
        values boolean."""
        table = self._read("runs").sort_by([("started_at", "ascending"), ("run_id", "ascending")])
        frame: pd.DataFrame = table.to_pandas(types_mapper=_NULLABLE.get)
        # Never so in a folder that only this class wrote; files copied by hand may repeat a run.
        if frame["run_id"].duplicated().any():
            best = frame.sort_values("status", ascending=False, kind="stable").drop_duplicates("run_id")
            frame = best.sort_index().reset_index(drop=True)
        return frame

    def images(self, run_ids: Iterable[str] | None = None) -> pd.DataFrame:
        """The images of the recorded runs, or of those among ``run_ids``; a run's rows in their order."""
        return self._rows_of_runs("images", run_ids)

    def history(self, run_ids: Iterable[str] | None = None) -> pd.DataFrame:
        """The history of the recorded runs, or of those among ``run_ids``; a run's rows in their order."""
        return self._rows_of_runs("history", run_ids)

    def curves(self, run_ids: Iterable[str] | None = None, columns: list[str] | None = None) -> pd.DataFrame:
        """The curves of the recorded runs, or of those among ``run_ids``; ``x`` and ``y`` hold arrays. Runs of before
        the table was kept have none."""
        return self._rows_of_runs("curves", run_ids, columns)

    def rows(self, table: str, run_ids: Collection[str]) -> pa.Table:
        """What a table holds of the runs ``run_ids``, recorded or not; a run's rows in their order."""
        return self._rows(table, run_ids, None, pads.field("run_id").isin(list(run_ids)))

    def statuses(self) -> dict[str, str]:
        """The status of every recorded run by its run_id; of a run that is there twice, ok if one of them is."""
        table = self._read("runs", ["run_id", "status"]).sort_by("status")
        return dict(zip(table["run_id"].to_pylist(), table["status"].to_pylist(), strict=True))

    def verify(self) -> None:
        """Raise StoreError if a file of a table is no whole Parquet file."""
        for table in SCHEMAS:
            self._read(table, [])

    def done(self) -> set[str]:
        """The run_ids that need no further run: those with status ok."""
        table = self._read("runs", ["run_id", "status"], pads.field("status") == "ok")
        return set(table["run_id"].to_pylist())

    def scores(self, run_id: str) -> dict[EvalSplit, ImageScores]:
        """The images of one recorded run as they were appended, by split; a split without images is empty."""
        return encoding.load_scores(self.rows("images", [run_id]))

    def gallery(self, run_id: str) -> Gallery | None:
        """The images kept of a run, if any."""
        with self._folder.explained("read the results folder"):
            try:
                return encoding.load_gallery(self._folder.read(f"maps/{run_id}{_GALLERY}"))
            except FileNotFoundError:
                return None

    def maps(self, run_id: str, split: EvalSplit) -> SplitMaps | None:
        """All anomaly maps of one split of a run, if they were kept."""
        with self._folder.explained("read the results folder"):
            try:
                return encoding.load_maps(self._folder.read(f"maps/{run_id}{_MAPS[split]}"), split)
            except FileNotFoundError:
                return None

    def training_maps(self, run_id: str) -> tuple[TrainingMaps, ...]:
        """Maps over training images that a run kept, in its order."""
        with self._folder.explained("read the results folder"):
            try:
                return encoding.load_training_maps(self._folder.read(f"maps/{run_id}{_TRAINING_MAPS}"))
            except FileNotFoundError:
                return ()

    def write_split(self, name: str, table: pd.DataFrame) -> None:
        """Keep a split as splits/<name>.csv, unless it is there already; odd characters are %-escaped."""
        path = f"splits/{_quoted(name)}.csv"
        with self._folder.explained("write to the results folder"), self._folder.lock():
            if not self._folder.exists(path):
                self._folder.make("splits")
                self._folder.write(path, table.to_csv(index=False, lineterminator="\n").encode())

    def write_plan(self, plan: SuitePlan) -> None:
        """Keep what a suite asks for as suites/<name>.json, in place of its earlier plan; see write_split.

        Raises ValueError for a plan with a value of the wrong type.
        """
        content = encoding.plan_bytes(plan)
        name = encoding.load_plan(content).name
        with self._folder.explained("write to the results folder"), self._folder.lock():
            self._folder.make("suites")
            self._folder.write(f"suites/{_quoted(name)}.json", content)

    def plans(self) -> dict[str, SuitePlan]:
        """The latest plan of each suite by its name; files that are no plans are passed over."""
        return {plan.name: plan for name, plan in self._each("suites", encoding.load_plan) if name == plan.name}

    def write_search(self, search: SearchRecord) -> None:
        """Keep what a search has come to as sweeps/<sweep_id>.json, in place of what it was; see write_split."""
        with self._folder.explained("write to the results folder"), self._folder.lock():
            self._folder.make("sweeps")
            self._folder.write(f"sweeps/{_quoted(search.sweep_id)}.json", encoding.search_bytes(search))

    def searches(self) -> dict[str, SearchRecord]:
        """Every search by its sweep_id; files that are none are passed over."""
        found = self._each("sweeps", encoding.load_search)
        return {search.sweep_id: search for name, search in found if name == search.sweep_id}

    def _each(self, folder: str, load: Callable[[bytes], _Kept]) -> Iterator[tuple[str, _Kept]]:
        """What the JSON files of a folder hold, each with the name it was kept by: another one if copied by hand."""
        with self._folder.explained("read the results folder"):
            for name in sorted(self._folder.names(folder)):
                if not name.endswith(".json"):  # Optuna keeps its journal beside the searches.
                    continue
                try:
                    yield unquote(name.removesuffix(".json")), load(self._folder.read(f"{folder}/{name}"))
                except (FileNotFoundError, PermissionError, ValueError):
                    continue

    def compact(self, threshold: int = COMPACTION_THRESHOLD) -> int:
        """Merge the small files of each table that has more than ``threshold``; return how many it merged.

        On an object store it does nothing: without a lock two of them could both merge the same rows.
        """
        folder = self._folder
        if not isinstance(folder, LocalFolder):
            return 0
        with self.writing():
            ok = self.done()
            return sum(compaction.compact(folder, name, SCHEMAS[name], ok, threshold) for name in SCHEMAS)

    @contextmanager
    def writing(self) -> Iterator[Folder]:
        """The folder, with other writers excluded for the block, and what interrupted ones had begun completed."""
        with self._folder.explained("write to the results folder"), self._folder.lock():
            self._finish()
            yield self._folder

    def add(self, tables: Mapping[str, pa.Table]) -> None:
        """Within ``writing``, add the rows of ok runs that have none here: all of them, or after a crash none."""
        bulk.write(self._folder, {name: tables[name] for name in reversed(SCHEMAS)})
        self._compacted = None

    def _record(self, record: RunRecord, contents: Mapping[str, bytes | _Copy | None]) -> bool:
        """Write the files of a run (None: there is none), last its row, unless an ok one is recorded."""
        run_id = record.run_id
        if not RUN_ID.fullmatch(run_id):
            raise ValueError(f"run_id={run_id!r} is no file name: use letters, digits, '-' and '_'.")
        row = encoding.runs_bytes(record)
        with self.writing():
            if self._is_ok(run_id):
                return False
            for name, content in contents.items():
                if content is None:
                    self._folder.delete(name)
                elif isinstance(content, _Copy):
                    self._folder.copy(content.of, name)
                else:
                    self._folder.write(name, content)
            self._folder.write(f"runs/{run_id}.parquet", row)
        return True

    def _finish(self) -> None:
        bulk.finish(self._folder)
        for table in SCHEMAS:
            compaction.finish(self._folder, table)

    def _sweep(self) -> None:
        for folder in (".", *SCHEMAS, "maps", "splits", "suites", "sweeps"):
            for name in self._folder.names(folder):
                if name.startswith(".") and name.endswith(TEMPORARY):
                    self._folder.delete(f"{folder}/{name}")

    def _is_ok(self, run_id: str) -> bool:
        try:
            content = self._folder.read(f"runs/{run_id}.parquet")
        except FileNotFoundError:
            return any(run_id in ids for ids in self._compacted_ids().values())
        return bool(pq.read_table(io.BytesIO(content), columns=["status"])["status"][0].as_py() == "ok")

    def _compacted_ids(self) -> dict[str, frozenset[str]]:
        """The run_ids in each compacted file, whose content never changes.

        On an object store, where listing is slow and nobody compacts, it looks but once.
        """
        known = self._compacted
        if known is None or isinstance(self._folder, LocalFolder):
            known = known or {}
            names = [name for name in self._folder.names("runs") if name.startswith(compaction.COMPACTED)]
            self._compacted = {name: known.get(name) or self._ids_in(name) for name in names}
        return self._compacted or {}

    def _ids_in(self, name: str) -> frozenset[str]:
        path = self._folder.path(f"runs/{name}")
        table = pq.read_table(path, columns=["run_id"], filesystem=self._folder.filesystem)
        return frozenset(table["run_id"].to_pylist())

    def _rows_of_runs(
        self, table: str, run_ids: Iterable[str] | None, columns: list[str] | None = None
    ) -> pd.DataFrame:
        recorded = set(self._read("runs", ["run_id"])["run_id"].to_pylist())
        wanted = recorded if run_ids is None else recorded.intersection(run_ids)
        every = run_ids is None and not bulk.under_way(self._folder)
        condition = None if every else pads.field("run_id").isin(list(wanted))
        frame: pd.DataFrame = self._rows(table, wanted, columns, condition).to_pandas()
        return frame

    def _rows(
        self, table: str, run_ids: Collection[str], columns: list[str] | None, condition: pads.Expression | None
    ) -> pa.Table:
        def is_wanted(name: str) -> bool:
            return compaction.is_compacted(name) or name.removesuffix(compaction.SUFFIX) in run_ids

        return self._read(table, columns, condition, is_wanted)

    def _read(
        self,
        table: str,
        columns: list[str] | None = None,
        condition: pads.Expression | None = None,
        is_wanted: Callable[[str], bool] = lambda name: True,
    ) -> pa.Table:
        """The rows of a table as they were at one moment, whatever writers do meanwhile."""
        problem: Exception | None = None
        for _ in range(READ_ATTEMPTS):
            with self._folder.explained("read the results folder"):
                try:
                    before = compaction.listing(self._folder, table)
                    rows = self._read_files(table, filter(is_wanted, before.names), columns, condition)
                    if compaction.listing(self._folder, table).generation == before.generation:
                        return rows
                except (FileNotFoundError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
                    problem = error
            time.sleep(READ_PAUSE_SECONDS)
        raise StoreError(
            f"Cannot read the {table} table of {self.out!r}: {problem or 'its files keep changing'}.",
            "If a file is damaged, delete it: its run will be executed again.",
        ) from problem

    def _read_files(
        self,
        table: str,
        names: Iterable[str],
        columns: list[str] | None,
        condition: pads.Expression | None,
    ) -> pa.Table:
        paths = [self._folder.path(f"{table}/{name}") for name in names]
        if not paths:
            empty = SCHEMAS[table].empty_table()
            return empty.select(columns) if columns else empty
        files = pads.dataset(paths, schema=SCHEMAS[table], format="parquet", filesystem=self._folder.filesystem)
        return files.to_table(columns=columns, filter=condition)


def _quoted(name: str) -> str:
    """``name`` as one that a file can have on every system."""
    return quote(name, safe=" +=,@")
