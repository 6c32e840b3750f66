"""A small set of images on which every method can be trained within seconds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image

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
    """The tiny sets at an image size in pixels: of square colour images if it is even, of oblong grey ones if odd."""
    root = tmp_path_factory.mktemp("tiny") / "grating"
    shown = {"train": 12, "test": 8, "defects": {"blob": 8}, "labelled": {"blob": 4}}
    mvtec_folder(root, **shown, size=(80, 80))
    for path in mvtec_folder(root.with_name("grey") / "grating", **shown, size=(80, 61)).rglob("*.png"):
        Image.open(path).convert("L").save(path)
    return lambda size: tiny_sets_of(root if size % 2 == 0 else root.with_name("grey") / "grating", size)


@pytest.fixture(scope="session", name="tiny_sets_of")
def tiny_sets_of_folder() -> Callable[[Path, int], TinySets]:
    """The maker of tiny sets from a folder."""
    return tiny_sets_of


def tiny_sets_of(root: Path, size: int) -> TinySets:
    """The tiny sets of a folder."""
    dataset = Unmasked(FolderConfig(root=str(root)))

    def of(role: Role | None, step: int = 1) -> ImageSet:
        chosen = [sample for sample in dataset.samples("grating") if sample.role == role]
        return ImageSet(dataset, "grating", chosen[::step], size, Cache(root.with_name("cache")))

    return TinySets(of("train"), of("labelled"), of(None), of("test"), of("train", -1))
