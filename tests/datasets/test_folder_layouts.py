"""A user's folder in the layouts beside MVTec AD's: VisA, a folder for each class, a CSV file."""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adbench.datasets.base import Sample
from adbench.datasets.errors import RequestError
from adbench.datasets.file_index import content_hash, index_files
from adbench.datasets.folder import Folder
from adbench.datasets.registry import open_dataset
from adbench.datasets.splits import make_split
from adbench.orchestrator.overrides import parse_overrides
from drawn import draw, save
from mini_tables import visa

Write = Callable[..., Path]


def opened(root: Path, layout: str, **params: Any) -> Folder:
    dataset = open_dataset("folder", {"root": str(root), "layout": layout, **params})
    assert isinstance(dataset, Folder)
    return dataset


def counts(dataset: Folder, category: str) -> Counter[tuple[str | None, str]]:
    return Counter((sample.role, sample.defect_type) for sample in dataset.samples(category))


def images(folder: Path, count: int, *, anomalous: bool = False) -> None:
    rng = np.random.default_rng(sum(map(ord, folder.name)))
    for number in range(count):
        save(folder / f"{number:03d}.png", draw(rng, anomalous=anomalous)[0])


def csv_folder(root: Path, lines: Sequence[str]) -> Path:
    """Images img/0.png to img/9.png, those from 6 on anomalous with masks mask/N.png, and list.csv with the lines."""
    rng = np.random.default_rng(5)
    for number in range(10):
        image, mask = draw(rng, anomalous=number > 5)
        save(root / "img" / f"{number}.png", image)
        if number > 5:
            save(root / "mask" / f"{number}.png", mask)
    (root / "list.csv").write_text("\n".join(lines) + "\n")
    return root


def test_the_layout_of_mvtec_keeps_its_fingerprint(tmp_path: Path, mvtec_folder: Write) -> None:
    base = mvtec_folder(tmp_path / "c")
    paths = sorted(path.relative_to(base).as_posix() for path in base.rglob("*.png"))
    for dataset in (opened(base, "mvtec"), open_dataset("folder", {"root": str(base)})):
        assert dataset.fingerprint("c") == f"{content_hash(index_files(base, paths), paths)}-0"


def test_visa_with_its_table(tmp_path: Path) -> None:
    root = visa(tmp_path / "parts", ("lid", "screw"))
    dataset = opened(root, "visa")
    assert dataset.categories() == ("lid", "screw") and dataset.has_masks("lid")
    assert counts(dataset, "lid") == {("train", "good"): 11, ("test", "good"): 3, ("test", "anomaly"): 5}
    few = opened(root, "visa", table="split_csv/2cls_fewshot.csv")
    assert counts(few, "lid")["labelled", "anomaly"] == 1
    assert few.verify("lid") == dataset.verify("screw") == []
    assert few.fingerprint("lid") != dataset.fingerprint("lid")
    with pytest.raises(RequestError, match=r"cannot read .*gone\.csv"):
        opened(root, "visa", table="gone.csv").samples("lid")


def test_visa_without_a_table_has_no_split(tmp_path: Path) -> None:
    root = visa(tmp_path / "parts", ("lid",))
    shutil.rmtree(root / "split_csv")
    dataset = opened(root, "visa")
    assert counts(dataset, "lid") == {(None, "good"): 14, (None, "anomaly"): 5}
    assert dataset.verify("lid") == [] and dataset.has_masks("lid")
    split = make_split(dataset.samples("lid"), "lid", 0, dataset.split_rule())
    assert split.train and split.labelled and {sample.label for sample in split.test} == {0, 1}
    (root / "lid" / "Data" / "Masks" / "Anomaly" / "003.png").unlink()
    assert [problem.rpartition("/")[2] for problem in opened(root, "visa").verify("lid")] == ["003.JPG"]


def test_classes_without_a_split(tmp_path: Path) -> None:
    root = tmp_path / "skin"
    for name, count, anomalous in (("nevus", 8, False), ("mole", 4, False), ("melanoma", 6, True)):
        images(root / name, count, anomalous=anomalous)
    dataset = opened(root, "classes", normal=["nevus", "mole"])
    assert dataset.categories() == ("skin",) and not dataset.has_masks("skin")
    assert counts(dataset, "skin") == {(None, "good"): 12, (None, "melanoma"): 6}
    assert dataset.verify("skin") == []
    split = make_split(dataset.samples("skin"), "skin", 0, dataset.split_rule())
    assert all(split.of(role) for role in ("train", "labelled", "val", "test"))
    assert counts(opened(root, "classes", normal="nevus"), "skin") == {
        (None, "good"): 8,
        (None, "mole"): 4,
        (None, "melanoma"): 6,
    }
    shutil.copy(root / "mole" / "000.png", root / "loose.png")
    (problem,) = opened(root, "classes", normal="nevus").verify("skin")
    assert "loose.png" in problem and "left out" in problem


@pytest.mark.parametrize("val", [None, "val", "validation"])
def test_classes_with_a_split(tmp_path: Path, val: str | None) -> None:
    root = tmp_path / "xray"
    for part in ("train", "test", *([val] if val else [])):
        images(root / part / "NORMAL", 4)
        images(root / part / "PNEUMONIA", 3, anomalous=True)
    expected: dict[tuple[str | None, str], int] = {
        ("train", "good"): 4,
        ("labelled", "PNEUMONIA"): 3,
        ("test", "good"): 4,
        ("test", "PNEUMONIA"): 3,
    }
    if val:
        expected |= {("val", "good"): 4, ("val", "PNEUMONIA"): 3}
    dataset = opened(root, "classes", normal="NORMAL")
    assert counts(dataset, "xray") == expected and dataset.verify("xray") == []
    shutil.copy(root / "train" / "NORMAL" / "000.png", root / "train" / "loose.png")
    assert len(opened(root, "classes", normal="NORMAL").verify("xray")) == 1


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    images(tmp_path / "toys" / "train", 5)
    images(tmp_path / "toys" / "bus", 3)
    dataset = opened(tmp_path / "toys", "classes", normal="train")
    assert counts(dataset, "toys") == {(None, "good"): 5, (None, "bus"): 3}


def test_classes_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    images(tmp_path / "c" / "good", 2)
    images(tmp_path / "c" / "dented", 2)
    with pytest.raises(RequestError, match=r"dataset\.normal is missing.*\n  allowed: dented, good"):
        opened(tmp_path / "c", "classes")
    with pytest.raises(RequestError, match=r"unknown class of .*c in dataset\.normal 'god'; did you mean 'good'"):
        opened(tmp_path / "c", "classes", normal="god")
    with pytest.raises(RequestError, match=r"the class good of .*c is not normal"):
        opened(tmp_path / "c", "classes", normal="dented")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match="empty is empty"):
        opened(tmp_path / "empty", "classes", normal="good")


def test_classes_and_mvtec_do_not_share_a_cache(tmp_path: Path, mvtec_folder: Write) -> None:
    base = mvtec_folder(tmp_path / "c", masks=False)
    assert opened(base, "classes", normal="good").fingerprint("c") != opened(base, "mvtec").fingerprint("c")


def test_csv_with_all_columns(tmp_path: Path) -> None:
    root = csv_folder(
        tmp_path / "set",
        [
            "path,label,mask,split,category,patient,defect",
            *(f"img/{n}.png,normal,,train,left,p{n // 2}," for n in range(4)),
            "img/4.png,0,,validation,left,p9,",
            "img/5.png,Good,,Test,left,p5,good",
            "./img\\6.png,anomalous,mask/6.png,test,left,p6,dent",
            f"{tmp_path / 'set' / 'img' / '7.png'},1,{tmp_path / 'set' / 'mask' / '7.png'},train,left,p0,dent",
            "img/8.png,bad,,labelled,left,p8,",
            "img/9.png,1,mask/9.png,,right,,",
        ],
    )
    dataset = opened(root, "csv", table="list.csv")
    assert dataset.categories() == ("left", "right")
    assert counts(dataset, "left") == {
        ("train", "good"): 4,
        ("val", "good"): 1,
        ("test", "good"): 1,
        ("test", "dent"): 1,
        ("labelled", "dent"): 1,
        ("labelled", "anomalous"): 1,
    }
    assert dataset.samples("left")[0] == Sample("img/0.png", 0, role="train", group="p0")
    assert dataset.samples("right") == (Sample("img/9.png", 1, "anomalous", "structural"),)
    for name, numbers in (("left", (6, 7)), ("right", (9,))):
        assert dataset.verify(name) == [] and dataset.has_masks(name)
        for number in numbers:
            sample = next(one for one in dataset.samples(name) if one.image_id == f"img/{number}.png")
            mask = dataset.load_mask(name, sample)
            assert mask is not None
            np.testing.assert_array_equal(mask.union, (dataset.load_image(name, sample) == 250).all(axis=2))
    assert dataset.fingerprint("left") != dataset.fingerprint("right")


def test_csv_with_two_columns_is_dealt(tmp_path: Path) -> None:
    lines = ["path,label", *(f"img/{n}.png,{int(n > 5)}" for n in range(10))]
    root = csv_folder(tmp_path / "set", lines)
    for table in ("list.csv", str(root / "list.csv"), "../moved.csv"):
        if table == "../moved.csv":
            (root / "list.csv").rename(tmp_path / "moved.csv")
        dataset = opened(root, "csv", table=table)
        assert dataset.categories() == ("set",) and not dataset.has_masks("set") and dataset.verify("set") == []
        assert counts(dataset, "set") == {(None, "good"): 6, (None, "anomalous"): 4}
    before = dataset.fingerprint("set")
    (tmp_path / "moved.csv").write_text("\n".join(lines).replace("img/9.png,1", "img/9.png,0"))
    assert opened(root, "csv", table="../moved.csv").fingerprint("set") != before


def test_csv_that_names_what_is_not_there(tmp_path: Path) -> None:
    root = csv_folder(
        tmp_path / "set",
        [
            "path,label,mask,split,category,patient,defect",
            "img/0.png,0,,train,a,p0,",
            "img/gone.png,0,,train,a,,",
            "../img/0.png,0,,train,a,,",
            "img/1.png,2,,train,a,,",
            "img/2.png,0,,dev,a,,",
            "img/0.png,0,,test,b,,",
            "img/3.png,0,,test,a,p0,",
            "img/4.png,0,,test,a,,dent",
            "img/5.png,0,,labelled,a,,",
            "img/6.png,1,mask/gone.png,test,a,,",
            "img/7.png,1,mask/7.png,test,a,,good",
            "img/8.png,1,mask/8.png,test,a,,",
            "img/./8.png,1,mask/8.png,test,a,,",
            "img/9.png,1,,test,a,,",
            ",0,,test,b,,",
            ",0,,test,b,,",
        ],
    )
    Image.new("1", (5, 6)).save(root / "mask" / "8.png")
    (root / "img" / "3.png").write_bytes(b"broken")
    dataset = opened(root, "csv", table="list.csv")
    labels = "0, normal, good, 1, anomalous, anomaly, bad"
    at = f"{root / 'list.csv'} line"
    assert dataset.verify("a") == [
        f"{at} 8 puts 'p0' into test, {at} 2 puts it into train",
        f"{at} 3 names {root / 'img' / 'gone.png'}, which does not exist",
        f"{at} 4 names ../img/0.png, which is outside of {root}",
        f"{at} 5 has the label '2' (allowed: {labels})",
        f"{at} 6 has the split 'dev' (allowed: train, labelled, val, validation, test)",
        f"{at} 9 has the label '0' and the defect 'dent'",
        f"{at} 10 has a normal image in the split 'labelled', which is for anomalous ones",
        f"{at} 11 names {root / 'mask' / 'gone.png'}, which does not exist",
        f"{at} 12 has the label '1' and the defect 'good'",
        f"{at} 14 lists img/8.png again, after {at} 13",
        *[problem for problem in dataset.verify("a") if "cannot read image" in problem and "3.png" in problem],
        f"mask {root / 'mask' / '8.png'} is 5x6 pixels (width x height), its image img/8.png is 32x24",
        f"anomalous image without a mask: {root / 'img' / '9.png'}",
    ]
    assert len(dataset.verify("a")) == 13
    assert dataset.verify("b") == [
        f"{at} 7 lists img/0.png again, after {at} 2",
        f"{at} 16 names no image",
        f"{at} 17 names no image",
    ]


def test_csv_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    root = csv_folder(tmp_path / "set", ["path,lable", "img/0.png,0"])
    with pytest.raises(RequestError, match=r"has no column label; its first line is: path,lable\n  allowed: path, "):
        opened(root, "csv", table="list.csv")
    (root / "list.csv").write_text("path,label,weight\nimg/0.png,0,1\n")
    with pytest.raises(RequestError, match=r"unknown column of .*list\.csv 'weight'"):
        opened(root, "csv", table="list.csv")
    with pytest.raises(RequestError, match=r"cannot read .*gone\.csv: No such file"):
        opened(root, "csv", table="gone.csv")
    with pytest.raises(RequestError, match=r"layout=csv needs a table\n  allowed: dataset\.table=FILE\.csv with"):
        opened(root, "csv")


def test_parameters_of_another_layout_are_refused(tmp_path: Path, mvtec_folder: Write) -> None:
    base = mvtec_folder(tmp_path / "c")
    with pytest.raises(RequestError, match=r"dataset\.normal has no meaning with layout=mvtec"):
        opened(base, "mvtec", normal="good")
    with pytest.raises(RequestError, match=r"dataset\.table has no meaning with layout=classes"):
        opened(base, "classes", normal="good", table="list.csv")
    with pytest.raises(RequestError, match=r"dataset\.layout=mvtek is not allowed for 'folder'"):
        opened(base, "mvtek")


@pytest.mark.parametrize("text", ["nevus,mole 2", "[nevus,mole 2]"])
def test_the_command_line_gives_names_and_paths_unquoted(tmp_path: Path, text: str) -> None:
    for name in ("nevus", "mole 2", "melanoma"):
        images(tmp_path / "c" / name, 2)
    found = parse_overrides([f"dataset.normal={text}", "dataset.table=my list (2).csv"]).dataset_params
    assert found["table"] == "my list (2).csv"
    assert counts(opened(tmp_path / "c", "classes", normal=found["normal"]), "c")[None, "good"] == 4
