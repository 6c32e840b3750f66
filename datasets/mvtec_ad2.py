"""MVTec AD 2: scenes that differ in light; what is public of them."""

import re
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from adbench.datasets.base import Archive, DatasetRecord, Sample
from adbench.datasets.from_test import FromTestDataset
from adbench.datasets.layout import Found, Images, Layout
from adbench.datasets.trees import TreeDataset

_SCENE = re.compile(r"(test_public/.+/\d+)_")
"""The start of the path of a test image, which all images of its scene share: NNN_LIGHTING.png."""

_COUNTS = {
    "can": (412, 46, 72, 90),
    "fabric": (387, 43, 66, 90),
    "fruit_jelly": (263, 37, 20, 60),
    "rice": (313, 35, 42, 90),
    "sheet_metal": (137, 19, 24, 90),
    "vial": (291, 41, 35, 105),
    "wallplugs": (293, 33, 60, 90),
    "walnuts": (432, 48, 60, 90),
}


class MvtecAd2(FromTestDataset, TreeDataset):
    """Industrial scenes; the lighting of test varies, that of train does not."""

    tree = Layout(
        (
            Images("train/good/{name}", "train", defect="good"),
            Images("validation/good/{name}", "val", defect="good"),
            Images("test_public/good/{name}", "test", defect="good"),
            Images(
                "test_public/bad/{name}", "test", defect="bad", masks=("test_public/ground_truth/bad/{name}_mask",)
            ),
        )
    )
    parts = ("train/good", "test_public")
    record: ClassVar[DatasetRecord] = DatasetRecord(
        name="mvtec_ad2",
        title="MVTec AD 2: industrial scenes under varying light",
        modality="industrial",
        home="https://www.mvtec.com/company/research/datasets/mvtec-ad-2",
        licence="CC BY-NC-SA 4.0",
        citation="Heckler-Kram et al., arXiv:2503.21622 (2025)",
        layout="CATEGORY/{train/good,validation/good,test_public/{good,bad,ground_truth/bad}}/NNN_LIGHTING.png, "
        "masks NNN_LIGHTING_mask.png; 8 categories",
        splits="train, validation (normal images alone) and test_public are official; all lightings of a test scene "
        "stay in one split; dataset.labelled_from_test=0.3 turns that share of the test anomalies into labelled ones",
        masks="test_public/ground_truth/bad/NNN_LIGHTING_mask.png, anomalous where > 0",
        known_problems="test_private and test_private_mixed have no public labels and are left out, so results are "
        "not those of the official leaderboard; test shows each of its few scenes in all lightings: its images are "
        "not independent; defects have no types",
        version="2025",
        counts={
            category: {"train normal": train, "val normal": val, "test normal": normal, "test anomalous": anomalous}
            for category, (train, val, normal, anomalous) in _COUNTS.items()
        },
        archives=(Archive("mvtec_ad_2.tar.gz"),),
    )

    def find(self, category: str, base: Path) -> Found:
        """Images and masks; test images are grouped by their scene."""
        found = super().find(category, base)
        return replace(found, samples=tuple(_in_its_scene(sample) for sample in found.samples))


def _in_its_scene(sample: Sample) -> Sample:
    scene = _SCENE.match(sample.image_id)
    return replace(sample, group=scene[1]) if scene else sample
