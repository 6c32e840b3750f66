"""Every dataset on disk in miniature: its exact layout, a few small drawn images."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from mini_mvtec import mpdd, mvtec_ad, mvtec_ad2, mvtec_loco
from mini_surfaces import btad, dagm, kolektor_sdd, kolektor_sdd2
from mini_tables import isic2018, medianomaly, real_iad, visa

MINIATURES: Mapping[str, Callable[[Path], Path]] = {
    "braintumor": partial(medianomaly, folder="BrainTumor"),
    "btad": btad,
    "dagm": dagm,
    "isic2018": isic2018,
    "kolektor_sdd": kolektor_sdd,
    "kolektor_sdd2": kolektor_sdd2,
    "lag": partial(medianomaly, folder="LAG"),
    "mpdd": mpdd,
    "mvtec_ad": mvtec_ad,
    "mvtec_ad2": mvtec_ad2,
    "mvtec_loco": mvtec_loco,
    "real_iad": real_iad,
    "rsna": partial(medianomaly, folder="RSNA"),
    "vincxr": partial(medianomaly, folder="VinCXR"),
    "visa": visa,
}
"""Writers by the dataset's name: each makes the dataset under a root and returns it."""
