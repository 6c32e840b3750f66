"""Hundreds of damaged datasets: each mutation of a file ends in a message that names it, in a counted loss, or in
what the files then say; never in a crash, a wrong label or a lost image that nobody is told of."""

import hashlib
import json
import os
import random
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

from adbench.datasets.base import Sample
from adbench.datasets.decode import read_image, read_mask
from adbench.datasets.errors import RequestError
from adbench.datasets.file_index import hash_path, kept_in
from adbench.datasets.files import FilesDataset, image_counts
from adbench.datasets.registry import dataset_class, open_dataset
from adbench.datasets.splits import make_split
from mini_mutations import MUTATIONS, Mutation
from miniatures import ON_DISK

TIMES = 26
"""Mutations of each miniature, no two alike."""
WANTED = 500
"""Mutations of all miniatures together, at least; those of archives are in test_archives.py."""
MASK_PIXELS = ("kolektor_sdd", "kolektor_sdd2")
"""Datasets whose labels are what the masks show."""
OF_MASKS = "defects_config.json"
"""A table that says of no image what it is, but of all how their masks count."""
Key = tuple[str, str]
"""Category and image_id."""


@dataclass
class View:
    """All that a dataset shows of itself. Paths are relative to its root; ``pixels`` and ``truth`` are hashes, None
    where they cannot be read; ``used`` are hashes of the files that a category is made of."""

    problems: list[str] = field(default_factory=list)
    counts: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    samples: dict[Key, Sample] = field(default_factory=dict)
    paths: dict[Key, str] = field(default_factory=dict)
    masks: dict[Key, tuple[str, ...]] = field(default_factory=dict)
    pixels: dict[Key, str | None] = field(default_factory=dict)
    truth: dict[Key, str | None] = field(default_factory=dict)
    tables: set[str] = field(default_factory=set)
    used: dict[str, dict[str, str]] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    split_errors: list[str] = field(default_factory=list)


def look(open_it: Callable[[], FilesDataset]) -> View:
    """Open, verify, split and load everything; only RequestErrors are messages."""
    view = View()
    try:
        dataset = open_it()
    except RequestError as error:
        view.problems.append(str(error))
        return view
    for category in dataset.categories():
        try:
            found = dataset.found(category)
        except RequestError as error:
            view.problems.append(f"{category}: {error}")
            view.refused.add(category)
            continue
        view.problems += dataset.verify(category)
        view.counts += dataset.count_problems(category)
        _look_at_files(view, dataset, category)
        try:
            split = make_split(dataset.samples(category), category, 0, dataset.split_rule())
            dealt = [
                sample.image_id for role in (split.train, split.labelled, split.val, split.test) for sample in role
            ]
            assert len(set(dealt)) == len(dealt) and set(dealt) <= {sample.image_id for sample in found.samples}
        except RequestError as error:
            assert category in str(error)
            view.split_errors.append(str(error))
    return view


def _look_at_files(view: View, dataset: FilesDataset, category: str) -> None:
    found, base = dataset.found(category), dataset.base(category)
    below = base.relative_to(dataset.root)
    tables = {_clean(below / table) for table in found.tables}
    tables |= {_clean(path.relative_to(dataset.root)) for path in base.glob("*/Label/Labels.txt")}  # DAGM
    for sample in found.samples:
        key = (category, sample.image_id)
        view.samples[key], view.paths[key] = sample, _clean(below / sample.image_id)
        view.masks[key] = tuple(_clean(below / mask) for mask in found.masks.get(sample.image_id, ()))
        view.pixels[key] = _hash_or_none(partial(_image, dataset, category, sample))
        view.truth[key] = _hash_or_none(partial(_mask, dataset, category, sample))
    view.tables |= tables
    mine = {view.paths[key] for key in view.samples if key[0] == category}
    masks = {mask for key, own in view.masks.items() if key[0] == category for mask in own}
    view.used[category] = {
        path: hash_path(dataset.root / path)
        for path in mine | masks | {_clean(below / table) for table in found.tables}
        if (dataset.root / path).is_file()
    }
    view.fingerprints[category] = dataset.fingerprint(category)


def _image(dataset: FilesDataset, category: str, sample: Sample) -> bytes:
    pixels = dataset.load_image(category, sample)
    assert pixels.dtype == np.uint8 and pixels.shape[2:] == (3,)
    assert dataset.image_size(category, sample) == pixels.shape[:2]
    return bytes(pixels.tobytes())


def _mask(dataset: FilesDataset, category: str, sample: Sample) -> bytes:
    mask = dataset.load_mask(category, sample)
    return b"none" if mask is None else mask.channels.tobytes() + repr(mask.saturation).encode()


def _hash_or_none(read: Callable[[], bytes]) -> str | None:
    try:
        return str(hash(read()))
    except RequestError:
        return None


def _clean(path: Path) -> str:
    """Without '..': a table may lie above its category."""
    parts: list[str] = []
    for part in path.parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts)


def entries(text: str, name: str) -> list[str] | None:
    """What a table says of an image: the lines, or items of JSON lists, that hold its name; None if it is broken."""
    if not text.lstrip().startswith(("{", "[")):
        return [line for line in text.splitlines() if name in line]
    try:
        return [item for item in _items(json.loads(text)) if name in item]
    except (ValueError, RecursionError):
        return None


def _items(value: Any, place: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _items(inner, f"{place}.{key}")
    elif isinstance(value, list):
        yield from (f"{place} {json.dumps(item)}" for item in value)


def told(view: View, texts: Mapping[str, str], key: Key) -> list[list[str] | None]:
    """What all tables say of an image."""
    category, image_id = key
    stem = PurePosixPath(image_id).stem
    names = (f"{category}/{image_id}", image_id, PurePosixPath(image_id).name, stem)
    return [entries(text, next((name for name in names if name in text), stem)) for _, text in sorted(texts.items())]


class Oracle:
    """Judges what is seen ``after`` a mutation against what was seen ``before``, and against the files."""

    def __init__(self, name: str, root: Path, before: View, texts: Mapping[str, str], mutation: Mutation) -> None:
        self.name, self.root, self.before, self.mutation = name, root, before, mutation
        self.texts = texts
        self.touched = mutation.touched

    def judge(self, after: View) -> str:
        """The outcome in a word; AssertionError says what is wrong with it."""
        texts = {path: self._text(path) for path in self.texts}
        retold = {
            key
            for key in self.before.samples
            if self.touched & set(texts) and told(self.before, self.texts, key) != told(self.before, texts, key)
        }
        affected = {
            key
            for key in {**self.before.samples, **after.samples}
            if key in retold or self.touched & {self._path(key, after), *self._masks(key, after)}
        }
        names = self._names(affected, after)
        for problem in after.problems:
            problem.encode()  # It can be printed.
            assert any(name in problem for name in names), f"names no file that was touched: {problem}"
        self._assert_others_unchanged(affected, after)
        self._assert_fingerprints(after)
        if after.problems:
            return "named"
        assert set(after.fingerprints) == set(self.before.fingerprints), "a category is lost"
        shared = [mask for mask, count in Counter(self._all_masks(after)).items() if count > 1]
        assert not shared, f"masks of two images: {shared}"
        self._assert_affected(affected, retold, after)
        if len(after.samples) < len(self.before.samples):
            assert after.counts, "images vanished, and no count tells"
            return "counted"
        return "as the files say" if after.used != self.before.used else "no difference"

    def _path(self, key: Key, after: View) -> str:
        return self.before.paths.get(key) or after.paths[key]

    def _masks(self, key: Key, after: View) -> tuple[str, ...]:
        return (*self.before.masks.get(key, ()), *after.masks.get(key, ()))

    def _all_masks(self, view: View) -> list[str]:
        return [mask for own in view.masks.values() for mask in own]

    def _text(self, path: str) -> str:
        file = self.root / path
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""

    def _names(self, affected: set[Key], after: View) -> set[str]:
        paths = {*self.touched, *(self._path(key, after) for key in affected)}
        paths |= {mask for key in affected for mask in self._masks(key, after)}
        return {PurePosixPath(path).name for path in paths}

    def _assert_others_unchanged(self, affected: set[Key], after: View) -> None:
        for key, sample in self.before.samples.items():
            stem = PurePosixPath(key[1]).stem
            excused = not after.fingerprints or key[0] in after.refused or any(stem in p for p in after.problems)
            if key in affected or excused:
                continue
            assert after.samples.get(key) == sample, f"{key} was not touched, and is now {after.samples.get(key)}"
            assert after.pixels[key] == self.before.pixels[key], f"{key} was not touched, and has other pixels"
            if not any(path.endswith(OF_MASKS) for path in self.touched):
                assert after.truth[key] == self.before.truth[key], f"{key} was not touched, and has another mask"

    def _assert_fingerprints(self, after: View) -> None:
        for category, fingerprint in after.fingerprints.items():
            same = after.used[category] == self.before.used.get(category)
            if not after.problems or not same:  # Files that belong to no image are part of it too.
                assert (fingerprint == self.before.fingerprints.get(category)) == same, category

    def _assert_affected(self, affected: set[Key], retold: set[Key], after: View) -> None:
        for key in sorted(affected):
            old, new = self.before.samples.get(key), after.samples.get(key)
            if new is None:
                assert key in retold or not self._is_image(self.before.paths[key]), f"{key} was dropped"
                continue
            file = self.root / after.paths[key]
            assert after.pixels[key] == str(hash(read_image(file).tobytes())), f"{key} has other pixels"
            assert after.truth[key] is not None, f"the mask of {key} cannot be read"
            origin = old or self._origin()
            if self.name in MASK_PIXELS:
                marked = any(read_mask(self.root / mask).any() for mask in after.masks[key])
                assert new.label == marked, f"{key} is labelled {new.label}, its mask says otherwise"
            elif key not in retold:
                said = [(s.label, s.defect_type, s.kind, s.role) for s in (new, origin)]
                assert said[0] == said[1], f"{key} was {said[1]}, is now {said[0]}"
            assert new.label == origin.label or self.name in MASK_PIXELS, f"{key} has another label"
            if self.mutation.kind == "truncate" and key not in retold:
                assert (after.pixels[key], after.truth[key]) == (self.before.pixels[key], self.before.truth[key]), key

    def _is_image(self, path: str) -> bool:
        return (self.root / path).is_file()

    def _origin(self) -> Sample:
        keys = [key for key, path in self.before.paths.items() if path == self.mutation.path]
        assert keys, f"{self.touched}: a file that was no image became one"
        return self.before.samples[keys[0]]


def test_there_are_as_many_mutants_as_promised() -> None:
    assert len(ON_DISK) * TIMES >= WANTED


@pytest.mark.parametrize("case", ON_DISK)
def test_mutants(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, params, write = ON_DISK[case]
    pristine, root = write(tmp_path / "pristine" / "data"), tmp_path / "data"
    rng = random.Random(case)

    def opened() -> FilesDataset:
        dataset = open_dataset(name, {"root": str(root), **params})
        assert isinstance(dataset, FilesDataset)
        return dataset

    def fresh() -> None:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(pristine, root)

    fresh()
    kind = dataset_class(name)
    whole = opened()
    counts = {category: image_counts(whole.found(category).samples) for category in whole.categories()}
    monkeypatch.setattr(kind, "record", replace(kind.record, counts=counts))
    ends: Counter[str] = Counter()
    wrong: list[str] = []
    with kept_in(None):
        before = look(opened)
        assert not before.problems and not before.counts and not before.split_errors
        texts = {path: (root / path).read_text(encoding="utf-8") for path in before.tables}
        files = {
            "image": sorted(before.paths.values()),
            "mask": sorted({mask for own in before.masks.values() for mask in own}),
            "table": sorted(before.tables),
        }
        pictures = [what for what in ("image", "mask") if files[what]]
        seen = {state_of(root)}
        for number in range(TIMES):
            while (state := state_of(root)) in seen:
                fresh()
                what = "table" if files["table"] and rng.random() < 0.5 else rng.choice(pictures)
                mutation = Mutation(root, rng.choice(files[what]), rng)
                mutation.happen(rng.choice(MUTATIONS[what]))
            seen.add(state)
            try:
                ends[Oracle(name, root, before, texts, mutation).judge(look(opened))] += 1
            except Exception as error:
                wrong.append(f"{number}: {mutation.kind} {what} {sorted(mutation.touched)}: {error!r:.600}")
    print(f"{case}: {dict(ends)}")  # noqa: T201
    assert not wrong, "\n".join([f"{len(wrong)} of {TIMES}", *wrong])
    assert ends["named"] >= TIMES // 4
    assert len(seen) == TIMES + 1


def state_of(root: Path) -> str:
    """A hash of all that lies below a folder: names, kinds and contents."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        mode, content = path.lstat().st_mode, b""
        if stat.S_ISLNK(mode):
            content = str(path.readlink()).encode()
        elif stat.S_ISREG(mode) and os.access(path, os.R_OK):
            content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()!a} {mode} {len(content)} ".encode() + content)
    return digest.hexdigest()
