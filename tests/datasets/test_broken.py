"""Broken files: fatal, or skipped and told; and that nothing is decoded twice to find them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adbench.datasets.base import Dataset
from adbench.datasets.cache import Cache
from adbench.datasets.decode import Picture, decode_image
from adbench.datasets.errors import RequestError
from adbench.datasets.file_index import kept_in
from adbench.datasets.imageset import ImageSet
from adbench.datasets.registry import open_dataset

Write = Callable[..., Path]


def opened(root: Path, **params: Any) -> Dataset:
    return open_dataset("folder", {"root": str(root), **params})


@pytest.fixture
def base(tmp_path: Path, mvtec_folder: Write) -> Path:
    return mvtec_folder(tmp_path / "c", train=5, size=(24, 40))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were decoded, in any way."""
    seen: list[str] = []

    def counting(content: bytes, path: Path) -> Picture:
        seen.append(path.name if "ground_truth" in path.parts else path.as_posix().rpartition("/c/")[2])
        return decode_image(content, path)

    monkeypatch.setattr("adbench.datasets.decode.decode_image", counting)
    monkeypatch.setattr("adbench.datasets.file_index.decode_image", counting)
    return seen


def pixels(dataset: Dataset, cache: Cache, size: int = 16) -> np.ndarray:
    return ImageSet(dataset, "c", dataset.samples("c"), size, cache).pixels(slice(None))


def test_fatal_is_the_default_and_names_the_file(base: Path) -> None:
    (base / "train" / "good" / "002.png").write_bytes(b"broken")
    dataset = opened(base)
    (problem,) = dataset.verify("c")
    assert str(base / "train" / "good" / "002.png") in problem
    assert "train/good/002.png" in [sample.image_id for sample in dataset.samples("c")]
    assert dataset.notes("c") == []
    with pytest.raises(RequestError, match=r"dataset\.broken=ignore is not allowed for 'folder'"):
        opened(base, broken="ignore")


def test_skipped_images_leave_the_samples_and_are_told(base: Path) -> None:
    every = [sample.image_id for sample in opened(base).samples("c")]
    (base / "train" / "good" / "002.png").write_bytes(b"broken")
    (base / "ground_truth" / "blob" / "000_mask.png").write_bytes(b"broken")
    dataset = opened(base, broken="skip")
    gone = {"train/good/002.png", "test/blob/000.png"}
    assert [sample.image_id for sample in dataset.samples("c")] == [name for name in every if name not in gone]
    assert dataset.verify("c") == []
    assert dataset.notes("c") == ["SKIPPED: 2 broken image(s), such as test/blob/000.png"]
    assert len(pixels(dataset, Cache(None))) == len(every) - 2


def test_problems_of_other_kinds_stay_fatal(base: Path) -> None:
    (base / "train" / "good" / "002.png").write_bytes(b"broken")
    (base / "ground_truth" / "blob" / "009_mask.png").write_bytes(b"broken")
    Image.new("1", (5, 6)).save(base / "ground_truth" / "blob" / "001_mask.png")
    problems = opened(base, broken="skip").verify("c")
    assert len(problems) == 3 and sum("009_mask.png" in problem for problem in problems) == 2
    assert any("is 5x6 pixels" in problem for problem in problems)


def test_the_fingerprint_tells_what_was_skipped(base: Path) -> None:
    whole = opened(base).fingerprint("c")
    assert opened(base, broken="skip").fingerprint("c") == whole
    seen = {whole}
    for name in ("001.png", "002.png"):
        (base / "train" / "good" / name).write_bytes(b"broken")
        seen |= {opened(base).fingerprint("c"), opened(base, broken="skip").fingerprint("c")}
    assert len(seen) == 5
    for name in ("001.png", "002.png"):
        (base / "train" / "good" / name).unlink()
    assert opened(base, broken="skip").fingerprint("c") not in seen


def test_files_of_several_images_are_told(base: Path) -> None:
    first, second = (Image.new("L", (40, 24), value) for value in (10, 200))
    (base / "train" / "good" / "000.png").unlink()
    first.save(base / "train" / "good" / "000.tif", save_all=True, append_images=[second])
    dataset = opened(base)
    assert dataset.notes("c") == [
        "1 file(s) hold several images, such as train/good/000.tif: the first of each is used"
    ]
    sample = next(sample for sample in dataset.samples("c") if sample.image_id.endswith(".tif"))
    assert (dataset.load_image("c", sample) == 10).all()


def test_an_image_is_decoded_once_from_the_plan_to_the_training(
    base: Path, tmp_path: Path, decoded: list[str]
) -> None:
    planned = opened(base)
    with kept_in(tmp_path / "cache", 16):
        assert planned.verify("c") == []
    images = [sample.image_id for sample in planned.samples("c")]
    masks = [name for name in decoded if name not in images]
    assert sorted(decoded) == sorted([*images, *masks]) and len(masks) == 2
    decoded.clear()
    with kept_in(tmp_path / "cache", 16):  # As a worker does.
        seen = pixels(opened(base), Cache(tmp_path / "cache"))
    assert decoded == []
    np.testing.assert_array_equal(seen, pixels(opened(base), Cache(None)))


def test_images_of_another_size_or_of_a_changed_folder_are_decoded_anew(base: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    with kept_in(tmp_path / "cache", 16):
        opened(base).verify("c")
        assert [entry.key["size"] for entry in cache.entries()] == [16]
        shutil.copy(base / "train" / "good" / "000.png", base / "train" / "good" / "900.png")
        dataset = opened(base)
        assert dataset.verify("c") == [] and len(list(cache.entries())) == 1  # Not all had to be decoded.
        for size in (16, 20):
            np.testing.assert_array_equal(pixels(dataset, cache, size), pixels(dataset, Cache(None), size))
    assert not list((tmp_path / "cache").glob(".draft-*"))


def test_a_broken_file_is_found_and_leaves_no_entry(base: Path, tmp_path: Path) -> None:
    (base / "test" / "blob" / "001.png").write_bytes(b"broken")
    with kept_in(tmp_path / "cache", 16):
        assert len(opened(base).verify("c")) == 1
    assert list(Cache(tmp_path / "cache").entries()) == [] and not list((tmp_path / "cache").glob(".draft-*"))


def test_a_cache_that_cannot_be_written_costs_only_time(base: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with kept_in(tmp_path / "cache", 16):
        assert opened(base).verify("c") == []


def test_a_cache_that_is_cleared_meanwhile_costs_only_time(base: Path, tmp_path: Path) -> None:
    draft = Cache(tmp_path / "cache").draft((2, 3), np.uint8)
    draft.put(0, np.zeros(3, np.uint8))
    Cache(tmp_path / "cache").clear()
    draft.put(1, np.zeros(3, np.uint8))
    draft.publish({"what": "images"})
    assert list(Cache(tmp_path / "cache").entries()) == []
