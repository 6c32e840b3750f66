"""BTAD: three industrial products."""

from typing import ClassVar

from adbench.datasets.base import Archive, DatasetRecord
from adbench.datasets.from_test import FromTestDataset
from adbench.datasets.layout import Images, Layout
from adbench.datasets.mvtec_ad import one_class_counts
from adbench.datasets.trees import TreeDataset


class Btad(FromTestDataset, TreeDataset):
    """Surfaces of three products; images and their masks differ in file type."""

    tree = Layout(
        (
            Images("train/ok/{name}", "train", defect="ok"),
            Images("test/ok/{name}", "test", defect="ok"),
            Images("test/ko/{name}", "test", defect="ko", masks=("ground_truth/ko/{name}",)),
        ),
        normal=frozenset({"ok"}),
    )
    parts = ("train/ok",)
    record: ClassVar[DatasetRecord] = DatasetRecord(
        name="btad",
        title="BTAD: beanTech anomaly detection",
        modality="industrial",
        home="https://github.com/pankajmishra000/VT-ADL",
        licence="CC BY-SA as its readme says; others name CC BY-NC-SA 4.0",
        citation="Mishra et al., VT-ADL, ISIE 2021",
        layout="{01,02,03}/{train/ok,test/{ok,ko},ground_truth/ko}; .bmp or .png, not always as their masks",
        splits="train and test are official; val is carved from the training normals (10 %); "
        "dataset.labelled_from_test=0.3 turns that share of the test anomalies into labelled ones",
        masks="ground_truth/ko, anomalous where > 0",
        known_problems="11 anomalous images (1 of 02, 10 of 03) have empty masks: all their pixels count as normal; "
        "defects have no types; the readme swaps the numbers of training images of 02 and 03",
        version="2021",
        counts=one_class_counts({"01": (400, 21, 49), "02": (399, 30, 200), "03": (1000, 400, 41)}),
        archives=(
            Archive(
                "btad.zip",
                url="https://avires.dimi.uniud.it/papers/btad/btad.zip",
                md5="c1fa4d56ac50dd50908ce04e81037a8e",
            ),
        ),
    )
