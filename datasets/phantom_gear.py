"""A drawn industrial object: a turned steel gear wheel on a rubber mat."""

from dataclasses import dataclass

import numpy as np

from adbench.datasets.phantom_defects import Defect, Drawing, crack, jagged, scratch
from adbench.datasets.phantom_noise import (
    Array,
    Rng,
    blob_distance,
    blur,
    camera,
    cover,
    fractal,
    grid,
    lighting,
    mix,
    noise,
    profile,
    smoothstep,
)

TEETH = 18
_ROOT, _TIP, _BORE, _HUB, _WEB = 0.325, 0.385, 0.075, 0.135, 0.275
_HOLES, _HOLE_RADIUS, _HOLE_CIRCLE = 5, 0.042, 0.205


@dataclass(frozen=True)
class _Pose:
    """Where the wheel lies: centre, turn (radians) and scale."""

    cy: float
    cx: float
    turn: float
    scale: float

    def at(self, radius: float, angle: float) -> tuple[float, float]:
        """The image point (y, x) of a point of the wheel in polar coordinates."""
        r, a = radius * self.scale, angle + self.turn
        return self.cy + r * float(np.sin(a)), self.cx + r * float(np.cos(a))


def gear(scene: Rng, sensor: Rng, size: int, defect: Defect | None) -> Drawing:
    """A gear wheel in any turn; defects: chip, crack, contamination, deformation, scratch."""
    shift = scene.normal(0, 0.012, 2)
    turn, scale = float(scene.uniform(0, 2 * np.pi)), float(np.exp(scene.normal(0, 0.015)))
    pose = _Pose(0.5 + float(shift[0]), 0.5 + float(shift[1]), turn, scale)
    y, x = grid(size)
    dy, dx = (y - pose.cy) / scale, (x - pose.cx) / scale
    rho, phi = np.hypot(dy, dx), np.arctan2(dy, dx) - turn
    if defect is not None and defect.name == "deformation":
        rho, phi = _deformed(defect, rho, phi)
    metal = _outline(rho, phi)
    if defect is not None and defect.name == "chip":
        metal = _chipped(defect, pose, metal, size)
    shape = cover(metal * scale, size)
    light = float(scene.uniform(-2.6, -0.6))
    ground = _mat(scene, size)
    fall = np.roll(shape, (round(0.012 * size), round(0.010 * size)), axis=(0, 1))
    rgb = ground * (1 - 0.65 * blur(fall, 0.009))[..., None]
    steel = _steel(scene, size, rho, phi + turn, light, metal)
    tint = np.array([0.94, 0.96, 1.0]) * np.exp(scene.normal(0, 0.012, 3))
    face = steel[..., None] * tint
    if defect is not None:
        face = _on_metal(face, defect, pose)
    rgb = mix(rgb, face, shape)
    factor = lighting(scene, size, 0.12, 0.03) * float(np.exp(scene.normal(0, 0.05)))
    return Drawing(camera(sensor, np.clip(rgb, 0, 1) * factor[..., None], 0.014))


def _outline(rho: Array, phi: Array) -> Array:
    """About the signed distance to the wheel, with its bore, key way and lightening holes left out."""
    wave = np.clip(1.7 * np.cos(TEETH * phi), -1, 1)
    outside = (rho - 0.5 * (_ROOT + _TIP) - 0.5 * (_TIP - _ROOT) * wave) * 0.75
    px, py = rho * np.cos(phi), rho * np.sin(phi)
    key = np.maximum(np.abs(py) - 0.016, np.abs(px - 0.5 * _BORE) - 0.055)
    bore = np.minimum(rho - _BORE, key)
    sector = (phi + np.pi / _HOLES) % (2 * np.pi / _HOLES) - np.pi / _HOLES
    hole = np.hypot(rho * np.cos(sector) - _HOLE_CIRCLE, rho * np.sin(sector)) - _HOLE_RADIUS
    return np.asarray(np.maximum(outside, np.maximum(-bore, -hole)))


def _steel(scene: Rng, size: int, rho: Array, angle: Array, light: float, metal: Array) -> Array:
    """Brightness of the turned face: wedges of light, tool marks, bevels and a recessed web."""
    marks = np.interp(rho, np.linspace(0, 0.45, 220), 0.05 * profile(scene, 220, 160))
    wedge = np.cos(2 * (angle - light - np.pi / 2)) ** 2
    recess = smoothstep(rho, _HUB - 0.004, _HUB + 0.004) * (1 - smoothstep(rho, _WEB - 0.004, _WEB + 0.004))
    face = 0.42 + 0.27 * wedge + 0.05 * np.cos(angle - light) - 0.13 * recess + marks
    step = np.exp(-(((rho - _WEB) / 0.005) ** 2)) - np.exp(-(((rho - _HUB) / 0.005) ** 2))
    face = face - 0.22 * step * np.cos(angle - light)
    slope_y, slope_x = np.gradient(metal)
    steep = np.maximum(np.hypot(slope_y, slope_x), 1e-6)
    facing = (slope_y * np.sin(light) + slope_x * np.cos(light)) / steep
    bevel = np.exp(-(((metal + 0.004) / 0.004) ** 2))
    face = face + 0.25 * bevel * facing
    return np.asarray(face * (1 + 0.03 * fractal(scene, size, 5, 4, 0.7) + 0.02 * noise(scene, size, 200)))


def _mat(scene: Rng, size: int) -> Array:
    """Dark rubber with a fine grain and some harmless dust."""
    grey = 0.17 + 0.012 * noise(scene, size, 180) + 0.012 * fractal(scene, size, 8, 3)
    dust = 0.2 * smoothstep(noise(scene, size, 90), 2.7, 3.3)
    return np.asarray((grey + dust)[..., None] * np.array([1.0, 1.01, 1.04]))


def _deformed(defect: Defect, rho: Array, phi: Array) -> tuple[Array, Array]:
    """Polar coordinates of a wheel with a few teeth bent and pushed in."""
    at = float(defect.rng.uniform(-np.pi, np.pi))
    apart = np.angle(np.exp(1j * (phi - at)))
    fall = np.exp(-((apart / (0.16 * defect.extent)) ** 2)) * smoothstep(rho, 0.25, 0.36)
    bend = float(defect.rng.choice([-1, 1])) * 0.13 * defect.strength
    return rho + 0.02 * defect.strength * fall, phi + bend * fall


def _chipped(defect: Defect, pose: _Pose, metal: Array, size: int) -> Array:
    """The wheel without a piece broken out at the tip of a tooth."""
    y, x = grid(size)
    tooth = 2 * np.pi / TEETH * int(defect.rng.integers(TEETH)) + float(defect.rng.normal(0, 0.06))
    cy, cx = pose.at(_TIP - 0.004, tooth)
    radius = 0.027 * defect.extent * (0.5 + 0.5 * defect.strength)
    bite = blob_distance(defect.rng, y - cy, x - cx, radius, 0.2) + 0.1 * radius * noise(defect.rng, size, 50)
    return np.maximum(metal, -bite / pose.scale)


def _on_metal(rgb: Array, defect: Defect, pose: _Pose) -> Array:
    size = rgb.shape[0]
    radius, angle = float(defect.rng.uniform(0.15, 0.31)), float(defect.rng.uniform(0, 2 * np.pi))
    if defect.name == "scratch":
        return scratch(rgb, defect, pose.at(radius, angle), (1.0, 1.0, 1.0), 0.25)
    if defect.name == "crack":
        start = 2 * np.pi / _HOLES * int(defect.rng.integers(_HOLES)) + float(defect.rng.normal(0, 0.3))
        path = jagged(defect.rng, pose.at(0.25, start), start + pose.turn, 0.12 * defect.extent)
        return crack(rgb, defect, path, 0.0055 * defect.extent**0.5)
    if defect.name == "contamination":
        y, x = grid(size)
        cy, cx = pose.at(radius, angle)
        spot = 0.032 * defect.extent
        distance = blob_distance(defect.rng, y - cy, x - cx, spot, 0.25)
        distance = distance + 0.2 * spot * fractal(defect.rng, size, 24, 2)
        crust = np.array([0.36, 0.25, 0.15]) * (1 + 0.25 * fractal(defect.rng, size, 40, 2))[..., None]
        return mix(rgb, crust, cover(distance, size, 0.25 * spot) * defect.opacity(0.4))
    return rgb
