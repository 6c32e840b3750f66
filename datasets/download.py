"""Downloading a published file: goes on where an earlier attempt ended, and checks what came."""

import contextlib
import hashlib
import http.client
import json
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from adbench.datasets.errors import RequestError
from adbench.datasets.progress import progress

_ATTEMPTS = 4
_CHUNK = 2**18
_TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as broken."""
_MAY_PASS = (408, 425, 429, 500, 502, 503, 504)
"""Statuses of HTTP after which another attempt may help."""
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class _AgainError(Exception):
    """This attempt failed; another may not."""


@dataclass(frozen=True)
class _Origin:
    """What a partial file is part of; ``validator`` changes when the server's file does."""

    url: str
    size: int
    validator: str | None


class _Part:
    """The file's beginning, with a note about its origin: without one it cannot be gone on with."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")

    def origin(self, url: str) -> _Origin | None:
        """Where the part came from, None if there is none from this address."""
        try:
            origin = _Origin(**json.loads(self._note.read_text(encoding="utf-8")))
            return origin if origin.url == url and 0 < self.path.stat().st_size <= origin.size else None
        except (OSError, ValueError, TypeError):
            return None

    def begin(self, origin: _Origin | None) -> None:
        """Forget an earlier part."""
        self.discard()
        if origin is not None:
            self._note.write_text(json.dumps(asdict(origin)), encoding="utf-8")

    def discard(self) -> None:
        """Remove the part and its note."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        """The part is whole: give it its name."""
        self.path.replace(target)
        self._note.unlink(missing_ok=True)


def download(url: str, target: Path, *, md5: str | None, remedy: str, pause: float = 1.0) -> None:
    """Fetch ``url`` to ``target``, which appears only when complete and, where ``md5`` is given, right.

    A part that an earlier attempt left is gone on with. Proxies are those of the environment. Raises RequestError,
    with ``remedy``, if the file cannot be had; ``pause`` is the first of the growing pauses between attempts, in
    seconds.
    """
    part, reason = _Part(target), ""
    if not url.startswith(("https://", "http://")):
        raise RequestError(f"cannot download {url}", allowed="https://... or http://...", remedy=remedy)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(pause * 2 ** (attempt - 1))
            try:
                resumed = _fetch(url, part, target.name)
            except _AgainError as failure:
                reason = str(failure)
                continue
            if md5 is None or (seen := md5_of(part.path)) == md5:
                part.finish(target)
                return
            part.discard()
            reason = f"what came has the md5 {seen}, {md5} is published"
            if not resumed:  # Nothing was pieced together: another attempt would bring the same.
                break
    except urllib.error.HTTPError as failure:
        reason = f"the server says {failure.code} {failure.reason}"
    except OSError as failure:  # Of the disk: those of the network are asked for again.
        reason = f"cannot write {part.path}: {failure.strerror or failure}"
    raise RequestError(f"cannot download {url}: {reason}", remedy=remedy)


def md5_of(path: Path) -> str:
    """MD5 (hex) of a file; an unchanged one is read once. Raises OSError."""
    status = path.stat()
    return _md5(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=10_000)
def _md5(path: Path, size: int, mtime_ns: int) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file, progress(f"checking {path.name}", size) as moved:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            moved(file.tell())
    return digest.hexdigest()


def _fetch(url: str, part: _Part, name: str) -> bool:
    """Complete the part; whether one was there before. Raises _AgainError, OSError of the disk, or HTTPError."""
    origin = part.origin(url)
    have = part.path.stat().st_size if origin else 0
    if origin and have == origin.size:
        return True
    with _opened(url, origin, have, part) as response:
        if response.headers.get_content_type() == "text/html":
            raise _AgainError("the server sent a web page instead, as where terms have to be accepted first")
        if response.status == 206:
            answered = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if origin is None or answered is None or (int(answered[1]), int(answered[2])) != (have, origin.size):
                part.discard()
                raise _AgainError("the file on the server has changed")
            size: int | None = origin.size
        else:  # The whole file, asked for or not.
            have, size = 0, _length(response)
            part.begin(_Origin(url, size, _validator(response)) if size else None)
        if size is not None and size - have > shutil.disk_usage(part.path.parent).free:
            raise OSError(f"{size - have:,} bytes are to come, more than the disk has left")
        resumed = have > 0
        with part.path.open("ab") as file, progress(f"downloading {name}", size) as moved:
            for chunk in _chunks(response):
                file.write(chunk)
                have += len(chunk)
                moved(have)
    if size is not None and have != size:
        raise _AgainError(f"the connection ended after {have:,} of {size:,} bytes")
    return resumed


@contextlib.contextmanager
def _opened(url: str, origin: _Origin | None, have: int, part: _Part) -> Iterator[Any]:
    headers = {"User-Agent": "adbench", "Accept-Encoding": "identity"}
    if origin:
        headers["Range"] = f"bytes={have}-"
        if origin.validator:
            headers["If-Range"] = origin.validator
    try:
        # An opener of its own, for the shared one keeps the proxies that it first saw.
        opener = urllib.request.build_opener()
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as failure:
        if failure.code == 416:  # The file has become shorter than the part.
            part.discard()
        elif failure.code not in _MAY_PASS:
            raise
        raise _AgainError(f"the server says {failure.code} {failure.reason}") from None
    except (OSError, http.client.HTTPException) as failure:
        raise _AgainError(str(getattr(failure, "reason", "") or failure or type(failure).__name__)) from None
    with response:
        yield response


def _chunks(response: Any) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read(_CHUNK)
        except (OSError, http.client.HTTPException) as failure:
            raise _AgainError(f"the connection broke: {failure or type(failure).__name__}") from None
        if not chunk:
            return
        yield chunk


def _length(response: Any) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _validator(response: Any) -> str | None:
    """What If-Range may hold: a strong entity tag, or a date."""
    tag = response.headers.get("ETag", "")
    validator: str | None = tag if tag.startswith('"') else response.headers.get("Last-Modified")
    return validator
