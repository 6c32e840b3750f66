"""What must hold of the splits of the medical datasets, whatever the seed, the split option and the file system."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adbench.datasets.base import ROLES, Dataset, Sample
from adbench.datasets.registry import open_dataset
from adbench.datasets.splits import Split, choose_labelled, labelled_wanted, leaks, make_split
from miniatures import MINIATURES

SEEDS = range(8)
CASES: list[tuple[str, dict[str, Any]]] = [
    ("br35h", {"split": "seeded"}),
    ("br35h", {"split": "ckaad"}),
    ("oct2017", {"split": "patients"}),
    ("oct2017", {"split": "official"}),
    ("chest_xray2017", {"split": "patients"}),
    ("chest_xray2017", {"split": "official"}),
    *((name, {"labelled_from_test": share}) for name in ("bmad", "brats2021", "camelyon16") for share in (0.0, 0.5)),
]
LEAKING = [("oct2017", "official"), ("chest_xray2017", "official")]
"""Published splits that put patients into train and test."""


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: MINIATURES[name](tmp_path_factory.mktemp(name)) for name in {case[0] for case in CASES}}


@pytest.fixture(params=CASES, ids=lambda case: "-".join([case[0], *map(str, case[1].values())]))
def case(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    found: tuple[str, dict[str, Any]] = request.param
    return found


@pytest.fixture
def dataset(case: tuple[str, dict[str, Any]], roots: dict[str, Path]) -> Dataset:
    return open_dataset(case[0], {"root": str(roots[case[0]]), **case[1]})


def splits(dataset: Dataset) -> Iterator[tuple[str, int, Split]]:
    for category in dataset.categories():
        for seed in SEEDS:
            yield category, seed, make_split(dataset.samples(category), category, seed, dataset.split_rule())


def ids(samples: tuple[Sample, ...]) -> set[str]:
    return {sample.image_id for sample in samples}


def patients(samples: tuple[Sample, ...]) -> set[str]:
    return {sample.group for sample in samples if sample.group is not None}


def test_splits_are_disjoint_and_lose_nothing_that_they_should_keep(dataset: Dataset) -> None:
    for category, _, split in splits(dataset):
        parts = [ids(split.of(role)) for role in ROLES]
        known = {sample.image_id for sample in dataset.samples(category)}
        assert sum(map(len, parts)) == len(set().union(*parts)) and set().union(*parts) <= known
        if all(sample.group is None for sample in dataset.samples(category)):
            assert set().union(*parts) == known
        assert {sample.label for sample in split.train} == {0} and {sample.label for sample in split.test} == {0, 1}
        assert {sample.label for sample in split.labelled} <= {1} and any(s.label == 0 for s in split.val)


def test_no_patient_is_in_two_splits(dataset: Dataset, case: tuple[str, dict[str, Any]]) -> None:
    for _, _, split in splits(dataset):
        found = [patients(split.of(role)) for role in ROLES]
        leaking = sum(map(len, found)) > len(set().union(*found))
        assert leaking == ((case[0], case[1].get("split")) in LEAKING)
        notes = leaks(split)  # A row says so.
        assert bool(notes) == leaking and all(
            "patient(s) or item(s) of test are in train or val too" in n for n in notes
        )


def test_val_has_anomalies_wherever_the_pool_has_several(dataset: Dataset) -> None:
    for _, _, split in splits(dataset):
        pool = [sample for role in ("labelled", "val") for sample in split.of(role) if sample.label]
        assert any(sample.label for sample in split.val) or len(pool) < 2
        assert split.labelled or not pool or all(sample.role == "val" for sample in pool)


def test_test_of_published_splits_does_not_depend_on_the_seed(
    dataset: Dataset, case: tuple[str, dict[str, Any]]
) -> None:
    free = case[1] == {"split": "seeded"} or case[1].get("labelled_from_test", 0.0) > 0
    for category in dataset.categories():
        tests = {
            frozenset(ids(make_split(dataset.samples(category), category, seed, dataset.split_rule()).test))
            for seed in SEEDS
        }
        assert (len(tests) > 1) == free


def test_splits_do_not_depend_on_the_order_of_samples_or_files(
    dataset: Dataset, case: tuple[str, dict[str, Any]], roots: dict[str, Path], tmp_path: Path
) -> None:
    old = roots[case[0]]
    files = sorted(path for path in old.rglob("*") if path.is_file())
    random.Random(0).shuffle(files)
    for path in files:
        new = tmp_path / "elsewhere" / path.relative_to(old)
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, new)
    copy = open_dataset(case[0], {"root": str(tmp_path / "elsewhere"), **case[1]})
    for category, seed, split in splits(dataset):
        again = make_split(copy.samples(category), category, seed, copy.split_rule())
        shuffled = list(dataset.samples(category))
        random.Random(seed).shuffle(shuffled)
        assert again == split == make_split(shuffled, category, seed, dataset.split_rule())
        assert again.hash == split.hash


@pytest.mark.parametrize("ratio", [0.01, 0.1, 0.2, 0.5])
@pytest.mark.parametrize("classes", [0, 1, 2])
def test_the_labelled_pool_honours_ratio_and_classes(dataset: Dataset, ratio: float, classes: int) -> None:
    for category, seed, split in splits(dataset):
        chosen = choose_labelled(split, ratio, classes, category, seed)
        assert (chosen.train, chosen.val, chosen.test) == (split.train, split.val, split.test)
        assert ids(chosen.labelled) <= ids(split.labelled)
        types = {sample.defect_type for sample in split.labelled}
        taken = {sample.defect_type for sample in chosen.labelled}
        assert len(taken) <= (min(classes, len(types)) if classes else len(types))
        wanted = labelled_wanted(len(split.train), ratio)
        if classes:  # The pool is that of the chosen types, all of which are found at the largest ratio.
            taken = {s.defect_type for s in choose_labelled(split, 0.99, classes, category, seed).labelled}
        pool = [sample for sample in split.labelled if not classes or sample.defect_type in taken]
        assert len(chosen.labelled) == min(wanted, len(pool))
        fewer = choose_labelled(split, ratio / 2, classes, category, seed)
        assert ids(fewer.labelled) <= ids(chosen.labelled)
