"""Every dataset on disk in miniature: its exact layout, a few small drawn images."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from mini_mvtec import mvtec_ad
from mini_tables import isic2018, medianomaly, real_iad, visa

MINIATURES: Mapping[str, Callable[[Path], Path]] = {
    "braintumor": partial(medianomaly, folder="BrainTumor"),
    "isic2018": isic2018,
    "lag": partial(medianomaly, folder="LAG"),
    "mvtec_ad": mvtec_ad,
    "real_iad": real_iad,
    "rsna": partial(medianomaly, folder="RSNA"),
    "vincxr": partial(medianomaly, folder="VinCXR"),
    "visa": visa,
}
"""Writers by the dataset's name: each makes the dataset under a root and returns it."""
