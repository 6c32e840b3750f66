"""Every dataset on disk in miniature: its exact layout, a few small drawn images."""

from collections.abc import Callable, Mapping
from pathlib import Path

from mini_medical import bmad, br35h, brats2021, camelyon16, chest_xray2017, oct2017
from mini_mvtec import mvtec_ad

MINIATURES: Mapping[str, Callable[[Path], Path]] = {
    "bmad": bmad,
    "br35h": br35h,
    "brats2021": brats2021,
    "camelyon16": camelyon16,
    "chest_xray2017": chest_xray2017,
    "mvtec_ad": mvtec_ad,
    "oct2017": oct2017,
}
"""Writers by the dataset's name: each makes the dataset under a root and returns it."""
