"""Camelyon16 as MedIAnomaly cuts it: patches of lymph nodes, with and without metastases."""

from pathlib import Path
from typing import ClassVar

from adbench.datasets.base import Archive, DatasetRecord
from adbench.datasets.from_test import FromTestDataset
from adbench.datasets.layout import Found, Images, Layout, find

TREE = Layout((Images("train/{defect}/{stem}", "train"), Images("test/{defect}/{stem}", "test")))


class Camelyon16(FromTestDataset):
    """Normal patches to train on; tumour in test alone."""

    record: ClassVar[DatasetRecord] = DatasetRecord(
        name="camelyon16",
        title="Camelyon16 (MedIAnomaly): patches of lymph nodes with metastases",
        modality="medical",
        home="https://zenodo.org/records/12677223",
        licence="CC BY 4.0 (the original slides: CC0)",
        citation="Cai et al., MedIAnomaly, arXiv:2404.04518; Bejnordi et al., JAMA 318 (2017) 2199-2210",
        layout="Camelyon16/{train/good,test/{good,Ungood}}/*.png",
        splits="train and test are MedIAnomaly's; val is carved from the training normals (10 %); "
        "dataset.labelled_from_test=0.3 turns that share of the test anomalies into labelled ones",
        masks="none: image labels only, so pixel metrics are null",
        known_problems="file names do not tell the slide or the patient, so splits within train or test cannot be "
        "grouped; BMAD's category Histopathology is drawn from the same slides",
        version="MedIAnomaly 2024",
        archives=(
            Archive(
                "Camelyon16.tar.gz",
                "https://zenodo.org/records/12677223/files/Camelyon16.tar.gz?download=1",
                "c26c026d1c315deb52720d4c195e874f",
            ),
        ),
    )

    def find_categories(self, root: Path) -> dict[str, Path]:
        """The one category, where train/good and test/Ungood lie."""
        laid_out = all((root / path).is_dir() for path in ("train/good", "test/Ungood"))
        return {self.record.name: root} if laid_out else {}

    def find(self, category: str, base: Path) -> Found:
        """The images of both parts."""
        return find(base, TREE, lambda paths: self.unmarked(base, paths))
