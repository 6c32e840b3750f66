"""The images of a split as a method sees them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from adbench.datasets.base import Dataset, Sample
from adbench.datasets.cache import Cache
from adbench.datasets.decode import resize
from adbench.datasets.errors import RequestError
from adbench.datasets.file_index import kept_in
from adbench.datasets.imageset import ImageSet
from adbench.datasets.registry import open_dataset
from miniatures import ON_DISK

Write = Callable[..., Path]


@pytest.fixture
def dataset(tmp_path: Path, mvtec_folder: Write) -> Dataset:
    return open_dataset("folder", {"root": str(mvtec_folder(tmp_path / "c", train=5, size=(24, 40)))})


def of_role(dataset: Dataset, role: str) -> list[Sample]:
    return [sample for sample in dataset.samples("c") if sample.role == role]


def test_pixels_ids_and_labels_follow_the_samples(dataset: Dataset) -> None:
    chosen = of_role(dataset, "test")[::-1]
    images = ImageSet(dataset, "c", chosen, 16, Cache(None))
    assert len(images) == 4 and images.ids == tuple(sample.image_id for sample in chosen)
    assert images.labels.tolist() == [sample.label for sample in chosen] and images.labels.dtype == np.int64
    expected = np.stack([resize(dataset.load_image("c", sample), 16) for sample in chosen])
    for indices in (slice(None), [0, 1, 2, 3], np.arange(4)):
        pixels = images.pixels(indices)
        assert pixels.dtype == np.uint8 and pixels.shape == (4, 16, 16, 3)
        np.testing.assert_array_equal(pixels, expected)
    np.testing.assert_array_equal(images.pixels([2, 0, 2]), expected[[2, 0, 2]])
    np.testing.assert_array_equal(images.pixels(slice(1, 3)), expected[1:3])


def test_an_empty_set(dataset: Dataset) -> None:
    images = ImageSet(dataset, "c", [], 16, Cache(None))
    assert len(images) == 0 and images.ids == () and images.labels.shape == (0,)
    assert images.pixels(slice(0, 32)).shape == images.pixels([]).shape == (0, 16, 16, 3)


def test_what_a_method_does_to_its_pixels_stays_there(dataset: Dataset, tmp_path: Path) -> None:
    for cache in (Cache(None), Cache(tmp_path / "cache")):
        images = ImageSet(dataset, "c", of_role(dataset, "train"), 16, cache)
        before = images.pixels(slice(None)).copy()
        changed = images.pixels(slice(None))
        changed[:] = 0
        np.testing.assert_array_equal(images.pixels(slice(None)), before)
        assert before.any()


def test_all_splits_share_one_decoding(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, loaded = Cache(tmp_path / "cache"), []
    load = type(dataset).load_image

    def counting(self: Dataset, category: str, sample: Sample) -> NDArray[np.uint8]:
        loaded.append(sample.image_id)
        return load(self, category, sample)

    monkeypatch.setattr(type(dataset), "load_image", counting)
    sets = [ImageSet(dataset, "c", of_role(dataset, role), 16, cache) for role in ("train", "val", "test", "train")]
    assert sorted(loaded) == [sample.image_id for sample in dataset.samples("c")]
    assert len(list(cache.entries())) == 1
    ImageSet(dataset, "c", of_role(dataset, "train"), 20, cache)
    assert len(list(cache.entries())) == 2
    np.testing.assert_array_equal(sets[0].pixels([0]), sets[3].pixels([0]))


def test_cached_and_uncached_pixels_are_equal(dataset: Dataset, tmp_path: Path) -> None:
    chosen = of_role(dataset, "train")
    with_cache, without = (ImageSet(dataset, "c", chosen, 97, cache) for cache in (Cache(tmp_path), Cache(None)))
    np.testing.assert_array_equal(with_cache.pixels(slice(None)), without.pixels(slice(None)))


def test_the_content_key_tells_content_selection_order_and_size_apart(
    dataset: Dataset, tmp_path: Path, mvtec_folder: Write
) -> None:
    def key(of: Dataset, samples: list[Sample], size: int = 16) -> dict[str, Any]:
        return ImageSet(of, "c", samples, size, Cache(None)).content_key

    other = open_dataset("folder", {"root": str(mvtec_folder(tmp_path / "other" / "c", train=5, seed=1))})
    train = of_role(dataset, "train")
    keys = [key(dataset, train), key(dataset, train[:3]), key(dataset, train[::-1]), key(dataset, train, 20)]
    keys.append(key(other, of_role(other, "train")))
    assert len({tuple(sorted(found.items())) for found in keys}) == 5
    assert key(dataset, train) == keys[0]


def test_a_broken_image_stops_the_decoding_and_leaves_no_entry(tmp_path: Path, mvtec_folder: Write) -> None:
    base = mvtec_folder(tmp_path / "c")
    (base / "test" / "blob" / "001.png").write_bytes(b"broken")
    dataset, cache = open_dataset("folder", {"root": str(base)}), Cache(tmp_path / "cache")
    with pytest.raises(RequestError, match=r"test/blob/001\.png"):
        ImageSet(dataset, "c", of_role(dataset, "train"), 16, cache)
    assert list(cache.entries()) == []


@pytest.mark.parametrize("case", [case for case in ON_DISK if case != "dtd"])  # Its categories share images.
def test_what_the_index_decoded_is_not_decoded_again(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, params, write = ON_DISK[case]
    dataset = open_dataset(name, {"root": str(write(tmp_path / "data")), **params})
    with kept_in(tmp_path / "cache", image_size=16):
        for category in dataset.categories():
            dataset.fingerprint(category)
    monkeypatch.delattr("adbench.datasets.files.read_image")
    for category in dataset.categories():
        images = ImageSet(dataset, category, dataset.samples(category), 16, Cache(tmp_path / "cache"))
        assert images.pixels(slice(None)).any()
