"""Every dataset on disk in miniature: its exact layout, a few small drawn images."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mini_medical import bmad, br35h, brats2021, camelyon16, chest_xray2017, oct2017
from mini_mvtec import mpdd, mvtec_ad, mvtec_ad2, mvtec_loco
from mini_surfaces import btad, dagm, kolektor_sdd, kolektor_sdd2
from mini_tables import dtd, isic2018, listed, medianomaly, real_iad, visa

MINIATURES: Mapping[str, Callable[[Path], Path]] = {
    "bmad": bmad,
    "br35h": br35h,
    "braintumor": partial(medianomaly, folder="BrainTumor"),
    "brats2021": brats2021,
    "btad": btad,
    "camelyon16": camelyon16,
    "chest_xray2017": chest_xray2017,
    "dagm": dagm,
    "dtd": dtd,
    "isic2018": isic2018,
    "kolektor_sdd": kolektor_sdd,
    "kolektor_sdd2": kolektor_sdd2,
    "lag": partial(medianomaly, folder="LAG"),
    "mpdd": mpdd,
    "mvtec_ad": mvtec_ad,
    "mvtec_ad2": mvtec_ad2,
    "mvtec_loco": mvtec_loco,
    "oct2017": oct2017,
    "real_iad": real_iad,
    "rsna": partial(medianomaly, folder="RSNA"),
    "vincxr": partial(medianomaly, folder="VinCXR"),
    "visa": visa,
}
"""Writers by the dataset's name: each makes the dataset under a root and returns it."""

ON_DISK: Mapping[str, tuple[str, dict[str, Any], Callable[[Path], Path]]] = {
    **{name: (name, {}, write) for name, write in MINIATURES.items()},
    "folder as mvtec": ("folder", {}, mvtec_ad),
    "folder as visa": ("folder", {"layout": "visa"}, visa),
    "folder of classes": ("folder", {"layout": "classes", "normal": "no"}, br35h),
    "folder with a table": ("folder", {"layout": "csv", "table": "list.csv"}, listed),
}
"""Whatever can be read from disk: a dataset's name, its parameters, and the writer of a root that they fit."""
