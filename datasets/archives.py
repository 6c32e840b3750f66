"""Unpacking archives that nobody vouches for: zip, tar (plain, gz, xz or bz2), and single files in gz, xz or bz2.

Only the names and bytes of files are taken from an archive, never links, owners or permissions; what an archive is,
its first bytes say, not its suffix.
"""

import bz2
import gzip
import io
import lzma
import re
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from adbench.datasets.errors import RequestError
from adbench.datasets.progress import progress

_COMPRESSIONS: Mapping[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"BZh": bz2.open,
}
"""Readers by the first bytes of a file."""
_BY_HAND = (
    "fetch the archive again if it should be intact; otherwise unpack it by hand, then\n"
    "           adbench data verify NAME root=FOLDER"
)
_CHUNK = 2**20
_LONGEST_NAME = 1000
_LEFT_BEHIND = "__MACOSX"
"""A folder that one archiver adds for itself."""
_ENCRYPTED, _UTF8 = 0x1, 0x800
"""Flags of a zip's member."""
_LONGEST_END = 22 + 2**16
"""Bytes of a zip's end record with its comment."""
_TOLD_ELSEWHERE = 0xFFFF
"""Number of members in the end record of a large zip, which has another one."""
_SPECIAL = (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)


@dataclass(frozen=True)
class Limits:
    """What an archive may come to: ``members`` files and folders, and ``ratio`` times its own bytes, for a small one
    ``always_allowed`` bytes; ``spare`` bytes stay free on the disk."""

    members: int = 1_000_000
    ratio: float = 100.0
    always_allowed: int = 2**30
    spare: int = 2**28


@dataclass(frozen=True)
class _Member:
    name: str
    is_folder: bool
    size: int
    """What it says of itself; 0 where it does not."""
    open: Callable[[], IO[bytes]]


class _StrictHeader(tarfile.TarInfo):
    """tarfile takes a broken or missing header for the archive's end; here only an end mark is one."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # Two blocks of zeros: the end.
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None
        if header.size < 0:
            raise tarfile.ReadError("negative size")
        return header


def unpack(archive: Path, folder: Path, limits: Limits | None = None) -> int:
    """Unpack ``archive`` into ``folder``, which is made; the number of its files.

    A file that is there already must be equal. Raises RequestError, which names the archive and the member, where a
    name leads out of the folder, is no UTF-8 or occurs twice (but for its case), for links and devices, encryption,
    broken and truncated archives, and for more than ``limits`` allow; the folder then holds what came before.
    """
    with _writing(archive, "(its folder)"):
        folder.mkdir(parents=True, exist_ok=True)
        ledger = _Ledger(archive, folder, limits or Limits())
    count = 0
    bar = progress(f"unpacking {archive.name}", archive.stat().st_size)
    with _reading(archive), archive.open("rb") as file, bar as moved:
        for member in _members(archive, file, ledger):
            place = ledger.admit(member)
            if place is not None:
                count += not member.is_folder
                _write(archive, member, folder / place, ledger)
            moved(file.tell())
    if not count:
        raise RequestError(f"{archive} holds no files", remedy=_BY_HAND)
    return count


class _Ledger:
    """What an archive has come to so far: refuses names, and more than is allowed."""

    def __init__(self, archive: Path, folder: Path, limits: Limits) -> None:
        self._archive = archive
        self._members_allowed = limits.members
        self._ratio_allows = int(max(limits.always_allowed, limits.ratio * archive.stat().st_size))
        self._disk_allows = shutil.disk_usage(folder).free - limits.spare
        self._members = 0
        self._bytes = 0
        self._cases: dict[str, str] = {}
        self.files: set[str] = set()

    def admit(self, member: _Member) -> str | None:
        """The member's path within the folder, None for what nobody wants."""
        self.expect(1, member.size, member.name)
        self._members += 1
        parts = self._parts(member.name)
        if not parts or parts[0] == _LEFT_BEHIND:
            return None
        path = "/".join(parts)
        for depth in range(len(parts)):
            part = "/".join(parts[: depth + 1])
            known = self._cases.setdefault(unicodedata.normalize("NFC", part).casefold(), part)
            if known != part:
                raise _refused(self._archive, member.name, f"differs from {known!r} in case alone")
        if path in self.files:
            raise _refused(self._archive, member.name, "is in it twice")
        if not member.is_folder:
            self.files.add(path)
        return path

    def expect(self, members: int, size: int, name: str) -> None:
        """Refuse so many further members and bytes if they are too many."""
        if self._members + members > self._members_allowed:
            raise _refused(self._archive, name, f"is beyond the {self._members_allowed:,} members that are allowed")
        if self._bytes + size > self._ratio_allows:
            raise _refused(
                self._archive,
                name,
                f"makes it more than {self._ratio_allows:,} bytes, which is too much for an archive of "
                f"{self._archive.stat().st_size:,}",
            )
        if self._bytes + size > self._disk_allows:
            raise _refused(
                self._archive,
                name,
                f"makes it more than the {max(0, self._disk_allows):,} bytes that the disk has left",
                remedy="free space, or choose another disk with data_root=FOLDER",
            )

    def count(self, size: int, name: str) -> None:
        """Note bytes that were really unpacked."""
        self.expect(0, size, name)
        self._bytes += size

    def _parts(self, name: str) -> list[str]:
        unified = name.replace("\\", "/")  # as old archivers of Windows write it
        parts = [part for part in unified.split("/") if part not in ("", ".")]
        reason = ""
        if unified.startswith("/") or re.match("[A-Za-z]:", unified):
            reason = "has an absolute path"
        elif ".." in parts:
            reason = "leads out of the folder"
        elif not _is_utf8(name):
            reason = "has a name that is not UTF-8"
        elif any(unicodedata.category(letter) == "Cc" for letter in name):
            reason = "has control characters in its name"
        elif len(name.encode()) > _LONGEST_NAME:
            reason = f"has a name of more than {_LONGEST_NAME} bytes"
        if reason:
            raise _refused(self._archive, name, reason)
        return parts


def _members(archive: Path, file: IO[bytes], ledger: _Ledger) -> Iterator[_Member]:
    head = file.read(tarfile.BLOCKSIZE)
    file.seek(0)
    for magic, decompressed in _COMPRESSIONS.items():
        if head.startswith(magic):
            with _reading(archive), decompressed(file) as stream:
                is_tar = _is_tar(stream.read(tarfile.BLOCKSIZE))
                stream.seek(0)
                if not is_tar:
                    yield _Member(archive.stem, False, 0, lambda: stream)
                    return
                yield from _tar_members(archive, stream, ledger)
            return
    if _is_tar(head):
        yield from _tar_members(archive, file, ledger)
    elif head.startswith(b"PK") or zipfile.is_zipfile(file):
        yield from _zip_members(archive, file, ledger)
    else:
        raise RequestError(
            f"{archive} is not an archive that adbench can unpack",
            allowed="zip; tar, plain or in gz, xz or bz2; a single file in gz, xz or bz2",
            remedy="unpack it by hand, then adbench data verify NAME root=FOLDER",
        )


def _is_tar(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _tar_members(archive: Path, stream: IO[bytes], ledger: _Ledger) -> Iterator[_Member]:
    with _reading(archive), tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", tarinfo=_StrictHeader) as tar:
        while (info := tar.next()) is not None:
            if not (info.isreg() or info.isdir()):
                raise _refused(archive, info.name, "is a link or no plain file")
            yield _Member(info.name, info.isdir(), info.size, lambda info=info: _opened(tar, info))  # type: ignore[misc]
        while chunk := stream.read(_CHUNK):  # To the checksum at the end, where there is one.
            ledger.count(len(chunk), "(its end)")


def _opened(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = tar.extractfile(info)
    assert stream is not None  # It is a plain file.
    return stream


def _zip_members(archive: Path, file: IO[bytes], ledger: _Ledger) -> Iterator[_Member]:
    with _reading(archive), zipfile.ZipFile(file) as opened:
        infos = opened.infolist()
        if (promised := _promised_members(file)) not in (len(infos) % 2**16, _TOLD_ELSEWHERE):
            raise zipfile.BadZipFile(f"its list has {len(infos)} members of {promised}")
        ledger.expect(len(infos), sum(info.file_size for info in infos), "(all together)")
        for info in infos:
            if info.flag_bits & _ENCRYPTED:
                raise _refused(archive, info.filename, "is encrypted")
            if stat.S_IFMT(info.external_attr >> 16) in _SPECIAL:
                raise _refused(archive, info.filename, "is a link or no plain file")
            name = _zip_name(archive, info)
            yield _Member(name, name.endswith(("/", "\\")), info.file_size, lambda info=info: opened.open(info))  # type: ignore[misc]


def _promised_members(file: IO[bytes]) -> int:
    """How many members a zip says it has, modulo 2**16; zipfile does not miss those that a broken list hides."""
    end = max(0, file.seek(0, io.SEEK_END) - _LONGEST_END)
    file.seek(end)
    tail = file.read()
    (count,) = struct.unpack_from("<H", tail, tail.rindex(b"PK\x05\x06") + 10)
    return int(count)


def _zip_name(archive: Path, info: zipfile.ZipInfo) -> str:
    """A name without the flag for UTF-8 was decoded as code page 437, though macOS writes UTF-8 there too."""
    if info.flag_bits & _UTF8 or info.filename.isascii():
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        raise _refused(archive, info.filename, "has a name that is not UTF-8") from None


def _write(archive: Path, member: _Member, path: Path, ledger: _Ledger) -> None:
    with _writing(archive, member.name):
        if member.is_folder:
            path.mkdir(parents=True, exist_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():  # From another archive of the dataset: all may bring the same licence.
            with path.open("rb") as known:
                same = all(known.read(len(chunk)) == chunk for chunk in _chunks(archive, member, ledger))
                if not same or known.read(1):
                    raise _refused(archive, member.name, "is in an earlier archive too, with other content")
            return
        with path.open("xb") as target:
            for chunk in _chunks(archive, member, ledger):
                target.write(chunk)


def _chunks(archive: Path, member: _Member, ledger: _Ledger) -> Iterator[bytes]:
    with _reading(archive, member.name), member.open() as source:
        while chunk := source.read(_CHUNK):
            ledger.count(len(chunk), member.name)
            yield chunk


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refused(archive: Path, name: str, reason: str, remedy: str = _BY_HAND) -> RequestError:
    return RequestError(f"{archive}: member {name!r} {reason}; nothing of it is kept", remedy=remedy)


@contextmanager
def _reading(archive: Path, name: str | None = None) -> Iterator[None]:
    try:
        yield
    except RequestError:
        raise
    except Exception as error:  # The readers of archives raise nearly every kind for a broken one.
        where = f"{archive}: member {name!r}" if name is not None else str(archive)
        reason = str(error) or type(error).__name__
        raise RequestError(
            f"{where} cannot be read, it is broken, cut off or of an unknown kind ({reason})", remedy=_BY_HAND
        ) from None


@contextmanager
def _writing(archive: Path, name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise RequestError(
            f"{archive}: member {name!r} cannot be written: {reason}",
            remedy="free space, or choose another folder with data_root=FOLDER",
        ) from None
