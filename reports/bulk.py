"""Many runs enter a store at once, such that a crash at any moment leaves all of them or none.

Under the folder's lock,
1. a file of each table's rows is written under a hidden name,
2. the journal is written, which decides it,
3. each file gets the visible name of a compacted one, that of the runs last, and the journal is deleted.
Whoever finds the journal while holding the lock repeats step 3. All runs must be `ok`, as in any compacted file.
"""

import json
import uuid
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from adbench.reports.compaction import COMPACTED, ROW_GROUP, SUFFIX
from adbench.reports.files import TEMPORARY, Folder, LocalFolder

JOURNAL = ".bulk.json"


def write(folder: Folder, tables: Mapping[str, pa.Table]) -> None:
    """Add the rows of each table; those of the last one make all others count. Raises OSError, nothing added."""
    key = uuid.uuid4().hex
    rows = {name: table for name, table in tables.items() if table.num_rows}
    try:
        for name, table in rows.items():
            _write_hidden(folder, _hidden(name, key), table)
        folder.write(JOURNAL, json.dumps({"key": key, "tables": list(rows)}).encode())
    except OSError:
        # Should the journal be there all the same, it is void without the files that it names.
        for name in rows:
            folder.delete(_hidden(name, key))
        raise
    finish(folder)


def _write_hidden(folder: Folder, name: str, table: pa.Table) -> None:
    path = folder.path(name)
    pq.write_table(table, path, row_group_size=ROW_GROUP, compression="zstd", filesystem=folder.filesystem)
    if isinstance(folder, LocalFolder):
        folder.sync_file(name)


def finish(folder: Folder) -> None:
    """Complete what was decided and then interrupted. The caller holds the folder's lock."""
    if not folder.exists(JOURNAL):
        return
    journal = json.loads(folder.read(JOURNAL))
    for name in journal["tables"]:
        if folder.exists(hidden := _hidden(name, journal["key"])):
            folder.rename(hidden, f"{name}/{COMPACTED}{journal['key']}{SUFFIX}")
        folder.sync(name)
    folder.delete(JOURNAL)


def under_way(folder: Folder) -> bool:
    """Whether tables may hold rows of runs that are not yet recorded."""
    return folder.exists(JOURNAL)


def _hidden(table: str, key: str) -> str:
    return f"{table}/.{key}{TEMPORARY}"
