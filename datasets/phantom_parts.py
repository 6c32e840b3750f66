"""The small parts of the kit, each drawn in its own box: screw, nut, cap, washer, dowel and spring."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adbench.datasets.phantom_noise import Array, blur, box_distance

HALF_SIDE = 0.105
"""Half side, in image sides, of the square box that holds any part and its shadow."""


@dataclass(frozen=True)
class Part:
    """One part: what it is, where it lies (centre, radians) and how it differs from its like.

    ``shade`` changes its brightness, ``hue`` (-1..1) its colour (0 is right), ``look`` seeds its fine marks.
    """

    kind: str
    compartment: int
    y: float
    x: float
    turn: float
    shade: float
    hue: float
    look: int


def _box(part: Part, size: int) -> tuple[slice, slice]:
    low_y, low_x = int((part.y - HALF_SIDE) * size), int((part.x - HALF_SIDE) * size)
    side = int(2 * HALF_SIDE * size) + 2
    return (
        slice(max(low_y, 0), min(low_y + side, size)),
        slice(max(low_x, 0), min(low_x + side, size)),
    )


def _local(part: Part, size: int) -> tuple[Array, Array]:
    """Coordinates (y, x) in the part's own frame at the pixels of its box."""
    rows, columns = _box(part, size)
    dy = ((np.arange(rows.start, rows.stop) + 0.5) / size - part.y)[:, None]
    dx = ((np.arange(columns.start, columns.stop) + 0.5) / size - part.x)[None, :]
    c, s = np.cos(part.turn), np.sin(part.turn)
    return c * dy - s * dx, s * dy + c * dx


def _distance(kind: str, y: Array, x: Array) -> Array:
    """About the signed distance to a part of this kind at the origin, long side along y."""
    radius = np.hypot(y, x)
    if kind == "screw":
        thread = 0.0022 * np.abs(((y / 0.0085) % 1) * 2 - 1)
        shank = np.maximum(np.abs(x) - 0.0115 - thread, np.abs(y - 0.018) - 0.058)
        tip = np.maximum(np.abs(x) - 0.0115 + 0.9 * np.maximum(y - 0.062, 0), np.abs(y - 0.02) - 0.064)
        return np.asarray(np.minimum(np.minimum(shank, tip), box_distance(y + 0.052, x, (0.0145, 0.028), 0.012)))
    if kind == "nut":
        angle = np.arctan2(y, x)
        sector = (angle + np.pi / 6) % (np.pi / 3) - np.pi / 6
        return np.asarray(np.maximum(radius * np.cos(sector) - 0.042, 0.021 - radius))
    if kind == "washer":
        return np.asarray(np.maximum(radius - 0.044, 0.019 - radius))
    if kind == "cap":
        return np.asarray(radius - 0.050 + 0.0015 * np.cos(24 * np.arctan2(y, x)))
    if kind == "dowel":
        return box_distance(y, x, (0.075, 0.019), 0.013)
    coil = np.abs(x) - 0.021 - 0.002 * np.cos(2 * np.pi * y / 0.0135)
    return np.asarray(np.maximum(coil, np.abs(y) - 0.068))


def _colour(kind: str, hue: float) -> Array:
    """Base colour; a wrong ``hue`` turns the coloured kinds towards another plastic's colour."""
    base = {
        "screw": (0.62, 0.63, 0.66),
        "nut": (0.70, 0.60, 0.36),
        "washer": (0.72, 0.73, 0.76),
        "cap": (0.72, 0.14, 0.12),
        "dowel": (0.72, 0.52, 0.30),
        "spring": (0.48, 0.50, 0.54),
    }[kind]
    other = {
        "cap": ((0.80, 0.52, 0.10), (0.30, 0.14, 0.45)),
        "dowel": ((0.35, 0.42, 0.50), (0.30, 0.48, 0.30)),
    }
    if hue and kind in other:
        towards = other[kind][0 if hue > 0 else 1]
        return np.asarray(np.asarray(base) + abs(hue) * (np.asarray(towards) - np.asarray(base)))
    return np.asarray(base)


def _relief(kind: str, y: Array, x: Array, radius: Array) -> Array:
    """Height of the part's surface (image sides), from which its shading follows."""
    if kind == "screw":
        thread = 0.0015 * np.cos(2 * np.pi * (y + 0.25 * x) / 0.0085)
        shank = np.sqrt(np.clip(0.014**2 - x * x, 0, None)) + thread
        head = 0.016 * np.sqrt(np.clip(1 - (x / 0.028) ** 2, 0, 1)) + 0.004
        return np.asarray(np.where(y < -0.036, head, shank))
    if kind == "nut":
        return np.asarray(0.02 - 0.25 * np.maximum(radius - 0.036, 0) - 0.35 * np.maximum(0.026 - radius, 0))
    if kind == "washer":
        return np.asarray(0.003 - 0.15 * np.maximum(radius - 0.041, 0) - 0.15 * np.maximum(0.022 - radius, 0))
    if kind == "cap":
        return np.asarray(0.03 - 0.6 * np.maximum(radius - 0.038, 0) - 0.006 * (np.abs(radius - 0.025) < 0.004))
    if kind == "dowel":
        grooves = 0.001 * np.cos(2 * np.pi * np.arcsin(np.clip(x / 0.02, -1, 1)) / 0.5)
        return np.asarray(np.sqrt(np.clip(0.020**2 - x * x, 0, None)) + grooves)
    winding = 0.004 * np.cos(2 * np.pi * (y + 0.12 * x) / 0.0135)
    return np.asarray(0.7 * np.sqrt(np.clip(0.024**2 - x * x, 0, None)) + winding)


def part_shape(part: Part, size: int) -> NDArray[np.bool_]:
    """Pixels of the part, bool [size, size]."""
    mask = np.zeros((size, size), dtype=np.bool_)
    mask[_box(part, size)] = _distance(part.kind, *_local(part, size)) <= 0.5 / size
    return mask


def paint_part(rgb: Array, part: Part) -> Array:
    """A copy of ``rgb`` [H, W, 3] with the part and its shadow, lit from the upper left."""
    size = rgb.shape[0]
    box = _box(part, size)
    y, x = _local(part, size)
    distance = _distance(part.kind, y, x)
    share = np.clip(0.5 - distance * size, 0, 1)
    slope_y, slope_x = np.gradient(_relief(part.kind, y, x, np.hypot(y, x)) * size)
    up = 1 / np.sqrt(1 + slope_y**2 + slope_x**2)
    facing = (1.0 - 0.55 * slope_y - 0.4 * slope_x) * up / 1.21
    metal = part.kind in ("screw", "nut", "washer", "spring")
    gleam = (0.55 if metal else 0.3) * np.clip(facing, 0, 1) ** (14 if metal else 24)
    marks = np.random.default_rng(part.look).normal(0, 0.05, (12, 12))
    wear = marks[(y * 140).astype(int) % 12, (x * 140).astype(int) % 12] if metal else 0.0
    tone = (0.22 + 0.78 * np.clip(facing, 0, 1.2)) * (1 + part.shade + wear)
    colour = _colour(part.kind, part.hue) * tone[..., None] + gleam[..., None]
    down = np.roll(share, (round(0.008 * size), round(0.006 * size)), axis=(0, 1))
    shadow = 0.5 * blur(down, 0.018)
    painted = np.array(rgb)
    under = painted[box] * (1 - shadow[..., None])
    painted[box] = under + share[..., None] * (colour - under)
    return painted
