"""The store on unusable and full disks, with damaged files, and with readers and writers at the same time."""

import errno
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from adbench.reports import files
from adbench.reports.errors import StoreError
from adbench.reports.schema import RunResult
from adbench.reports.store import ResultStore

MakeResult = Callable[..., RunResult]
TABLES = ("runs", "images", "history", "curves")


@pytest.fixture
def local(tmp_path: Path) -> ResultStore:
    store = ResultStore(tmp_path / "out")
    store.prepare()
    return store


def test_unusable_folders_are_explained(tmp_path: Path, make_result: MakeResult) -> None:
    (tmp_path / "file").write_text("")
    for out, reason in [
        (tmp_path / "file", "is a file"),
        (tmp_path / "file" / "out", "is a file"),
    ]:
        for use in (ResultStore(out).prepare, lambda out=out: ResultStore(out).append(make_result())):
            with pytest.raises(StoreError, match=reason) as caught:
                use()
            assert repr(str(out)) in caught.value.problem
            assert caught.value.remedy
    with pytest.raises(StoreError, match="is a file"):
        ResultStore(tmp_path / "file" / "out").runs()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux's /proc, where nobody can write")
def test_a_folder_nobody_can_write_is_explained() -> None:
    with pytest.raises(StoreError, match="Cannot write to the results folder '/proc/adbench'"):
        ResultStore("/proc/adbench").prepare()


@pytest.mark.parametrize(
    ("out", "named"),
    [
        ("nfs://server/out", "nfs://server/out"),
        ("file://relative", "file://relative"),
        ("", "empty"),
    ],
)
def test_unknown_places_are_explained(out: str, named: str) -> None:
    with pytest.raises(StoreError, match=named) as caught:
        ResultStore(out)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.EACCES, "permission denied"),
        (errno.EROFS, "read-only"),
        (errno.ENOSPC, "disk is full"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_prepare_names_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, reason: str) -> None:
    def fail(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match=reason):
        ResultStore(tmp_path / "out").prepare()


def test_a_held_lock_is_explained(local: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LOCK_SECONDS", 0.05)
    with local._folder.lock(), pytest.raises(StoreError, match="Another process has held"):
        ResultStore(local.out).prepare()


def test_a_damaged_file_is_named(
    local: ResultStore, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adbench.reports.store.READ_PAUSE_SECONDS", 0.0)
    local.append(make_result(run_id="whole"))
    local.append(make_result(run_id="broken"))
    path = Path(local.out) / "runs" / "broken.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StoreError, match=r"broken\.parquet") as caught:
        local.runs()
    assert "delete it" in caught.value.remedy
    path.unlink()
    assert local.done() == {"whole"}


@pytest.mark.parametrize("full_at", range(1, 11))
def test_a_full_disk_leaves_no_half_written_file(
    local: ResultStore, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch, full_at: int
) -> None:
    """Five files are written, each with its folder's entry: ten places at which the disk may be full."""
    local.append(make_result(run_id="before"))
    calls = 0
    real = os.fsync

    def fsync(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls >= full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(StoreError, match="disk is full"):
            local.append(make_result(run_id="r"))
    root = Path(local.out)
    assert not list(root.glob("*/.*"))
    for table in TABLES:
        pd.read_parquet(root / table)
    # Only when the row itself is in place, its folder's entry not yet forced to the disk, does it count.
    assert local.done() == ({"before", "r"} if full_at == 10 else {"before"})
    local.append(make_result(run_id="r"))
    assert local.done() == {"before", "r"}
    assert len(local.images()) == 24


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(mounted)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small tmpfs cannot be mounted here: {error}")
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def test_a_really_full_disk(tiny_disk: Path, make_result: MakeResult) -> None:
    store = ResultStore(tiny_disk / "out")
    store.prepare()
    written: set[str] = set()
    with pytest.raises(StoreError, match="disk is full"):
        for seed in range(100):
            result = make_result(seed=seed)
            store.append(result)
            written.add(result.record.run_id)
    assert 1 <= len(written) < 100
    assert store.done() == written == set(pd.read_parquet(tiny_disk / "out" / "runs")["run_id"])
    fill(tiny_disk / "rest")
    with pytest.raises(StoreError, match="disk is full"):
        store.compact(threshold=1)
    assert store.done() == written == set(pd.read_parquet(tiny_disk / "out" / "runs")["run_id"])
    (tiny_disk / "rest").unlink()
    assert len(store.images()) == 12 * len(written)


def fill(path: Path) -> None:
    """Take all space that is left."""
    with path.open("ab", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            return


def test_readers_see_whole_rows_while_a_writer_works(local: ResultStore, make_result: MakeResult) -> None:
    """Plain pandas too: each read is of whole rows, none twice; through the store, none is ever missed."""
    results = [make_result(seed=seed) for seed in range(60)]
    committed = [0]
    problems: list[BaseException] = []

    def write() -> None:
        try:
            writer = ResultStore(local.out)
            for count, result in enumerate(results, 1):
                writer.append(result)
                committed[0] = count
                if count % 15 == 0:
                    writer.compact(threshold=5)
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    reads = 0
    while thread.is_alive() or reads == 0:
        least = committed[0]
        frame = local.runs()
        assert least <= len(frame) and frame["run_id"].is_unique
        assert set(frame["status"]) <= {"ok"}
        images = local.images()
        assert (images.groupby("run_id").size() == 12).all() and images["run_id"].nunique() >= len(frame)
        try:
            raw = pd.read_parquet(Path(local.out) / "runs")
        except FileNotFoundError:
            continue  # a compaction took a listed file away
        assert raw.empty or raw["run_id"].is_unique
        reads += 1
    thread.join()
    assert not problems
    assert len(local.runs()) == len(pd.read_parquet(Path(local.out) / "runs")) == 60


def test_writers_of_the_same_runs_leave_one_row_each(tmp_path: Path, make_result: MakeResult) -> None:
    """Stores that share nothing but the folder, one of which compacts."""
    results = [make_result(seed=seed, status="ok" if seed % 3 else "failed") for seed in range(20)]
    stored: list[bool] = []

    def write(order: int) -> None:
        store = ResultStore(tmp_path / "out")
        for result in results[::order]:
            stored.append(store.append(result))
            if order == 1:
                store.compact(threshold=2)

    threads = [threading.Thread(target=write, args=(order,)) for order in (1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    raw = pd.read_parquet(tmp_path / "out" / "runs")
    assert sorted(raw["run_id"]) == sorted(result.record.run_id for result in results)
    ok = sum(result.record.status == "ok" for result in results)
    assert len(stored) == 40 and stored.count(False) == ok
