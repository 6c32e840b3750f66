"""folder: a user's own images, in the layout that dataset.layout names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from adbench.datasets.base import DatasetRecord, Modality, SplitRule
from adbench.datasets.errors import RequestError
from adbench.datasets.file_index import FileFacts
from adbench.datasets.files import FilesConfig, FilesDataset
from adbench.datasets.folder_layouts import Arrangement, ByClass, ByCsv, ByMvtec, ByVisa
from adbench.datasets.layout import Found


class FolderConfig(FilesConfig):
    """Parameters of a folder."""

    root: str | None = Field(default=None, description="the folder that holds the images")
    layout: Literal["mvtec", "visa", "classes", "csv"] = Field(
        default="mvtec",
        description="how the images are arranged: as in MVTec AD, as in VisA, a folder for each class, or as a CSV "
        "file says",
    )
    normal: tuple[str, ...] = Field(
        default=(),
        description="with layout=classes: the class or classes that are normal, such as NAME or [NAME,NAME]",
    )
    table: str | None = Field(
        default=None,
        description="with layout=csv: the CSV file, its path relative to root or absolute; with layout=visa: the "
        "table of the split (default: split_csv/1cls.csv, where there is one)",
    )
    labelled_from_test: float = Field(
        default=0.0,
        ge=0.0,
        le=0.9,
        description="share of the test anomalies that leave the test split to be image-labelled anomalies",
    )
    modality: Modality = Field(default="industrial", description="what methods take their defaults from")
    mask_threshold: int = Field(default=0, ge=0, le=254, description="mask pixels above this are anomalous")

    @field_validator("normal", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        """One name or several with commas between them, as the command line gives them."""
        if isinstance(value, list | tuple):
            return tuple(map(str, value))
        return tuple(name for name in str(value).strip("[]").split(",") if name)


class Folder(FilesDataset):
    """Images on disk, of one category or several."""

    config_class = FolderConfig
    config: FolderConfig
    wrapped: ClassVar[bool] = False
    record: ClassVar[DatasetRecord] = DatasetRecord(
        name="folder",
        title="Your own images: in the layout of MVTec AD or VisA, in class folders, or listed in a CSV file",
        modality="industrial",
        home="-",
        licence="yours",
        citation="-",
        layout="; ".join(
            f"layout={name}: {kind.layout}"
            for name, kind in (("mvtec", ByMvtec), ("visa", ByVisa), ("classes", ByClass), ("csv", ByCsv))
        ),
        splits="yours; val is carved from the training normals (10 %) where you give none; images without a split "
        "are dealt, seeded: normals 60/15/25 % train/val/test, anomalies 35/15/50 % labelled/val/test; "
        "dataset.labelled_from_test=0.3 turns that share of the test anomalies into labelled ones",
        masks="ground_truth/DEFECT/NAME_mask.* or NAME.* (mvtec), Data/Masks/Anomaly/NAME.* (visa), the column mask "
        "(csv), none (classes); anomalous where > dataset.mask_threshold; without masks pixel metrics are null",
        known_problems="-",
        version="yours",
    )

    def __init__(self, config: FolderConfig) -> None:
        self._arrangement = _arrangement(config)
        super().__init__(config)

    @property
    def mask_threshold(self) -> int:
        """As configured."""
        return self.config.mask_threshold

    def missing(self, problem: str) -> RequestError:
        """The error for images that are not where the user said, or nowhere."""
        allowed = self._arrangement.layout
        if self.config.root is None:
            return RequestError(
                "dataset 'folder' needs to know where the images are",
                allowed=allowed,
                remedy="adbench run suite=... dataset=folder dataset.root=PATH",
            )
        return RequestError(
            f"dataset.root={problem}",
            allowed=allowed,
            remedy="give the right path, arrange it so, or choose another dataset.layout (mvtec, visa, classes, csv)",
        )

    def find_categories(self, root: Path) -> dict[str, Path]:
        """By the layout."""
        return self._arrangement.categories(root)

    def find(self, category: str, base: Path) -> Found:
        """By the layout."""
        return self._arrangement.find(category, base)

    def fingerprint_of(self, category: str, facts: Mapping[str, FileFacts]) -> str:
        """Of the files, and of the layout, which says which of them are images and which masks."""
        files, layout = super().fingerprint_of(category, facts), self.config.layout
        return files if layout == "mvtec" else f"{files}-{layout}"

    def has_masks(self, category: str) -> bool:
        """In the layout of MVTec AD, whether a ground_truth folder exists."""
        if self.config.layout == "mvtec":
            return (self.base(category) / "ground_truth").is_dir()
        return super().has_masks(category)

    def modality(self, category: str) -> Modality:
        """As configured."""
        return self.config.modality

    def split_rule(self) -> SplitRule:
        """The folder's own roles, with what the configuration moves."""
        return SplitRule(labelled_from_test=self.config.labelled_from_test)


def _arrangement(config: FolderConfig) -> Arrangement:
    """What reads the configured layout; RequestError for a parameter that it lacks or has no use for."""
    layout = config.layout
    if config.normal and layout != "classes":
        raise RequestError(f"dataset.normal has no meaning with layout={layout}", remedy="add dataset.layout=classes")
    if config.table and layout not in ("csv", "visa"):
        raise RequestError(f"dataset.table has no meaning with layout={layout}", remedy="add dataset.layout=csv")
    if layout == "classes":
        return ByClass(config.normal)
    if layout == "csv":
        return ByCsv(config.table)
    return ByVisa(config.table) if layout == "visa" else ByMvtec()
