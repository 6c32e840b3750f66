"""What a crash at each step of append and of compaction leaves, and a disk that fills meanwhile."""

import errno
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from crashing import killed_at
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from adbench.reports.errors import StoreError
from adbench.reports.schema import RunResult
from adbench.reports.store import ResultStore

MakeResult = Callable[..., RunResult]
TABLES = ("runs", "images", "history", "curves")


CHANGES: list[tuple[Any, str]] = [
    *((os, name) for name in ("replace", "unlink", "link", "fsync")),
    (pq.ParquetWriter, "write_table"),
]
"""What changes the disk."""


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process, unlike a loss of power, cannot undo what it wrote; so the tests need not wait."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


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


@pytest.fixture
def filled(store: ResultStore, make_result: MakeResult, tmp_path: Path) -> Callable[[object], ResultStore]:
    """Gives copies of one store: three runs in a compacted file, three ok and one failed in their own."""
    for seed in range(3):
        store.append(make_result(seed=seed))
    store.compact(threshold=1)
    for seed in range(3, 6):
        store.append(make_result(seed=seed))
    store.append(make_result(run_id="failed", status="failed"))

    def copy(name: object) -> ResultStore:
        return ResultStore(shutil.copytree(store.out, tmp_path / f"copy-{name}"))

    return copy


def steps_of(action: Callable[[], object]) -> int:
    with killed_at(sys.maxsize, CHANGES) as calls:
        action()
    return len(calls)


@pytest.mark.slow
def test_a_compaction_killed_at_any_step_loses_and_repeats_nothing(
    filled: Callable[[object], ResultStore], make_result: MakeResult
) -> None:
    steps = steps_of(lambda: filled("whole").compact(threshold=1))
    assert steps > 3 * 8
    for step in range(steps):
        store = filled(step)
        tables = (store.runs(), store.images(), store.history(), store.curves())
        with killed_at(step, CHANGES) as calls:
            store.compact(threshold=1)
        assert len(calls) == step
        assert raw(store, "runs")["run_id"].is_unique
        for before, now in zip(tables, (store.runs(), store.images(), store.history(), store.curves()), strict=True):
            columns = list(before.columns[:3])
            pd.testing.assert_frame_equal(
                now.sort_values(columns, ignore_index=True), before.sort_values(columns, ignore_index=True)
            )
        if step % 2:
            store.prepare()
            assert not hidden(store)
        else:
            assert not store.append(make_result(seed=4, status="failed"))
        for table, before in zip(TABLES, tables, strict=True):
            assert sorted(raw(store, table)["run_id"]) == sorted(before["run_id"])
        assert store.compact(threshold=1) in (0, 3, 6, 9, 12)
        assert len(visible(store, "runs")) == 2


@pytest.mark.parametrize("run_id", ["new", "failed"])
def test_an_append_killed_at_any_step_is_whole_or_absent(
    filled: Callable[[object], ResultStore], make_result: MakeResult, run_id: str
) -> None:
    new = make_result(run_id=run_id)
    steps = steps_of(lambda: filled("whole").append(new))
    assert steps >= 12
    for step in range(steps):
        store = filled(step)
        before = store.done()
        with killed_at(step, CHANGES):
            store.append(new)
        plain = raw(store, "runs")
        assert plain["run_id"].is_unique
        assert set(plain.loc[plain["status"] == "ok", "run_id"]) == store.done()
        assert store.done() in (before, before | {run_id})
        if run_id in store.done():
            assert len(store.images([run_id])) == 12 and len(store.history([run_id])) == 3
            assert store.gallery(run_id) is not None
        store.prepare()
        assert not hidden(store)
        store.append(new)
        assert store.done() == before | {run_id}
        assert len(store.images([run_id])) == 12


def test_a_rescored_run_killed_at_any_step_is_whole_or_absent(
    filled: Callable[[object], ResultStore], make_result: MakeResult
) -> None:
    source = make_result(seed=1).record.run_id
    record = make_result(seed=1, run_id="new", metric_version=2).record
    steps = steps_of(lambda: filled("whole").append_rescored(record, source))
    assert steps >= 12
    for step in range(steps):
        store = filled(step)
        before = store.done()
        with killed_at(step, CHANGES):
            store.append_rescored(record, source)
        assert store.done() in (before, before | {"new"})
        if "new" in store.done():
            assert len(store.images(["new"])) == 12 and store.gallery("new") is not None
        left = hidden(store)
        store.append_rescored(record, source)
        assert set(hidden(store)) <= set(left)
        store.prepare()
        assert not hidden(store)
        assert store.done() == before | {"new"}
        assert len(store.images(["new"])) == len(store.images([source])) == 12
        assert len(store.history(["new"])) == 3 and store.gallery("new") is not None


def test_a_disk_that_fills_during_compaction_harms_nothing(
    filled: Callable[[object], ResultStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every fsync in turn fails, and all later ones."""
    failures = 0
    for full_at in range(12):
        store = filled(full_at)
        before = store.runs()
        calls = 0

        def fsync(handle: int, full_at: int = full_at) -> None:
            nonlocal calls
            calls += 1
            if calls > full_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            try:
                store.compact(threshold=1)
            except StoreError as error:
                assert "disk is full" in error.problem
                failures += 1
        pd.testing.assert_frame_equal(store.runs(), before)
        store.prepare()
        assert not hidden(store)
        assert sorted(raw(store, "runs")["run_id"]) == sorted(before["run_id"])
        assert len(store.images()) == 72
    assert failures >= 8


class StoreMachine(RuleBasedStateMachine):
    """Any order of appends, compactions and preparations, each perhaps killed, against a dictionary."""

    make_result: MakeResult

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = ResultStore(self.folder.name)
        self.model: dict[str, tuple[str, int]] = {}
        self.attempt = 0

    @initialize()
    def prepare_first(self) -> None:
        self.store.prepare()

    @rule(
        run_id=st.sampled_from("abcdef"),
        status=st.sampled_from(("ok", "failed")),
        step=st.none() | st.integers(0, 16),
    )
    def append(self, run_id: str, status: str, step: int | None) -> None:
        self.attempt += 1
        old = self.model.get(run_id)
        new = old if old and old[0] == "ok" else (status, self.attempt)
        with killed_at(sys.maxsize if step is None else step, CHANGES):
            self.store.append(type(self).make_result(run_id=run_id, status=status, seed=self.attempt))
        now = self.observed().get(run_id)
        assert now == new or (step is not None and now == old)
        if now:
            self.model[run_id] = now

    @rule(step=st.none() | st.integers(0, 40), threshold=st.integers(0, 3))
    def compact(self, step: int | None, threshold: int) -> None:
        with killed_at(sys.maxsize if step is None else step, CHANGES):
            self.store.compact(threshold)

    @rule(step=st.none() | st.integers(0, 10))
    def prepare(self, step: int | None) -> None:
        with killed_at(sys.maxsize if step is None else step, CHANGES):
            self.store.prepare()
        if step is None:
            assert not hidden(self.store)
            assert set(raw(self.store, "runs")["run_id"]) == set(self.model)

    @rule()
    def restart(self) -> None:
        self.store = ResultStore(self.folder.name)

    def observed(self) -> dict[str, tuple[str, int]]:
        frame = self.store.runs()
        assert frame["run_id"].is_unique
        return {
            str(run_id): (str(status), int(seed))
            for run_id, status, seed in frame[["run_id", "status", "seed"]].to_numpy()
        }

    @invariant()
    def rows_are_the_models(self) -> None:
        assert self.observed() == self.model
        plain = raw(self.store, "runs")
        assert plain["run_id"].is_unique and set(plain["run_id"]) <= set(self.model)
        ok = {run_id for run_id, (status, _) in self.model.items() if status == "ok"}
        assert self.store.done() == ok
        counts = self.store.images().groupby("run_id").size()
        assert all(counts.get(run_id) == 12 for run_id in ok)

    def teardown(self) -> None:
        self.folder.cleanup()


@pytest.mark.slow
def test_any_history_of_operations_and_crashes(make_result: MakeResult) -> None:
    machine = type("Machine", (StoreMachine,), {"make_result": staticmethod(make_result)})
    run_state_machine_as_test(machine, settings=settings(max_examples=25, stateful_step_count=20, deadline=None))


WRITER = """
import pickle, sys
from pathlib import Path
from adbench.reports.store import ResultStore

store = ResultStore(sys.argv[1])
store.prepare()
print("ready", flush=True)
for result in pickle.loads(Path(sys.argv[2]).read_bytes()):
    store.append(result)
    store.compact(threshold=3)
"""


@pytest.mark.slow
def test_writers_that_are_killed(tmp_path: Path, make_result: MakeResult) -> None:
    results = [make_result(seed=seed) for seed in range(40)]
    (tmp_path / "results").write_bytes(pickle.dumps(results))
    store = ResultStore(tmp_path / "out")
    rng = np.random.default_rng(0)
    killed = 0
    for _ in range(30):
        command = [sys.executable, "-c", WRITER, str(tmp_path / "out"), str(tmp_path / "results")]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            before = store.done()
            time.sleep(float(rng.uniform(0, 0.3)))
            process.send_signal(signal.SIGKILL)
        killed += process.returncode == -signal.SIGKILL
        assert before <= store.done()
        plain = raw(store, "runs")
        assert plain["run_id"].is_unique and set(plain["run_id"]) <= store.done()
        if len(store.done()) == len(results):
            break
    assert killed >= 2
    store.prepare()
    for result in results:
        store.append(result)
    assert len(raw(store, "runs")) == len(store.done()) == 40
    assert len(raw(store, "images")) == 40 * 12 and not hidden(store)
