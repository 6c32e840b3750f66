"""What does not fit into the page: files beside it, which its script loads when they are needed.

A browser reads no data from a page's folder on a disk, but runs scripts from there: so each file is a call that hands
its content over. It is named after the content, so that a page never gets what belongs to another one.
"""

import base64
import gzip
import hashlib
import json
from typing import Any

from adbench.reports.files import Folder

PARTS = "parts"
"""The folder of the files, beside the page."""


class SideFiles:
    """The files beside one page, collected while it is rendered; ``contents`` by their names in PARTS."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    def add(self, value: Any) -> dict[str, Any]:
        """Put ``value`` into a file of its own; what the page's script must know of it."""
        text = packed(value)
        key = hashlib.sha256(text.encode()).hexdigest()[:20]
        content = f'adbenchPart("{key}","{text}");\n'.encode()
        self.contents[f"{key}.js"] = content
        return {"key": key, "file": f"{PARTS}/{key}.js", "bytes": len(content)}

    def write(self, folder: Folder, report: str) -> None:
        """Write the files into the results folder's ``report``; those of earlier pages stay until ``clear``."""
        if self.contents:
            folder.make(f"{report}/{PARTS}")
        for name in self.contents.keys() - folder.names(f"{report}/{PARTS}"):
            folder.write(f"{report}/{PARTS}/{name}", self.contents[name])

    def clear(self, folder: Folder, report: str) -> None:
        """Delete the files that the page no longer names, once it is written."""
        for name in folder.names(f"{report}/{PARTS}") - self.contents.keys():
            folder.delete(f"{report}/{PARTS}/{name}")


def zipped(value: Any) -> bytes:
    """Gzipped JSON; always the same for the same value."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return gzip.compress(text.encode("utf-8", "replace"), compresslevel=4, mtime=0)


def packed(value: Any) -> str:
    """Gzipped JSON in base64: an alphabet without a character that HTML or JavaScript knows."""
    return base64.b64encode(zipped(value)).decode()
