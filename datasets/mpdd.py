"""MPDD: painted metal parts, in the layout of MVTec AD."""

from typing import ClassVar

from adbench.datasets.base import DatasetRecord
from adbench.datasets.from_test import FromTestDataset
from adbench.datasets.mvtec_ad import TREE, one_class_counts
from adbench.datasets.trees import TreeDataset

_COUNTS = {
    "bracket_black": (289, 32, 47),
    "bracket_brown": (185, 26, 51),
    "bracket_white": (110, 30, 30),
    "connector": (128, 30, 14),
    "metal_plate": (54, 26, 71),
    "tubes": (122, 32, 69),
}


class Mpdd(FromTestDataset, TreeDataset):
    """Metal parts, several on an image, that lie and are lit in varying ways."""

    tree = TREE
    parts = ("train/good",)
    record: ClassVar[DatasetRecord] = DatasetRecord(
        name="mpdd",
        title="MPDD: metal parts defect detection",
        modality="industrial",
        home="https://github.com/stepanje/MPDD",
        licence="CC BY-NC-SA 4.0",
        citation="Jezek et al., ICUMT 2021, pp. 66-71",
        layout="CATEGORY/{train/good,test/{good,DEFECT},ground_truth/DEFECT/NNN_mask.png}; 6 categories",
        splits="train and test are official; val is carved from the training normals (10 %); "
        "dataset.labelled_from_test=0.3 turns that share of the test anomalies into labelled ones",
        masks="ground_truth/DEFECT/NNN_mask.png, anomalous where > 0",
        known_problems="handed out as a shared folder, whose archive has no fixed name; metal_plate has 54 images to "
        "train on and connector 14 anomalies to test on",
        version="2021",
        counts=one_class_counts(_COUNTS),
    )
