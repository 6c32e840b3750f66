"""MVTec AD: industrial objects and textures."""

from typing import ClassVar

from adbench.datasets.base import Archive, DatasetRecord
from adbench.datasets.from_test import FromTestDataset
from adbench.datasets.layout import Images, Layout
from adbench.datasets.trees import TreeDataset

TREE = Layout(
    (
        Images("train/{defect}/{stem}", "train"),
        Images("test/{defect}/{stem}", "test", masks=("ground_truth/{defect}/{stem}_mask",)),
    )
)
_COUNTS = {
    "bottle": (209, 20, 63),
    "cable": (224, 58, 92),
    "capsule": (219, 23, 109),
    "carpet": (280, 28, 89),
    "grid": (264, 21, 57),
    "hazelnut": (391, 40, 70),
    "leather": (245, 32, 92),
    "metal_nut": (220, 22, 93),
    "pill": (267, 26, 141),
    "screw": (320, 41, 119),
    "tile": (230, 33, 84),
    "toothbrush": (60, 12, 30),
    "transistor": (213, 60, 40),
    "wood": (247, 19, 60),
    "zipper": (240, 32, 119),
}


def one_class_counts(counts: dict[str, tuple[int, int, int]]) -> dict[str, dict[str, int]]:
    """A record's counts, from normal training images, normal test images and anomalous test images by category."""
    return {
        category: {"train normal": train, "test normal": normal, "test anomalous": anomalous}
        for category, (train, normal, anomalous) in counts.items()
    }


class MvtecAd(FromTestDataset, TreeDataset):
    """Industrial objects and textures; normal ones to train on, defects in test alone."""

    tree = TREE
    parts = ("train/good",)
    record: ClassVar[DatasetRecord] = DatasetRecord(
        name="mvtec_ad",
        title="MVTec AD: industrial objects and textures",
        modality="industrial",
        home="https://www.mvtec.com/company/research/datasets/mvtec-ad",
        licence="CC BY-NC-SA 4.0",
        citation="Bergmann et al., CVPR 2019; IJCV 129 (2021) 1038-1059",
        layout="CATEGORY/{train/good,test/{good,DEFECT},ground_truth/DEFECT/NNN_mask.png}; 15 categories",
        splits="train and test are official; val is carved from the training normals (10 %); "
        "dataset.labelled_from_test=0.3 turns that share of the test anomalies into labelled ones",
        masks="ground_truth/DEFECT/NNN_mask.png, anomalous where > 0",
        known_problems="nearly solved: the best methods exceed 99 % image AUROC, which leaves little to compare; "
        "no val of its own",
        version="2019",
        counts=one_class_counts(_COUNTS),
        archives=(Archive("mvtec_anomaly_detection.tar.xz", md5="eefca59f2cede9c3fc5b6befbfec275e"),),
    )
