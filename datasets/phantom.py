"""The drawn dataset ``phantom``: ten categories of images painted by adbench, with exact pixel masks."""

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from adbench.datasets.base import Dataset, DatasetConfig, DatasetRecord, Mask, Modality, Role, Sample
from adbench.datasets.errors import RequestError
from adbench.datasets.phantom_draw import CATEGORIES, PHANTOM_VERSION, Order, category_named, draw


class PhantomConfig(DatasetConfig):
    """How many images are drawn, how large, and how visible their defects are."""

    size: int = Field(256, ge=32, le=2048, description="side of the square images in pixels")
    n_train: int = Field(100, ge=1, le=100_000, description="normal images to train on")
    n_val: int = Field(30, ge=0, le=100_000, description="normal images of the validation split")
    n_val_anomalous: int = Field(20, ge=0, le=100_000, description="anomalous images of the validation split")
    n_test: int = Field(40, ge=0, le=100_000, description="normal images of the test split")
    n_test_anomalous: int = Field(40, ge=0, le=100_000, description="anomalous images of the test split")
    n_labelled: int = Field(25, ge=0, le=100_000, description="pool of image-labelled anomalies")
    anomalies: Literal["all", "structural", "logical"] = Field(
        "all", description="kinds of defects that are drawn; logical ones exist in kit alone"
    )
    contrast: float = Field(
        1.0, ge=0.25, le=4.0, description="how strongly defects differ from what is normal (1 = standard)"
    )
    extent: float = Field(1.0, ge=0.25, le=3.0, description="size of the defects (1 = standard)")
    seed: int = Field(0, ge=0, lt=2**32, description="another seed draws other images")


RECORD = DatasetRecord(
    name="phantom",
    title="adbench phantom: drawn textures, objects and medical images",
    modality="industrial",
    home="drawn by adbench, see docs/phantom.md",
    licence="Apache-2.0 (part of adbench)",
    citation=f"adbench phantom, drawing version {PHANTOM_VERSION}",
    layout="no files: every image is drawn on demand from (seed, category, image id)",
    splits="assigned by construction: train and test, val with anomalies of its own, and a pool of labelled"
    " anomalies of the same defect types; defect types are dealt out evenly",
    masks="exact: the pixels that differ visibly from the clean twin; kit: one channel per marked region with"
    " saturation, after MVTec LOCO",
    known_problems="drawn images are no substitute for real ones: a ranking found here need not hold"
    " elsewhere; contrast has no effect on missing, extra, swapped and misplaced parts",
    version=str(PHANTOM_VERSION),
)


class Phantom(Dataset):
    """The drawn dataset; images and masks depend on nothing but the configuration and their image id."""

    record = RECORD
    config_class = PhantomConfig

    def __init__(self, config: PhantomConfig) -> None:
        self.config: PhantomConfig = config

    def categories(self) -> tuple[str, ...]:
        """Four textures, an object, the logical category, then four medical categories."""
        return tuple(CATEGORIES)

    def samples(self, category: str) -> Sequence[Sample]:
        """All samples of a category, sorted by image_id; raises ``RequestError`` for an unknown category."""
        category_named(category)
        return _samples(category, self.config)

    def load_image(self, category: str, sample: Sample) -> NDArray[np.uint8]:
        """Pixels as uint8 [size, size, 3]; raises ``RequestError`` for an unknown category or defect type."""
        return draw(self._order(category, sample)).image.copy()

    def load_mask(self, category: str, sample: Sample) -> Mask | None:
        """The exact mask [C, size, size], never empty, or None for a normal sample."""
        if sample.label == 0:
            category_named(category)
            return None
        return draw(self._order(category, sample)).mask

    def fingerprint(self, category: str) -> str:
        """Hash of what determines the pixels and roles: category, configuration and drawing version."""
        category_named(category)
        facts = {"category": category, "version": PHANTOM_VERSION, **self.config.model_dump()}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def image_size(self, category: str, sample: Sample) -> tuple[int, int]:
        """Every image is drawn at the configured size."""
        return (self.config.size, self.config.size)

    def modality(self, category: str) -> Modality:
        """Medical for brain, retina, chest and skin."""
        return category_named(category).modality

    def saturation_defined(self, category: str) -> bool:
        """True for the logical category ``kit`` only."""
        return category_named(category).saturated

    def _order(self, category: str, sample: Sample) -> Order:
        c = self.config
        return Order(category, sample.image_id, sample.defect_type, c.size, c.seed, c.contrast, c.extent)


@lru_cache(maxsize=32)
def _samples(category: str, config: PhantomConfig) -> tuple[Sample, ...]:
    counts: tuple[tuple[Role, int, int], ...] = (
        ("train", config.n_train, 0),
        ("labelled", 0, config.n_labelled),
        ("val", config.n_val, config.n_val_anomalous),
        ("test", config.n_test, config.n_test_anomalous),
    )
    wanted = ("structural", "logical") if config.anomalies == "all" else (config.anomalies,)
    defects = [(name, kind) for name, kind in CATEGORIES[category].defects.items() if kind in wanted]
    if not defects:
        raise RequestError(
            f"category '{category}' of phantom has no {config.anomalies} anomalies",
            remedy="take category=kit, or dataset.anomalies=all",
        )
    found = []
    for role, normal, anomalous in counts:
        found += [Sample(f"{role}/good/{n:05d}", 0, role=role) for n in range(normal)]
        for n in range(anomalous):
            name, kind = defects[n % len(defects)]
            found.append(Sample(f"{role}/{name}/{n // len(defects):05d}", 1, name, kind, role))
    return tuple(sorted(found, key=lambda sample: sample.image_id))
