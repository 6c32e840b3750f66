"""BraTS2021 as MedIAnomaly cuts it: FLAIR slices of the brain, tumours with masks."""

import re
from pathlib import Path
from typing import ClassVar

from adbench.datasets.base import Archive, DatasetRecord
from adbench.datasets.from_test import FromTestDataset
from adbench.datasets.layout import Found, Images, Layout, find

TREE = Layout(
    (
        Images("train/{stem}", "train", defect="normal"),
        Images("test/normal/{stem}", "test", defect="normal"),
        Images(
            "test/tumor/{stem}_flair_{stem_rest}",
            "test",
            defect="tumor",
            masks=("test/annotation/{stem}_seg_{stem_rest}",),
        ),
        Images("test/tumor/{stem}_flair", "test", defect="tumor", masks=("test/annotation/{stem}_seg",)),
        Images("test/tumor/{stem}", "test", defect="tumor", masks=("test/annotation/{stem}",)),
    ),
    normal=frozenset({"normal"}),
    group=re.compile(r"(?<!\d)(\d{5})(?!\d)"),
)


class Brats2021(FromTestDataset):
    """Slices without tumour to train on; tumours in test alone."""

    record: ClassVar[DatasetRecord] = DatasetRecord(
        name="brats2021",
        title="BraTS2021 (MedIAnomaly): brain MRI with tumours",
        modality="medical",
        home="https://zenodo.org/records/12677223",
        licence="CC BY 4.0 (the original volumes: terms of the BraTS challenge)",
        citation="Cai et al., MedIAnomaly, arXiv:2404.04518; Baid et al., arXiv:2107.02314",
        layout="BraTS2021/{train/*.png,test/{normal,tumor,annotation}/*.png}; the mask of a tumour has its name with "
        "'seg' for 'flair'",
        splits="train and test are MedIAnomaly's; val is carved from the training normals (10 %), by patient; "
        "dataset.labelled_from_test=0.3 turns that share of the test anomalies into labelled ones, by patient",
        masks="test/annotation, anomalous where > 0",
        known_problems="slices without tumour are of patients who have one: what surrounds it may show; a patient is "
        "the five-digit number in a file's name, a name without one stands for itself",
        version="MedIAnomaly 2024",
        counts={"brats2021": {"train normal": 4211, "test normal": 828, "test anomalous": 1948}},
        archives=(
            Archive(
                "BraTS2021.tar.gz",
                "https://zenodo.org/records/12677223/files/BraTS2021.tar.gz?download=1",
                "237f2aee77e099f7483808ddec49a57c",
            ),
        ),
    )

    def find_categories(self, root: Path) -> dict[str, Path]:
        """The one category, where train and test/tumor lie."""
        return {self.record.name: root} if all((root / p).is_dir() for p in ("train", "test/tumor")) else {}

    def find(self, category: str, base: Path) -> Found:
        """Images, and masks paired by their names."""
        return find(base, TREE, lambda paths: self.unmarked(base, paths))
