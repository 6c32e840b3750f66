"""What happens to files: cut, emptied, damaged, renamed, lost, doubled, exchanged; each reproducible from a seed."""

import os
import random
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from PIL import Image

_TEXTS = (
    b"not what it was\n",
    b"<html><body>Please log in</body></html>",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:1234\nsize 1234\n",
    b"null",
    b"{}",
    b"[" * 100_000,
    b"\0" * 64,
    b'image,label\n"',
    "image,label\n".encode("utf-16"),
)
"""What may be in a file's place."""
_TOKENS = (b"x" * 300, b"\\ud800", b'"', b"\n", b",", b"\0", b"../", b"/", b"\xff", b"0")
"""What slips into a table: long names, half a character, signs that mean something, a byte that is no UTF-8."""


class Mutation:
    """What happens to one file below ``root``, whose relative path is ``path``; each method is a kind of it.

    ``touched`` are the relative paths of all files that were changed, removed or added.
    """

    def __init__(self, root: Path, path: str, rng: random.Random) -> None:
        self.root = root
        self.path = path
        self.rng = rng
        self.kind = ""
        self.touched = {path}

    def happen(self, kind: Callable[["Mutation"], None]) -> None:
        """Change the file as the method ``kind`` does."""
        self.kind = kind.__name__
        kind(self)

    @property
    def file(self) -> Path:
        """The file."""
        return self.root / self.path

    def truncate(self) -> None:
        """Keep the first bytes."""
        content = self.file.read_bytes()
        self.file.write_bytes(content[: self.rng.randrange(1, len(content))])

    def empty(self) -> None:
        """Keep no byte."""
        self.file.write_bytes(b"")

    def flip(self) -> None:
        """Flip one bit, or several, of all or of the first bytes, which say what the others mean."""
        content = bytearray(self.file.read_bytes())
        reach = self.rng.choice((len(content), min(len(content), 64)))
        for _ in range(self.rng.choice((1, 1, 2, 8))):
            content[self.rng.randrange(reach)] ^= 1 << self.rng.randrange(8)
        self.file.write_bytes(content)

    def insert(self) -> None:
        """Put a token somewhere."""
        content = self.file.read_bytes()
        place = self.rng.randrange(len(content))
        self.file.write_bytes(content[:place] + self.rng.choice(_TOKENS) + content[place:])

    def garble(self) -> None:
        """Flip one bit of a word, number or path: all are as likely, however long."""
        content = bytearray(self.file.read_bytes())
        word = self.rng.choice([*re.finditer(rb"[\w./ -]+", content)])
        content[self.rng.randrange(*word.span())] ^= 1 << self.rng.randrange(6)
        self.file.write_bytes(content)

    def swap(self) -> None:
        """Exchange the content with that of another file."""
        others = files_below(self.root)
        # Mostly with one of the same folder: it is of the same kind.
        near = [other for other in others if PurePosixPath(other).parent == PurePosixPath(self.path).parent]
        other = self.rng.choice(near if self.rng.random() < 0.7 else others)
        mine, theirs = self.file.read_bytes(), (self.root / other).read_bytes()
        self.file.write_bytes(theirs)
        (self.root / other).write_bytes(mine)
        self.touched.add(other)

    def rename(self) -> None:
        """Another stem, of letters, figures, blanks or signs."""
        stem = PurePosixPath(self.path).stem
        changed = (
            f"{stem}_new",
            f"new {stem}",
            f"{stem[:-1]}_",
            "renamed",
            f"{stem} (1)",
            f"ü{stem}",
            f"{stem}\n{stem}",
        )
        self._move(self.rng.choice(changed) + PurePosixPath(self.path).suffix)

    def hide(self) -> None:
        """A name that hidden files have."""
        self._move(f".{PurePosixPath(self.path).name}")

    def change_suffix(self) -> None:
        """Another suffix, of images or of other files."""
        known = (".png", ".jpg", ".bmp", ".tif", ".txt", ".csv", ".png.part", "")
        others = [suffix for suffix in known if suffix != PurePosixPath(self.path).suffix]
        self._move(PurePosixPath(self.path).stem + self.rng.choice(others))

    def change_case(self) -> None:
        """Capitals for small letters, and small ones for capitals, in the suffix or in all of the name."""
        name = PurePosixPath(self.path)
        self._move(self.rng.choice((name.stem + name.suffix.swapcase(), name.name.swapcase())))

    def delete(self) -> None:
        """No file."""
        self.file.unlink()

    def duplicate(self) -> None:
        """A copy beside it, under another stem or suffix."""
        name = PurePosixPath(self.path)
        other = "copy.png" if name.suffix == ".png" else f"{name.stem}.png"
        self._copy(self.rng.choice((f"{name.stem} (copy){name.suffix}", f"{name.stem}_copy{name.suffix}", other)))

    def make_folder(self) -> None:
        """A folder of its name, empty or with the file in it."""
        content = self.file.read_bytes()
        self.file.unlink()
        self.file.mkdir()
        if self.rng.random() < 0.5:
            (self.file / self.file.name).write_bytes(content)
            self.touched.add(f"{self.path}/{self.file.name}")

    def make_text(self) -> None:
        """Another content."""
        self.file.write_bytes(self.rng.choice(_TEXTS))

    def make_link(self) -> None:
        """A link to nothing, to itself, or to the folder that it lies in."""
        self.file.unlink()
        self.file.symlink_to(self.rng.choice(("nothing", self.file.name, "../" + self.file.parent.name)))

    def make_pipe(self) -> None:
        """A pipe, which nobody writes to."""
        self.file.unlink()
        os.mkfifo(self.file)

    def resize(self) -> None:
        """Another size in pixels."""
        with Image.open(self.file) as image:
            size, kind = (image.width + self.rng.choice((-3, 1, 40)), image.height), image.format
            changed = image.resize(size)
        changed.save(self.file, format=kind)

    def lock(self) -> None:
        """Nobody may read it."""
        self.file.chmod(0)

    def _move(self, name: str) -> None:
        target = self.file.with_name(name)
        if target.exists():  # The oracle knows of no file that is overwritten.
            target = target.with_name(f"{target.stem}_moved{target.suffix}")
        self.file.rename(target)
        self.touched.add(target.relative_to(self.root).as_posix())

    def _copy(self, name: str) -> None:
        target = self.file.with_name(name)
        if not target.exists():
            shutil.copy(self.file, target)
            self.touched.add(target.relative_to(self.root).as_posix())


_ANY: Sequence[Callable[[Mutation], None]] = (
    Mutation.truncate,
    Mutation.empty,
    Mutation.flip,
    Mutation.flip,
    Mutation.swap,
    Mutation.rename,
    Mutation.hide,
    Mutation.change_suffix,
    Mutation.change_case,
    Mutation.delete,
    Mutation.duplicate,
    Mutation.make_folder,
    Mutation.make_text,
    Mutation.make_link,
    Mutation.make_pipe,
    *((Mutation.lock,) if os.name == "posix" and os.geteuid() != 0 else ()),  # Nothing is locked for root.
)
MUTATIONS: Mapping[str, Sequence[Callable[[Mutation], None]]] = {
    "image": _ANY,
    "mask": (*_ANY, Mutation.resize, Mutation.resize),
    "table": (*_ANY, *[Mutation.garble] * 12, *[Mutation.insert] * 3),
}
"""What may happen to each kind of file."""


def files_below(root: Path) -> list[str]:
    """All files, by relative path, sorted."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
