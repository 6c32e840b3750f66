"""What a dataset is: typed facts (its record), parameters, samples without pixels, and pixels on demand."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Role = Literal["train", "labelled", "val", "test"]
ROLES: tuple[Role, ...] = ("train", "labelled", "val", "test")
Modality = Literal["industrial", "medical"]
AnomalyKind = Literal["good", "structural", "logical"]


@dataclass(frozen=True)
class Archive:
    """A file that a dataset is handed out in: an archive, or a CSV table by itself. ``url`` is a plain public
    address, None where terms must be accepted by hand; ``into`` is the folder under the dataset's root
    for its content."""

    name: str
    url: str | None = None
    md5: str | None = None
    into: str = ""


@dataclass(frozen=True)
class DatasetRecord:
    """Facts about a dataset, printed by ``adbench show dataset NAME``."""

    name: str
    title: str
    modality: Modality
    home: str
    licence: str
    citation: str
    layout: str
    """Where the images lie, or how they come to be."""
    splits: str
    """How train, labelled, val and test are made."""
    masks: str
    """Whether pixel masks exist and how they are read."""
    known_problems: str
    version: str
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Images of each category as published, by "normal" and "anomalous" after the part they lie in, if there are
    parts: {"bottle": {"train normal": 209, "test normal": 20, "test anomalous": 63}}. Empty where nobody says."""
    archives: tuple[Archive, ...] = ()
    """What `adbench data prepare` unpacks."""

    @property
    def can_be_fetched(self) -> bool:
        """Whether all archives are known and have a plain public address."""
        return bool(self.archives) and all(archive.url for archive in self.archives)


class DatasetConfig(BaseModel):
    """Parameters of a dataset (``dataset.NAME=VALUE``); every dataset declares a subclass."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a category, without its pixels.

    ``image_id`` is unique within the category, stable under the order of files, and made of '/'-separated parts.
    ``label`` is 0 (normal) or 1 (anomalous). ``defect_type`` is "good" or the defect's name. ``role`` is the split
    the dataset itself assigns, or None where adbench carves it. ``group`` names a patient or item whose images
    must stay in one split.
    """

    image_id: str
    label: int
    defect_type: str = "good"
    kind: AnomalyKind = "good"
    role: Role | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Saturation:
    """When a defect counts as found (MVTec LOCO): ``threshold`` pixels, or that share of its area if ``relative``."""

    threshold: float
    relative: bool

    def pixels(self, area: int) -> int:
        """The saturation area in pixels of a defect of ``area`` pixels."""
        return int(self.threshold * area) if self.relative else int(min(self.threshold, area))


@dataclass(frozen=True, slots=True)
class Mask:
    """Ground truth of one anomalous image at its own resolution.

    ``channels`` is bool [C, H, W], one channel per defect (C = 1 unless the dataset tells defects apart);
    ``saturation`` has one entry per channel, or is empty where sPRO is not defined.
    """

    channels: NDArray[np.bool_]
    saturation: tuple[Saturation, ...] = ()

    @property
    def union(self) -> NDArray[np.bool_]:
        """All anomalous pixels, bool [H, W]."""
        return np.asarray(self.channels.any(axis=0), dtype=np.bool_)


@dataclass(frozen=True)
class SplitRule:
    """How samples without a role of their own are dealt out.

    ``normal`` are the shares of (train, val, test) among unassigned normal images, ``anomalous`` those of (labelled,
    val, test) among unassigned anomalies. ``val_from_train`` is the share of official training normals that becomes
    val where a dataset has no val of its own. ``labelled_from_test`` is the share of official test anomalies that
    leaves test for the labelled pool (0: none, the one-class protocol). ``train_on_labelled_groups``: a group with
    anomalies in the labelled pool has its normal images in train (otherwise they are left out), for datasets in which
    every group has anomalies.
    """

    normal: tuple[float, float, float] = (0.6, 0.15, 0.25)
    anomalous: tuple[float, float, float] = (0.35, 0.15, 0.5)
    val_from_train: float = 0.1
    labelled_from_test: float = 0.0
    train_on_labelled_groups: bool = False


class Dataset(ABC):
    """A dataset opened with its parameters.

    Subclasses set ``record`` and ``config_class`` and are built as ``Dataset(config)``; opening is cheap and reads
    no pixels. Every method raises ``RequestError`` where data is missing or broken.
    """

    record: ClassVar[DatasetRecord]
    config_class: ClassVar[type[DatasetConfig]]
    config: DatasetConfig
    normal_everywhere: ClassVar[bool] = True
    """Whether what is normal in one category is no anomaly in another, so that one model can serve all."""

    @abstractmethod
    def __init__(self, config: Any) -> None:
        """Open the dataset with an instance of its ``config_class``."""

    @abstractmethod
    def categories(self) -> tuple[str, ...]:
        """Names of the categories, in the order in which they are shown."""

    @abstractmethod
    def samples(self, category: str) -> Sequence[Sample]:
        """All samples of a category, sorted by image_id."""

    @abstractmethod
    def load_image(self, category: str, sample: Sample) -> NDArray[np.uint8]:
        """Pixels as uint8 [H, W, 3], grey images repeated over the three channels."""

    @abstractmethod
    def load_mask(self, category: str, sample: Sample) -> Mask | None:
        """Ground truth of an anomalous sample, or None where the dataset has no masks or the sample is normal."""

    @abstractmethod
    def fingerprint(self, category: str) -> str:
        """Content hash of a category (hex): equal content gives the same, a changed pixel another."""

    def verify(self, category: str) -> list[str]:
        """Every problem found in the category's files, each a sentence naming the file; empty if all is well."""
        return []

    def notes(self, category: str) -> list[str]:
        """What every run on the category must say of its files, a sentence each."""
        return []

    def image_size(self, category: str, sample: Sample) -> tuple[int, int]:
        """Height and width of the original image, the resolution at which maps are judged."""
        height, width = self.load_image(category, sample).shape[:2]
        return (height, width)

    def split_rule(self) -> SplitRule:
        """How samples without a role of their own are dealt out."""
        return SplitRule()

    def modality(self, category: str) -> Modality:
        """Modality of a category: methods have other defaults for medical and industrial images."""
        return self.record.modality

    def has_masks(self, category: str) -> bool:
        """Whether anomalous images of the category come with exact pixel masks."""
        return True

    def saturation_defined(self, category: str) -> bool:
        """Whether the masks carry saturation thresholds, so that sPRO is defined."""
        return False
