"""Drawn medical category: an optical coherence tomography B-scan of the retina, layered and speckled."""

import numpy as np
import scipy

from adbench.datasets.phantom_defects import Defect, Drawing
from adbench.datasets.phantom_noise import (
    Array,
    Rng,
    blob_distance,
    cover,
    fractal,
    grid,
    lighting,
    noise,
    profile,
    smoothstep,
)

# (thickness in image sides away from the fovea, share left at the fovea, brightness), from the inner surface
# down: nerve fibres, ganglion + inner plexiform, inner nuclear, outer plexiform, outer nuclear, external
# limiting membrane, myoid, ellipsoid zone, outer segments, retinal pigment epithelium.
_LAYERS = (
    (0.028, 0.00, 0.68),
    (0.058, 0.10, 0.47),
    (0.030, 0.12, 0.30),
    (0.018, 0.25, 0.46),
    (0.052, 1.35, 0.22),
    (0.006, 1.00, 0.40),
    (0.011, 1.00, 0.26),
    (0.013, 1.00, 0.72),
    (0.015, 1.20, 0.44),
    (0.019, 1.00, 0.88),
)


def retina(scene: Rng, sensor: Rng, size: int, defect: Defect | None) -> Drawing:
    """A B-scan through the macula; defects: fluid, drusen, disruption (of the outer layers)."""
    y, x = grid(size)
    x_line = x[0]
    floor, thick, fovea = _course(scene, size, x_line)
    lift = _drusen(defect, x_line, size) if defect is not None and defect.name == "drusen" else None
    gap = _gap(defect, fovea, x_line) if defect is not None and defect.name == "disruption" else np.zeros(size)
    image, inner = _layers(scene, size, floor, thick, lift, gap)
    below = y - floor[None, :]
    image = image + (_choroid(scene, size, below) - image) * cover(-below, size, 0.004)
    if defect is not None and defect.name == "fluid":
        image = _fluid(image, defect, size, inner, floor)
    image = image * _vessel_shadows(scene, size, y, x_line, inner)
    fade = 1 - 0.25 * smoothstep(np.abs(x - 0.5), 0.3, 0.55) * np.ones((size, 1))
    image = 0.035 + image * fade * lighting(scene, size, 0.2, 0.05) * float(np.exp(scene.normal(0, 0.07)))
    speckle = _speckle(sensor, size, float(scene.uniform(0.6, 0.85)))
    return Drawing((image * speckle)[..., None])


def _course(scene: Rng, size: int, x: Array) -> tuple[Array, Array, Array]:
    """Depth of the pigment epithelium [W], thickness factors [10, W] of the layers, foveal share [W]."""
    middle = 0.5 + float(scene.normal(0, 0.06))
    bow, tilt = float(scene.normal(0.10, 0.05)), float(scene.normal(0, 0.05))
    floor = 0.60 + float(scene.normal(0, 0.03)) - bow * (x - 0.5) ** 2 * 1.6 + tilt * (x - 0.5)
    floor = floor + 0.002 * profile(scene, size, 8)
    pit = np.exp(-(((x - middle) / float(scene.uniform(0.085, 0.13))) ** 2))
    if scene.random() < 0.2:
        pit = 0.35 * pit
    overall = float(np.exp(scene.normal(0, 0.07))) * (1 + 0.25 * (x - 0.5) * float(scene.choice([-1, 1])))
    factors = []
    for n, (height, share, _) in enumerate(_LAYERS):
        local = overall * np.exp(scene.normal(0, 0.06)) * (1 + 0.06 * profile(scene, size, 7)) if n < 5 else 1.0
        factors.append(height * local * (1 + (share - 1) * pit))
    return floor, np.stack([np.broadcast_to(f, x.shape) for f in factors]), pit


def _layers(scene: Rng, size: int, floor: Array, thick: Array, lift: Array | None, gap: Array) -> tuple[Array, Array]:
    """Brightness [H, W] above the choroid, and the depth of the inner surface [W].

    ``lift`` [W] raises the outer layers (drusen), which presses the layers above together; ``gap`` [W] (0..1)
    wipes out the ellipsoid zone and thins what lies over it.
    """
    y, _ = grid(size)
    lift = np.zeros(size) if lift is None else lift
    bottoms = floor[None, :] - np.cumsum(thick[::-1], axis=0)[::-1] + thick
    tops = bottoms - thick
    inner = tops[0]
    squeeze = np.linspace(0.0, 1.0, len(thick))[:, None] ** 1.5
    tops = tops - lift[None, :] * squeeze
    tops[7:9] += 0.35 * gap * thick[7:9]
    image = np.full((size, size), 0.012)
    for n, (_, _, level) in enumerate(_LAYERS):
        value = level * (1 + 0.05 * noise(scene, size, 3, 14) + 0.04 * noise(scene, size, 60, 30))
        if n in (5, 7):
            value = value + (0.27 - value) * gap[None, :]
        if n == 9:
            value = value * (1 - 0.45 * gap[None, :])
        image = image + (value - image) * cover(tops[n][None, :] - y, size, 0.004)
    if lift.any():
        under = cover(floor[None, :] - lift[None, :] - y, size, 0.004)
        image = image + (0.42 - image) * under * smoothstep(lift, 0.002, 0.01)[None, :]
    return np.asarray(image), inner


def _choroid(scene: Rng, size: int, below: Array) -> Array:
    """Brightness under the pigment epithelium: dark vessels, larger with depth, then the dimmer sclera."""
    small, large = noise(scene, size, 34, 30), noise(scene, size, 18, 14)
    deep = smoothstep(below, 0.02, 0.08)
    vessels = smoothstep((1 - deep) * small + deep * large, 0.1, 1.0)
    depth = float(scene.uniform(0.10, 0.17))
    level = 0.58 * (1 - 0.42 * vessels * smoothstep(below, 0.006, 0.03))
    return np.asarray(level * np.exp(-np.maximum(below, 0) / depth))


def _vessel_shadows(scene: Rng, size: int, y: Array, x: Array, inner: Array) -> Array:
    """Dark columns below the retinal vessels, part of every healthy scan."""
    factor = np.ones((size, size))
    for _ in range(int(scene.integers(2, 7))):
        at, width = scene.uniform(0, 1), scene.uniform(0.004, 0.011)
        column = np.exp(-(((x - at) / width) ** 2))
        start = smoothstep(y - inner[None, :], 0.01, 0.03)
        factor = factor * (1 - float(scene.uniform(0.2, 0.5)) * start * column[None, :])
    return factor


def _speckle(sensor: Rng, size: int, strength: float) -> Array:
    """Multiplicative speckle about 1, slightly longer across than down, as averaging of scans leaves it."""
    field = sensor.gamma(2.2, 1 / 2.2, (size, size)).astype(np.float32)
    field = scipy.ndimage.gaussian_filter(field, (0.55, 0.8), truncate=2.5)
    return np.asarray(1 + strength * (field - 1))


def _drusen(defect: Defect, x: Array, size: int) -> Array:
    """How far deposits raise the pigment epithelium, [W] in image sides."""
    lift = np.zeros(size)
    for _ in range(int(defect.rng.integers(1, 5))):
        at, width = defect.rng.uniform(0.12, 0.88), defect.rng.uniform(0.014, 0.03) * defect.extent
        height = 0.034 * defect.strength * defect.rng.uniform(0.5, 1.2) * defect.extent**0.5
        lift = np.maximum(lift, height * np.exp(-((np.abs(x - at) / width) ** 2.5)))
    return lift


def _gap(defect: Defect, fovea: Array, x: Array) -> Array:
    """How far the outer layers are lost, [W] in 0..1."""
    at, half = defect.rng.uniform(0.2, 0.8), 0.075 * defect.extent * defect.rng.uniform(0.6, 1.4)
    ragged = 0.25 * half * profile(defect.rng, fovea.size, 40)
    return smoothstep(half - np.abs(x - at) + ragged, -0.01, 0.012) * defect.opacity(0.75)


def _fluid(image: Array, defect: Defect, size: int, inner: Array, floor: Array) -> Array:
    """Cysts: dark rounded spaces with thin walls between the inner nuclear layer and the photoreceptors."""
    y, x = grid(size)
    rng = defect.rng
    at = float(rng.uniform(0.25, 0.75))
    nearest = np.full((size, size), 1.0)
    for _ in range(int(rng.integers(1, 5))):
        cx = at + float(rng.normal(0, 0.05)) * defect.extent
        column = int(np.clip(cx, 0, 0.999) * size)
        room = floor[column] - inner[column]
        radius = float(rng.uniform(0.014, 0.038)) * defect.extent
        cy = inner[column] + float(rng.uniform(0.45, 0.68)) * room
        distance = blob_distance(rng, 1.35 * (y - cy), x - cx, radius, 0.06)
        nearest = np.minimum(nearest, distance)
    inside = cover(nearest, size, 0.004) * defect.opacity(0.75)
    wall = np.exp(-(((nearest - 0.004) / 0.003) ** 2)) * defect.opacity(0.2)
    texture = 0.05 + 0.01 * fractal(rng, size, 20, 2)
    image = image + (texture - image) * inside
    return np.asarray(image * (1 + wall))
