"""From the name of an image to its pixels and its exact mask, and the table of the categories.

An anomalous image and its clean twin are painted from the same random state; what differs visibly is the
mask, and outside the mask the image is the clean twin, pixel for pixel.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy  # its sub-modules load when first used: listing datasets stays quick
from numpy.typing import NDArray

from adbench.datasets.base import AnomalyKind, Mask, Modality, Saturation
from adbench.datasets.errors import RequestError, unknown_name
from adbench.datasets.phantom_brain import brain
from adbench.datasets.phantom_chest import chest
from adbench.datasets.phantom_defects import Defect, Drawing
from adbench.datasets.phantom_gear import gear
from adbench.datasets.phantom_kit import LOGICAL, kit
from adbench.datasets.phantom_noise import Rng
from adbench.datasets.phantom_retina import retina
from adbench.datasets.phantom_skin import skin
from adbench.datasets.phantom_textures import grain, printed, weave, wire_grid

PHANTOM_VERSION = 1
"""Raised whenever a drawing changes, so that fingerprints and caches change with it."""

VISIBLE = 5
"""A pixel differs visibly where a channel changes by at least this many of 255 levels."""

_ATTEMPTS = 16

Painter = Callable[[Rng, Rng, int, Defect | None], Drawing]


@dataclass(frozen=True)
class Category:
    """How a category is painted and what can be wrong with it: the kind of each of its defects by name."""

    paint: Painter
    defects: dict[str, AnomalyKind]
    modality: Modality = "industrial"
    saturated: bool = False


def _structural(*names: str) -> dict[str, AnomalyKind]:
    return dict.fromkeys(names, "structural")


CATEGORIES: dict[str, Category] = {
    "weave": Category(weave, _structural("hole", "missing_thread", "stain", "warp")),
    "grain": Category(grain, _structural("crack", "hole", "scratch", "stain")),
    "grid": Category(wire_grid, _structural("bent", "broken_wire", "hole", "stain")),
    "print": Category(printed, _structural("missing_ink", "scratch", "smear", "stain")),
    "gear": Category(gear, _structural("chip", "contamination", "crack", "deformation", "scratch")),
    "kit": Category(kit, {**dict.fromkeys(LOGICAL, "logical"), **_structural("scratch", "stain")}, saturated=True),
    "brain": Category(brain, _structural("haemorrhage", "mass", "small_lesions"), "medical"),
    "retina": Category(retina, _structural("disruption", "drusen", "fluid"), "medical"),
    "chest": Category(chest, _structural("effusion", "nodule", "opacity"), "medical"),
    "skin": Category(skin, _structural("irregular_border", "many_colours", "veil"), "medical"),
}


@dataclass(frozen=True)
class Order:
    """What is to be drawn; equal orders give equal pixels, and no order depends on another."""

    category: str
    image_id: str
    defect_type: str
    size: int
    seed: int
    contrast: float
    extent: float


@dataclass(frozen=True)
class Picture:
    """``image`` and ``clean`` twin (the same array if normal), uint8 [H, W, 3]; ``mask`` unless normal."""

    image: NDArray[np.uint8]
    clean: NDArray[np.uint8]
    mask: Mask | None


def category_named(name: str) -> Category:
    """The category; raises ``RequestError`` with the nearest name if there is none."""
    if name not in CATEGORIES:
        raise unknown_name("category", name, CATEGORIES)
    return CATEGORIES[name]


def _generators(order: Order, attempt: int) -> tuple[Rng, Rng, Rng]:
    """Generators of the scene, of the camera and of the defect; only the last depends on the attempt."""
    digest = hashlib.sha256(f"{order.category}/{order.image_id}".encode()).digest()
    words = [order.seed, *np.frombuffer(digest, dtype="<u4").tolist()]
    scene, sensor, defect = (np.random.default_rng([*words, part]) for part in range(3))
    return scene, sensor, np.random.default_rng([*words, 3, attempt]) if attempt else defect


def _pixels(drawing: Drawing) -> NDArray[np.uint8]:
    levels = np.rint(np.clip(drawing.rgb, 0, 1) * 255).astype(np.uint8)
    return np.repeat(levels, 3, axis=2) if levels.shape[2] == 1 else levels


@lru_cache(maxsize=4)
def draw(order: Order) -> Picture:
    """Draws one image; the last few are kept, as image and mask are asked for one after the other.

    How strong and how large a defect is varies from image to image about the ordered contrast and extent.
    A defect that cannot be seen (all of it below ``VISIBLE``) is drawn again, elsewhere, stronger and larger.
    """
    category = category_named(order.category)
    scene, sensor, _ = _generators(order, 0)
    clean = _pixels(category.paint(scene, sensor, order.size, None))
    if order.defect_type == "good":
        return Picture(clean, clean, None)
    if order.defect_type not in category.defects:
        raise unknown_name("defect type", order.defect_type, category.defects)
    for attempt in range(_ATTEMPTS):
        scene, sensor, rng = _generators(order, attempt)
        strength = float(np.clip(np.exp(rng.normal(0.15, 0.45)), 0.4, 2.5))
        extent = float(np.clip(np.exp(rng.normal(0.1, 0.3)), 0.6, 1.9))
        defect = Defect(
            order.defect_type,
            order.contrast * strength * 1.3**attempt,
            order.extent * extent * 1.1**attempt,
            rng,
        )
        picture = _compared(clean, category.paint(scene, sensor, order.size, defect), category.saturated)
        if picture is not None:
            return picture
    raise RequestError(
        f"the defect '{order.defect_type}' of {order.category}/{order.image_id} is invisible at"
        f" contrast {order.contrast} and extent {order.extent}",
        remedy="raise dataset.contrast, dataset.extent or dataset.size",
    )


def _compared(clean: NDArray[np.uint8], drawing: Drawing, saturated: bool) -> Picture | None:
    """The picture with its mask, or None if fewer pixels than can be noticed differ visibly."""
    size = clean.shape[0]
    image = _pixels(drawing)
    visible = np.abs(image.astype(np.int16) - clean).max(axis=2) >= VISIBLE
    least = max(4, size * size // 10_000)
    if drawing.regions is not None:
        if int((visible & drawing.regions.any(axis=0)).sum()) < least:
            return None
        return Picture(image, clean, Mask(drawing.regions, drawing.saturation))
    filled = _filled(visible)
    if int(filled.sum()) < least:
        return None
    image = np.where(filled[..., None], image, clean)
    saturation = (Saturation(1.0, relative=True),) if saturated else ()
    return Picture(image, clean, Mask(filled[None], saturation))


def _filled(visible: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """``visible`` without lone pixels, gaps of about a hundredth of the image side closed, holes filled."""
    joined = scipy.ndimage.convolve(visible.astype(np.uint8), np.ones((3, 3), dtype=np.uint8), mode="constant")
    firm = visible & (joined >= 3)
    radius = max(1, round(firm.shape[0] / 100))
    offset = np.arange(-radius, radius + 1)
    disc = offset[:, None] ** 2 + offset[None, :] ** 2 <= radius * radius
    padded = np.pad(firm, radius)
    closed = scipy.ndimage.binary_erosion(scipy.ndimage.binary_dilation(padded, disc), disc)
    inner = closed[radius:-radius, radius:-radius] | firm
    return np.asarray(scipy.ndimage.binary_fill_holes(inner), dtype=np.bool_)
