"""Brushes of the drawn images: coordinates, smooth noise, shapes and the camera, in units of the image side.

Everything random is drawn on grids whose size does not depend on the number of pixels, so that the same
generator gives the same picture at any size; only the camera's pixel noise is per pixel.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Rng = np.random.Generator

# Mean of the squared cubic B-spline weights, so that spline noise has unit deviation.
_SPLINE_POWER = 151 / 315


@lru_cache(maxsize=8)
def grid(size: int) -> tuple[Array, Array]:
    """Pixel centres in (0, 1): y [size, 1] downwards and x [1, size] to the right."""
    centres = ((np.arange(size) + 0.5) / size).astype(np.float32)
    return centres[:, None], centres[None, :]


@lru_cache(maxsize=256)
def _spline_weights(size: int, cells: int) -> Array:
    """Weights [size, cells + 3] of the uniform cubic B-spline at the pixel centres."""
    t = (np.arange(size) + 0.5) / size * cells
    first = t.astype(int)
    f = t - first
    weights = np.zeros((size, cells + 3), dtype=np.float32)
    rows = np.arange(size)
    weights[rows, first] = (1 - f) ** 3 / 6
    weights[rows, first + 1] = (3 * f**3 - 6 * f**2 + 4) / 6
    weights[rows, first + 2] = (-3 * f**3 + 3 * f**2 + 3 * f + 1) / 6
    weights[rows, first + 3] = f**3 / 6
    return weights


def noise(rng: Rng, size: int, rows: int, columns: int | None = None) -> Array:
    """Smooth noise [size, size] of zero mean and unit deviation with ``rows`` x ``columns`` grid cells."""
    columns = rows if columns is None else columns
    knots = rng.standard_normal((rows + 3, columns + 3), dtype=np.float32)
    smooth = _spline_weights(size, rows) @ knots @ _spline_weights(size, columns).T
    return np.asarray(smooth / _SPLINE_POWER)


def fractal(rng: Rng, size: int, cells: int, octaves: int, gain: float = 0.5) -> Array:
    """Sum of ``octaves`` noises, each of twice the cells and ``gain`` times the height; unit deviation."""
    total = np.zeros((size, size), dtype=np.float32)
    for octave in range(octaves):
        total += gain**octave * noise(rng, size, cells * 2**octave)
    return np.asarray(total / np.sqrt(sum(gain ** (2 * octave) for octave in range(octaves))))


def profile(rng: Rng, size: int, cells: int) -> Array:
    """Smooth noise of one variable [size], zero mean and unit deviation."""
    knots = rng.standard_normal(cells + 3, dtype=np.float32)
    return np.asarray(_spline_weights(size, cells) @ knots / np.sqrt(_SPLINE_POWER))


def noise_at(rng: Rng, rows: Array, columns: Array, shape: tuple[int, int]) -> Array:
    """Smooth noise at the given knot coordinates of a grid of ``shape`` knots, repeated by mirroring."""
    knots = rng.standard_normal(shape, dtype=np.float32)
    at = np.stack(np.broadcast_arrays(rows, columns))
    return (
        np.asarray(scipy.ndimage.map_coordinates(knots, at, order=3, mode="mirror", prefilter=False)) / _SPLINE_POWER
    )


def smoothstep(values: Array, low: float, high: float) -> Array:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def cover(distance: Array, size: int, soft: float = 0.0) -> Array:
    """Share of each pixel inside a shape of this signed distance (negative inside), ``soft`` wider."""
    return np.asarray(np.clip(0.5 - distance / (1 / size + soft), 0, 1))


def turned(size: int, centre: tuple[float, float], angle: float) -> tuple[Array, Array]:
    """Coordinates (y, x) [size, size] about ``centre`` (y, x) in a frame turned by ``angle`` radians."""
    y, x = grid(size)
    dy, dx = y - centre[0], x - centre[1]
    c, s = float(np.cos(angle)), float(np.sin(angle))
    return c * dy - s * dx, s * dy + c * dx


def box_distance(y: Array, x: Array, half: tuple[float, float], corner: float) -> Array:
    """Signed distance to a rectangle of half sides (y, x) about the origin with rounded corners."""
    qy, qx = np.abs(y) - half[0] + corner, np.abs(x) - half[1] + corner
    outside = np.hypot(np.maximum(qy, 0), np.maximum(qx, 0))
    return np.asarray(outside + np.minimum(np.maximum(qy, qx), 0) - corner)


def ellipse_distance(y: Array, x: Array, half: tuple[float, float]) -> Array:
    """About the signed distance to an ellipse of half axes (y, x) about the origin."""
    return np.asarray((np.hypot(y / half[0], x / half[1]) - 1) * min(half))


def blob_distance(rng: Rng, y: Array, x: Array, radius: float, rough: float) -> Array:
    """About the signed distance to an irregular blob about the origin; ``rough`` 0 is a disc, 0.3 ragged."""
    angle = np.arctan2(y, x)
    stretch, turn = float(np.exp(rng.normal(0, 0.15))), float(rng.uniform(0, np.pi))
    outline = 1 + (stretch - 1) * np.cos(2 * (angle - turn)) * 0.5
    for order, phase in enumerate(rng.uniform(0, 2 * np.pi, 7), start=2):
        outline = outline + rough * rng.normal(0, 1.4 / order) * np.cos(order * angle + phase)
    return np.asarray(np.hypot(y, x) - radius * np.maximum(outline, 0.25))


def walk(rng: Rng, start: tuple[float, float], heading: float, length: float, steps: int, bend: float) -> Array:
    """Points [steps + 1, 2] (y, x) of a path whose heading wanders by ``bend`` radians a step."""
    headings = heading + np.cumsum(rng.normal(0, bend, steps))
    moves = np.stack([np.sin(headings), np.cos(headings)], axis=1) * (length / steps)
    return np.concatenate([[start], np.asarray(start) + np.cumsum(moves, axis=0)]).astype(np.float32)


def path_distance(size: int, points: Array, reach: float) -> tuple[Array, Array]:
    """Distance to a path and the share of its length (0..1) at the nearest point, both [size, size].

    Exact up to ``reach`` from the path; farther pixels may hold any larger distance.
    """
    y, x = grid(size)
    distance = np.full((size, size), 9.0, dtype=np.float32)
    along = np.zeros((size, size), dtype=np.float32)
    steps = len(points) - 1
    for step in range(steps):
        a, b = points[step], points[step + 1]
        low = np.floor((np.minimum(a, b) - reach) * size).astype(int).clip(0, size)
        high = np.ceil((np.maximum(a, b) + reach) * size).astype(int).clip(0, size)
        box = (slice(low[0], high[0]), slice(low[1], high[1]))
        py, px = y[low[0] : high[0]] - a[0], x[:, low[1] : high[1]] - a[1]
        dy, dx = b - a
        t = np.clip((py * dy + px * dx) / max(float(dy * dy + dx * dx), 1e-12), 0, 1)
        found = np.hypot(py - t * dy, px - t * dx)
        nearer = found < distance[box]
        distance[box] = np.where(nearer, found, distance[box])
        along[box] = np.where(nearer, (step + t) / steps, along[box])
    return distance, along


def mix(rgb: Array, colour: Array | tuple[float, float, float], share: Array) -> Array:
    """``rgb`` [H, W, 3] blended towards ``colour`` ([3] or [H, W, 3]) by ``share`` [H, W] in 0..1."""
    return np.asarray(rgb + share[..., None] * (np.asarray(colour, dtype=np.float32) - rgb))


def blur(values: Array, sigma: float) -> Array:
    """Gaussian blur of [H, W] with ``sigma`` in units of the image side."""
    return np.asarray(scipy.ndimage.gaussian_filter(values, sigma * values.shape[0], truncate=3.0))


def lighting(rng: Rng, size: int, slope: float, unevenness: float) -> Array:
    """Smooth factor [size, size] about 1: a slope across the image and slow unevenness (a bias field)."""
    y, x = grid(size)
    turn = float(rng.uniform(0, 2 * np.pi))
    tilt = rng.normal(0, slope) * (np.cos(turn) * (y - 0.5) + np.sin(turn) * (x - 0.5))
    return np.asarray(1 + tilt + unevenness * noise(rng, size, 2))


def camera(sensor: Rng, rgb: Array, deviation: float, colour_share: float = 0.4) -> Array:
    """Adds pixel noise of ``deviation``, partly common to the channels, partly of their own."""
    size = rgb.shape[0]
    common = sensor.standard_normal((size, size, 1), dtype=np.float32)
    if rgb.shape[2] == 1:
        return np.asarray(rgb + deviation * common)
    own = sensor.standard_normal(rgb.shape, dtype=np.float32)
    return np.asarray(rgb + deviation * (common + colour_share * own))
