"""Splits of every dataset on disk: disjoint, grouped, and the same whatever the order in which files are listed."""

import dataclasses
import os
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from adbench.datasets.base import ROLES, Sample, SplitRule
from adbench.datasets.registry import open_dataset
from adbench.datasets.splits import Split, make_split
from miniatures import MINIATURES

SEEDS = (0, 1, 7)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in MINIATURES.items()}


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


def split_of(name: str, root: Path, seed: int, **changes: Any) -> dict[str, Split]:
    dataset = open_dataset(name, {"root": str(root)})
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


@pytest.mark.parametrize("name", sorted(MINIATURES))
@pytest.mark.parametrize("labelled_from_test", [0.0, 0.5])
def test_splits_are_disjoint_and_keep_groups_together(
    name: str, labelled_from_test: float, roots: Mapping[str, Path]
) -> None:
    dataset = open_dataset(name, {"root": str(roots[name])})
    rule = dataclasses.replace(dataset.split_rule(), labelled_from_test=labelled_from_test)
    for seed in SEEDS:
        for category, split in split_of(name, roots[name], seed, labelled_from_test=labelled_from_test).items():
            assert_sound(split, list(dataset.samples(category)), rule)


@pytest.mark.parametrize("name", sorted(MINIATURES))
def test_splits_do_not_depend_on_the_order_of_files(
    name: str, roots: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(name, {"root": str(roots[name])})
    fingerprints = [dataset.fingerprint(category) for category in dataset.categories()]
    before = {seed: split_of(name, roots[name], seed) for seed in SEEDS}
    for order in range(3):
        list_in_any_order(monkeypatch, order)
        again = open_dataset(name, {"root": str(roots[name])})
        assert again.categories() == dataset.categories()
        assert [again.fingerprint(category) for category in again.categories()] == fingerprints
        assert {seed: split_of(name, roots[name], seed) for seed in SEEDS} == before
        monkeypatch.undo()


def test_files_are_listed_in_another_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        (tmp_path / str(number)).touch()
    before = list(tmp_path.iterdir())
    list_in_any_order(monkeypatch, 0)
    assert list(tmp_path.iterdir()) != before and sorted(tmp_path.iterdir()) == sorted(before)
    with os.scandir(tmp_path) as entries:
        assert [Path(entry.path) for entry in entries] != before
