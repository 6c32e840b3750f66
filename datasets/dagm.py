"""DAGM 2007: drawn textures with weakly labelled defects."""

import re
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from adbench.datasets.base import DatasetRecord
from adbench.datasets.layout import Found, Images, Layout, without_suffix
from adbench.datasets.trees import TreeDataset

_PARTS = ("Train", "Test")
_LISTED = re.compile(r"^\d+[ \t]+[01][ \t]+(\S+)\.png", re.IGNORECASE | re.MULTILINE)
"""A line of Labels.txt: its number, whether the image is defective, its file, ..., its mask or 0."""
_DEFECTIVE = re.compile(r"^\d+[ \t]+1[ \t].*?(\S+)_label\.png", re.IGNORECASE | re.MULTILINE)
"""Such a line on a defective image."""


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

    def notes(self, category: str) -> list[str]:
        """That pixel metrics are to be read with care."""
        return [*super().notes(category), "masks are coarse ellipses: pixel metrics judge against these"]

    def find(self, category: str, base: Path) -> Found:
        """Images and masks; an image that Labels.txt does not list, or gives a mask which is not there, is left out,
        not normal."""
        found = super().find(category, base)
        there = {without_suffix(mask) for own in (*found.masks.values(), found.unpaired) for mask in own}
        texts = {part: _text(base / part / "Label" / "Labels.txt") for part in _PARTS}
        masks = {
            f"{part}/{name}": f"{part}/Label/{name}_label"
            for part in _PARTS
            for name in _DEFECTIVE.findall(texts[part])
        }
        lost = {image: mask for image, mask in masks.items() if mask not in there}
        listed = {part: {f"{part}/{name}" for name in _LISTED.findall(texts[part])} for part in _PARTS}
        unlisted = [
            sample.image_id
            for sample in found.samples
            if (known := listed[sample.image_id.partition("/")[0]]) and without_suffix(sample.image_id) not in known
        ]
        left_out = {*unlisted, *(s.image_id for s in found.samples if without_suffix(s.image_id) in lost)}
        return replace(
            found,
            samples=tuple(sample for sample in found.samples if sample.image_id not in left_out),
            masks={image: own for image, own in found.masks.items() if image not in left_out},
            problems=(
                *found.problems,
                *(f"Labels.txt names a mask that is not there: {base / mask}.PNG" for mask in sorted(lost.values())),
                *(f"image that Labels.txt does not list, so left out: {base / image}" for image in unlisted),
            ),
        )


def _text(table: Path) -> str:
    """The table's text; empty without a table."""
    return table.read_text(encoding="latin-1") if table.is_file() else ""
