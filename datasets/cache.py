"""A content-addressed store of arrays on local disk: built once, shared read-only by every process of a node."""

import contextlib
import hashlib
import json
import math
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from filelock import FileLock, Timeout
from numpy.typing import NDArray

DEFAULT_MAX_BYTES = 20 * 2**30
_FORMAT = 1  # Part of every key: entries of another format are never read.
_ARRAY = "array.npy"
_ENTRY = "entry.json"
_SYNCED_TOGETHER = 32 * 2**20  # bytes of a draft


def default_cache_dir() -> Path:
    """``$ADBENCH_CACHE``, or the user's cache folder of this operating system."""
    return Path(os.environ.get("ADBENCH_CACHE") or platformdirs.user_cache_dir("adbench"))


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One stored array: ``key`` is what it was built from."""

    digest: str
    key: dict[str, Any]
    bytes: int
    last_used: float


class Cache:
    """Arrays by what they were built from.

    ``root=None`` keeps nothing: every array is built in memory (``--no-cache``). Entries beyond ``max_bytes`` are
    removed, oldest use first. An entry appears under its name only when complete. Two processes that want the same
    entry build it once: the second waits on a lock that the operating system frees if the builder dies.
    """

    def __init__(self, root: Path | None, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self.root = root
        self.max_bytes = max_bytes
        self.borrowed_feature_seconds = 0.0
        """Building time of the feature entries that were found ready: what this object's user was spared."""

    def array(
        self,
        key: Mapping[str, Any],
        shape: tuple[int, ...],
        dtype: type[np.generic],
        fill: Callable[[NDArray[Any]], None],
    ) -> NDArray[Any]:
        """The array of ``shape`` for ``key``; ``fill`` writes a new one in place. The result is read-only."""
        if self.root is None or 0 in shape:  # An empty file cannot be memory-mapped.
            array = np.empty(shape, dtype)
            fill(array)
            array.flags.writeable = False
            return array
        digest = _digest(key, shape, dtype)
        folder = self.root / digest
        began, built = time.monotonic(), False
        while True:
            try:
                stored, build_seconds = _open(folder)
                break
            except FileNotFoundError:  # Not built yet, or evicted by another process just now.
                self.root.mkdir(parents=True, exist_ok=True)
                with FileLock(self._lock_path(digest)):
                    if not (folder / _ENTRY).exists():
                        self._build(folder, key, shape, dtype, fill)
                        built = True
            except (ValueError, EOFError):  # Torn by a loss of power.
                self._remove(digest)
        if not built and key["what"] == "features":  # What was spent waiting for another builder is not spared.
            self.borrowed_feature_seconds += max(0.0, build_seconds - (time.monotonic() - began))
        return stored

    def _build(
        self,
        folder: Path,
        key: Mapping[str, Any],
        shape: tuple[int, ...],
        dtype: type[np.generic],
        fill: Callable[[NDArray[Any]], None],
    ) -> None:
        building = folder.with_name(f".{folder.name}")
        shutil.rmtree(building, ignore_errors=True)  # left by a builder that died
        building.mkdir()
        try:
            began = time.monotonic()
            array = np.lib.format.open_memmap(building / _ARRAY, mode="w+", dtype=dtype, shape=shape)
            _reserve(building / _ARRAY, (building / _ARRAY).stat().st_size)
            fill(array)
            array.flush()
            entry = {"key": dict(key), "bytes": array.nbytes, "seconds": time.monotonic() - began}
            (building / _ENTRY).write_text(json.dumps(entry, sort_keys=True), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            building.replace(folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
        self._evict(keep=folder.name)

    def draft(self, shape: tuple[int, ...], dtype: type[np.generic]) -> "Draft":
        """An array to be filled before its key is known."""
        return Draft(self, shape, dtype)

    def adopt(self, building: Path, key: Mapping[str, Any], shape: tuple[int, ...], dtype: type[np.generic]) -> None:
        """Make a folder with a complete array an entry, unless another process built the same first."""
        assert self.root is not None
        digest = _digest(key, shape, dtype)
        size = math.prod(shape) * np.dtype(dtype).itemsize
        entry = {"key": dict(key), "bytes": size, "seconds": 0.0}
        (building / _ENTRY).write_text(json.dumps(entry, sort_keys=True), encoding="utf-8")
        with FileLock(self._lock_path(digest)):
            if (self.root / digest / _ENTRY).exists():
                return
            shutil.rmtree(self.root / digest, ignore_errors=True)
            building.replace(self.root / digest)
        self._evict(keep=digest)

    def _evict(self, keep: str) -> None:
        entries = sorted(self.entries(), key=lambda entry: entry.last_used)
        total = sum(entry.bytes for entry in entries)
        for entry in entries:
            if total <= self.max_bytes:
                return
            if entry.digest != keep:
                self._remove(entry.digest)
                total -= entry.bytes

    def entries(self) -> Iterator[CacheEntry]:
        """All complete entries, in no particular order."""
        if self.root is None or not self.root.is_dir():
            return
        for path in self.root.glob(f"*/{_ENTRY}"):
            if path.parent.name.startswith("."):
                continue
            try:
                stored = json.loads(path.read_text(encoding="utf-8"))
                yield CacheEntry(path.parent.name, stored["key"], stored["bytes"], path.stat().st_mtime)
            except (OSError, ValueError, KeyError):  # Being removed by another process just now.
                continue

    def clear(self) -> int:
        """Remove every entry, and what dead builders left; the number of bytes of the entries."""
        freed = 0
        for entry in list(self.entries()):
            freed += entry.bytes
            self._remove(entry.digest)
        if self.root is not None and self.root.is_dir():
            self._remove_leftovers(self.root)
        return freed

    def _remove(self, digest: str) -> None:
        # Renamed first, so that no reader meets a half-removed entry; open memory maps stay valid. The lock stays:
        # another process may be waiting on it.
        assert self.root is not None
        doomed = self.root / f".{digest}-{os.getpid()}-{time.time_ns()}"
        try:
            (self.root / digest).replace(doomed)
        except FileNotFoundError:
            return
        shutil.rmtree(doomed, ignore_errors=True)

    def _remove_leftovers(self, root: Path) -> None:
        hidden = [path for path in root.iterdir() if path.name.startswith(".") and path.is_dir()]
        digests = {path.name[1:].split("-")[0] for path in hidden} | {path.stem for path in root.glob("*.lock")}
        for digest in digests:
            try:
                with FileLock(self._lock_path(digest), timeout=0):
                    for path in hidden:
                        if path.name[1:].startswith(digest):
                            shutil.rmtree(path, ignore_errors=True)
                    self._lock_path(digest).unlink(missing_ok=True)
            except Timeout:  # Being built just now.
                continue

    def _lock_path(self, digest: str) -> Path:
        assert self.root is not None
        return self.root / f"{digest}.lock"


class Draft:
    """An array of the cache that is filled, row by row and by any thread, before it is known what it will be called.

    Nothing is written before the first row. What cannot be written is given up: the entry is then built when needed.
    """

    def __init__(self, cache: Cache, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
        self._cache = cache
        self._shape = shape
        self._dtype = dtype
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._start = 0
        self._filled: set[int] = set()
        self._unsynced = 0

    def put(self, row: int, values: NDArray[Any]) -> None:
        """Fill a row."""
        with self._lock, contextlib.suppress(OSError):
            if self._folder is None:
                self._begin()
        assert self._folder is not None
        # Written, not mapped: a full disk is then an error and no signal, and new pages need not be zeroed first.
        with contextlib.suppress(OSError), (self._folder / _ARRAY).open("r+b", buffering=0) as file:
            file.seek(self._start + row * values.nbytes)
            if file.write(np.ascontiguousarray(values).data) == values.nbytes:
                self._filled.add(row)
        with self._lock:
            self._unsynced += values.nbytes
            if is_due := self._unsynced >= _SYNCED_TOGETHER:
                self._unsynced = 0
        if is_due:
            threading.Thread(target=self._sync_early, daemon=True).start()

    def publish(self, key: Mapping[str, Any]) -> None:
        """Make the array the cache's entry for ``key`` if every row of it was filled; drop it otherwise."""
        if self._folder is None:
            return
        with contextlib.suppress(OSError):  # Cleared away meanwhile, or no space for the last few bytes.
            if len(self._filled) == self._shape[0]:
                self._sync()
                self._cache.adopt(self._folder, key, self._shape, self._dtype)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _sync_early(self) -> None:
        # While others decode: at the end, all would wait for the disk. It may be published or dropped meanwhile.
        with contextlib.suppress(OSError):
            self._sync()

    def _sync(self) -> None:
        assert self._folder is not None
        with (self._folder / _ARRAY).open("rb") as file:
            os.fsync(file.fileno())

    def _begin(self) -> None:
        assert self._cache.root is not None
        self._folder = self._cache.root / f".draft-{uuid.uuid4().hex}"
        self._folder.mkdir(parents=True)
        with (self._folder / _ARRAY).open("wb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(np.dtype(self._dtype)), "fortran_order": False}
            np.lib.format.write_array_header_2_0(file, {**header, "shape": self._shape})
            self._start = file.tell()
        _reserve(self._folder / _ARRAY, self._start + math.prod(self._shape) * np.dtype(self._dtype).itemsize)


def _open(folder: Path) -> tuple[NDArray[Any], float]:
    """The array of a complete entry, read-only, and the seconds that building it took."""
    entry = json.loads((folder / _ENTRY).read_text(encoding="utf-8"))
    array: NDArray[Any] = np.load(folder / _ARRAY, mmap_mode="r")
    with contextlib.suppress(PermissionError):  # Another user's cache may be read, if not dated.
        os.utime(folder / _ENTRY)
    return array, float(entry["seconds"])


def _reserve(path: Path, size: int) -> None:
    """Take the file's space now: on a full disk this raises OSError, writing to the memory map would kill us."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)


def _digest(key: Mapping[str, Any], shape: tuple[int, ...], dtype: type[np.generic]) -> str:
    full = {**key, "format": _FORMAT, "shape": list(shape), "dtype": np.dtype(dtype).name}
    return hashlib.sha256(json.dumps(full, sort_keys=True).encode()).hexdigest()[:32]
