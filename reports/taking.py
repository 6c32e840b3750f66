"""Runs of one store into another, with all that they have."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from adbench.reports import encoding
from adbench.reports.compaction import SUFFIX
from adbench.reports.files import Folder
from adbench.reports.store import MAPS_ENDINGS, SCHEMAS, ResultStore

COPIES_AT_ONCE = 16  # most of the time of a copy to or from an object store is waiting


@dataclass(frozen=True)
class Taken:
    """How many ok runs were taken that the store had no row of, how many failed ones, and how many ok for failed."""

    ok: int = 0
    failed: int = 0
    replaced: int = 0

    def __add__(self, other: "Taken") -> "Taken":
        return Taken(self.ok + other.ok, self.failed + other.failed, self.replaced + other.replaced)


def maps_of(run_ids: Iterable[str], names: Collection[str]) -> list[str]:
    """Which of ``names``, of files in maps, belong to the runs."""
    return [name for run_id in run_ids for ending in MAPS_ENDINGS if (name := f"{run_id}{ending}") in names]


def take(source: ResultStore, target: ResultStore, wanted: Mapping[str, str], maps: Collection[str]) -> Taken:
    """Copy the runs ``wanted``, by their status in ``source``, into ``target``, unless it has them already.

    An ok run there stays as it is, and a failed one too unless it is ok in ``source``. ``maps`` are the names in the
    source's folder of maps, listed after the statuses: a run whose status has changed since is left for another time.
    """
    tables = {name: source.rows(name, wanted) for name in SCHEMAS}  # runs first: all else of a row is there before it
    row_of: dict[str, int] = {}
    runs = tables["runs"].select(["run_id", "status"]).to_pydict()
    for row, (run_id, status) in enumerate(zip(runs["run_id"], runs["status"], strict=True)):
        if wanted[run_id] == status:
            row_of.setdefault(run_id, row)
    with target.writing() as folder:
        there = target.statuses()
        new = [run_id for run_id in row_of if run_id not in there]
        together = [run_id for run_id in new if wanted[run_id] == "ok"]
        failed = [run_id for run_id in new if wanted[run_id] != "ok"]
        better = [run_id for run_id in row_of if wanted[run_id] == "ok" and there.get(run_id) == "failed"]
        _take_maps(source.folder, folder, [*together, *failed, *better], maps)
        tables["runs"] = tables["runs"].take(pa.array(row_of.values(), pa.int64()))
        if together:
            _clear(folder, together)
            target.add({name: _of(rows, together) for name, rows in tables.items()})
        # Failed runs have a file each, in which an ok one takes their place.
        _write_each(folder, tables, [*failed, *better])
    return Taken(len(together), len(failed), len(better))


def _take_maps(source: Folder, folder: Folder, run_ids: Sequence[str], maps: Collection[str]) -> None:
    names = maps_of(run_ids, maps)
    pool = ThreadPoolExecutor(COPIES_AT_ONCE)
    try:
        for _ in pool.map(lambda name: folder.take(source, f"maps/{name}"), names):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
    for name in set(maps_of(run_ids, folder.names("maps"))).difference(names):
        folder.delete(f"maps/{name}")
    folder.sync("maps")


def _clear(folder: Folder, run_ids: Collection[str]) -> None:
    """Delete the rows that an interrupted writer left of runs that are not recorded."""
    for table in SCHEMAS:
        for name in folder.names(table).intersection(f"{run_id}{SUFFIX}" for run_id in run_ids):
            folder.delete(f"{table}/{name}")


def _write_each(folder: Folder, tables: Mapping[str, pa.Table], run_ids: Collection[str]) -> None:
    rows_of = {name: _by_run(_of(rows, run_ids)) for name, rows in tables.items()} if run_ids else {}
    for run_id in run_ids:
        for name in reversed(SCHEMAS):  # runs last
            rows = rows_of[name].get(run_id)
            if rows is None:
                folder.delete(f"{name}/{run_id}{SUFFIX}")
            elif content := encoding.renamed_bytes(rows, run_id):
                folder.write(f"{name}/{run_id}{SUFFIX}", content)


def _of(rows: pa.Table, run_ids: Collection[str]) -> pa.Table:
    return rows.filter(pc.is_in(rows["run_id"], pa.array(run_ids, pa.string())))


def _by_run(rows: pa.Table) -> dict[str, pa.Table]:
    """The rows of each run, in their order."""
    run_ids = rows["run_id"].to_numpy()
    order = np.argsort(run_ids, kind="stable")
    names, starts = np.unique(run_ids[order], return_index=True)
    parts = np.split(order, starts)[1:]
    return {str(name): rows.take(part) for name, part in zip(names, parts, strict=True)}
