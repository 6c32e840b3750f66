"""VisA, and what has its layout: objects with folders of normal and anomalous images, and a table with the split."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from adbench.datasets.base import Archive, DatasetRecord, Role
from adbench.datasets.files import FilesConfig, FilesDataset
from adbench.datasets.layout import Found
from adbench.datasets.tables import Line, Row, found_by, inside, read_csv, unknown_value

COLUMNS = ("object", "split", "label", "image", "mask")
_ROLES: Mapping[str, Role] = {"train": "train", "test": "test"}
_DEFECTS: Mapping[str, str] = {"normal": "good", "anomaly": "anomaly"}
_COUNTS = {
    "candle": (900, 100),
    "capsules": (542, 60),
    "cashew": (450, 50),
    "chewinggum": (453, 50),
    "fryum": (450, 50),
    "macaroni1": (900, 100),
    "macaroni2": (900, 100),
    "pcb1": (904, 100),
    "pcb2": (901, 100),
    "pcb3": (905, 101),
    "pcb4": (904, 101),
    "pipe_fryum": (450, 50),
}
"""Normal images of 1cls.csv in train and test; every object has 100 anomalous ones, all in test."""


class VisaConfig(FilesConfig):
    """Parameters of VisA."""

    split: Literal["1cls", "2cls_highshot", "2cls_fewshot"] = Field(
        default="1cls",
        description="the published table that is used: 1cls keeps all anomalies for test, 2cls_highshot puts 60 % "
        "and 2cls_fewshot 20 % of all images into train, where the anomalies are labelled ones",
    )


class Visa(FilesDataset):
    """Twelve industrial objects; the tables of the publishers say what is trained on and tested."""

    config: VisaConfig
    config_class = VisaConfig
    record: ClassVar[DatasetRecord] = DatasetRecord(
        name="visa",
        title="VisA: twelve industrial objects",
        modality="industrial",
        home="https://github.com/amazon-science/spot-diff",
        licence="CC BY 4.0",
        citation="Zou et al., SPot-the-Difference Self-Supervised Pre-training, ECCV 2022",
        layout="OBJECT/Data/{Images/{Normal,Anomaly}/*.JPG,Masks/Anomaly/*.png} and split_csv/{1cls,2cls_highshot,"
        "2cls_fewshot}.csv with the columns object,split,label,image,mask; 12 objects",
        splits="train and test are those of split_csv/1cls.csv (8,659 and 2,162 images), or of the table chosen by "
        "dataset.split; val is carved from the training normals (10 %)",
        masks="Data/Masks/Anomaly/NNN.png, anomalous where > 0",
        known_problems="the tables do not tell defect types apart: all are called anomaly",
        version="2022-09-22",
        counts={
            name: {"train normal": train, "test normal": test, "test anomalous": 100}
            for name, (train, test) in _COUNTS.items()
        },
        archives=(
            Archive(
                "VisA_20220922.tar",
                url="https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/VisA_20220922.tar",
            ),
        ),
    )

    def find_categories(self, root: Path) -> dict[str, Path]:
        """Folders that hold Data/Images."""
        return visa_objects(root)

    def find(self, category: str, base: Path) -> Found:
        """The rows of the object."""
        return find_visa(category, base, base.parent / "split_csv" / f"{self.config.split}.csv")

    def count_problems(self, category: str) -> list[str]:
        """Against what is published of 1cls.csv; nobody says it by object of the other tables."""
        return super().count_problems(category) if self.config.split == "1cls" else []


def visa_objects(root: Path) -> dict[str, Path]:
    """The folders of objects in VisA's layout."""
    return {path.name: path for path in sorted(root.iterdir()) if (path / "Data" / "Images").is_dir()}


def find_visa(category: str, base: Path, table: Path) -> Found:
    """What a table in VisA's format says of the object ``category`` in ``base``; its paths begin with the object."""
    rows = [_row(category, line) for line in read_csv(table, COLUMNS) if line.cells["object"] == category]
    return found_by(base, rows, [table], listed=("Data/Images", "Data/Masks"))


def _row(category: str, line: Line) -> Row:
    split, label = line.cells["split"], line.cells["label"]
    image, mask = (_within(category, line.cells[name]) for name in ("image", "mask"))
    wrong = unknown_value("label", label, _DEFECTS) if label not in _DEFECTS else None
    return Row(
        place=line.place,
        image=image,
        defect=_DEFECTS.get(label, "good"),
        role=_ROLES.get(split),
        masks=(mask,) if mask else (),
        problem=wrong if split in _ROLES else unknown_value("split", split, _ROLES),
    )


def _within(category: str, path: str) -> str:
    """A path of the table relative to the object's folder; one of another object stays as it is, outside of it."""
    clean = inside(path)
    return clean.removeprefix(f"{category}/") if clean.startswith(f"{category}/") or not clean else f"../{clean}"
