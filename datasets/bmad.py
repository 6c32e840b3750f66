"""BMAD: six medical datasets arranged alike, three of them with masks."""

import re
from pathlib import Path
from typing import ClassVar

from adbench.datasets.base import Archive, DatasetRecord, Role
from adbench.datasets.from_test import FromTestDataset
from adbench.datasets.layout import Found, Images, Layout, find

FOLDERS = {
    "Brain": ("brain", "brain_ad", "brats2021_slice"),
    "Liver": ("liver", "liver_ad", "hist_diy"),
    "Retina_RESC": ("retina_resc", "retina_resc_ad", "resc"),
    "Retina_OCT2017": ("retina_oct2017", "retina_oct2017_ad", "oct2017"),
    "Chest": ("chest", "chest_ad", "chest-ad", "chest-rsna", "rsna"),
    "Histopathology": ("histopathology", "histopathology_ad", "camelyon16", "camelyon16_256"),
}
"""Names that a category's folder goes by, in small letters: in the paper, in its archives and within these."""

PARTS: dict[str, Role] = {"train": "train", "valid": "val", "val": "val", "test": "test"}
PATIENT = {
    "Brain": re.compile(r"^(\d+)_\d+$"),  # 00003_60: case and slice
    "Retina_OCT2017": re.compile(r"^[A-Z]+-(\d+)-\d+"),  # CNV-1016042-1, as OCT2017 names its files
}
"""How a file's name tells the patient, where it does."""


def _places(part: str, folder: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Folders of one class's images, each with those of its masks: blank ones of some normal images too."""
    beside = (f"{part}/{folder}/label", f"{part}/{folder}/anomaly_mask")
    return (
        (f"{part}/{folder}/img", beside),
        (f"{part}/img/{folder}", (f"{part}/label/{folder}",)),  # Liver, in older archives
        (f"{part.title()}/{part}/{folder}", (f"{part.title()}/{part}_label/{folder}",)),  # Retina_RESC, in the same
        (f"{part}/{folder}", beside),
    )


IMAGES = tuple(
    Images(
        f"{place}/{{stem}}",
        role=PARTS[part],
        defect="good" if folder == "good" else "Ungood",
        masks=tuple(f"{masks}/{{stem}}" for masks in mask_places),
    )
    for part in PARTS
    for folder in ("good", "Ungood", "ungood")
    for place, mask_places in _places(part, folder)
)


class Bmad(FromTestDataset):
    """Normal images to train on, some of both kinds to validate on, and the rest to test on."""

    record: ClassVar[DatasetRecord] = DatasetRecord(
        name="bmad",
        title="BMAD: benchmarks for medical anomaly detection",
        modality="medical",
        home="https://github.com/DorisBao/BMAD",
        licence="CC BY-NC-SA 4.0, and the terms of the six original datasets",
        citation="Bao et al., arXiv:2306.11876",
        layout="CATEGORY/{train/good,{valid,test}/{good,Ungood}/{img,label}}/*.png; categories "
        + ", ".join(FOLDERS)
        + "; also with the folder names of its archives (Brain_AD/BraTS2021_slice), val for valid, ungood for "
        "Ungood, anomaly_mask for label, train/good/img, without img, and as older archives have Liver "
        "(test/img/Ungood) and Retina_RESC (Test/test/Ungood)",
        splits="train, val and test are official; there are no anomalies to train on: "
        "dataset.labelled_from_test=0.3 turns that share of the test anomalies into labelled ones",
        masks="label/*.png in Brain, Liver and Retina_RESC, anomalous where > 0; the others have image labels only",
        known_problems="val is small (39 normal and 44 anomalous images in Brain); Retina_OCT2017 and Histopathology "
        "are drawn from OCT2017, whose official split leaks patients, and from Camelyon16; names in Brain tell "
        "the patient, and in Retina_OCT2017 where they are still OCT2017's, so labelled_from_test cannot go by "
        "patient elsewhere",
        version="2023",
        counts={
            "Brain": {
                "train normal": 7500,
                "val normal": 39,
                "val anomalous": 44,
                "test normal": 640,
                "test anomalous": 3075,
            },
            "Liver": {"train normal": 1542, "test normal": 833, "test anomalous": 660},
            "Chest": {"train normal": 8000},
        },
        archives=(Archive("bmad.zip", "https://huggingface.co/datasets/code-dev05/BMAD/resolve/main/bmad.zip"),),
    )

    def find_categories(self, root: Path) -> dict[str, Path]:
        """The folders that go by a category's name, or a folder within, as in the archives, that hold normal training
        images."""
        named = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
        found: dict[str, Path] = {}
        for category, names in FOLDERS.items():
            for name in names:
                if name in named and (base := _base(named[name])) is not None:
                    found.setdefault(category, base)
        return found

    def find(self, category: str, base: Path) -> Found:
        """Images, and masks paired by their names."""
        layout = Layout(IMAGES, group=PATIENT.get(category))
        return find(base, layout, lambda paths: self.unmarked(base, paths))


def _base(folder: Path) -> Path | None:
    """The folder, or the first one in it, that holds train/good or, in older archives, Train/train/good."""
    normal = (Path("train", "good"), Path("Train", "train", "good"))
    bases = (folder, *sorted(path for path in folder.iterdir() if path.is_dir() and path.name != "Train"))
    return next((base for base in bases if any((base / path).is_dir() for path in normal)), None)
