"""Many small Parquet files become one, such that a crash at any moment loses no row and repeats none.

The table's folder holds one file per run, named by its run_id, and compacted files, whose names have a dot
that no run_id has. A compaction, under the folder's lock,
1. writes the compacted file under a hidden name,
2. writes the journal, which names that file and the small files that it replaces,
3. deletes the small files, gives the compacted file its visible name, deletes the journal.
Whoever finds a journal while holding the lock repeats step 3. Readers that know the journal (`listing`) see
every row at every moment. Those that read the folder as it is see no row twice and no half-written file;
during step 3, some milliseconds, they miss rows or meet a file that vanishes.

Only rows of `ok` runs are compacted, as these never change: a row that may be replaced keeps its own file.
"""

import json
import uuid
from collections.abc import Set
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from adbench.reports.files import TEMPORARY, Folder, LocalFolder

JOURNAL = ".journal.json"
SUFFIX = ".parquet"
COMPACTED = "compacted."
FULL_BYTES = 32 * 2**20  # a compacted file of this size is not merged again
ROW_GROUP = 2**17


@dataclass(frozen=True)
class Listing:
    """The files that hold a table's rows once each. ``generation`` changes when a compaction moves rows."""

    names: tuple[str, ...]
    generation: frozenset[str]


@dataclass(frozen=True)
class _Journal:
    compacted: str
    temporary: str
    replaces: tuple[str, ...]


def is_compacted(name: str) -> bool:
    """Whether a file of a table holds many runs: a visible compacted file, or one not yet renamed."""
    return name.startswith((COMPACTED, "."))


def listing(folder: Folder, table: str) -> Listing:
    """The table's files now. Raises FileNotFoundError if a compaction ends meanwhile: ask again."""
    present = folder.names(table)
    names = {name for name in present if name.endswith(SUFFIX) and not name.startswith((".", "_"))}
    generation = {name for name in names if is_compacted(name)}
    if JOURNAL in present:
        journal = _read_journal(folder, table)
        generation.add(JOURNAL + journal.compacted)
        if journal.temporary in present:
            names.add(journal.temporary)
        if names & {journal.temporary, journal.compacted}:
            names -= set(journal.replaces)
    return Listing(tuple(sorted(names)), frozenset(generation))


def finish(folder: Folder, table: str) -> None:
    """Complete a compaction that was interrupted. The caller holds the folder's lock."""
    if not folder.exists(f"{table}/{JOURNAL}"):
        return
    journal = _read_journal(folder, table)
    present = folder.names(table)
    if present & {journal.temporary, journal.compacted}:
        for name in journal.replaces:
            folder.delete(f"{table}/{name}")
    if journal.temporary in present:
        folder.rename(f"{table}/{journal.temporary}", f"{table}/{journal.compacted}")
    folder.sync(table)
    folder.delete(f"{table}/{JOURNAL}")


def compact(folder: LocalFolder, table: str, schema: pa.Schema, ok: Set[str], threshold: int) -> int:
    """Merge the small files of the runs in ``ok`` if there are more than ``threshold``; how many it merged.

    Compacted files that are not yet full are merged along, so that their number stays small. The caller
    holds the folder's lock and has finished an interrupted compaction. Raises OSError, the rows unharmed.
    """
    names = listing(folder, table).names
    small = [name for name in names if name.removesuffix(SUFFIX) in ok]
    if len(small) <= max(threshold, 1):
        return 0
    root = folder.local / table
    partial = [name for name in names if is_compacted(name) and (root / name).stat().st_size < FULL_BYTES]
    sources = (*partial, *small)
    key = uuid.uuid4().hex
    journal = _Journal(f"{COMPACTED}{key}{SUFFIX}", f".{key}{TEMPORARY}", sources)
    try:
        _merge(folder, table, sources, journal.temporary, schema)
        folder.write(f"{table}/{JOURNAL}", json.dumps(vars(journal)).encode())
    except OSError:
        # Should the journal be there all the same, it is void without the file that it names.
        folder.delete(f"{table}/{journal.temporary}")
        raise
    finish(folder, table)
    return len(small)


def _read_journal(folder: Folder, table: str) -> _Journal:
    content = json.loads(folder.read(f"{table}/{JOURNAL}"))
    return _Journal(content["compacted"], content["temporary"], tuple(content["replaces"]))


def _merge(folder: LocalFolder, table: str, sources: tuple[str, ...], target: str, schema: pa.Schema) -> None:
    paths = [folder.path(f"{table}/{name}") for name in sources]
    rows = pads.dataset(paths, schema=schema, format="parquet", filesystem=folder.filesystem)
    waiting: list[pa.RecordBatch] = []
    with pq.ParquetWriter(folder.path(f"{table}/{target}"), schema, compression="zstd") as writer:
        for batch in rows.to_batches():
            waiting.append(batch)
            if sum(map(len, waiting)) >= ROW_GROUP:
                writer.write_table(pa.Table.from_batches(waiting, schema))
                waiting = []
        writer.write_table(pa.Table.from_batches(waiting, schema))
    folder.sync_file(f"{table}/{target}")
