"""Every dataset on disk in miniature: its exact layout, a few small drawn images."""

from collections.abc import Callable, Mapping
from pathlib import Path

from mini_mvtec import mvtec_ad

MINIATURES: Mapping[str, Callable[[Path], Path]] = {
    "mvtec_ad": mvtec_ad,
}
"""Writers by the dataset's name: each makes the dataset under a root and returns it."""
