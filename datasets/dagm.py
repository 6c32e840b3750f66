"""DAGM 2007: drawn textures with weakly labelled defects."""

import re
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from adbench.datasets.base import DatasetRecord
from adbench.datasets.layout import Found, Images, Layout, without_suffix
from adbench.datasets.trees import TreeDataset

_PARTS = ("Train", "Test")
_DEFECTIVE = re.compile(r"^\d+[ \t]+1[ \t].*?(\S+)_label\.png", re.IGNORECASE | re.MULTILINE)
"""A line of Labels.txt on a defective image: its number, 1, its file, ..., its mask."""


class Dagm(TreeDataset):
    """Ten textures; an image with a label file is defective."""

    tree = Layout(
        (
            Images("Train/{name}", "train", masks=("Train/Label/{name}_label",)),
            Images("Test/{name}", "test", masks=("Test/Label/{name}_label",)),
        ),
        label_from="mask file",
    )
    parts = ("Train/Label", "Test/Label")
    record: ClassVar[DatasetRecord] = DatasetRecord(
        name="dagm",
        title="DAGM 2007: weakly supervised optical inspection",
        modality="industrial",
        home="https://zenodo.org/records/12750201",
        licence="CC BY 4.0",
        citation="Wieler, Hahn, Hamprecht: Weakly Supervised Learning for Industrial Optical Inspection, DAGM 2007",
        layout="ClassN/{Train,Test}/{NNNN.PNG,Label/NNNN_label.PNG}, N in 1..10; 10 categories",
        splits="Train and Test are official; defective images of Train are the labelled anomalies; val is carved "
        "from train and labelled",
        masks="Label/NNNN_label.PNG, anomalous where > 0: coarse ellipses around the defects",
        known_problems="masks are weak: pixel metrics judge against a coarse ellipse, not the defect; images are "
        "drawn; defects have no types",
        version="2007",
    )

    def find(self, category: str, base: Path) -> Found:
        """Images and masks; an image that Labels.txt gives a mask which is not there is left out, not normal."""
        found = super().find(category, base)
        there = {without_suffix(mask) for own in (*found.masks.values(), found.unpaired) for mask in own}
        listed = [(part, name) for part in _PARTS for name in _listed(base / part / "Label" / "Labels.txt")]
        masks = {f"{part}/{name}": f"{part}/Label/{name}_label" for part, name in listed}
        lost = {image: mask for image, mask in masks.items() if mask not in there}
        return replace(
            found,
            samples=tuple(sample for sample in found.samples if without_suffix(sample.image_id) not in lost),
            problems=(
                *found.problems,
                *(f"Labels.txt names a mask that is not there: {base / mask}.PNG" for mask in sorted(lost.values())),
            ),
        )


def _listed(table: Path) -> list[str]:
    """The images that are defective according to the table, without suffix; none without a table."""
    return _DEFECTIVE.findall(table.read_text(encoding="latin-1")) if table.is_file() else []
