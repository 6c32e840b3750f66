"""OCT2017 and ChestXRay2017 (Kermany et al., 2018): diseases as folders, patients in the file names."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from adbench.datasets.base import Archive, DatasetRecord, Role, Sample
from adbench.datasets.files import FilesConfig, FilesDataset
from adbench.datasets.layout import Found, Images, Layout, find

_FILES = "https://data.mendeley.com/public-files/datasets/rscbjbr9sj/files"
_SPLITS = (
    "dataset.split=patients (default): the official test images; train loses all images of patients who are in "
    "test too, and the labelled pool those of patients with normal images in train: no patient is in two splits. "
    "dataset.split=official: train and test as published. Training anomalies are the labelled pool; val is carved "
    "from both, by patient (10 % of train, 30 % of labelled)"
)


class KermanyConfig(FilesConfig):
    """Parameters of OCT2017 and ChestXRay2017."""

    split: Literal["patients", "official"] = Field(
        default="patients",
        description="patients: as published, without training images of patients who are in another split; "
        "official: as published",
    )


class Kermany(FilesDataset):
    """{train,test}/{NORMAL,DISEASE}/*.jpeg, in one category; subclasses say what the files' names tell."""

    config: KermanyConfig
    config_class = KermanyConfig
    needed: ClassVar[tuple[str, ...]]
    """Folders in train by which the dataset is known."""
    tree: ClassVar[Layout]
    """Where images lie, and how their names tell the patient."""

    def find_categories(self, root: Path) -> dict[str, Path]:
        """The one category, where train holds the classes."""
        return {self.record.name: root} if all((root / "train" / name).is_dir() for name in self.needed) else {}

    def find(self, category: str, base: Path) -> Found:
        """All images, in the roles in which they are published."""
        return find(base, self.tree, lambda paths: self.unmarked(base, paths))

    def chosen(self, samples: Sequence[Sample]) -> tuple[Sample, ...]:
        """The images that the chosen split uses."""
        return tuple(samples) if self.config.split == "official" else _one_split_each(samples)

    def verify(self, category: str) -> list[str]:
        """What every dataset on disk checks, and names that do not tell the patient."""
        return super().verify(category) + [
            f"file name without a patient: {self.base(category) / sample.image_id}"
            for sample in self.found(category).samples
            if sample.group is None
        ]


class Oct2017(Kermany):
    """Optical coherence tomography of the retina: normal, and three diseases."""

    needed = ("NORMAL", "CNV")
    tree = Layout(
        (
            Images("train/{defect}/{stem}", "train"),
            Images("test/{defect}/{stem}", "test"),
            Images("val/{defect}/{stem}", "test"),  # Kaggle's copy took these out of test.
        ),
        normal=frozenset({"NORMAL"}),
        group=re.compile(r"(?:^|/)[A-Z]+-(\d+)-\d+"),
    )
    record: ClassVar[DatasetRecord] = DatasetRecord(
        name="oct2017",
        title="OCT2017: optical coherence tomography of the retina",
        modality="medical",
        home="https://data.mendeley.com/datasets/rscbjbr9sj/2",
        licence="CC BY 4.0",
        citation="Kermany et al., Cell 172 (2018) 1122-1131",
        layout="{train,test}/{NORMAL,CNV,DME,DRUSEN}/CLASS-PATIENT-N.jpeg; images in val, which Kaggle's copy took "
        "out of test, go back there",
        splits=_SPLITS,
        masks="none: image labels only, so pixel metrics are null",
        known_problems="version 2, on which methods are compared, leaks: 566 of its 633 test patients are in train "
        "as well (Tampu et al., Scientific Data 2022, doi 10.1038/s41597-022-01618-6, on what that does to results); "
        "version 3 has another split and other counts",
        version="2",
        counts={
            "oct2017": {
                "train normal": 26315,
                "train anomalous": 37205 + 11348 + 8616,
                "test normal": 250,
                "test anomalous": 750,
            }
        },
        archives=(Archive("OCT2017.tar.gz", f"{_FILES}/5699a1d8-d1b6-45db-bb92-b61051445347/file_downloaded"),),
    )


class ChestXray2017(Kermany):
    """Chest X-rays of children: normal, and pneumonia by bacteria or viruses."""

    needed = ("NORMAL", "PNEUMONIA")
    tree = Layout(
        (
            Images("train/{defect}/{stem}", "train"),
            Images("test/{defect}/{stem}", "test"),
            Images("val/{defect}/{stem}", "train"),  # Kaggle's copy took these out of train.
        ),
        normal=frozenset({"NORMAL"}),
        # person12_bacteria_46, IM-0115-0001 and NORMAL2-IM-1427-0001; in version 3 VIRUS-9968655-0001.
        group=re.compile(r"(person\d+|IM-\d+|(?<=NORMAL-)\d+|(?<=BACTERIA-)\d+|(?<=VIRUS-)\d+)"),
    )
    record: ClassVar[DatasetRecord] = DatasetRecord(
        name="chest_xray2017",
        title="ChestXRay2017: pneumonia in children's chest X-rays",
        modality="medical",
        home="https://data.mendeley.com/datasets/rscbjbr9sj/2",
        licence="CC BY 4.0",
        citation="Kermany et al., Cell 172 (2018) 1122-1131",
        layout="[chest_xray/]{train,test}/{NORMAL,PNEUMONIA}/*.jpeg, names such as person12_bacteria_46, "
        "IM-0115-0001, NORMAL2-IM-1427-0001; images in val, which Kaggle's copy took out of train, go back there",
        splits=_SPLITS,
        masks="none: image labels only, so pixel metrics are null",
        known_problems="the official split leaks: 170 person numbers of pneumonia are in train and in test; whether "
        "IM-0115 and NORMAL2-IM-0115 are one patient nobody says: they are taken for one; 32 images are copies of "
        "others byte for byte, some under another patient's number (IM-0095 and IM-0096)",
        version="2",
        counts={
            "chest_xray2017": {
                "train normal": 1349,
                "train anomalous": 3883,
                "test normal": 234,
                "test anomalous": 390,
            }
        },
        archives=(Archive("ChestXRay2017.zip", f"{_FILES}/f12eaf6d-6023-432f-acc9-80c9d7393433/file_downloaded"),),
    )

    def find(self, category: str, base: Path) -> Found:
        """All images; a pneumonia is by bacteria or a virus if the name says so."""
        found = super().find(category, base)
        return replace(found, samples=tuple(_with_cause(sample) for sample in found.samples))


def _with_cause(sample: Sample) -> Sample:
    cause = re.search("bacteria|virus", sample.image_id.rpartition("/")[2], re.IGNORECASE)
    return replace(sample, defect_type=cause[0].lower()) if sample.label and cause else sample


def _one_split_each(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Without images of patients who belong to another split: to test first, then to train, as anomalies abound."""
    place: dict[str, Role] = {}
    for role in ("test", "train"):
        for sample in samples:
            if sample.role == role and sample.group is not None:
                place.setdefault(sample.group, sample.role)
    return tuple(s for s in samples if s.group is None or place.get(s.group, s.role) == s.role)
