"""A layout on disk, described: which paths are images, what the names of their folders say, and where masks are."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

from adbench.datasets.base import AnomalyKind, Role, Sample
from adbench.datasets.decode import IMAGE_SUFFIXES
from adbench.datasets.errors import RequestError

_FIELD = re.compile(r"\{(\w+)\}")
_SKIPPED = ("__MACOSX",)
"""Folders that archives carry and nobody wants."""


@dataclass(frozen=True)
class Images:
    """Images whose path within the category has this ``pattern``, without the suffix of the file.

    A pattern is a path with fields: ``{defect}`` is a folder named after what it shows, ``{group}`` one named after
    the item or patient, ``{any}`` one of any name. Last comes ``{stem}``, the rest with folders within, or
    ``{name}``, a file of that very folder. ``defect`` says what the images show where the path does not. ``masks``
    are patterns of the mask's path, tried in turn; one that ends in "/" is a folder with a mask for each defect of
    the image.
    """

    pattern: str
    role: Role | None = None
    defect: str | None = None
    masks: tuple[str, ...] = ()

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """What the path of an image matches."""
        return _expression(self.pattern)


@dataclass(frozen=True)
class Layout:
    """How the files of one category are arranged; the first of ``images`` that a path matches describes it.

    ``normal`` are the values of ``{defect}`` that mean none; ``kinds`` tells logical anomalies from structural ones.
    ``label_from`` says what makes an image anomalous: its folder, that it has a mask file, or that a pixel of its
    mask is not zero. ``group`` is searched in the stem; its first group names the item or patient. ``ignored`` are
    files, without suffix, that lie in the published archive by mistake.
    """

    images: tuple[Images, ...]
    normal: frozenset[str] = frozenset({"good"})
    kinds: Mapping[str, AnomalyKind] = field(default_factory=dict)
    label_from: Literal["folder", "mask file", "mask pixels"] = "folder"
    group: re.Pattern[str] | None = None
    ignored: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Found:
    """What a category's folder holds; all paths are relative to it."""

    samples: tuple[Sample, ...]
    """The ``image_id`` of each is the path of its file."""
    masks: Mapping[str, tuple[str, ...]]
    """By image_id, where there are any."""
    unpaired: tuple[str, ...] = ()
    """Masks that belong to no image."""
    left_over: tuple[str, ...] = ()
    """Images beside those that the layout knows, in the same folders."""
    tables: tuple[str, ...] = ()
    """Other files that say what the images are; they may lie above the folder ("../list.csv")."""
    problems: tuple[str, ...] = ()
    """What is wrong with the tables, or keeps an image's label unknown, each a sentence that names the file."""


class Listing:
    """The image files below a folder, by relative path and by that path without its suffix."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.paths = tuple(sorted(map(_checked, _image_files(base))))
        self.by_stem: dict[str, str] = {}
        self._by_folder: dict[str, list[str]] = {}
        for path in self.paths:
            self.by_stem.setdefault(without_suffix(path), path)
            self._by_folder.setdefault(path.rpartition("/")[0], []).append(path)

    def masks(self, patterns: tuple[str, ...], fields: Mapping[str, str]) -> tuple[str, ...]:
        """The files of the first pattern that has any."""
        for pattern in patterns:
            place = _FIELD.sub(lambda match: fields[match[1]], pattern)
            if place.endswith("/"):
                found = tuple(self._by_folder.get(place.rstrip("/"), ()))
            else:
                found = (self.by_stem[place],) if place in self.by_stem else ()
            if found:
                return found
        return ()


Unmarked = Callable[[Sequence[str]], Mapping[str, bool]]
"""Of each mask file, whether it marks nothing; a file that cannot be read marks something."""


def find(base: Path, layout: Layout, unmarked: Unmarked) -> Found:
    """What the folder holds according to the layout. Raises RequestError for a name that no table can hold."""
    listing = Listing(base)
    mask_paths = [
        _expression(f"{mask}{{stem_of_mask}}" if mask.endswith("/") else mask)
        for images in layout.images
        for mask in images.masks
    ]
    matched: list[tuple[str, Images, dict[str, str]]] = []
    masks: dict[str, tuple[str, ...]] = {}
    unpaired, left_over = [], []
    for path in listing.paths:
        name = without_suffix(path)
        if name in layout.ignored:
            continue
        if any(mask.fullmatch(name) for mask in mask_paths):
            unpaired.append(path)
        elif (found := _matched(name, layout)) is not None:
            matched.append((path, *found))
            masks[path] = listing.masks(found[0].masks, found[1])
        else:
            left_over.append(path)
    used = {mask for own in masks.values() for mask in own}
    empty = unmarked(sorted(used)) if layout.label_from == "mask pixels" else {}
    samples, problems = [], []
    for path, images, fields in matched:
        if layout.label_from == "mask pixels" and not masks[path]:
            problems.append(f"image without the mask that would say what it shows, so left out: {base / path}")
            continue
        defect = images.defect or fields.get("defect", "defective")
        if layout.label_from == "folder":
            anomalous = defect not in layout.normal
        else:
            anomalous = any(not empty.get(mask, False) for mask in masks[path])
        samples.append(_sample(path, defect, anomalous, images, fields, layout))
    tops = {images.pattern.partition("/")[0] for images in layout.images}
    return Found(
        samples=tuple(samples),
        masks={path: own for path, own in masks.items() if own},
        unpaired=tuple(path for path in unpaired if path not in used),
        left_over=tuple(
            path for path in left_over if path.partition("/")[0] in tops or any("{" in top for top in tops)
        ),
        problems=tuple(problems),
    )


def without_suffix(path: str) -> str:
    """A path without the suffix of its file."""
    return path[: -len(PurePosixPath(path).suffix)]


def _matched(name: str, layout: Layout) -> tuple[Images, dict[str, str]] | None:
    for images in layout.images:
        if match := images.expression.fullmatch(name):
            return images, match.groupdict()
    return None


def _sample(
    path: str, defect: str, anomalous: bool, images: Images, fields: Mapping[str, str], layout: Layout
) -> Sample:
    group = fields.get("group")
    if layout.group is not None and (found := layout.group.search(fields["stem"])):
        group = found[1]
    return Sample(
        image_id=path,
        label=int(anomalous),
        defect_type=defect if anomalous else "good",
        kind=layout.kinds.get(defect, "structural") if anomalous else "good",
        role="labelled" if anomalous and images.role == "train" else images.role,
        group=group,
    )


def _expression(pattern: str) -> re.Pattern[str]:
    parts = _FIELD.split(pattern)
    escaped = [re.escape(part) if index % 2 == 0 else _field(part) for index, part in enumerate(parts)]
    return re.compile("".join(escaped))


def _field(name: str) -> str:
    return f"(?P<{name}>.+)" if name.startswith("stem") else f"(?P<{name}>[^/]+)"


def _image_files(folder: Path | str, within: str = "") -> Iterator[str]:
    """Paths of images at any depth, below ``within``; neither hidden ones (such as .ipynb_checkpoints) nor what
    archivers of others leave."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.name.startswith(".") or entry.name in _SKIPPED:
            continue
        if _is_folder(entry):
            yield from _image_files(entry.path, f"{within}{entry.name}/")
        elif entry.name.lower().endswith(tuple(IMAGE_SUFFIXES)):
            yield within + entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Raises RequestError for a link to a folder that it lies in: its images would be found again and again."""
    try:
        is_folder = entry.is_dir()
    except OSError:  # A link that leads nowhere but to itself: reading it as an image tells.
        return False
    if (
        is_folder
        and entry.is_symlink()
        and Path(entry.path).parent.resolve().is_relative_to(Path(entry.path).resolve())
    ):
        raise RequestError(f"{entry.path} is a link to a folder that it lies in", remedy="remove the link")
    return is_folder


def _checked(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:  # Bytes that are no UTF-8, as old archives leave them: no table or page can hold them.
        raise RequestError(f"file name is not UTF-8: {name!a}", remedy="rename the file") from None
    return name
