"""Splits and fingerprints of all that is read from disk: disjoint, grouped, as large as asked, and the same wherever
the folder lies and in whatever order its files are listed."""

import dataclasses
import os
import random
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from adbench.datasets.base import ROLES, Sample, SplitRule
from adbench.datasets.errors import RequestError
from adbench.datasets.file_index import kept_in
from adbench.datasets.files import FilesDataset
from adbench.datasets.protocol import Protocol, follow_protocol
from adbench.datasets.registry import open_dataset
from adbench.datasets.splits import Split, choose_labelled, labelled_wanted, make_split
from miniatures import ON_DISK

SEEDS = (0, 1, 7)
any_seed = st.integers(0, 2**31)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    return {case: write(tmp_path_factory.mktemp("any") / "data") for case, (_, _, write) in ON_DISK.items()}


def opened(case: str, root: Path) -> FilesDataset:
    name, params, _ = ON_DISK[case]
    dataset = open_dataset(name, {"root": str(root), **params})
    assert isinstance(dataset, FilesDataset)
    return dataset


class Shuffled:
    """What os.scandir returns, in another order."""

    def __init__(self, entries: list[os.DirEntry[str]]) -> None:
        self._entries = iter(entries)

    def __enter__(self) -> Iterator[os.DirEntry[str]]:
        return self._entries

    def __exit__(self, *_: object) -> None:
        pass


def list_in_any_order(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Make folders list their content in another order, as other file systems do."""
    scandir, listdir, rng = os.scandir, os.listdir, random.Random(seed)

    def shuffled_scandir(path: Any = ".") -> Shuffled:
        with scandir(path) as entries:
            found = list(entries)
        rng.shuffle(found)
        return Shuffled(found)

    def shuffled_listdir(path: Any = ".") -> list[Any]:
        found = listdir(path)
        rng.shuffle(found)
        return found

    monkeypatch.setattr(os, "scandir", shuffled_scandir)
    monkeypatch.setattr(os, "listdir", shuffled_listdir)


def split_of(dataset: FilesDataset, seed: int, **changes: Any) -> dict[str, Split]:
    rule = dataclasses.replace(dataset.split_rule(), **changes)
    return {
        category: make_split(dataset.samples(category), category, seed, rule) for category in dataset.categories()
    }


def assert_sound(split: Split, samples: list[Sample], rule: SplitRule) -> None:
    dealt = [sample for role in ROLES for sample in split.of(role)]
    assert len({sample.image_id for sample in dealt}) == len(dealt)
    assert set(dealt) <= set(samples)
    assert {sample.label for sample in split.train} == {0} and {sample.label for sample in split.test} == {0, 1}
    assert all(sample.label == 1 for sample in split.labelled)
    sides = defaultdict(set)
    for role in ROLES:
        for sample in split.of(role):
            if sample.group is not None:
                together = role == "labelled" and rule.train_on_labelled_groups
                sides[sample.group].add("train" if together else role)
    assert all(len(roles) == 1 for roles in sides.values()), dict(sides)


@pytest.mark.parametrize("case", ON_DISK)
def test_splits_are_disjoint_and_keep_groups_together(case: str, roots: Mapping[str, Path]) -> None:
    dataset = opened(case, roots[case])

    @settings(max_examples=10)
    @given(seed=any_seed, labelled_from_test=st.sampled_from([0.0, 0.3, 0.5]))
    def check(seed: int, labelled_from_test: float) -> None:
        rule = dataclasses.replace(dataset.split_rule(), labelled_from_test=labelled_from_test)
        for category, split in split_of(dataset, seed, labelled_from_test=labelled_from_test).items():
            assert_sound(split, list(dataset.samples(category)), rule)

    check()


@pytest.mark.parametrize("case", ON_DISK)
def test_labelled_anomalies_are_as_many_and_of_as_many_classes_as_asked(case: str, roots: Mapping[str, Path]) -> None:
    dataset = opened(case, roots[case])

    @settings(max_examples=20)
    @given(seed=any_seed, ratio=st.floats(0, 0.5), classes=st.integers(0, 3), share=st.sampled_from([0.0, 0.5]))
    def check(seed: int, ratio: float, classes: int, share: float) -> None:
        for category, split in split_of(dataset, seed, labelled_from_test=share).items():
            chosen = choose_labelled(split, ratio, classes, category, seed)
            assert (chosen.train, chosen.val, chosen.test) == (split.train, split.val, split.test)
            every = choose_labelled(split, 0.99, classes, category, seed).labelled
            types = {sample.defect_type for sample in every}
            known = {sample.defect_type for sample in split.labelled}
            assert len(types) == (min(classes, len(known)) if classes else len(known))
            pool = [sample for sample in split.labelled if sample.defect_type in types]
            assert set(chosen.labelled) <= set(pool)
            assert len(chosen.labelled) == min(labelled_wanted(len(split.train), ratio), len(pool))

    check()


@pytest.mark.parametrize("case", ON_DISK)
def test_few_shot_and_noisy_training_keep_to_the_split(case: str, roots: Mapping[str, Path]) -> None:
    dataset = opened(case, roots[case])

    @settings(max_examples=10)
    @given(seed=any_seed, count=st.integers(1, 12), noise=st.sampled_from([0.0, 0.1, 0.4]), from_test=st.booleans())
    def check(seed: int, count: int, noise: float, from_test: bool) -> None:
        for category, split in split_of(dataset, seed).items():
            try:
                found = follow_protocol(split, Protocol(count, noise, from_test), category, seed)
            except RequestError as error:
                assert noise and "has no anomalies to hide" in str(error)
                continue
            hidden = [sample for sample in found.train if sample.label]
            assert len(found.train) - len(hidden) == min(count, len(split.train))
            assert len(hidden) <= labelled_wanted(len(found.train) - len(hidden), noise)
            assert found.val == split.val and {sample.label for sample in found.test} == {0, 1}
            dealt = [sample.image_id for role in ROLES for sample in found.of(role)]
            assert len(set(dealt)) == len(dealt)
            elsewhere = {sample.group for role in ROLES[1:] for sample in found.of(role)} - {None}
            assert not elsewhere & {sample.group for sample in hidden}

    check()


@pytest.mark.parametrize("case", ON_DISK)
def test_neither_splits_nor_fingerprints_depend_on_the_order_of_files(
    case: str, roots: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = opened(case, roots[case])
    fingerprints = [dataset.fingerprint(category) for category in dataset.categories()]
    before = {seed: split_of(dataset, seed) for seed in SEEDS}
    for order in range(3):
        list_in_any_order(monkeypatch, order)
        again = opened(case, roots[case])
        assert again.categories() == dataset.categories()
        assert [again.fingerprint(category) for category in again.categories()] == fingerprints
        assert {seed: split_of(again, seed) for seed in SEEDS} == before
        monkeypatch.undo()


@pytest.mark.parametrize("case", ON_DISK)
def test_a_folder_that_is_renamed_or_moved_is_the_same(case: str, roots: Mapping[str, Path], tmp_path: Path) -> None:
    dataset = opened(case, roots[case])
    # One category of a user's own takes the folder's name, which deals its images; its content is the same.
    named = dataset.record.name == "folder" and dataset.categories() == (roots[case].name,)
    for place in (tmp_path / "new name", tmp_path / "deep" / "in a folder" / roots[case].name):
        shutil.copytree(roots[case], place)
        moved = opened(case, place)
        for category, other in zip(dataset.categories(), moved.categories(), strict=True):
            assert other == (place.name if named else category)
            assert moved.fingerprint(other) == dataset.fingerprint(category)
            assert moved.samples(other) == dataset.samples(category)
        if not named:
            assert {seed: split_of(moved, seed) for seed in SEEDS} == {
                seed: split_of(dataset, seed) for seed in SEEDS
            }


@pytest.mark.parametrize("case", ON_DISK)
def test_a_changed_pixel_gives_its_category_another_fingerprint(
    case: str, roots: Mapping[str, Path], tmp_path: Path
) -> None:
    root = shutil.copytree(roots[case], tmp_path / roots[case].name)
    before = {name: opened(case, root).fingerprint(name) for name in opened(case, root).categories()}
    for category in before:
        dataset = opened(case, root)
        found, base = dataset.found(category), dataset.base(category)
        masks = [found.masks[sample.image_id][0] for sample in found.samples if sample.label and found.masks]
        for path in [found.samples[0].image_id, *masks[:1]]:
            owners = [name for name in before if base / path in files_of(dataset, name)]
            assert category in owners
            content = (base / path).read_bytes()
            change_a_pixel(base / path)
            changed = opened(case, root)
            assert [name for name in before if changed.fingerprint(name) != before[name]] == owners, path
            assert changed.found(category).samples == found.samples
            (base / path).write_bytes(content)
            with kept_in(None):  # Times of change may be too coarse to tell.
                assert opened(case, root).fingerprint(category) == before[category]


def files_of(dataset: FilesDataset, category: str) -> set[Path]:
    """Images and masks; categories may share them."""
    found = dataset.found(category)
    masks = [mask for own in found.masks.values() for mask in own]
    return {dataset.base(category) / path for path in (*masks, *(sample.image_id for sample in found.samples))}


def change_a_pixel(path: Path) -> None:
    with Image.open(path) as image:
        kind, pixels = image.format, np.array(image)
    assert pixels.dtype in (np.uint8, np.bool_)
    pixels[0, 0] ^= pixels.dtype.type(0x80)
    Image.fromarray(pixels).save(path, format=kind)


def test_files_are_listed_in_another_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        (tmp_path / str(number)).touch()
    before = list(tmp_path.iterdir())
    list_in_any_order(monkeypatch, 0)
    assert list(tmp_path.iterdir()) != before and sorted(tmp_path.iterdir()) == sorted(before)
    with os.scandir(tmp_path) as entries:
        assert [Path(entry.path) for entry in entries] != before
