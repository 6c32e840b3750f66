"""A small set of images on which every method can be trained within seconds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from adbench.datasets.base import Mask, Role, Sample
from adbench.datasets.cache import Cache
from adbench.datasets.folder import Folder, FolderConfig
from adbench.datasets.imageset import ImageSet


@dataclass(frozen=True)
class TinySets:
    """Gratings; anomalous ones bear a large bright blob."""

    train: ImageSet
    labelled: ImageSet
    none: ImageSet
    """No images: labelled anomalies where there are none."""
    test: ImageSet
    backwards: ImageSet
    """The images of train in reverse order."""


class Unmasked(Folder):
    """A folder that shows no mask to anyone: methods learn from image labels alone."""

    def load_mask(self, category: str, sample: Sample) -> Mask | None:
        """Nobody may ask."""
        raise AssertionError(f"the mask of {sample.image_id} was asked for")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Bit-for-bit comparisons need a fixed number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_sets(
    tmp_path_factory: pytest.TempPathFactory, mvtec_folder: Callable[..., Path]
) -> Callable[[int], TinySets]:
    """The tiny sets at an image size in pixels."""
    root = tmp_path_factory.mktemp("tiny") / "grating"
    mvtec_folder(root, train=12, test=8, defects={"blob": 8}, labelled={"blob": 4}, size=(80, 80))
    dataset = Unmasked(FolderConfig(root=str(root)))

    def at(size: int) -> TinySets:
        def of(role: Role | None, step: int = 1) -> ImageSet:
            chosen = [sample for sample in dataset.samples("grating") if sample.role == role]
            return ImageSet(dataset, "grating", chosen[::step], size, Cache(root.with_name("cache")))

        return TinySets(of("train"), of("labelled"), of(None), of("test"), of("train", -1))

    return at
