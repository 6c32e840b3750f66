"""Faults that mutated datasets once found: files that hung or crashed a reading, and labels that were wrong."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adbench.datasets.decode import read_image, read_mask
from adbench.datasets.errors import RequestError
from adbench.datasets.files import FilesDataset
from adbench.datasets.registry import open_dataset
from adbench.datasets.tables import read_csv, read_json
from drawn import save
from mini_tables import write_json
from miniatures import MINIATURES


def opened(name: str, root: Path, **params: Any) -> FilesDataset:
    dataset = open_dataset(name, {"root": str(root), **params})
    assert isinstance(dataset, FilesDataset)
    return dataset


def labels(dataset: FilesDataset, category: str) -> dict[str, int]:
    return {sample.image_id: sample.label for sample in dataset.samples(category)}


def test_a_pipe_is_named_and_not_waited_for(tmp_path: Path) -> None:
    root = MINIATURES["mvtec_loco"](tmp_path)
    image, config = root / "pushpins" / "train" / "good" / "000.png", root / "pushpins" / "defects_config.json"
    for path in (image, config):
        path.unlink()
        os.mkfifo(path)
    problems = opened("mvtec_loco", root).verify("pushpins")
    assert problems[0] == f"cannot read image {image}: it is not a file"
    assert problems[1].startswith(f"defect configuration {config} is not a file") and len(problems) == 2
    with pytest.raises(RequestError, match="it is not a file"):
        read_image(image)
    with pytest.raises(RequestError, match=f"cannot read {config}: it is not a file"):
        read_csv(config, ("image",))


def test_a_link_into_a_circle_is_named(tmp_path: Path) -> None:
    root = MINIATURES["mvtec_ad"](tmp_path)
    link = root / "bottle" / "train" / "good" / "again.png"
    link.symlink_to("again.png")
    problems = opened("mvtec_ad", root).verify("bottle")
    assert len(problems) == 1 and str(link) in problems[0]
    link.unlink()
    link.symlink_to("..")
    with pytest.raises(RequestError, match=r"again\.png is a link to a folder that it lies in"):
        opened("mvtec_ad", root).samples("bottle")
    link.unlink()
    link.symlink_to(root / "carpet" / "train" / "good")  # Other links are followed.
    assert len(opened("mvtec_ad", root).samples("bottle")) == 22 + 12


@pytest.mark.parametrize("locked", ["Train", "Test/Label"])
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, locked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root, scandir = MINIATURES["dagm"](tmp_path), os.scandir
    folder = root / "Class1" / locked

    def refusing(path: Any) -> Any:
        if Path(path) == folder:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    dataset = opened("dagm", root)
    monkeypatch.setattr(os, "scandir", refusing)  # Nothing is locked for root.
    with pytest.raises(RequestError, match=f"cannot read {folder}: Permission denied"):
        dataset.verify("Class1")
    assert dataset.verify("Class10") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [("[" * 100_000, "nested too deeply"), ('{"train": "\\ud800"}', "holds text that is not Unicode")],
)
def test_json_that_no_message_could_show(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(RequestError, match=rf"t\.json.*{message}"):
        read_json(tmp_path / "t.json")


def test_a_bottomless_defect_configuration_is_named(tmp_path: Path) -> None:
    root = MINIATURES["mvtec_loco"](tmp_path)
    (root / "pushpins" / "defects_config.json").write_text("[" * 100_000)
    problems = opened("mvtec_loco", root).verify("pushpins")
    assert len(problems) == 1 and str(root / "pushpins" / "defects_config.json") in problems[0]


def test_a_table_with_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    root = MINIATURES["visa"](tmp_path)
    table = root / "split_csv" / "1cls.csv"
    table.write_text(table.read_text() + f"candle,test,normal,candle/{'x' * 300}.JPG,\n")
    (problem,) = opened("visa", root).verify("candle")
    assert f"{table} line" in problem and "does not exist" in problem


def faint(path: Path) -> None:
    """A mask of 16 bits that shows nothing as an image of 8."""
    marked = np.zeros((24, 32), np.uint16)
    marked[3:9, 4:8] = 1
    Image.fromarray(marked).save(path, format="PNG")


def black(path: Path) -> None:
    """A mask whose marked index has the colour black."""
    image = Image.new("P", (32, 24))
    image.putpalette([0, 0, 0, 0, 0, 0])
    image.paste(1, (4, 3, 8, 9))
    image.save(path, format="PNG")


def tinted(path: Path) -> None:
    """A mask that marks nothing, with a colour for its index 0."""
    image = Image.new("P", (32, 24))
    image.putpalette([1, 0, 0, 255, 255, 255])
    image.save(path, format="PNG")


@pytest.mark.parametrize(("write", "label"), [(faint, 1), (black, 1), (tinted, 0)])
def test_a_label_is_what_the_mask_marks_and_not_what_it_looks_like(
    tmp_path: Path, write: Callable[[Path], None], label: int
) -> None:
    root = MINIATURES["kolektor_sdd2"](tmp_path)
    image = "test/20001.png" if label else "test/20000.png"
    mask = root / image.replace(".png", "_GT.png")
    write(mask)
    dataset = opened("kolektor_sdd2", root)
    assert labels(dataset, "kolektor_sdd2")[image] == read_mask(mask).any() == label
    assert dataset.verify("kolektor_sdd2") == []


def test_a_copy_of_a_defective_image_of_dagm_is_not_normal(tmp_path: Path) -> None:
    root = MINIATURES["dagm"](tmp_path)
    before = labels(opened("dagm", root), "Class1")
    copy = root / "Class1" / "Train" / "0003_copy.PNG"
    shutil.copy(root / "Class1" / "Train" / "0003.PNG", copy)
    dataset = opened("dagm", root)
    assert labels(dataset, "Class1") == before
    assert dataset.verify("Class1") == [f"image that Labels.txt does not list, so left out: {copy}"]
    copy.unlink()
    table = root / "Class1" / "Train" / "Label" / "Labels.txt"
    table.write_text("\n".join(table.read_text().splitlines()[:4]))
    assert len(opened("dagm", root).verify("Class1")) == 12  # Of 15 images the table lists 3.


def test_a_lesion_that_the_groupings_of_isic_do_not_name(tmp_path: Path) -> None:
    root = MINIATURES["isic2018"](tmp_path)
    table = root / "ISIC2018_Task3_Training_LesionGroupings.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:-1]))
    (problem,) = opened("isic2018", root).verify("skin")
    assert str(table) in problem and lines[-1].split(",")[0] in problem


def test_a_mask_that_real_iad_gives_to_two_images(tmp_path: Path) -> None:
    root = MINIATURES["real_iad"](tmp_path)
    table = root / "realiad_jsons" / "realiad_jsons" / "zipper.json"
    whole = json.loads(table.read_text())
    marked = [entry for entry in whole["test"] if entry["mask_path"]]
    marked[1]["mask_path"] = marked[0]["mask_path"]
    write_json(table, whole)
    (problem,) = opened("real_iad", root).verify("zipper")
    assert f"{table} test[" in problem and marked[0]["mask_path"] in problem and marked[1]["image_path"] in problem


def test_other_pixels_give_another_fingerprint(tmp_path: Path) -> None:
    root = MINIATURES["mvtec_ad"](tmp_path)
    before = opened("mvtec_ad", root).fingerprint("bottle")
    path = root / "bottle" / "train" / "good" / "000.png"
    pixels = np.array(Image.open(path))
    pixels[0, 0, 0] ^= 1
    save(path, pixels)
    dataset = opened("mvtec_ad", root)
    assert dataset.fingerprint("bottle") != before and dataset.verify("bottle") == []
