"""Kolektor surface defects: KolektorSDD and KolektorSDD2."""

from pathlib import Path
from typing import ClassVar

from adbench.datasets.base import Archive, DatasetRecord, SplitRule
from adbench.datasets.layout import Images, Layout
from adbench.datasets.trees import TreeDataset


class KolektorSdd(TreeDataset):
    """Electrical commutators, eight images of each."""

    tree = Layout((Images("{group}/{name}", masks=("{group}/{name}_label",)),), label_from="mask pixels")
    record: ClassVar[DatasetRecord] = DatasetRecord(
        name="kolektor_sdd",
        title="KolektorSDD: cracks in the plastic of commutators",
        modality="industrial",
        home="https://www.vicos.si/resources/kolektorsdd/",
        licence="CC BY-NC-SA 4.0",
        citation="Tabernik et al., Journal of Intelligent Manufacturing 31 (2020) 759-776",
        layout="kosNN/{PartM.jpg,PartM_label.bmp}; one category",
        splits="adbench's own, seeded, by item (kosNN): half of them for train and labelled, 15 % val, 35 % test",
        masks="PartM_label.bmp, anomalous where > 0; an image is anomalous if any pixel is",
        known_problems="the items are defective ones: the normal images to train on show them from their other sides",
        version="2019",
        counts={"kolektor_sdd": {"normal": 347, "anomalous": 52}},
        archives=(
            Archive(
                "KolektorSDD.zip",
                url="https://data.vicos.si/datasets/KSDD/KolektorSDD.zip",
                md5="2b094030343c1cd59df02203ac6c57a0",
            ),
        ),
    )

    def find_categories(self, root: Path) -> dict[str, Path]:
        """The root, if it holds the folders of items."""
        return {self.record.name: root} if any(root.glob("kos*/Part*")) else {}

    def split_rule(self) -> SplitRule:
        """Nearly all items have a defect, so normal images to train on are those of items in the labelled pool."""
        return SplitRule(anomalous=(0.5, 0.15, 0.35), train_on_labelled_groups=True)


class KolektorSdd2(TreeDataset):
    """Surfaces from a production line."""

    tree = Layout(
        (
            Images("train/{name}", "train", masks=("train/{name}_GT",)),
            Images("test/{name}", "test", masks=("test/{name}_GT",)),
        ),
        label_from="mask pixels",
        ignored=frozenset({"train/10301 (copy)", "train/10301_GT (copy)"}),
    )
    record: ClassVar[DatasetRecord] = DatasetRecord(
        name="kolektor_sdd2",
        title="KolektorSDD2: scratches, spots and other surface defects",
        modality="industrial",
        home="https://www.vicos.si/resources/kolektorsdd2/",
        licence="CC BY-NC-SA 4.0",
        citation="Bozic, Tabernik, Skocaj, Computers in Industry 129 (2021) 103459",
        layout="{train,test}/{ID.png,ID_GT.png}; one category",
        splits="train and test are official; anomalous images of train are the labelled anomalies; val is carved "
        "from train and labelled",
        masks="ID_GT.png, anomalous where > 0; an image is anomalous if any pixel is",
        known_problems="the archive holds train/10301 twice, the copy is left out; the anomaly of train/10045 has 23 "
        "pixels; defects have no types",
        version="2021",
        counts={
            "kolektor_sdd2": {
                "train normal": 2085,
                "train anomalous": 246,
                "test normal": 894,
                "test anomalous": 110,
            }
        },
        archives=(
            Archive(
                "KolektorSDD2.zip",
                url="https://data.vicos.si/datasets/KSDD/KolektorSDD2.zip",
                md5="1ed0f628122776ace4965afa30dfe316",
            ),
        ),
    )

    def find_categories(self, root: Path) -> dict[str, Path]:
        """The root, if it holds train and test with masks beside the images."""
        masked = all(any((root / part).glob("*_GT.png")) for part in ("train", "test"))
        return {self.record.name: root} if masked else {}
