"""DAGM 2007: drawn textures with weakly labelled defects."""

from typing import ClassVar

from adbench.datasets.base import DatasetRecord
from adbench.datasets.files import TreeDataset
from adbench.datasets.layout import Images, Layout


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
        "drawn; a defective image whose label file is lost would count as normal; defects have no types",
        version="2007",
    )
