"""One model for all categories: who is trained on, and the images of several categories as one set."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from adbench.datasets.base import Dataset, Sample
from adbench.datasets.cache import Cache
from adbench.datasets.imageset import ImageSet
from adbench.datasets.multi_class import UnitedImageSet, trained_together
from adbench.datasets.registry import open_dataset
from adbench.datasets.splits import Split

CATEGORIES = ("b", "a", "c")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, mvtec_folder: Callable[..., Path]) -> Dataset:
    root = tmp_path_factory.mktemp("set")
    for seed, category in enumerate(CATEGORIES):
        mvtec_folder(root / category, train=4 + seed, defects={"hole": 1 + seed}, seed=seed)
    return open_dataset("folder", {"root": str(root)})


def parts(dataset: Dataset, label: int | None = None) -> dict[str, ImageSet]:
    def chosen(category: str) -> list[Sample]:
        return [sample for sample in dataset.samples(category) if label is None or sample.label == label]

    return {category: ImageSet(dataset, category, chosen(category), 16, Cache(None)) for category in CATEGORIES}


def samples(prefix: str, count: int, label: int = 0) -> tuple[Sample, ...]:
    return tuple(Sample(f"{prefix}{index}", label) for index in range(count))


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 4), min_size=1, max_size=4), st.randoms())
def test_trained_on_all_and_judged_on_one(counts: list[tuple[int, int, int, int]], random: object) -> None:
    splits = {
        f"c{number}": Split(samples("t", train), samples("l", labelled, 1), samples("v", val), samples("s", test))
        for number, (train, labelled, val, test) in enumerate(counts)
    }
    names = sorted(splits)
    shuffled = {name: splits[name] for name in sorted(names, key=lambda name: hash((name, str(random))))}
    for category in names:
        split = trained_together(shuffled, category)
        assert (split.val, split.test) == (splits[category].val, splits[category].test)
        for role in ("train", "labelled"):
            ids = [sample.image_id for sample in split.of(role)]
            assert ids == [f"{name}/{sample.image_id}" for name in names for sample in splits[name].of(role)]
        assert split.hash == trained_together(splits, category).hash


def test_a_united_set_is_its_parts_one_after_the_other(dataset: Dataset) -> None:
    apart = parts(dataset)
    united = UnitedImageSet(apart)
    in_order = [apart[name] for name in sorted(apart)]
    assert len(united) == sum(map(len, in_order)) == len(set(united.ids))
    assert united.ids[0] == f"a/{apart['a'].ids[0]}" and united.size == 16
    np.testing.assert_array_equal(united.labels, np.concatenate([part.labels for part in in_order]))
    np.testing.assert_array_equal(united.digests, np.concatenate([part.digests for part in in_order]))
    everything = np.concatenate([part.pixels(slice(None)) for part in in_order])
    truth = np.concatenate([part.masks(range(len(part))) for part in in_order])
    assert truth.any()
    forms: list[list[int] | NDArray[np.int64] | slice] = [slice(None), slice(3, 9), [len(united) - 1, 0, 5, 5]]
    forms += [np.arange(len(united))[::-3], []]
    for indices in forms:
        chosen = np.arange(len(united))[indices]
        np.testing.assert_array_equal(united.pixels(indices), everything[chosen])
        np.testing.assert_array_equal(united.masks(chosen.tolist()), truth[chosen])


def test_a_category_may_have_nothing_to_give(dataset: Dataset) -> None:
    apart = {name: ImageSet(dataset, name, [], 16, Cache(None)) for name in CATEGORIES}
    assert UnitedImageSet(apart).pixels(slice(None)).shape == (0, 16, 16, 3)
    apart["c"] = parts(dataset, label=1)["c"]
    united = UnitedImageSet(apart)
    assert set(united.labels) == {1} and len(united) == len(apart["c"])
    np.testing.assert_array_equal(united.pixels([0]), apart["c"].pixels([0]))


def test_cached_things_belong_to_the_whole_set(dataset: Dataset) -> None:
    every, normal = parts(dataset), parts(dataset, label=0)
    keys = [UnitedImageSet(sets).content_key for sets in (every, normal, {**every, "b": normal["b"]})]
    assert len({str(key) for key in [*keys, every["a"].content_key]}) == 4
    assert UnitedImageSet(dict(reversed(every.items()))).content_key == keys[0]
