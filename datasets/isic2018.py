"""ISIC 2018, task 3: dermatoscopic images of skin lesions; nevi are normal."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from adbench.datasets.base import Archive, DatasetRecord, Role
from adbench.datasets.errors import RequestError
from adbench.datasets.files import FilesConfig, FilesDataset
from adbench.datasets.layout import Found
from adbench.datasets.tables import Line, Row, found_by, read_csv

CLASSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
NORMAL = "NV"
_PREFIX = "ISIC2018_Task3"
_LESIONS = f"{_PREFIX}_Training_LesionGroupings.csv"
_PROTOCOLS: Mapping[str, Mapping[str, Role]] = {
    "official": {"Training": "train", "Validation": "val", "Test": "test"},
    "ckaad": {"Training": "train", "Validation": "test"},
    "medianomaly": {"Training": "train", "Test": "test"},
}
_URL = "https://isic-challenge-data.s3.amazonaws.com/2018"


class Isic2018Config(FilesConfig):
    """Parameters of ISIC 2018."""

    protocol: Literal["official", "ckaad", "medianomaly"] = Field(
        default="official",
        description="official: the challenge's validation and test sets are val and test; ckaad: its validation set "
        "is test, as in CKAAD, and its test set is not read; medianomaly: its test set is test and its validation "
        "set is not read; val is then carved from the training set",
    )


class Isic2018(FilesDataset):
    """One category, ``skin``; anomalies of the training set, which are all other diagnoses, become labelled ones."""

    config: Isic2018Config
    config_class = Isic2018Config
    record: ClassVar[DatasetRecord] = DatasetRecord(
        name="isic2018",
        title="ISIC 2018, task 3: skin lesions, nevi against six other diagnoses",
        modality="medical",
        home="https://challenge.isic-archive.com/data/#2018",
        licence="CC BY-NC 4.0",
        citation="Codella et al., arXiv:1902.03368; Tschandl et al., Scientific Data 5 (2018) 180161",
        layout="ISIC2018_Task3_{Training,Validation,Test}_Input/*.jpg and "
        "ISIC2018_Task3_{Training,Validation,Test}_GroundTruth/*_GroundTruth.csv (image,MEL,NV,BCC,AKIEC,BKL,DF,"
        "VASC); optional ISIC2018_Task3_Training_LesionGroupings.csv (image,lesion_id,diagnosis_confirm_type)",
        splits="by dataset.protocol; 10,015 images in the training, 193 in the validation, 1,512 in the test set; "
        "val is carved from training, lesion by lesion, where the protocol has none",
        masks="none: image labels only, so pixel metrics are null",
        known_problems="images of one lesion can be told only with ISIC2018_Task3_Training_LesionGroupings.csv, "
        "which is published for the training set alone: without it a carved val may share lesions with train",
        version="2018",
        archives=tuple(
            Archive(name, url=f"{_URL}/{name}")
            for name in (
                f"{_PREFIX}_Training_Input.zip",
                f"{_PREFIX}_Training_GroundTruth.zip",
                _LESIONS,
                f"{_PREFIX}_Validation_Input.zip",
                f"{_PREFIX}_Validation_GroundTruth.zip",
                f"{_PREFIX}_Test_Input.zip",
                f"{_PREFIX}_Test_GroundTruth.zip",
            )
        ),
    )

    def find_categories(self, root: Path) -> dict[str, Path]:
        """The folder that holds the training images."""
        return {"skin": root} if (root / f"{_PREFIX}_Training_Input").is_dir() else {}

    def find(self, category: str, base: Path) -> Found:
        """The rows of the tables of the protocol's parts."""
        groupings = _first(base, _LESIONS, f"{_PREFIX}_Training_GroundTruth")
        lesions = _lesions(groupings) if groupings else {}
        rows: list[Row] = []
        tables, folders = [groupings] if groupings else [], []
        for part, role in _PROTOCOLS[self.config.protocol].items():
            table, folder = self._part(base, part)
            rows += [_row(line, folder, role, lesions) for line in read_csv(table, ("image", *CLASSES))]
            tables.append(table)
            folders.append(folder)
        found = found_by(base, rows, tables, listed=folders)
        return replace(found, problems=(*found.problems, *_without_lesion(found, groupings)))

    def _part(self, base: Path, part: str) -> tuple[Path, str]:
        """The table of a part, and the folder of its images within ``base``, which may lie in one of its own name."""
        folder = f"{_PREFIX}_{part}_Input"
        table = _first(base, f"{_PREFIX}_{part}_GroundTruth.csv", f"{_PREFIX}_{part}_GroundTruth")
        if table is None or not (base / folder).is_dir():
            what = f"folder {folder}" if table else f"table {_PREFIX}_{part}_GroundTruth.csv"
            raise RequestError(
                f"dataset 'isic2018' with protocol={self.config.protocol} needs the {what} in {base}",
                remedy=f"unpack it there (from {self.record.home}), or choose a dataset.protocol that does without",
            )
        return table, f"{folder}/{folder}" if (base / folder / folder).is_dir() else folder


def _first(base: Path, name: str, folder: str) -> Path | None:
    """The file where archives and people put it."""
    places = (base / folder / name, base / folder / folder / name, base / name)
    return next((place for place in places if place.is_file()), None)


def _lesions(table: Path) -> dict[str, str]:
    """The lesion that each image shows."""
    lines = read_csv(table, ("image", "lesion_id"))
    return {line.cells["image"]: line.cells["lesion_id"] for line in lines if line.cells["lesion_id"]}


def _without_lesion(found: Found, groupings: Path | None) -> Iterator[str]:
    """A sentence for each training image whose lesion the groupings, where they are there, do not tell."""
    for sample in found.samples:
        if groupings and sample.role in ("train", "labelled") and sample.group is None:
            yield f"{groupings} does not name the lesion of {sample.image_id}"


def _row(line: Line, folder: str, role: Role, lesions: Mapping[str, str]) -> Row:
    image = line.cells["image"]
    marked = [name for name in CLASSES if _number(line.cells[name]) == 1]
    others = [name for name in CLASSES if _number(line.cells[name]) not in (0, 1)]
    return Row(
        place=line.place,
        image=f"{folder}/{image}.jpg" if image else "",
        defect="good" if marked == [NORMAL] else "+".join(marked),
        role=role,
        group=lesions.get(image),
        problem=None if len(marked) == 1 and not others else f"must have one 1 and zeros in {','.join(CLASSES)}",
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
