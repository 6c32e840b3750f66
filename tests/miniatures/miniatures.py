"""Every dataset on disk in miniature: its exact layout, a few small drawn images."""

from collections.abc import Callable, Mapping
from pathlib import Path

from mini_mvtec import mpdd, mvtec_ad, mvtec_ad2, mvtec_loco
from mini_surfaces import btad, dagm, kolektor_sdd, kolektor_sdd2

MINIATURES: Mapping[str, Callable[[Path], Path]] = {
    "btad": btad,
    "dagm": dagm,
    "kolektor_sdd": kolektor_sdd,
    "kolektor_sdd2": kolektor_sdd2,
    "mpdd": mpdd,
    "mvtec_ad": mvtec_ad,
    "mvtec_ad2": mvtec_ad2,
    "mvtec_loco": mvtec_loco,
}
"""Writers by the dataset's name: each makes the dataset under a root and returns it."""
