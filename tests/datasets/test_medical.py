"""The medical trees of folders: every layout they come in, what each image is, and what is wrong with broken ones."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adbench.datasets.base import Sample
from adbench.datasets.bmad import FOLDERS
from adbench.datasets.errors import RequestError
from adbench.datasets.files import FilesDataset
from adbench.datasets.registry import open_dataset
from miniatures import MINIATURES

NAMES = ("bmad", "br35h", "brats2021", "camelyon16", "chest_xray2017", "oct2017")


def opened(name: str, root: Path, **params: Any) -> FilesDataset:
    dataset = open_dataset(name, {"root": str(root), **params})
    assert isinstance(dataset, FilesDataset)
    return dataset


def counts(dataset: FilesDataset, category: str) -> Counter[tuple[str | None, str]]:
    return Counter((sample.role, sample.defect_type) for sample in dataset.samples(category))


def groups(dataset: FilesDataset, category: str) -> dict[str, str | None]:
    return {sample.image_id.rpartition("/")[2]: sample.group for sample in dataset.found(category).samples}


def assert_masks_are_those_of_the_blobs(dataset: FilesDataset, category: str) -> None:
    assert dataset.has_masks(category)
    for sample in dataset.samples(category):
        mask = dataset.load_mask(category, sample)
        assert (mask is not None) == (sample.label == 1), sample
        if mask is not None:
            assert mask.channels.shape[0] == 1
            np.testing.assert_array_equal(mask.union, (dataset.load_image(category, sample) == 250).all(axis=2))


def renamed(folder: Path, name: str) -> Path:
    return folder.rename(folder.with_name(name))


# Br35H


def test_br35h_has_two_classes_and_no_split(tmp_path: Path) -> None:
    dataset = opened("br35h", MINIATURES["br35h"](tmp_path))
    assert dataset.categories() == ("br35h",) and not dataset.has_masks("br35h")
    assert counts(dataset, "br35h") == {(None, "good"): 15, (None, "tumour"): 15}
    assert all("/" in s.image_id and s.image_id.split("/")[0] in ("no", "yes") for s in dataset.samples("br35h"))
    assert dataset.verify("br35h") == []
    assert len(dataset.count_problems("br35h")) == 2  # 15 of 1,500


def test_br35h_split_of_ckaad_takes_the_first_by_name(tmp_path: Path) -> None:
    dataset = opened("br35h", MINIATURES["br35h"](tmp_path), split="ckaad")
    assert counts(dataset, "br35h") == {
        ("train", "good"): 12,
        ("labelled", "tumour"): 12,
        ("test", "good"): 3,
        ("test", "tumour"): 3,
    }
    # By name, not by number: no10 comes before no2.
    tested = {sample.image_id for sample in dataset.samples("br35h") if sample.role == "test"}
    assert tested == {f"{folder}{number}.jpg" for folder in ("no/no", "yes/y") for number in (7, 8, 9)}
    assert len(dataset.count_problems("br35h")) == 2


def test_br35h_refuses_another_split(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"dataset\.split=official is not allowed for 'br35h'") as caught:
        opened("br35h", MINIATURES["br35h"](tmp_path), split="official")
    assert caught.value.allowed == "seeded or ckaad"


# OCT2017


def test_oct2017_as_published(tmp_path: Path) -> None:
    dataset = opened("oct2017", MINIATURES["oct2017"](tmp_path), split="official")
    assert counts(dataset, "oct2017") == {
        ("train", "good"): 18,
        ("labelled", "CNV"): 11,
        ("labelled", "DME"): 10,
        ("labelled", "DRUSEN"): 10,
        ("test", "good"): 3,
        ("test", "CNV"): 2,
        ("test", "DME"): 2,
        ("test", "DRUSEN"): 2,
    }
    found = groups(dataset, "oct2017")
    assert found["NORMAL-11-3.jpeg"] == "11" and found["CNV-15-3.jpeg"] == found["NORMAL-15-1.jpeg"] == "15"
    assert dataset.verify("oct2017") == []


def test_oct2017_by_patient_keeps_test_and_takes_leaks_from_train(tmp_path: Path) -> None:
    root = MINIATURES["oct2017"](tmp_path)
    dataset, official = opened("oct2017", root), opened("oct2017", root, split="official")
    left = {sample.image_id for sample in dataset.samples("oct2017")}
    gone = {s.image_id for s in official.samples("oct2017")} - left
    # 11, 21, 31 and 41 are tested; 15 has normal images to train on, so its anomalous one is not learnt from.
    assert gone == {
        "train/CNV/CNV-15-3.jpeg",
        *(f"train/NORMAL/NORMAL-11-{number}.jpeg" for number in (1, 2)),
        *(f"train/CNV/CNV-21-{number}.jpeg" for number in (1, 2)),
        *(f"train/DME/DME-31-{number}.jpeg" for number in (1, 2)),
        *(f"train/DRUSEN/DRUSEN-41-{number}.jpeg" for number in (1, 2)),
    }
    assert [s for s in official.samples("oct2017") if s.image_id in left] == list(dataset.samples("oct2017"))
    assert dataset.count_problems("oct2017") == official.count_problems(
        "oct2017"
    )  # Of what is there, not of the split.
    assert dataset.fingerprint("oct2017") == official.fingerprint("oct2017")


def test_oct2017_val_of_kaggle_goes_back_to_test(tmp_path: Path) -> None:
    root = MINIATURES["oct2017"](tmp_path)
    before = counts(opened("oct2017", root), "oct2017")
    for name in ("NORMAL-50-3.jpeg", "CNV-21-3.jpeg"):
        new = root / "val" / name.split("-")[0] / name
        new.parent.mkdir(parents=True)
        (root / "test" / name.split("-")[0] / name).rename(new)
    dataset = opened("oct2017", root)
    assert counts(dataset, "oct2017") == before and dataset.verify("oct2017") == []


def test_oct2017_wrapped_with_what_archives_add(tmp_path: Path) -> None:
    MINIATURES["oct2017"](tmp_path / "CellData" / "OCT")
    MINIATURES["chest_xray2017"](tmp_path / "CellData")
    (tmp_path / "CellData" / "OCT" / "train" / "CNV" / "._CNV-21-1.jpeg").write_bytes(b"-")
    for name in ("oct2017", "chest_xray2017"):  # Version 3 hands out both in one archive.
        assert opened(name, tmp_path).verify(name) == []
        assert len(opened(name, tmp_path).samples(name)) > 20


# ChestXRay2017


def test_chest_xray2017_as_published(tmp_path: Path) -> None:
    dataset = opened("chest_xray2017", MINIATURES["chest_xray2017"](tmp_path), split="official")
    assert counts(dataset, "chest_xray2017") == {
        ("train", "good"): 17,
        ("labelled", "bacteria"): 8,
        ("labelled", "virus"): 7,
        ("test", "good"): 2,
        ("test", "virus"): 1,
        ("test", "bacteria"): 1,
    }
    found = groups(dataset, "chest_xray2017")
    assert found["person1_bacteria_1.jpeg"] == found["person1_virus_6.jpeg"] == "person1"
    assert found["person100_bacteria_475.jpeg"] == "person100"
    assert found["IM-0115-0001.jpeg"] == found["IM-0115-0001-0002.jpeg"] == "IM-0115"
    assert found["IM-0020-0001.jpeg"] == found["NORMAL2-IM-0020-0001.jpeg"] == "IM-0020"
    assert dataset.verify("chest_xray2017") == []


def test_chest_xray2017_by_patient(tmp_path: Path) -> None:
    root = MINIATURES["chest_xray2017"](tmp_path)
    ids = [
        {sample.image_id for sample in opened("chest_xray2017", root, split=split).samples("chest_xray2017")}
        for split in ("official", "patients")
    ]
    assert ids[0] - ids[1] == {"train/PNEUMONIA/person1_bacteria_1.jpeg", "train/NORMAL/IM-0020-0001.jpeg"}
    assert ids[1] < ids[0]


def test_chest_xray2017_names_of_version_3_and_without_cause(tmp_path: Path) -> None:
    root = MINIATURES["chest_xray2017"](tmp_path) / "chest_xray" / "train"
    renamed(root / "NORMAL" / "IM-0116-0001.jpeg", "NORMAL-11419-0001.jpeg")
    renamed(root / "PNEUMONIA" / "person2_bacteria_42.jpeg", "BACTERIA-1135262-0004.jpeg")
    renamed(root / "PNEUMONIA" / "person12_virus_102.jpeg", "VIRUS-9968655-0001.jpeg")
    renamed(root / "PNEUMONIA" / "person3_bacteria_43.jpeg", "lung 7.jpeg")
    dataset = opened("chest_xray2017", tmp_path)
    found = groups(dataset, "chest_xray2017")
    assert found["NORMAL-11419-0001.jpeg"] == "11419" and found["BACTERIA-1135262-0004.jpeg"] == "1135262"
    assert found["VIRUS-9968655-0001.jpeg"] == "9968655" and found["lung 7.jpeg"] is None
    assert counts(dataset, "chest_xray2017")["labelled", "PNEUMONIA"] == 1
    problems = dataset.verify("chest_xray2017")
    assert len(problems) == 1 and "without a patient" in problems[0] and "lung 7.jpeg" in problems[0]


def test_chest_xray2017_val_of_kaggle_goes_back_to_train(tmp_path: Path) -> None:
    root = MINIATURES["chest_xray2017"](tmp_path) / "chest_xray"
    before = counts(opened("chest_xray2017", root), "chest_xray2017")
    for path in ("NORMAL/NORMAL2-IM-0500-0001.jpeg", "PNEUMONIA/person2_bacteria_42.jpeg"):
        (root / "val" / path).parent.mkdir(parents=True)
        (root / "train" / path).rename(root / "val" / path)
    assert counts(opened("chest_xray2017", root), "chest_xray2017") == before


# BMAD


def test_bmad_has_six_categories_and_three_with_masks(tmp_path: Path) -> None:
    dataset = opened("bmad", MINIATURES["bmad"](tmp_path))
    assert dataset.categories() == tuple(FOLDERS)
    for category in dataset.categories():
        assert counts(dataset, category) == {
            ("train", "good"): 9,
            ("val", "good"): 2,
            ("val", "Ungood"): 2,
            ("test", "good"): 3,
            ("test", "Ungood"): 6,
        }
        assert dataset.has_masks(category) == (category in ("Brain", "Liver", "Retina_RESC"))
        if dataset.has_masks(category):
            assert_masks_are_those_of_the_blobs(dataset, category)
        assert dataset.verify(category) == []
    assert groups(dataset, "Brain")["00040_60.png"] == "00040"
    assert groups(dataset, "Retina_OCT2017")["NORMAL-40-1.png"] == "40"
    assert set(groups(dataset, "Chest").values()) == {None}


def test_bmad_under_the_names_of_its_archives(tmp_path: Path) -> None:
    root = MINIATURES["bmad"](tmp_path / "bmad")
    expected = {name: counts(opened("bmad", root), name) for name in FOLDERS}
    inner = {
        "Brain": "Brain_AD/BraTS2021_slice",
        "Liver": "Liver_AD/hist_DIY",
        "Retina_RESC": "Retina_RESC_AD/RESC",
        "Retina_OCT2017": "Retina_OCT2017_AD/OCT2017",
        "Chest": "Chest-AD/Chest-RSNA",
        "Histopathology": "camelyon16_256",
    }
    for category, path in inner.items():
        (root / path).parent.mkdir(exist_ok=True)
        base = (root / category).rename(root / path)
        if category in ("Retina_RESC", "Retina_OCT2017", "Chest"):
            renamed(base / "valid", "val")
        if category in ("Liver", "Retina_RESC"):
            for part in base.glob("*/Ungood"):
                renamed(part, "ungood")
    dataset = opened("bmad", root)
    assert dataset.categories() == tuple(FOLDERS)
    for category in FOLDERS:
        assert counts(dataset, category) == expected[category] and dataset.verify(category) == []
        if category in ("Brain", "Liver", "Retina_RESC"):
            assert_masks_are_those_of_the_blobs(dataset, category)


def test_bmad_with_anomaly_masks_and_training_images_in_img(tmp_path: Path) -> None:
    base = MINIATURES["bmad"](tmp_path) / "Brain"
    before = counts(opened("bmad", tmp_path), "Brain")
    for folder in base.glob("*/Ungood/label"):
        renamed(folder, "anomaly_mask")
    good = renamed(base / "train" / "good", "img")
    (base / "train" / "good").mkdir()
    good.rename(base / "train" / "good" / "img")
    dataset = opened("bmad", tmp_path)
    assert counts(dataset, "Brain") == before and dataset.verify("Brain") == []
    assert_masks_are_those_of_the_blobs(dataset, "Brain")


def test_bmad_as_older_archives_have_liver_and_resc(tmp_path: Path) -> None:
    root = MINIATURES["bmad"](tmp_path / "bmad")
    expected = {name: counts(opened("bmad", root), name) for name in ("Liver", "Retina_RESC")}
    liver, resc = root / "Liver_AD" / "hist_DIY", root / "Retina_RESC_AD" / "RESC"
    moves = [(root / "Liver" / "train", liver / "train"), (root / "Retina_RESC" / "train", resc / "Train" / "train")]
    for part, short in (("valid", "val"), ("test", "test")):
        moves += [(old, liver / part / old.name / old.parent.name) for old in (root / "Liver" / part).glob("*/*")]
        for old in (root / "Retina_RESC" / part).glob("*/*"):
            kind = f"{short}_label" if old.name == "label" else short
            moves.append((old, resc / short.title() / kind / old.parent.name))
    for old, new in moves:
        new.parent.mkdir(parents=True, exist_ok=True)
        old.rename(new)
    dataset = opened("bmad", root)
    assert dataset.categories() == tuple(FOLDERS)
    for category, known in expected.items():
        assert counts(dataset, category) == known and dataset.verify(category) == []
        assert_masks_are_those_of_the_blobs(dataset, category)


def test_bmad_with_some_of_its_categories(tmp_path: Path) -> None:
    MINIATURES["bmad"](tmp_path)
    for name in ("Brain", "Chest"):
        shutil.rmtree(tmp_path / name)
    shutil.rmtree(tmp_path / "Liver" / "train")  # Not the whole of it: no category.
    assert opened("bmad", tmp_path).categories() == ("Retina_RESC", "Retina_OCT2017", "Histopathology")


# Camelyon16 and BraTS2021


def test_camelyon16(tmp_path: Path) -> None:
    MINIATURES["camelyon16"](tmp_path / "Camelyon16")
    dataset = opened("camelyon16", tmp_path)
    assert counts(dataset, "camelyon16") == {("train", "good"): 12, ("test", "good"): 4, ("test", "Ungood"): 6}
    assert not dataset.has_masks("camelyon16") and dataset.verify("camelyon16") == []


def test_brats2021(tmp_path: Path) -> None:
    MINIATURES["brats2021"](tmp_path / "BraTS2021")
    dataset = opened("brats2021", tmp_path)
    assert counts(dataset, "brats2021") == {("train", "good"): 16, ("test", "good"): 4, ("test", "tumor"): 12}
    assert_masks_are_those_of_the_blobs(dataset, "brats2021")
    assert groups(dataset, "brats2021")["BraTS2021_00022_flair_80.png"] == "00022"
    assert dataset.verify("brats2021") == []


@pytest.mark.parametrize(
    ("image", "mask"),
    [("00022_60_flair", "00022_60_seg"), ("00022_60", "00022_60"), ("a_flair_b_flair_c", "a_flair_b_seg_c")],
)
def test_brats2021_masks_under_other_names(tmp_path: Path, image: str, mask: str) -> None:
    root = MINIATURES["brats2021"](tmp_path)
    renamed(root / "test" / "tumor" / "BraTS2021_00022_flair_80.png", f"{image}.png")
    renamed(root / "test" / "annotation" / "BraTS2021_00022_seg_80.png", f"{mask}.png")
    assert opened("brats2021", root).verify("brats2021") == []
    assert_masks_are_those_of_the_blobs(opened("brats2021", root), "brats2021")


# All of them


def first(dataset: FilesDataset, category: str, label: int) -> Sample:
    return next(sample for sample in dataset.samples(category) if sample.label == label)


@pytest.mark.parametrize("name", NAMES)
def test_broken_and_stray_images_are_named(name: str, tmp_path: Path) -> None:
    dataset = opened(name, MINIATURES[name](tmp_path))
    category = dataset.categories()[0]
    base = dataset.base(category)
    broken = base / first(dataset, category, 0).image_id
    broken.write_bytes(broken.read_bytes()[:100])
    empty = base / first(dataset, category, 1).image_id
    empty.write_bytes(b"")
    problems = opened(name, tmp_path).verify(category)
    for path in (broken, empty):
        assert any("cannot read image" in problem and str(path) in problem for problem in problems), path
    assert len(problems) == 2, problems
    if name not in ("br35h", "brats2021"):  # Every image in their folders is one of theirs.
        shutil.copy(base / first(dataset, category, 0).image_id, base / "test" / "loose.png")
        problems = opened(name, tmp_path).verify(category)
        assert any("that the layout does not know" in p and "loose.png" in p for p in problems)


@pytest.mark.parametrize(
    ("name", "category", "images", "masks", "seg"),
    [
        ("bmad", "Brain", "test/Ungood/img", "test/Ungood/label", "{:05d}_60.png"),
        ("brats2021", "brats2021", "test/tumor", "test/annotation", "BraTS2021_{:05d}_seg_80.png"),
    ],
)
def test_what_is_wrong_with_masks_is_named(
    name: str, category: str, images: str, masks: str, seg: str, tmp_path: Path
) -> None:
    root = MINIATURES[name](tmp_path)
    base = opened(name, root).base(category)
    case = 40 if name == "bmad" else 22
    missing, wrong_size, broken, orphan = (
        base / masks / seg.format(number) for number in (*range(case, case + 3), 99)
    )
    missing.unlink()
    Image.new("L", (5, 6), 255).save(wrong_size)
    broken.write_bytes(b"broken")
    Image.new("L", (32, 24)).save(orphan)
    dataset = opened(name, root)
    problems = dataset.verify(category)
    expected = [
        (broken, "cannot read image"),
        (wrong_size, "is 5x6 pixels (width x height), its image"),
        (base / images / missing.name.replace("seg", "flair"), "anomalous image without a mask"),
        (orphan, "mask without an image"),
    ]
    assert len(problems) == len(expected), problems
    for problem, (path, what) in zip(problems, expected, strict=True):
        assert str(path) in problem and what in problem
    # The others still have their own masks: they are paired by name.
    spoilt = {path.name.replace("seg", "flair") for path in (missing, wrong_size, broken)}
    for sample in dataset.samples(category):
        if sample.label and sample.image_id.rpartition("/")[2] not in spoilt:
            mask = dataset.load_mask(category, sample)
            assert mask is not None
            np.testing.assert_array_equal(mask.union, (dataset.load_image(category, sample) == 250).all(axis=2))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_there_is_refused_with_home_and_layout(name: str, tmp_path: Path) -> None:
    (tmp_path / "other" / "cats").mkdir(parents=True)
    for root, message in ((tmp_path / "absent", "does not exist"), (tmp_path / "other", "it holds cats")):
        with pytest.raises(RequestError, match=message) as caught:
            opened(name, root)
        assert f"dataset '{name}' is not here" in caught.value.problem
        assert caught.value.remedy is not None and "https://" in caught.value.remedy and caught.value.allowed
