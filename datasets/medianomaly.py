"""The four datasets of MedIAnomaly that come as a folder of images with a data.json."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from adbench.datasets.base import Archive, DatasetRecord, Role
from adbench.datasets.files import FilesDataset
from adbench.datasets.layout import Found
from adbench.datasets.tables import Row, checked, found_by, inside, read_json

_PARTS: tuple[tuple[Role, str], ...] = (("train", "0"), ("test", "0"), ("test", "1"))


def _record(name: str, title: str, folder: str, source: str, problems: str = "-") -> DatasetRecord:
    return DatasetRecord(
        name=name,
        title=title,
        modality="medical",
        home="https://zenodo.org/records/12677223",
        licence=f"as its source: {source}",
        citation="Cai et al., MedIAnomaly, arXiv:2404.04518",
        layout=f"{folder}/images/* and {folder}/data.json "
        '{"train":{"0":[NAME]},"test":{"0":[NAME],"1":[NAME]}}',
        splits="train and test are those of data.json, whose 0 is normal and 1 anomalous; val is carved from the "
        "training normals (10 %); no labelled anomalies; lists of unlabeled images are not read",
        masks="none: image labels only, so pixel metrics are null",
        known_problems=problems,
        version="12677223",
        archives=(
            Archive(f"{folder}.tar.gz", url=f"https://zenodo.org/api/records/12677223/files/{folder}.tar.gz/content"),
        ),
    )


class MedIAnomaly(FilesDataset):
    """One category, what its images show; subclasses name their ``folder`` among those of MedIAnomaly-Data."""

    folder: ClassVar[str]
    category: ClassVar[str]

    def find_categories(self, root: Path) -> dict[str, Path]:
        """The folder of that name, or the root itself: the folders of the four differ by their names alone."""
        named = root.name.lower() == self.folder.lower()
        for place in (root / self.folder, *([root] if named or root == self.root else [])):
            if (place / "data.json").is_file() and (place / "images").is_dir():
                return {self.category: place}
        return {}

    def find(self, category: str, base: Path) -> Found:
        """The images that data.json lists; others are left alone."""
        return found_by(base, _rows(base / "data.json"), [base / "data.json"])


def _rows(table: Path) -> Iterator[Row]:
    whole = read_json(table)
    for part, label in _PARTS:
        lists: dict[str, Any] = checked(whole.get(part), dict, f"{table} {part}")
        for number, name in enumerate(checked(lists.get(label), list, f"{table} {part}.{label}")):
            place = f"{table} {part}.{label}[{number}]"
            yield Row(
                place=place,
                image=f"images/{inside(checked(name, str, place))}",
                defect="abnormal" if label == "1" else "good",
                role=part,
            )


class Rsna(MedIAnomaly):
    """Chest X-rays without and with pneumonia."""

    folder = "RSNA"
    category = "chest"
    record: ClassVar[DatasetRecord] = _record(
        "rsna",
        "RSNA chest X-rays, in MedIAnomaly's selection",
        "RSNA",
        "RSNA Pneumonia Detection Challenge (Kaggle)",
    )


class VinCxr(MedIAnomaly):
    """Chest X-rays without and with findings."""

    folder = "VinCXR"
    category = "chest"
    record: ClassVar[DatasetRecord] = _record(
        "vincxr",
        "VinDr-CXR chest X-rays, in MedIAnomaly's selection",
        "VinCXR",
        "VinBigData Chest X-ray Abnormalities Detection (Kaggle)",
    )


class BrainTumor(MedIAnomaly):
    """Brain slices without and with a tumour."""

    folder = "BrainTumor"
    category = "brain"
    record: ClassVar[DatasetRecord] = _record(
        "braintumor",
        "Brain Tumor MRI, in MedIAnomaly's selection",
        "BrainTumor",
        "Brain Tumor MRI Dataset (Kaggle, masoudnickparvar)",
        "data.json names no patients: slices of one may lie in train and test",
    )


class Lag(MedIAnomaly):
    """Fundus images without and with glaucoma."""

    folder = "LAG"
    category = "fundus"
    record: ClassVar[DatasetRecord] = _record(
        "lag",
        "LAG: fundus images with glaucoma, in MedIAnomaly's selection",
        "LAG",
        "LAG database (Li et al., CVPR 2019)",
        "data.json names no patients: images of one may lie in train and test",
    )
