"""Where a results folder lies, and the few file operations on it that a crash cannot leave half done.

A final name is complete or absent. Names that begin with "." are not yet, or no longer, part of a table:
pyarrow (hence pandas) skips them, and they never end in ".parquet", which keeps them out of DuckDB's globs.
"""

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout
from pyarrow import ArrowInvalid, ArrowNotImplementedError
from pyarrow import fs as pafs

from adbench.reports.errors import StoreError

TEMPORARY = ".tmp"
LOCK = ".store.lock"
LOCK_SECONDS = 300.0
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

_FREE = "Free some space, then run the same command again: it resumes."
_REASONS: dict[int | None, tuple[str, str]] = {
    errno.EACCES: ("permission denied", "Choose a folder that you may write, or change its permissions."),
    errno.EPERM: ("operation not permitted", "Choose a folder that you may write."),
    errno.EROFS: ("the file system is read-only", "Choose a folder on a writable disk."),
    errno.ENOSPC: ("the disk is full", _FREE),
    errno.EDQUOT: (
        "the disk quota is used up",
        _FREE,
    ),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "Choose another folder."),
    errno.EEXIST: ("the path is a file, not a folder", "Choose another folder."),
}


class Folder:
    """A results folder on an object store, or on any file system that pyarrow can reach.

    Paths are relative to the folder and use "/". ``filesystem`` and ``root`` are pyarrow's.
    """

    def __init__(self, shown: str, filesystem: pafs.FileSystem, root: str) -> None:
        self.shown = shown
        self.filesystem = filesystem
        self.root = root.rstrip("/")

    def path(self, name: str) -> str:
        """The path that ``filesystem`` understands."""
        return f"{self.root}/{name}"

    def names(self, folder: str) -> set[str]:
        """Names of the files directly in ``folder``, hidden ones included; none if it does not exist."""
        return set(self.sizes(folder))

    def sizes(self, folder: str) -> dict[str, int]:
        """The same names, each with the file's size in bytes."""
        selector = pafs.FileSelector(self.path(folder), allow_not_found=True)
        return {info.base_name: info.size for info in self.filesystem.get_file_info(selector) if info.is_file}

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        return bool(self.filesystem.get_file_info(self.path(name)).is_file)

    def read(self, name: str) -> bytes:
        """The file's content. Raises FileNotFoundError."""
        with self.filesystem.open_input_file(self.path(name)) as stream:
            return bytes(stream.read())

    def write(self, name: str, data: bytes) -> None:
        """Replace the file in one step: an object store shows an upload only when it has ended."""
        with self.filesystem.open_output_stream(self.path(name)) as stream:
            stream.write(data)

    def copy(self, old: str, new: str) -> None:
        """Give a file's content a second name, as ``write`` would. Raises FileNotFoundError."""
        self.filesystem.copy_file(self.path(old), self.path(new))

    def take(self, source: "Folder", name: str) -> None:
        """Copy a file of another results folder, as ``write`` would; ``sync`` its folder after the last one."""
        pafs.copy_files(source.path(name), self.path(name), source.filesystem, self.filesystem)

    def rename(self, old: str, new: str) -> None:
        """Move a file over another."""
        self.filesystem.move(self.path(old), self.path(new))

    def delete(self, name: str) -> None:
        """Remove the file if it is there."""
        if self.exists(name):
            self.filesystem.delete_file(self.path(name))

    def make(self, folder: str) -> None:
        """Create a folder and its parents."""
        self.filesystem.create_dir(self.path(folder))

    def sync(self, folder: str) -> None:
        """Return when the folder's names would survive a loss of power."""

    def lock(self) -> AbstractContextManager[None]:
        """Exclude other writers; on an object store there is no lock."""
        return nullcontext()

    @contextmanager
    def explained(self, action: str) -> Iterator[None]:
        """Turn an OSError into a StoreError that says that ``action`` failed, where, and why."""
        try:
            yield
        except OSError as error:
            fallback = (error.strerror or str(error), "Check the folder, or choose another one.")
            reason, remedy = _REASONS.get(error.errno, fallback)
            raise StoreError(f"Cannot {action} {self.shown!r}: {reason}.", remedy) from error


class LocalFolder(Folder):
    """A results folder on a local or network disk."""

    def __init__(self, shown: str, root: Path) -> None:
        super().__init__(shown, pafs.LocalFileSystem(), root.as_posix())
        self.local = root

    def names(self, folder: str) -> set[str]:
        try:
            # pyarrow's listing asks for the size and time of each file, which scandir spares.
            with os.scandir(self.local / folder) as entries:
                return {entry.name for entry in entries if entry.is_file()}
        except FileNotFoundError:
            return set()

    def write(self, name: str, data: bytes) -> None:
        """Write under a hidden name in the same folder, force it to the disk, then rename."""
        path = self.local / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{uuid.uuid4().hex}{TEMPORARY}")
        try:
            with temporary.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        self.sync(str(path.parent.relative_to(self.local)))

    def copy(self, old: str, new: str) -> None:
        """A hard link where there are such, as it takes no room; safe, for files are replaced and never changed."""
        self._link(self.local / old, self.local / new)
        self.sync(str((self.local / new).parent.relative_to(self.local)))

    def take(self, source: Folder, name: str) -> None:
        path = self.local / name
        if isinstance(source, LocalFolder):
            self._link(source.local / name, path)
            return
        with _replacing(path) as temporary:
            pafs.copy_files(source.path(name), temporary.as_posix(), source.filesystem, self.filesystem)
            _sync(temporary, os.O_RDWR)

    def _link(self, old: Path, new: Path) -> None:
        with _replacing(new) as temporary:
            try:
                os.link(old, temporary)
            except OSError:
                shutil.copyfile(old, temporary)
                _sync(temporary, os.O_RDWR)

    def rename(self, old: str, new: str) -> None:
        (self.local / old).replace(self.local / new)

    def delete(self, name: str) -> None:
        (self.local / name).unlink(missing_ok=True)

    def make(self, folder: str) -> None:
        (self.local / folder).mkdir(parents=True, exist_ok=True)

    def sync(self, folder: str) -> None:
        if hasattr(os, "O_DIRECTORY"):  # elsewhere a folder cannot be opened, and need not
            _sync(self.local / folder, os.O_RDONLY | os.O_DIRECTORY)

    def sync_file(self, name: str) -> None:
        """Return when the file's content would survive a loss of power."""
        _sync(self.local / name, os.O_RDWR)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Exclude other processes and threads. The system frees the lock of a process that dies."""
        self.local.mkdir(parents=True, exist_ok=True)
        path = self.local / LOCK
        try:
            with FileLock(path, timeout=LOCK_SECONDS, poll_interval=0.01):
                yield
        except Timeout as error:
            raise StoreError(
                f"Another process has held {str(path)!r} for over {LOCK_SECONDS:.0f} s.",
                "End that process if it hangs, then run the same command again: it resumes.",
            ) from error


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A hidden name in the same folder; what the block puts there takes the place of ``path``."""
    temporary = path.with_name(f".{uuid.uuid4().hex}{TEMPORARY}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # also there if both were links to one file already


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_folder(out: str | Path, filesystem: pafs.FileSystem | None) -> Folder:
    """Resolve a path, a URL, or a path within ``filesystem``. Raises StoreError."""
    shown = str(out)
    if not shown:
        raise StoreError("The results folder's name is empty.", "Give one, for instance out=adbench-results.")
    root = shown
    if filesystem is None:
        if not URL.match(shown):
            return LocalFolder(shown, Path(shown).expanduser().absolute())
        filesystem, root = _resolve(shown)
    while isinstance(filesystem, pafs.SubTreeFileSystem):
        filesystem, root = filesystem.base_fs, f"{filesystem.base_path.rstrip('/')}/{root.lstrip('/')}"
    if isinstance(filesystem, pafs.LocalFileSystem):
        return LocalFolder(shown, Path(root))
    return Folder(shown, filesystem, root)


def _resolve(url: str) -> tuple[pafs.FileSystem, str]:
    try:
        filesystem, root = pafs.FileSystem.from_uri(url)
    except (ArrowInvalid, ArrowNotImplementedError) as error:
        raise StoreError(
            f"Cannot use the results folder {url!r}: {error}.",
            "Give a local folder, or a URL that begins with s3://, gs:// or file:///.",
        ) from error
    except OSError as error:
        raise StoreError(
            f"Cannot reach the results folder {url!r}: {error}.",
            "Check the bucket's name, the credentials and the network; ?region=NAME names an S3 region.",
        ) from error
    return filesystem, str(root)
