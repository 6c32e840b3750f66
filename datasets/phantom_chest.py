"""Drawn medical category: a frontal chest radiograph with lungs, heart, ribs, clavicles and vessels."""

import numpy as np

from adbench.datasets.phantom_defects import Defect, Drawing
from adbench.datasets.phantom_noise import (
    Array,
    Rng,
    blob_distance,
    blur,
    cover,
    ellipse_distance,
    fractal,
    grid,
    lighting,
    noise,
    noise_at,
    path_distance,
    smoothstep,
    turned,
)


def chest(scene: Rng, sensor: Rng, size: int, defect: Defect | None) -> Drawing:
    """A frontal radiograph; defects: opacity, nodule, effusion."""
    y, x = turned(
        size,
        (0.02 + float(scene.normal(0, 0.015)), 0.5 + float(scene.normal(0, 0.012))),
        float(scene.normal(0, 0.02)),
    )
    y, x = y + 0.006 * noise(scene, size, 3), x + 0.006 * noise(scene, size, 3)
    lungs, diaphragm = _lungs(scene, size, y, x)
    air = cover(lungs, size, 0.022)
    density = 0.60 + 0.03 * fractal(scene, size, 4, 3) - float(scene.uniform(0.34, 0.42)) * air
    density = density + _middle(scene, size, y, x)
    density = density + _ribs(scene, size, y, x, lungs)
    density = density + _vessels(scene, size, y, x, air)
    density = density + _shoulders(scene, size, y, x)
    density = density + 0.10 * smoothstep(y - diaphragm, -0.01, 0.04)
    if defect is not None:
        density = density + _finding(defect, size, y, x, lungs, diaphragm, air)
    outside = _outside(scene, size, y, x)
    density = density * (1 - outside) + 0.03 * outside
    density = _marker(scene, size, blur(density, 0.002))
    exposure = lighting(scene, size, 0.15, 0.04) * float(np.exp(scene.normal(0, 0.06)))
    tone = np.clip(density * exposure, 0, 1.05) ** float(np.exp(scene.normal(0.08, 0.06)))
    quantum = 0.016 + 0.012 * (1 - np.clip(tone, 0, 1))
    mottle = sensor.standard_normal((size, size), dtype=np.float32) * quantum
    return Drawing((tone + mottle)[..., None])


def _lungs(scene: Rng, size: int, y: Array, x: Array) -> tuple[Array, Array]:
    """About the signed distance to both lungs, and the depth of the diaphragm at each pixel."""
    top, wide = 0.085 + float(scene.normal(0, 0.012)), 0.365 * float(np.exp(scene.normal(0, 0.035)))
    base = 0.76 + float(scene.normal(0, 0.025))
    right, away = x < 0, np.abs(x)
    offset = np.where(right, 0.0, 0.025 + float(scene.normal(0, 0.008)))
    dome = np.abs(away - 0.16) / 0.2
    diaphragm = base + offset + 0.09 * dome**2 * (1 + 0.6 * (away > 0.16))
    fraction = np.clip((y - top) / (base - top), 0, 1.15)
    side = wide * (1 - np.clip(1 - fraction / 0.95, 0, 1) ** 2.6) ** 0.62
    heart = np.where(right, 0.030, 0.105) * np.exp(-(((y - 0.61) / 0.16) ** 2))
    inner = 0.050 + 0.008 * float(scene.normal(0, 1)) + heart + 0.06 * np.exp(-(((y - top) / 0.06) ** 2))
    across = np.maximum(away - side, inner - away)
    return np.maximum(across, y - diaphragm) + 0.003 * noise(scene, size, 7), diaphragm


def _middle(scene: Rng, size: int, y: Array, x: Array) -> Array:
    """Mediastinum, heart, spine and the windpipe's air."""
    large = float(np.exp(scene.normal(0, 0.06)))
    heart = ellipse_distance(y - 0.62, x - 0.045 - 0.1 * (y - 0.62), (0.155 * large, 0.135 * large))
    arch = ellipse_distance(y - 0.31, x - 0.05, (0.05, 0.045))
    mass = 0.07 * cover(heart, size, 0.06) + 0.05 * cover(arch, size, 0.03)
    column = 0.12 * np.exp(-((x / 0.075) ** 2))
    discs = 1 + 0.18 * np.cos(2 * np.pi * (y - 0.25 * np.abs(x)) / 0.062)
    spine = 0.05 * np.exp(-((x / 0.035) ** 4)) * discs
    pipe = np.exp(-((x / 0.020) ** 4)) * smoothstep(0.30 - y, 0.0, 0.05)
    belly = 0.05 * smoothstep(y, 0.78, 0.95)
    return np.asarray(mass + column + spine - 0.11 * pipe + belly)


def _ribs(scene: Rng, size: int, y: Array, x: Array, lungs: Array) -> Array:
    """Posterior ribs that slope down sideways and fainter anterior ones that slope down to the middle."""
    away = np.abs(x)
    cage = np.clip(cover(lungs - 0.010, size, 0.02) + 0.3 * cover(lungs - 0.045, size, 0.02), 0, 1)
    total = np.zeros((size, size))
    families = ((0.094, 0.30, 2.0, 0.080, 0.21), (0.125, -0.60, -1.2, 0.040, 0.22))
    for gap, slope, bow, share, half in families:
        gap = gap * float(np.exp(scene.normal(0, 0.04)))
        fall = slope * away + bow * np.maximum(away - 0.10, 0) ** 2
        line = (y - fall) / gap + float(scene.uniform(0, 1)) + 0.10 * noise(scene, size, 3)
        place = np.abs(line - np.round(line))
        inside = smoothstep(half - place, -0.05, 0.05)
        edge = np.exp(-(((place - half + 0.03) / 0.045) ** 2))
        reach = smoothstep(away, 0.03, 0.07) if slope > 0 else smoothstep(away, 0.13, 0.20)
        total = total + share * (0.75 * inside + 0.45 * edge) * reach
    return np.asarray(total * cage * (1 + 0.12 * noise(scene, size, 9)))


def _vessels(scene: Rng, size: int, y: Array, x: Array, air: Array) -> Array:
    """Branches that leave the hila and thin out towards the pleura."""
    left = x > 0
    dy, dx = y - np.where(left, 0.43, 0.45), np.abs(x) - 0.085
    radius = np.hypot(dy, dx)
    angle = np.arctan2(dy, dx) + 0.10 * noise(scene, size, 20) + 7 * left
    total = 0.10 * np.exp(-((radius / 0.05) ** 2)) * (1 + 0.3 * noise(scene, size, 24))
    for fine, share in ((4.5, 0.14), (9, 0.10)):
        field = noise_at(scene, (angle + 3.5) * fine, np.log(radius + 0.03) * 2.0 + 9, (128, 16))
        line = np.clip(1 - np.abs(field) / (0.15 + 0.5 * np.exp(-radius / 0.08)), 0, 1)
        total = total + share * line * np.exp(-radius / 0.16)
    haze = 0.012 * fractal(scene, size, 16, 3, 0.8)
    return np.asarray((total + haze) * (0.1 + 0.9 * air))


def _shoulders(scene: Rng, size: int, y: Array, x: Array) -> Array:
    """Clavicles and the edges of the shoulder blades."""
    lift = float(scene.normal(0, 0.012))
    away = np.abs(x)
    centre = 0.155 + lift - 0.16 * (away - 0.03) + 0.05 * np.sin(9 * (away - 0.03))
    place = np.abs(y - centre) / 0.016
    bone = (0.7 * smoothstep(1 - place, -0.1, 0.15) + 0.5 * np.exp(-(((place - 0.85) / 0.2) ** 2))) * smoothstep(
        away, 0.025, 0.045
    )
    blade = np.exp(-(((away - 0.365 + 0.25 * (y - 0.25)) / 0.012) ** 2)) * smoothstep(0.42 - y, 0, 0.1)
    flesh = 0.10 * smoothstep(0.20 - y - 0.2 * (away - 0.1), 0, 0.14) * smoothstep(away, 0.08, 0.2)
    return np.asarray(0.10 * bone * (away < 0.43) + 0.04 * blade * smoothstep(y, 0.14, 0.2) + flesh)


def _outside(scene: Rng, size: int, y: Array, x: Array) -> Array:
    """Share of air beside the neck, above the shoulders and beside the flanks."""
    away = np.abs(x)
    shoulder = 0.035 * smoothstep(away, 0.08, 0.20) + 0.22 * np.maximum(away - 0.2, 0) + float(scene.normal(0, 0.01))
    above = shoulder - 0.05 - y + 0.02 * smoothstep(away, 0.08, 0.12)
    flank = away - 0.475 + 0.1 * (y - 0.6) - 0.10 * smoothstep(0.45 - y, 0, 0.25)
    return cover(-np.maximum(above, flank), size, 0.012)


def _marker(scene: Rng, size: int, density: Array) -> Array:
    """The letter L in an upper corner, wherever it was put that day."""
    cy, cx = 0.10 + float(scene.uniform(-0.03, 0.05)), 0.91 + float(scene.uniform(-0.04, 0.02))
    points = np.array([[cy, cx], [cy + 0.035, cx], [cy + 0.035, cx + 0.02]], dtype=np.float32)
    distance, _ = path_distance(size, points, 0.02)
    return np.asarray(density + (0.93 - density) * cover(distance - 0.003, size, 0.001))


def _finding(defect: Defect, size: int, y: Array, x: Array, lungs: Array, diaphragm: Array, air: Array) -> Array:
    """Added density of the defect."""
    rng = defect.rng
    gy, gx = grid(size)
    if defect.name == "effusion":
        side = (x < 0) if rng.random() < 0.5 else (x > 0)
        level = 0.055 * defect.extent * float(rng.uniform(0.7, 1.3))
        meniscus = diaphragm - level - 1.6 * level * smoothstep(np.abs(x), 0.17, 0.36) ** 1.5
        share = smoothstep(y - meniscus, -0.015, 0.03) * side
        return np.asarray(0.40 * defect.opacity(0.6) * share * air)
    for _ in range(300):
        cy, cx = rng.uniform(0.15, 0.85, 2)
        if lungs[int(cy * size), int(cx * size)] < -0.025:
            break
    if defect.name == "nodule":
        radius = 0.027 * defect.extent
        distance = blob_distance(rng, gy - cy, gx - cx, radius, 0.06)
        return np.asarray(0.32 * defect.opacity(0.6) * cover(distance, size, 0.5 * radius) * (0.2 + 0.8 * air))
    radius = 0.085 * defect.extent
    cloud = blob_distance(rng, gy - cy, gx - cx, radius, 0.12) + 0.3 * radius * fractal(rng, size, 9, 4, 0.65)
    fluffy = smoothstep(-cloud / radius, -0.35, 0.7) * (0.85 + 0.15 * fractal(rng, size, 30, 2))
    return np.asarray(0.44 * defect.opacity(0.5) * fluffy * air)
