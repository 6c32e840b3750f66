"""The cache under what really happens: two builders, a killed builder, a full budget, a removed or torn entry.

Run as a script, this file is one of the processes of its own tests.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from adbench.datasets.cache import Cache, default_cache_dir


def key_of(name: str) -> dict[str, Any]:
    return {"what": "test", "name": name}


def filled(value: int) -> Callable[[NDArray[Any]], None]:
    def fill(array: NDArray[Any]) -> None:
        array[...] = value

    return fill


def never(array: NDArray[Any]) -> None:
    raise AssertionError("built a second time")


def get(cache: Cache, name: str, value: int = 1, size: int = 1000) -> NDArray[Any]:
    return cache.array(key_of(name), (size,), np.uint8, filled(value))


def names(cache: Cache) -> set[str]:
    return {entry.key["name"] for entry in cache.entries()}


def test_an_entry_is_built_once_and_read_only(tmp_path: Path) -> None:
    first = get(Cache(tmp_path), "a", 7)
    again = Cache(tmp_path).array(key_of("a"), (1000,), np.uint8, never)
    for array in (first, again):
        assert array.dtype == np.uint8 and array.shape == (1000,) and bool((array == 7).all())
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    (entry,) = Cache(tmp_path).entries()
    assert entry.key == key_of("a") and entry.bytes == 1000


@pytest.mark.parametrize(
    ("key", "shape", "dtype"),
    [({"what": "test", "name": "b"}, (10,), np.uint8), (key_of("a"), (11,), np.uint8), (key_of("a"), (10,), np.int8)],
)
def test_another_key_shape_or_dtype_is_another_entry(
    tmp_path: Path, key: dict[str, Any], shape: tuple[int], dtype: type[np.generic]
) -> None:
    cache = Cache(tmp_path)
    cache.array(key_of("a"), (10,), np.uint8, filled(1))
    assert (cache.array(key, shape, dtype, filled(2)) == 2).all()
    assert len(list(cache.entries())) == 2


def test_without_a_folder_nothing_is_kept() -> None:
    cache = Cache(None)
    array = get(cache, "a", 3)
    assert (array == 3).all() and not array.flags.writeable
    assert (get(cache, "a", 4) == 4).all()
    assert list(cache.entries()) == [] and cache.clear() == 0


def test_an_empty_array_is_no_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.array(key_of("a"), (0, 4), np.float32, filled(1)).shape == (0, 4)
    assert list(cache.entries()) == []


def test_a_builder_that_raises_leaves_nothing(tmp_path: Path) -> None:
    def broken(array: NDArray[Any]) -> None:
        array[:10] = 9
        raise RuntimeError("unreadable image")

    cache = Cache(tmp_path)
    with pytest.raises(RuntimeError, match="unreadable image"):
        cache.array(key_of("a"), (1000,), np.uint8, broken)
    assert list(cache.entries()) == [] and [path for path in tmp_path.iterdir() if path.is_dir()] == []
    assert (get(cache, "a", 5) == 5).all()


def test_space_is_reserved_before_building(tmp_path: Path) -> None:
    """Writing into a sparse memory map on a full disk kills the process with SIGBUS instead of raising."""
    size = 2**22

    def check(array: NDArray[Any]) -> None:
        (path,) = tmp_path.glob(".*/array.npy")
        assert path.stat().st_blocks * 512 >= size

    Cache(tmp_path).array(key_of("a"), (size,), np.uint8, check)


def process(role: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, role, *map(str, arguments)])


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.005)


def build_and_count(root: Path, log: Path, start: Path) -> None:
    def fill(array: NDArray[Any]) -> None:
        with log.open("a") as file:
            file.write("built\n")
        time.sleep(0.3)
        array[...] = 6

    wait_for(start)
    assert (Cache(root).array(key_of("shared"), (5000,), np.uint8, fill) == 6).all()


@pytest.mark.slow
def test_two_processes_build_an_entry_once(tmp_path: Path) -> None:
    log, start = tmp_path / "log", tmp_path / "start"
    workers = [process("build", tmp_path / "cache", log, start) for _ in range(2)]
    start.touch()
    assert [worker.wait(60) for worker in workers] == [0, 0]
    assert log.read_text() == "built\n"


def build_forever(root: Path, started: Path) -> None:
    def fill(array: NDArray[Any]) -> None:
        array[: len(array) // 2] = 1
        started.touch()
        time.sleep(600)

    Cache(root).array(key_of("a"), (5000,), np.uint8, fill)


@pytest.mark.slow
def test_a_killed_builder_neither_blocks_nor_corrupts(tmp_path: Path) -> None:
    root, started = tmp_path / "cache", tmp_path / "started"
    worker = process("forever", root, started)
    wait_for(started)
    worker.kill()
    assert worker.wait(60) == -signal.SIGKILL
    cache = Cache(root)
    assert list(cache.entries()) == []
    began = time.monotonic()
    assert (get(cache, "a", 4, 5000) == 4).all()
    assert time.monotonic() - began < 10
    assert [path.name for path in root.iterdir() if path.name.startswith(".")] == []


def thrash(root: Path, start: Path) -> None:
    cache = Cache(root, max_bytes=1500)  # Room for one of two entries: each process evicts the other's.
    wait_for(start)
    for turn in range(60):
        name = "ab"[turn % 2]
        assert (get(cache, name, ord(name)) == ord(name)).all()


@pytest.mark.slow
def test_processes_that_evict_each_other_still_read_their_entries(tmp_path: Path) -> None:
    workers = [process("thrash", tmp_path / "cache", tmp_path / "start") for _ in range(3)]
    time.sleep(1)
    (tmp_path / "start").touch()
    assert [worker.wait(100) for worker in workers] == [0, 0, 0]
    assert len(list(Cache(tmp_path / "cache").entries())) == 1


def test_an_entry_removed_between_finding_and_opening_is_built_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path)
    get(cache, "a", 1)
    load, calls = np.load, []

    def evicted_once(path: Path, **options: Any) -> Any:
        calls.append(path)
        if len(calls) == 1:
            Cache(tmp_path).clear()
        return load(path, **options)

    monkeypatch.setattr(np, "load", evicted_once)
    assert (get(cache, "a", 2) == 2).all()


@pytest.mark.parametrize("damage", ["array.npy", "entry.json"])
def test_a_damaged_entry_is_built_again(tmp_path: Path, damage: str) -> None:
    """As a power failure leaves it: the folder is there, its files are empty."""
    cache = Cache(tmp_path)
    get(cache, "a", 1)
    for path in tmp_path.glob(f"*/{damage}"):
        path.write_bytes(b"")
    assert (get(cache, "a", 2) == 2).all()
    assert (cache.array(key_of("a"), (1000,), np.uint8, never) == 2).all()


def test_eviction_is_bounded_and_oldest_use_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, max_bytes=3000)
    arrays = {}
    for age, name in enumerate("abc"):
        arrays[name] = get(cache, name, age)
        (path,) = (tmp_path / e.digest / "entry.json" for e in cache.entries() if e.key["name"] == name)
        os.utime(path, (1000 + age, 1000 + age))
    assert names(cache) == set("abc")
    get(cache, "a")  # Its use makes it the youngest.
    get(cache, "d")
    assert names(cache) == set("acd")
    get(cache, "e", size=2500)
    assert names(cache) == {"e"}
    assert (arrays["b"] == 1).all(), "an open entry stays readable after its eviction"
    assert sum(entry.bytes for entry in cache.entries()) <= 3000


def test_an_entry_larger_than_the_cache_is_still_given(tmp_path: Path) -> None:
    cache = Cache(tmp_path, max_bytes=10)
    assert (get(cache, "a", 8) == 8).all()
    assert (get(cache, "b", 9) == 9).all()
    assert names(cache) == {"b"}


def test_clear_frees_everything_even_what_dead_builders_left(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    get(cache, "a")
    get(cache, "b", size=500)
    left = tmp_path / f".{'0' * 32}"
    left.mkdir()
    (left / "array.npy").write_bytes(b"half")
    assert cache.clear() == 1500
    assert list(tmp_path.iterdir()) == []
    assert cache.clear() == 0
    assert (get(cache, "a", 2) == 2).all()


def test_clear_spares_what_is_being_built(tmp_path: Path) -> None:
    other = Cache(tmp_path)

    def fill(array: NDArray[Any]) -> None:
        array[...] = 3
        other.clear()

    assert (Cache(tmp_path).array(key_of("a"), (100,), np.uint8, fill) == 3).all()


def test_feature_time_that_was_spared_is_counted(tmp_path: Path) -> None:
    key = {"what": "features", "name": "a"}

    def slow(array: NDArray[Any]) -> None:
        time.sleep(0.2)
        array[...] = 1

    builder, reader = Cache(tmp_path), Cache(tmp_path)
    builder.array(key, (10,), np.float32, slow)
    assert builder.borrowed_feature_seconds == 0
    reader.array(key, (10,), np.float32, never)
    assert 0.1 < reader.borrowed_feature_seconds < 5
    (path,) = tmp_path.glob("*/entry.json")
    assert json.loads(path.read_text())["seconds"] >= 0.2


def test_the_environment_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADBENCH_CACHE", str(tmp_path))
    assert default_cache_dir() == tmp_path
    monkeypatch.setenv("ADBENCH_CACHE", "")
    assert "adbench" in str(default_cache_dir())


def test_a_missing_folder_holds_no_entries(tmp_path: Path) -> None:
    assert list(Cache(tmp_path / "absent").entries()) == [] and Cache(tmp_path / "absent").clear() == 0


ROLES: dict[str, Callable[..., None]] = {"build": build_and_count, "forever": build_forever, "thrash": thrash}

if __name__ == "__main__":
    ROLES[sys.argv[1]](*map(Path, sys.argv[2:]))
