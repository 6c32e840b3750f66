"""Compaction: the same rows in fewer files, for the store and for plain pandas."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs as pafs

from adbench.reports import compaction
from adbench.reports.schema import RUNS_SCHEMA, RunResult
from adbench.reports.store import ResultStore

MakeResult = Callable[..., RunResult]
TABLES = ("runs", "images", "history", "curves")


def raw(store: ResultStore, table: str) -> pd.DataFrame:
    """The table as plain pandas reads the folder."""
    frame = pd.read_parquet(Path(store.out) / table)
    return frame if len(frame.columns) else pd.DataFrame({"run_id": [], "status": []})


def visible(store: ResultStore, table: str) -> list[str]:
    return sorted(path.name for path in (Path(store.out) / table).iterdir() if path.name[0] != ".")


def hidden(store: ResultStore) -> list[Path]:
    return list(Path(store.out).glob("*/.*"))


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    store = ResultStore(tmp_path / "out")
    store.prepare()
    return store


def test_compaction_changes_no_row(store: ResultStore, make_result: MakeResult) -> None:
    for seed in range(5):
        store.append(make_result(seed=seed))
    store.append(make_result(run_id="failed", status="failed"))
    tables = (store.runs(), store.images(), store.history(), store.curves())
    assert store.compact(threshold=5) == 0
    assert store.compact(threshold=4) == 20
    after = (store.runs(), store.images(), store.history(), store.curves())
    for before, now in zip(tables, after, strict=True):
        pd.testing.assert_frame_equal(now, before)
    names = visible(store, "runs")
    assert names[1:] == ["failed.parquet"] and names[0].startswith("compacted.")
    assert all(len(visible(store, table)) == 1 for table in TABLES[1:])
    for table, frame in zip(TABLES, after, strict=True):
        assert sorted(raw(store, table)["run_id"]) == sorted(frame["run_id"])
    one = tables[0]["run_id"][0]
    assert len(store.images([one])) == 12
    assert not hidden(store)


def test_a_compacted_run_is_done_for_good(store: ResultStore, make_result: MakeResult) -> None:
    for seed in range(3):
        store.append(make_result(seed=seed))
    store.compact(threshold=1)
    for status in ("ok", "failed"):
        assert not store.append(make_result(seed=0, status=status))
        assert not ResultStore(store.out).append(make_result(seed=0, status=status))
    assert raw(store, "runs")["run_id"].is_unique and len(store.done()) == 3


def test_compacted_files_stay_few(
    store: ResultStore, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(seeds: range) -> None:
        for seed in seeds:
            store.append(make_result(seed=seed))
        store.compact(threshold=1)

    add(range(2))
    add(range(2, 4))
    assert len(visible(store, "runs")) == 1
    monkeypatch.setattr(compaction, "FULL_BYTES", 1)
    add(range(4, 6))
    assert len(visible(store, "runs")) == 2
    assert len(store.runs()) == 6 and len(store.images()) == 72


def test_large_tables_are_merged_in_parts(
    store: ResultStore, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "ROW_GROUP", 20)
    for seed in range(5):
        store.append(make_result(seed=seed))
    before = store.images()
    store.compact(threshold=1)
    (name,) = visible(store, "images")
    groups = pq.ParquetFile(Path(store.out) / "images" / name).metadata
    assert [groups.row_group(index).num_rows for index in range(groups.num_row_groups)] == [24, 24, 12]
    pd.testing.assert_frame_equal(store.images(), before)


def test_object_stores_are_not_compacted_but_read(store: ResultStore, make_result: MakeResult) -> None:
    """A folder compacted locally and then copied to a bucket keeps its meaning there."""
    for seed in range(3):
        store.append(make_result(seed=seed))
    store.compact(threshold=1)
    memory = pafs.FileSystem.from_uri("mock://")[0]
    pafs.copy_files(store.out, "out", pafs.LocalFileSystem(), memory)
    bucket = ResultStore("out", memory)
    assert bucket.compact(threshold=0) == 0
    assert not bucket.append(make_result(seed=1, status="failed"))
    assert bucket.append(make_result(seed=7))
    assert len(bucket.done()) == 4 and len(bucket.images()) == 48


def test_a_reader_that_lists_during_a_compaction_misses_nothing(
    store: ResultStore, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst listing that a folder can give: small files are gone, the compacted one not yet there."""
    for seed in range(3):
        store.append(make_result(seed=seed))
    real = store._folder.names
    listed = []

    def names(folder: str) -> set[str]:
        listed.append(folder)
        if len(listed) == 1:
            assert ResultStore(store.out).compact(threshold=1) == 12
            return set()
        return real(folder)

    monkeypatch.setattr(store._folder, "names", names)
    assert len(store.runs()) == 3
    assert listed == ["runs"] * 4


@pytest.mark.slow
def test_a_hundred_thousand_rows(
    store: ResultStore, make_result: MakeResult, record_property: Callable[[str, object], None]
) -> None:
    store.append(make_result(run_id="r"))
    row = pq.read_table(Path(store.out) / "runs" / "r.parquet")
    count = 10**5
    rng = np.random.default_rng(0)
    columns = {}
    for field in RUNS_SCHEMA:
        if field.name == "run_id":
            columns[field.name] = pa.array([f"{index:016x}" for index in range(count)])
        elif field.type == pa.float64():
            columns[field.name] = pa.array(rng.random(count))
        else:
            columns[field.name] = pa.array(row[field.name].to_pylist() * count, field.type)
    name = f"{compaction.COMPACTED}{0:032x}{compaction.SUFFIX}"
    pq.write_table(pa.table(columns, RUNS_SCHEMA), Path(store.out) / "runs" / name)
    for read in (store.runs, store.done):
        began = time.perf_counter()
        assert len(read()) == count + 1
        record_property(f"{read.__name__}_seconds", time.perf_counter() - began)
