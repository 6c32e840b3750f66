"""MVTec AD, and MPDD, which has its layout."""

from pathlib import Path
from typing import ClassVar

from adbench.datasets.base import DatasetRecord
from adbench.datasets.files import FilesDataset
from adbench.datasets.layout import Found, Images, Layout, find

TREE = Layout(
    (
        Images("train/{defect}/{stem}", "train"),
        Images("test/{defect}/{stem}", "test", masks=("ground_truth/{defect}/{stem}_mask",)),
    )
)


class MvtecAd(FilesDataset):
    """Industrial objects and textures; normal ones to train on, defects in test alone."""

    record: ClassVar[DatasetRecord] = DatasetRecord(
        name="mvtec_ad",
        title="MVTec AD: industrial objects and textures",
        modality="industrial",
        home="https://www.mvtec.com/company/research/datasets/mvtec-ad",
        licence="CC BY-NC-SA 4.0",
        citation="Bergmann et al., CVPR 2019; IJCV 129 (2021) 1038-1059",
        layout="CATEGORY/{train/good,test/{good,DEFECT},ground_truth/DEFECT/NNN_mask.png}; 15 categories",
        splits="train and test are official; val is carved from the training normals (10 %)",
        masks="ground_truth/DEFECT/NNN_mask.png, anomalous where > 0",
        known_problems="-",
        version="2019",
    )

    def find_categories(self, root: Path) -> dict[str, Path]:
        """Folders that hold train/good."""
        return {path.name: path for path in sorted(root.iterdir()) if (path / "train" / "good").is_dir()}

    def find(self, category: str, base: Path) -> Found:
        """Images, and masks paired by their names."""
        return find(base, TREE, lambda paths: self.blank(base, paths))
