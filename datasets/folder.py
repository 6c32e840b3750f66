"""folder: a user's own images in the MVTec AD layout."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from adbench.datasets.base import DatasetRecord, Modality, SplitRule
from adbench.datasets.decode import IMAGE_SUFFIXES
from adbench.datasets.errors import RequestError
from adbench.datasets.files import FilesConfig, FilesDataset
from adbench.datasets.layout import Found, Images, Layout, Listing, find

LAYOUT = (
    "ROOT/[CATEGORY/]train/good/*.png, test/good/*.png, test/DEFECT/*.png and, where masks exist, "
    "ground_truth/DEFECT/NAME_mask.png; optional validation/good and train/DEFECT (image-labelled anomalies)"
)
TREE = Layout(
    (
        Images("train/{defect}/{stem}", "train"),
        Images("validation/{defect}/{stem}", "val"),
        Images("val/{defect}/{stem}", "val"),
        Images(
            "test/{defect}/{stem}",
            "test",
            masks=("ground_truth/{defect}/{stem}_mask", "ground_truth/{defect}/{stem}"),
        ),
    )
)


class FolderConfig(FilesConfig):
    """Parameters of a folder."""

    root: str | None = Field(default=None, description="the folder that holds the images")
    labelled_from_test: float = Field(
        default=0.0,
        ge=0.0,
        le=0.9,
        description="share of the test anomalies that leave the test split to be image-labelled anomalies",
    )
    modality: Modality = Field(default="industrial", description="what methods take their defaults from")
    mask_threshold: int = Field(default=0, ge=0, le=254, description="mask pixels above this are anomalous")


class Folder(FilesDataset):
    """Images on disk; every sub-folder that holds ``train/good`` is a category, or the root itself is one."""

    config_class = FolderConfig
    config: FolderConfig
    wrapped: ClassVar[bool] = False
    record: ClassVar[DatasetRecord] = DatasetRecord(
        name="folder",
        title="Your own images in the MVTec AD layout",
        modality="industrial",
        home="-",
        licence="yours",
        citation="-",
        layout=LAYOUT,
        splits="yours; val is carved from the training normals (10 %) where there is no validation folder; "
        "dataset.labelled_from_test=0.3 turns that share of the test anomalies into labelled ones",
        masks="ground_truth/DEFECT/NAME_mask.* or NAME.*, anomalous where > dataset.mask_threshold; without masks "
        "pixel metrics are null",
        known_problems="-",
        version="yours",
    )

    @property
    def mask_threshold(self) -> int:
        """As configured."""
        return self.config.mask_threshold

    def missing(self, problem: str) -> RequestError:
        """The error for images that are not where the user said, or nowhere."""
        if self.config.root is None:
            return RequestError(
                "dataset 'folder' needs to know where the images are",
                allowed=LAYOUT,
                remedy="adbench run suite=... dataset=folder dataset.root=PATH",
            )
        return RequestError(f"dataset.root={problem}", allowed=LAYOUT, remedy="give the right path, or arrange it so")

    def find_categories(self, root: Path) -> dict[str, Path]:
        """The root, or its sub-folders, that hold train/good; each must have images there."""
        if (root / "train" / "good").is_dir():
            found = {root.name: root}
        else:
            found = {path.name: path for path in sorted(root.iterdir()) if (path / "train" / "good").is_dir()}
        for name, path in found.items():
            if not Listing(path / "train" / "good").paths:
                raise RequestError(
                    f"category '{name}': {path / 'train' / 'good'} holds no images",
                    allowed="files ending in " + " ".join(sorted(IMAGE_SUFFIXES)),
                    remedy="put normal images there",
                )
        return found

    def find(self, category: str, base: Path) -> Found:
        """Images, and masks paired by their names."""
        return find(base, TREE, lambda paths: self.blank(base, paths))

    def has_masks(self, category: str) -> bool:
        """Whether a ground_truth folder exists."""
        return (self.base(category) / "ground_truth").is_dir()

    def modality(self, category: str) -> Modality:
        """As configured."""
        return self.config.modality

    def split_rule(self) -> SplitRule:
        """The folder's own roles, with what the configuration moves."""
        return SplitRule(labelled_from_test=self.config.labelled_from_test)
