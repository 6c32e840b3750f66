"""Br35H: slices of brain MRI with and without a tumour."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from adbench.datasets.base import Archive, DatasetRecord, Sample
from adbench.datasets.files import FilesConfig, FilesDataset
from adbench.datasets.layout import Found, Images, Layout, find

TREE = Layout((Images("no/{stem}", defect="good"), Images("yes/{stem}", defect="tumour")))
CKAAD_TRAIN = 0.8
"""Share of each folder, in the order of file names, that CKAAD trains on."""


class Br35hConfig(FilesConfig):
    """Parameters of Br35H."""

    split: Literal["seeded", "ckaad"] = Field(
        default="seeded",
        description="seeded: dealt out by adbench; ckaad: the first 80 % of each folder by file name, as CKAAD does",
    )


class Br35h(FilesDataset):
    """Two folders and no split of their own."""

    config: Br35hConfig
    config_class = Br35hConfig
    record: ClassVar[DatasetRecord] = DatasetRecord(
        name="br35h",
        title="Br35H: brain MRI with and without tumour",
        modality="medical",
        home="https://www.kaggle.com/datasets/ahmedhamada0/brain-tumor-detection",
        licence="the terms of its Kaggle page",
        citation="Hamada, Br35H :: Brain Tumor Detection 2020, Kaggle",
        layout="no/*.jpg (without tumour) and yes/*.jpg (with); the archive's other folders are not looked at",
        splits="none is published. dataset.split=seeded (default): adbench's own, normals 60/15/25 % train/val/test, "
        "tumours 35/15/50 % labelled/val/test; dataset.split=ckaad: the first 80 % of each folder by file name are "
        "train and labelled, the rest is test, and val is carved from the 80 % (10 % of train, 30 % of labelled)",
        masks="none: image labels only, so pixel metrics are null",
        known_problems="no patient ids are published, so slices of one patient can be in train and test; the "
        "archive's folder Br35H-Mask-RCNN holds copies of images of yes, and pred unlabelled ones: neither is read",
        version="2020",
        counts={"br35h": {"normal": 1500, "anomalous": 1500}},
        archives=(Archive("archive.zip"),),
    )

    def find_categories(self, root: Path) -> dict[str, Path]:
        """The one category, where yes and no lie."""
        return {self.record.name: root} if all((root / name).is_dir() for name in ("no", "yes")) else {}

    def find(self, category: str, base: Path) -> Found:
        """The images of both folders."""
        return find(base, TREE, lambda paths: self.unmarked(base, paths))

    def chosen(self, samples: Sequence[Sample]) -> tuple[Sample, ...]:
        """All images; CKAAD's split gives each a role, the seeded one none."""
        if self.config.split == "seeded":
            return tuple(samples)
        trained = set()
        for label in (0, 1):
            ids = [sample.image_id for sample in samples if sample.label == label]
            trained.update(ids[: int(len(ids) * CKAAD_TRAIN)])
        return tuple(
            replace(sample, role=("labelled" if sample.label else "train") if sample.image_id in trained else "test")
            for sample in samples
        )
