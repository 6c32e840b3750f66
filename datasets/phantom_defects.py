"""Defects laid onto a drawn surface: scratch, crack, stain, hole, and a local warp of the picture."""

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from adbench.datasets.base import Saturation
from adbench.datasets.phantom_noise import (
    Array,
    Rng,
    blob_distance,
    cover,
    fractal,
    grid,
    mix,
    noise,
    path_distance,
    smoothstep,
    walk,
)

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Defect:
    """What is wrong with an image; ``strength`` (visible difference) and ``extent`` (size): 1 = standard."""

    name: str
    strength: float
    extent: float
    rng: Rng

    def opacity(self, standard: float) -> float:
        """``standard`` times the strength, kept below 1."""
        return float(1 - np.exp(-self.strength * -np.log1p(-standard)))

    def place(self, margin: float) -> tuple[float, float]:
        """A point (y, x) at least ``margin`` from the border."""
        y, x = self.rng.uniform(margin, 1 - margin, 2)
        return float(y), float(x)


@dataclass(frozen=True)
class Drawing:
    """A painted image: ``rgb`` [H, W, 3 or 1] with 0..1 as black to white, before it is rounded to 8 bits.

    ``regions`` (bool [C, H, W]) and ``saturation`` are given by logical anomalies only, whose ground truth is
    a place rather than the changed pixels.
    """

    rgb: Array
    regions: NDArray[np.bool_] | None = None
    saturation: tuple[Saturation, ...] = ()


def scratch(rgb: Array, defect: Defect, start: tuple[float, float], colour: Colour, reach: float = 0.3) -> Array:
    """A curved line of uneven pressure, ``colour`` in its middle and a thin shadow along it."""
    rng, size = defect.rng, rgb.shape[0]
    length = reach * defect.extent * float(rng.uniform(0.6, 1.4))
    width = 0.003 * float(rng.uniform(0.8, 1.5)) * defect.extent**0.5
    points = walk(rng, start, float(rng.uniform(0, 2 * np.pi)), length, 14, 0.09)
    distance, along = path_distance(size, points, 4 * width + 2 / size)
    pressure = np.interp(along, np.linspace(0, 1, 12), np.r_[0.35, rng.uniform(0.35, 1, 10), 0.35])
    core = cover(distance - width, size, width) * pressure
    shadow = cover(distance - 2.5 * width, size, 2 * width) * pressure
    amount = defect.opacity(0.6)
    return mix(rgb * (1 - 0.3 * amount * shadow[..., None]), colour, amount * core)


def crack(rgb: Array, defect: Defect, points: Array, width: float) -> Array:
    """A thin dark jagged line along ``points`` [n, 2], tapering towards its end, with a lit lower lip."""
    size = rgb.shape[0]
    distance, along = path_distance(size, points, 4 * width + 2 / size)
    taper = width * (1 - 0.75 * along)
    dark = cover(distance - taper, size, 0.5 * width) * defect.opacity(0.75)
    lip = np.roll(dark, max(1, round(1.5 * width * size)), axis=0)
    return np.asarray(rgb * (1 - 0.85 * dark[..., None]) + 0.12 * (lip * (1 - dark))[..., None])


def jagged(rng: Rng, start: tuple[float, float], heading: float, length: float) -> Array:
    """Points of a crack's path: a straight course with sharp turns to both sides."""
    course = walk(rng, start, heading, length, 16, 0.1)
    sideways = np.array([[np.cos(heading), -np.sin(heading)]])
    return np.asarray(course + rng.normal(0, 0.018 * length, (17, 1)) * sideways)


def stain(rgb: Array, defect: Defect, centre: tuple[float, float], tint: Colour, radius: float = 0.07) -> Array:
    """A dried patch: multiplies by ``tint``, uneven inside and darker along its outline."""
    rng, size = defect.rng, rgb.shape[0]
    y, x = grid(size)
    radius = radius * defect.extent
    wobble = 0.12 * radius * fractal(rng, size, 10, 2)
    distance = blob_distance(rng, y - centre[0], x - centre[1], radius, 0.15) + wobble
    rim = np.exp(-(((distance + 0.1 * radius) / (0.1 * radius)) ** 2))
    body = cover(distance, size, 0.12 * radius) * (0.75 + 0.15 * noise(rng, size, 14) + 0.35 * rim)
    share = defect.opacity(0.45) * np.clip(body, 0, 1.2)
    return np.asarray(rgb * (1 - share[..., None] * (1 - np.asarray(tint, dtype=np.float32))))


def hole(rgb: Array, defect: Defect, centre: tuple[float, float], floor: Colour, radius: float = 0.025) -> Array:
    """A ragged pit with a dark ``floor``, a shadowed upper and a lit lower wall."""
    rng, size = defect.rng, rgb.shape[0]
    y, x = grid(size)
    radius = radius * defect.extent
    dy, dx = y - centre[0], x - centre[1]
    distance = blob_distance(rng, dy, dx, radius, 0.18) + 0.15 * radius * noise(rng, size, 40)
    inside = cover(distance, size, 0.2 * radius) * defect.opacity(0.8)
    wall = np.exp(-((distance / (0.35 * radius)) ** 2)) * np.clip((dy + 0.5 * dx) / radius, -1, 1)
    lit = np.asarray(rgb * (1 + defect.opacity(0.35) * wall[..., None]))
    shade = np.asarray(floor, dtype=np.float32) * (0.7 + 0.3 * smoothstep(dy / radius, -1, 1))[..., None]
    return mix(lit, shade, inside)


def warp(rgb: Array, defect: Defect, centre: tuple[float, float], shift: float, radius: float = 0.1) -> Array:
    """Pulls the picture around ``centre`` by up to ``shift`` (image sides) one way, with some twist."""
    rng, size = defect.rng, rgb.shape[0]
    y, x = grid(size)
    radius = radius * defect.extent
    dy, dx = y - centre[0], x - centre[1]
    fall = np.exp(-((dy * dy + dx * dx) / (radius * radius)) * 1.3)
    turn, twist = float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(-0.5, 0.5))
    amount = shift * defect.strength * fall * size
    rows = np.arange(size)[:, None] + amount * (np.sin(turn) + twist * dx / radius)
    columns = np.arange(size)[None, :] + amount * (np.cos(turn) - twist * dy / radius)
    channels = [
        scipy.ndimage.map_coordinates(rgb[..., c], [rows, columns], order=1, mode="mirror")
        for c in range(rgb.shape[2])
    ]
    return mix(rgb, np.stack(channels, axis=-1), smoothstep(fall, 0.03, 0.12))
