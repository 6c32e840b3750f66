"""elpv: real electroluminescence images of solar cells, inside the PyPI package ``elpv-dataset``."""

import hashlib
import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from adbench.datasets.base import Dataset, DatasetConfig, DatasetRecord, Mask, Sample
from adbench.datasets.decode import read_image
from adbench.datasets.errors import RequestError, unknown_name
from adbench.datasets.file_index import FileFacts, content_hash
from adbench.datasets.imageset import index_images


class ElpvConfig(DatasetConfig):
    """Parameters of elpv."""

    doubtful: bool = Field(
        default=False, description="keep cells with defect probability 1/3 (as normal) and 2/3 (as anomalous)"
    )


class Elpv(Dataset):
    """Solar cells seen by electroluminescence; categories are the module types mono and poly."""

    config_class = ElpvConfig
    record: ClassVar[DatasetRecord] = DatasetRecord(
        name="elpv",
        title="ELPV: solar cells in electroluminescence images",
        modality="industrial",
        home="https://github.com/zae-bayern/elpv-dataset",
        licence="CC BY-NC-SA 4.0",
        citation="Buerhop-Lutz et al., EU PVSEC 2018; Deitsch et al., Solar Energy 185 (2019) 455-468",
        layout="2,624 grey images of 300x300 pixels in the package elpv-dataset (extra `elpv`); nothing to prepare",
        splits="adbench's own, seeded: normals 60/15/25 % train/val/test, defects 35/15/50 % labelled/val/test",
        masks="none: image labels only, so pixel metrics are null",
        known_problems="labels are probabilities of one expert's judgement (doubtful ones are left out by default); "
        "no module ids are published, so cells of one module can be in train and test",
        version="1.0.0",
    )

    def __init__(self, config: ElpvConfig) -> None:
        self.config: ElpvConfig = config
        self._root = _package_data()
        self._samples = {category: self._read(category) for category in self.categories()}

    def categories(self) -> tuple[str, ...]:
        """mono- and polycrystalline cells."""
        return ("mono", "poly")

    def samples(self, category: str) -> tuple[Sample, ...]:
        """Cells of one module type, sorted by file name."""
        if category not in self._samples:
            raise unknown_name("category of elpv", category, self.categories())
        return self._samples[category]

    def load_image(self, category: str, sample: Sample) -> NDArray[np.uint8]:
        """uint8 [300, 300, 3]."""
        return read_image(self._root / sample.image_id)

    def load_mask(self, category: str, sample: Sample) -> Mask | None:
        """elpv has no masks."""
        return None

    def has_masks(self, category: str) -> bool:
        """elpv has no masks."""
        return False

    def image_size(self, category: str, sample: Sample) -> tuple[int, int]:
        """Every cell is 300x300."""
        return (300, 300)

    def fingerprint(self, category: str) -> str:
        """Hash of the image files and of the labels in use."""
        return _fingerprint(self._root, self.samples(category))

    def _read(self, category: str) -> tuple[Sample, ...]:
        samples = []
        for line in (self._root / "labels.csv").read_text(encoding="utf-8").splitlines():
            path, probability_text, kind = line.split()
            probability = float(probability_text)
            if kind != category or (0.0 < probability < 1.0 and not self.config.doubtful):
                continue
            label = int(probability > 0.5)
            samples.append(
                Sample(
                    image_id=path,
                    label=label,
                    defect_type="defective" if label else "good",
                    kind="structural" if label else "good",
                )
            )
        return tuple(sorted(samples, key=lambda sample: sample.image_id))


def _package_data() -> Path:
    spec = importlib.util.find_spec("elpv_dataset")  # Found without importing: its import reads every image.
    if spec is None or spec.origin is None:
        raise RequestError(
            "dataset 'elpv' needs the package elpv-dataset, which is not installed",
            remedy="pip install 'adbench-vision[elpv]'   (91 MB, CC BY-NC-SA 4.0)",
        )
    return Path(spec.origin).parent / "data"


@cache
def _fingerprint(root: Path, samples: tuple[Sample, ...]) -> str:
    names = [sample.image_id for sample in samples]

    def hashed(facts: Mapping[str, FileFacts]) -> str:
        digest = hashlib.sha256(content_hash(facts, names).encode())
        digest.update("\n".join(f"{sample.image_id} {sample.label}" for sample in samples).encode())
        return digest.hexdigest()[:32]

    return hashed(index_images(root, names, (), hashed))
