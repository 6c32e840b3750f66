"""A user's folder in every shape that was foreseen, and in some that go wrong."""

import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adbench.datasets.base import ROLES, Sample
from adbench.datasets.errors import RequestError
from adbench.datasets.folder import Folder
from adbench.datasets.registry import open_dataset
from adbench.datasets.splits import make_split

Write = Callable[..., Path]


def opened(root: Path, **params: Any) -> Folder:
    dataset = open_dataset("folder", {"root": str(root), **params})
    assert isinstance(dataset, Folder)
    return dataset


def by_id(dataset: Folder, category: str) -> dict[str, Sample]:
    return {sample.image_id: sample for sample in dataset.samples(category)}


def counts(dataset: Folder, category: str) -> Counter[tuple[str | None, str]]:
    return Counter((sample.role, sample.defect_type) for sample in dataset.samples(category))


def test_root_is_the_category(tmp_path: Path, mvtec_folder: Write) -> None:
    dataset = opened(mvtec_folder(tmp_path / "screws", train=4, test=3, defects={"blob": 2, "dent": 1}))
    assert dataset.categories() == ("screws",)
    assert counts(dataset, "screws") == {
        ("train", "good"): 4,
        ("test", "good"): 3,
        ("test", "blob"): 2,
        ("test", "dent"): 1,
    }
    assert {s.label for s in dataset.samples("screws") if s.defect_type == "good"} == {0}
    assert {(s.label, s.kind) for s in dataset.samples("screws") if s.defect_type != "good"} == {(1, "structural")}
    assert dataset.verify("screws") == []


def test_several_categories(tmp_path: Path, mvtec_folder: Write) -> None:
    for name in ("b side", "Ärmel", "a"):
        mvtec_folder(tmp_path / name, train=len(name))
    (tmp_path / "notes").mkdir()
    (tmp_path / "licence.txt").write_text("-")
    dataset = opened(tmp_path)
    assert dataset.categories() == ("a", "b side", "Ärmel")
    assert [counts(dataset, name)["train", "good"] for name in dataset.categories()] == [1, 6, 5]
    assert all(dataset.verify(name) == [] for name in dataset.categories())


@pytest.mark.parametrize("name", ["validation", "val"])
def test_validation_folder_and_labelled_anomalies(tmp_path: Path, mvtec_folder: Write, name: str) -> None:
    base = mvtec_folder(tmp_path / "c", validation=3, labelled={"blob": 5})
    (base / "validation").rename(base / name)
    dataset = opened(base)
    assert counts(dataset, "c")["val", "good"] == 3 and counts(dataset, "c")["labelled", "blob"] == 5
    split = make_split(dataset.samples("c"), "c", 0, dataset.split_rule())
    assert len(split.train) == 4 and sum(s.label == 0 for s in split.val) == 3
    assert {s.role for s in split.test} == {"test"} and len(split.test) == 4
    assert dataset.verify("c") == []


def test_labelled_from_test(tmp_path: Path, mvtec_folder: Write) -> None:
    base = mvtec_folder(tmp_path / "c", defects={"blob": 10})
    dataset = opened(base, labelled_from_test=0.5)
    split = make_split(dataset.samples("c"), "c", 0, dataset.split_rule())
    assert sum(s.label for s in split.test) == 5
    assert len(split.labelled) + sum(s.label for s in split.val) == 5
    with pytest.raises(RequestError, match=r"dataset\.labelled_from_test=0\.95 is not allowed for 'folder'"):
        opened(base, labelled_from_test=0.95)


def test_images_and_masks_are_those_of_the_files(tmp_path: Path, mvtec_folder: Write) -> None:
    base = mvtec_folder(tmp_path / "c", size=(20, 30))
    dataset = opened(base)
    for image_id, sample in by_id(dataset, "c").items():
        image = dataset.load_image("c", sample)
        np.testing.assert_array_equal(image, np.asarray(Image.open(base / image_id)))
        assert dataset.image_size("c", sample) == image.shape[:2] == (20, 30)
        mask = dataset.load_mask("c", sample)
        if sample.label:
            assert mask is not None and mask.channels.shape == (1, 20, 30) and mask.channels.dtype == np.bool_
            np.testing.assert_array_equal(mask.union, (image == 250).all(axis=2))
        else:
            assert mask is None


def test_masks_are_paired_by_name_never_by_position(tmp_path: Path, mvtec_folder: Write) -> None:
    base = mvtec_folder(tmp_path / "c", defects={"blob": 3, "dent": 3})
    truth = base / "ground_truth"
    (truth / "blob" / "000_mask.png").unlink()  # Positions now disagree.
    (truth / "blob" / "001_mask.png").rename(truth / "blob" / "001.png")
    Image.open(truth / "blob" / "002_mask.png").save(truth / "blob" / "002_mask.bmp")
    (truth / "blob" / "002_mask.png").unlink()
    dataset = opened(base)
    for image_id, sample in by_id(dataset, "c").items():
        mask = dataset.load_mask("c", sample)
        if image_id == "test/blob/000.png":
            assert mask is None
        elif sample.label:
            assert mask is not None
            np.testing.assert_array_equal(mask.union, (dataset.load_image("c", sample) == 250).all(axis=2))


def test_masks_in_sub_folders_belong_to_the_images_there(tmp_path: Path, mvtec_folder: Write) -> None:
    base = mvtec_folder(tmp_path / "c", defects={"blob": 2})
    for part, suffix in (("test", ""), ("ground_truth", "_mask")):
        for camera, number in (("left", "000"), ("right", "001")):
            (base / part / "blob" / camera).mkdir()
            old = base / part / "blob" / f"{number}{suffix}.png"
            old.rename(base / part / "blob" / camera / f"000{suffix}.png")
    dataset = opened(base)
    assert dataset.verify("c") == []
    for sample in dataset.samples("c"):
        if sample.label:
            mask = dataset.load_mask("c", sample)
            assert mask is not None
            np.testing.assert_array_equal(mask.union, (dataset.load_image("c", sample) == 250).all(axis=2))


def test_a_labelled_image_does_not_take_the_mask_of_a_test_image(tmp_path: Path, mvtec_folder: Write) -> None:
    dataset = opened(mvtec_folder(tmp_path / "c", labelled={"blob": 2}))
    labelled = [sample for sample in dataset.samples("c") if sample.role == "labelled"]
    assert len(labelled) == 2 and all(dataset.load_mask("c", sample) is None for sample in labelled)


def test_mask_threshold_counts_and_changes_the_fingerprint(tmp_path: Path, mvtec_folder: Write) -> None:
    base = mvtec_folder(tmp_path / "c", defects={"blob": 1})
    Image.fromarray(np.array([[0, 100, 200]], np.uint8)).resize((32, 24), 0).save(
        base / "ground_truth" / "blob" / "000_mask.png"
    )
    low, high = opened(base), opened(base, mask_threshold=150)
    sample = by_id(low, "c")["test/blob/000.png"]
    masks = [dataset.load_mask("c", sample) for dataset in (low, high)]
    areas = [int(mask.union.sum()) for mask in masks if mask is not None]
    assert areas[0] > areas[1] > 0
    assert low.fingerprint("c") != high.fingerprint("c")


def test_without_masks(tmp_path: Path, mvtec_folder: Write) -> None:
    dataset = opened(mvtec_folder(tmp_path / "c", masks=False))
    assert not dataset.has_masks("c") and dataset.verify("c") == []
    assert all(dataset.load_mask("c", sample) is None for sample in dataset.samples("c"))
    assert opened(mvtec_folder(tmp_path / "d")).has_masks("d")


def test_verify_names_every_problem(tmp_path: Path, mvtec_folder: Write) -> None:
    base = mvtec_folder(tmp_path / "c", defects={"blob": 4}, labelled={"dent": 1})
    truth = base / "ground_truth" / "blob"
    (truth / "000_mask.png").unlink()
    Image.new("1", (5, 6)).save(truth / "001_mask.png")
    (truth / "002_mask.png").write_bytes(b"broken")
    Image.new("1", (32, 24)).save(truth / "999_mask.png")
    (base / "train" / "good" / "000.png").write_bytes(b"")
    shutil.copy(base / "test" / "good" / "000.png", base / "test" / "loose.png")
    problems = opened(base).verify("c")
    expected = [
        ("000.png", "cannot read image"),
        ("002_mask.png", "cannot read image"),
        ("loose.png", "that the layout does not know"),
        ("001_mask.png", "is 5x6 pixels (width x height), its image test/blob/001.png is 32x24"),
        ("test/blob/000.png", "anomalous image without a mask"),
        ("999_mask.png", "mask without an image"),
    ]
    assert len(problems) == len(expected), problems
    for problem, (file, what) in zip(problems, expected, strict=True):
        assert file in problem and what in problem and str(base) in problem


def test_a_broken_image_is_named_wherever_it_is_asked_for(tmp_path: Path, mvtec_folder: Write) -> None:
    base = mvtec_folder(tmp_path / "c")
    (base / "test" / "blob" / "000.png").write_bytes(b"broken")
    (base / "ground_truth" / "blob" / "000_mask.png").write_bytes(b"broken")
    dataset = opened(base)
    sample = by_id(dataset, "c")["test/blob/000.png"]
    for call in (dataset.load_image, dataset.image_size):
        with pytest.raises(RequestError, match=r"test/blob/000\.png"):
            call("c", sample)
    with pytest.raises(RequestError, match=r"000_mask\.png"):
        dataset.load_mask("c", sample)


def test_an_image_of_unknown_label_is_not_taken_for_normal(tmp_path: Path, mvtec_folder: Write) -> None:
    base = mvtec_folder(tmp_path / "c")
    for part in ("train", "test"):
        shutil.copy(base / "test" / "blob" / "000.png", base / part / "loose.png")
    assert not any("loose" in sample.image_id for sample in opened(base).samples("c"))


def test_hidden_files_and_folders_and_other_files_are_no_images(tmp_path: Path, mvtec_folder: Write) -> None:
    base = mvtec_folder(tmp_path / "c")
    before = opened(base)
    known, fingerprint = before.samples("c"), before.fingerprint("c")
    image = base / "test" / "blob" / "000.png"
    for place in ("test/.ipynb_checkpoints", "test/blob/.ipynb_checkpoints", "ground_truth/blob/.thumbs"):
        (base / place).mkdir()
        shutil.copy(image, base / place / "000-checkpoint.png")
    shutil.copy(image, base / "test" / "blob" / "._000.png")
    (base / "test" / "blob" / "Thumbs.db").write_bytes(b"-")
    (base / "test" / "blob" / "series.png").mkdir()
    after = opened(base)
    assert after.samples("c") == known and after.fingerprint("c") == fingerprint and after.verify("c") == []


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_links_are_followed(tmp_path: Path, mvtec_folder: Write) -> None:
    base = mvtec_folder(tmp_path / "store" / "c")
    linked = tmp_path / "c"
    (linked / "test").mkdir(parents=True)
    (linked / "train").symlink_to(base / "train")
    (linked / "ground_truth").symlink_to(base / "ground_truth")
    for name in ("good", "blob"):
        (linked / "test" / name).symlink_to(base / "test" / name)
    assert opened(linked).samples("c") == opened(base).samples("c")
    assert opened(linked).fingerprint("c") == opened(base).fingerprint("c")
    (linked / "test" / "extra").mkdir()
    (linked / "test" / "extra" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert any("gone.png" in problem for problem in opened(linked).verify("c"))


def test_unicode_spaces_and_dots_in_names(tmp_path: Path, mvtec_folder: Write) -> None:
    base = mvtec_folder(tmp_path / "größe 2.0", defects={"kratzer ü": 1})
    (base / "test" / "kratzer ü" / "000.png").rename(base / "test" / "kratzer ü" / "bild 1.b (2).PNG")
    truth = base / "ground_truth" / "kratzer ü"
    (truth / "000_mask.png").rename(truth / "bild 1.b (2)_mask.png")
    dataset = opened(base)
    assert dataset.verify("größe 2.0") == []
    sample = by_id(dataset, "größe 2.0")["test/kratzer ü/bild 1.b (2).PNG"]
    mask = dataset.load_mask("größe 2.0", sample)
    assert mask is not None and mask.union.any()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are text there")
def test_a_name_that_is_no_text_is_refused(tmp_path: Path, mvtec_folder: Write) -> None:
    base = mvtec_folder(tmp_path / "c")
    old = base / "test" / "blob" / "000.png"
    old.rename(os.fsdecode(os.fsencode(old.parent) + b"/Gr\xfcn.png"))
    with pytest.raises(RequestError, match="not UTF-8") as caught:
        opened(base).samples("c")
    str(caught.value).encode()


def test_a_renamed_root_keeps_the_fingerprint_and_a_changed_pixel_does_not(
    tmp_path: Path, mvtec_folder: Write
) -> None:
    base = mvtec_folder(tmp_path / "set" / "c")
    before = opened(tmp_path / "set").fingerprint("c")
    moved = (tmp_path / "set").rename(tmp_path / "renamed") / "c"
    assert opened(moved.parent).fingerprint("c") == before != ""
    assert not base.exists()
    mask = np.asarray(Image.open(moved / "ground_truth" / "blob" / "000_mask.png")).copy()
    mask[0, 0] = ~mask[0, 0]
    Image.fromarray(mask).save(moved / "ground_truth" / "blob" / "000_mask.png")
    assert opened(moved.parent).fingerprint("c") != before


def test_a_relative_root_and_a_home_root(
    tmp_path: Path, mvtec_folder: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    mvtec_folder(tmp_path / "c")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for root in ("c", "~/c"):
        dataset = opened(Path(root))
        assert dataset.categories() == ("c",)
        assert dataset.load_image("c", dataset.samples("c")[0]).any()


def test_what_cannot_be_opened_is_refused_with_the_layout(tmp_path: Path, mvtec_folder: Write) -> None:
    (tmp_path / "file").write_text("-")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other" / "cats").mkdir(parents=True)
    (tmp_path / "capital" / "train" / "Good").mkdir(parents=True)
    empty_good = mvtec_folder(tmp_path / "nothing good")
    shutil.rmtree(empty_good / "train" / "good")
    (empty_good / "train" / "good").mkdir()
    for name, message in {
        "absent": "does not exist",
        "file": "is not a folder",
        "empty": "empty is empty",
        "capital": "its train has no folder good, .* it holds Good$",
        "other": "is not laid out as expected; it holds cats",
        "nothing good": "'nothing good': .* holds no images",
    }.items():
        with pytest.raises(RequestError) as caught:
            opened(tmp_path / name)
        assert re.search(message, caught.value.problem)
        assert caught.value.allowed and caught.value.remedy and name in caught.value.problem
    with pytest.raises(RequestError, match="needs to know where the images are"):
        open_dataset("folder", {})


def test_a_folder_without_test_cannot_be_split(tmp_path: Path, mvtec_folder: Write) -> None:
    dataset = opened(mvtec_folder(tmp_path / "c", test=0, defects={}))
    assert {sample.role for sample in dataset.samples("c")} == {"train"} <= set(ROLES)
    with pytest.raises(RequestError, match="no test images"):
        make_split(dataset.samples("c"), "c", 0, dataset.split_rule())
