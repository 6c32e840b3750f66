"""Content hash and pixel size of every file of a dataset, read once and remembered until the file changes."""

import contextlib
import hashlib
import itertools
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import attrgetter
from pathlib import Path

from adbench.datasets.cache import default_cache_dir
from adbench.datasets.decode import Picture, decode_image
from adbench.datasets.errors import RequestError


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a file holds. ``error`` says why it cannot be read as an image; height and width are then 0.
    ``unmarked``: as a mask it marks nothing. ``frames``: images in the file, of which the first is read."""

    sha256: str
    height: int
    width: int
    unmarked: bool
    frames: int
    error: str | None
    bytes: int
    mtime_ns: int


_FIELDS = tuple(field.name for field in fields(FileFacts))
_values = attrgetter(*_FIELDS)  # ``asdict`` would copy each of them, a dozen times as slowly.

MANY = 500
"""Files from which on their reading is followed on the terminal."""

_TOGETHER = 16
"""Files that a thread takes at a time: one by one, handing them out would take a tenth of the time."""

Keep = Callable[[str, Picture], None]
"""Told the relative path of a decoded file and what it shows; by several threads at a time."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where indexes are kept (None: nowhere), at what size the images decoded for them (None: not at all), and
    whether the terminal shows how far the reading of many files is."""

    folder: Path | None
    image_size: int | None = None
    progress: bool = False


_chosen: ContextVar[Keeping] = ContextVar("what is kept")


@contextmanager
def kept_in(cache_dir: Path | None, image_size: int | None = None, progress: bool = False) -> Iterator[None]:
    """Keep indexes in another cache folder than the default for the block; None: read every file anew.

    With ``image_size``, the images that an index has to decode enter the cache at that size (``index_images``).
    ``progress``: the terminal shows how far the reading of many files is.
    """
    token = _chosen.set(Keeping(cache_dir, image_size, progress))
    try:
        yield
    finally:
        _chosen.reset(token)


def keeping() -> Keeping:
    """What is in force."""
    return _chosen.get(None) or Keeping(default_cache_dir())


def index_files(root: Path, relative_paths: Sequence[str], keep: Keep | None = None) -> dict[str, FileFacts]:
    """Facts of each file under ``root``, by relative path.

    Every new or changed file is read once, hashed and decoded whole, and handed to ``keep``; facts of
    unchanged ones (same size and time of change) come from the index kept in the cache folder. Files with an error
    are tried again: the cause may be gone.
    """
    name = f"{hashlib.sha256(str(root).encode()).hexdigest()[:32]}.json"
    folder = keeping().folder
    index_path = folder / "file-index" / name if folder else None
    known = _read_index(index_path) if index_path else {}

    def several(names: Sequence[str]) -> list[FileFacts]:
        return [_facts(root, name, known.get(name), keep) for name in names]

    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        parts = [relative_paths[start : start + _TOGETHER] for start in range(0, len(relative_paths), _TOGETHER)]
        found: Iterable[FileFacts] = itertools.chain.from_iterable(pool.map(several, parts))
        if keeping().progress and len(relative_paths) >= MANY:
            found = _followed(found, len(relative_paths), root)
        facts = dict(zip(relative_paths, found, strict=True))
    if index_path and any(known.get(name) != fact for name, fact in facts.items()):
        _write_index(index_path, {**known, **facts})
    return facts


def content_hash(facts: Mapping[str, FileFacts], names: Sequence[str]) -> str:
    """Hash (hex) of the named files' relative paths and contents, independent of their order and of the root."""
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(f"{name}\0{facts[name].sha256}\n".encode())
    return digest.hexdigest()[:32]


def hash_path(path: Path) -> str:
    """Hash (hex) of a file's content, or of all files of a folder with their places in it.

    A process reads a file again only if its size or time of change is another. Raises OSError.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        lines = "\n".join(f"{file.relative_to(path).as_posix()} {hash_path(file)}" for file in files)
        return hashlib.sha256(lines.encode()).hexdigest()[:32]
    status = path.stat()
    return _hash_file(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=100_000)
def _hash_file(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _followed(facts: Iterable[FileFacts], count: int, root: Path) -> Iterable[FileFacts]:
    """The facts, with a bar on the terminal that vanishes at the end."""
    from rich.console import Console
    from rich.progress import track

    return track(facts, f"Reading {root.name}", count, console=Console(stderr=True), transient=True)


def _facts(root: Path, name: str, known: FileFacts | None, keep: Keep | None) -> FileFacts:
    path = root / name
    try:
        status = path.stat()
    except OSError as failure:
        return FileFacts("", 0, 0, False, 0, f"cannot read image {path}: {failure.strerror}", 0, 0)
    if not stat.S_ISREG(status.st_mode):  # Such as a pipe, which would be waited for.
        return FileFacts("", 0, 0, False, 0, f"cannot read image {path}: it is not a file", 0, 0)
    if known and not known.error and (known.bytes, known.mtime_ns) == (status.st_size, status.st_mtime_ns):
        return known
    stamp = (status.st_size, status.st_mtime_ns)
    sha256 = ""
    try:
        content = path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        picture = decode_image(content, path)
    except RequestError as unreadable:
        return FileFacts(sha256, 0, 0, False, 0, unreadable.problem, *stamp)
    except OSError as failure:
        return FileFacts(sha256, 0, 0, False, 0, f"cannot read image {path}: {failure.strerror}", *stamp)
    if keep:
        keep(name, picture)
    width, height = picture.image.size
    return FileFacts(sha256, height, width, picture.unmarked, picture.frames, None, *stamp)


def _read_index(path: Path) -> dict[str, FileFacts]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {name: FileFacts(**fact) for name, fact in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError):  # Absent, torn or of another version.
        return {}


def _write_index(path: Path, facts: dict[str, FileFacts]) -> None:
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    rows = {name: dict(zip(_FIELDS, _values(fact), strict=True)) for name, fact in facts.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(rows), encoding="utf-8")
        temporary.replace(path)
    except OSError:  # Without a writable cache folder the files are read again next time.
        with contextlib.suppress(OSError):
            temporary.unlink()
