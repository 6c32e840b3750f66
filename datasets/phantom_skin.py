"""Drawn medical category: a dermoscopic image of a naevus, regular when normal."""

import numpy as np

from adbench.datasets.phantom_defects import Defect, Drawing
from adbench.datasets.phantom_noise import (
    Array,
    Rng,
    blob_distance,
    camera,
    cover,
    fractal,
    grid,
    lighting,
    mix,
    noise,
    path_distance,
    smoothstep,
    turned,
    walk,
)


def skin(scene: Rng, sensor: Rng, size: int, defect: Defect | None) -> Drawing:
    """A naevus on skin; defects: irregular_border, many_colours, veil."""
    tone = np.array([0.87, 0.69, 0.59]) * np.exp(scene.normal(0, 0.04) + scene.normal(0, [0.0, 0.03, 0.04]))
    lines = np.abs(noise(scene, size, 46) + 0.6 * noise(scene, size, 34, 52))
    flush = 0.05 * fractal(scene, size, 4, 3)
    surface = 1 - 0.035 * np.exp(-((lines / 0.25) ** 2)) + 0.012 * fractal(scene, size, 60, 2)
    rgb = tone * surface[..., None] * (1 + flush[..., None] * np.array([-0.15, -0.6, -0.6]))
    distance, centre, radius = _outline(scene, size)
    if defect is not None and defect.name == "irregular_border":
        distance = _ragged(defect, size, distance, centre, radius)
    soft = float(scene.uniform(0.12, 0.3)) * radius
    body = cover(distance, size, soft)
    pigment = _pigment(scene, size, distance, radius)
    brown = np.array([0.50, 0.31, 0.20]) * np.exp(scene.normal(0, 0.12) + scene.normal(0, [0.04, 0.03, 0.07]))
    density = np.clip(body * pigment * float(scene.uniform(0.8, 1.25)), 0, 1.6)
    rgb = rgb * np.exp(density[..., None] * np.log(brown / tone))
    if defect is not None and defect.name != "irregular_border":
        rgb = _colours(rgb, defect, size, distance, centre, radius)
    rgb = _hairs(scene, rgb)
    rgb = _gel(scene, rgb)
    y, x = grid(size)
    vignette = 1 - 0.5 * smoothstep(np.hypot(y - 0.5, x - 0.5), float(scene.uniform(0.38, 0.55)), 0.85)
    light = lighting(scene, size, 0.08, 0.025) * vignette * float(np.exp(scene.normal(0, 0.04)))
    return Drawing(camera(sensor, np.clip(rgb, 0, 1) * light[..., None], 0.012))


def _outline(scene: Rng, size: int) -> tuple[Array, tuple[float, float], float]:
    """About the signed distance to the naevus, its centre (y, x) and radius."""
    centre = (0.5 + float(scene.normal(0, 0.03)), 0.5 + float(scene.normal(0, 0.03)))
    radius = float(scene.uniform(0.17, 0.27))
    y, x = turned(size, centre, float(scene.uniform(0, np.pi)))
    distance = blob_distance(scene, y, x, radius, 0.025)
    return distance + 0.035 * radius * fractal(scene, size, 12, 3), centre, radius


def _pigment(scene: Rng, size: int, distance: Array, radius: float) -> Array:
    """Density (about 0.5..1.3) of the pigment: darker middle, a net of dark lines, some globules."""
    inner = smoothstep(-distance / radius, 0.0, 0.9)
    turn = float(scene.uniform(0, np.pi))
    y, x = turned(size, (0.5, 0.5), turn)
    pitch = 2 * np.pi * float(scene.uniform(26, 34))
    wy, wx = y + 0.007 * fractal(scene, size, 12, 2), x + 0.007 * fractal(scene, size, 12, 2)
    waves = [np.cos(pitch * (np.cos(a) * wx + np.sin(a) * wy)) for a in (0, np.pi / 3, 2 * np.pi / 3)]
    meshes = smoothstep(waves[0] + waves[1] + waves[2] + 0.9 * noise(scene, size, 40), -0.8, 1.8)
    strength = float(scene.uniform(0.15, 0.4)) * (0.5 + 0.5 * smoothstep(noise(scene, size, 5), -1.0, 1.0))
    net = strength * (0.5 - meshes) * (1 - 0.6 * inner)
    globules = float(scene.uniform(0, 0.35)) * smoothstep(noise(scene, size, 42), 1.3, 2.0)
    middle = float(scene.uniform(0.1, 0.5)) * inner
    return np.asarray(0.75 + middle + net + globules + 0.08 * fractal(scene, size, 6, 3))


def _ragged(defect: Defect, size: int, distance: Array, centre: tuple[float, float], radius: float) -> Array:
    """The outline with lobes pushed out, and a notch, on one side: asymmetry of shape and border."""
    y, x = grid(size)
    rng = defect.rng
    facing = float(rng.uniform(0, 2 * np.pi))
    for _ in range(int(rng.integers(2, 5))):
        at = facing + float(rng.normal(0, 0.6))
        cy = centre[0] + radius * 1.0 * float(np.sin(at))
        cx = centre[1] + radius * 1.0 * float(np.cos(at))
        lobe = radius * 0.30 * defect.extent * (0.45 + 0.55 * defect.strength) * float(rng.uniform(0.7, 1.2))
        bump = blob_distance(rng, y - cy, x - cx, lobe, 0.10) + 0.12 * lobe * noise(rng, size, 24)
        distance = np.minimum(distance, bump)
    at = facing + np.pi + float(rng.normal(0, 0.5))
    cy, cx = centre[0] + 1.02 * radius * float(np.sin(at)), centre[1] + 1.02 * radius * float(np.cos(at))
    notch = radius * 0.26 * defect.extent * (0.3 + 0.7 * defect.strength)
    return np.maximum(distance, -blob_distance(rng, y - cy, x - cx, notch, 0.08))


def _colours(
    rgb: Array, defect: Defect, size: int, distance: Array, centre: tuple[float, float], radius: float
) -> Array:
    """Foreign colours inside the lesion: several patches, or one blue-white veil that hides the net."""
    y, x = grid(size)
    rng = defect.rng
    within = cover(distance + 0.08 * radius, size, 0.15 * radius)
    if defect.name == "veil":
        patches = [((0.50, 0.52, 0.60), 0.52, 0.55)]
    else:
        palette = [(0.10, 0.07, 0.07), (0.36, 0.39, 0.48), (0.62, 0.25, 0.22), (0.85, 0.76, 0.74)]
        chosen = rng.permutation(len(palette))[: int(rng.integers(2, 5))]
        patches = [(palette[int(n)], 0.30, 0.6) for n in chosen]
    for colour, share, opacity in patches:
        angle, away = float(rng.uniform(0, 2 * np.pi)), radius * float(rng.uniform(0.1, 0.6))
        cy, cx = centre[0] + away * float(np.sin(angle)), centre[1] + away * float(np.cos(angle))
        spot = radius * share * defect.extent
        shape = blob_distance(rng, y - cy, x - cx, spot, 0.18) + 0.15 * spot * fractal(rng, size, 14, 2)
        rgb = mix(rgb, colour, cover(shape, size, 0.4 * spot) * within * defect.opacity(opacity))
    return rgb


def _hairs(scene: Rng, rgb: Array) -> Array:
    """Up to seven dark or fair hairs across the field."""
    size = rgb.shape[0]
    colour = (0.16, 0.11, 0.09) if scene.random() < 0.75 else (0.60, 0.45, 0.33)
    for _ in range(int(scene.choice([0, 0, 1, 2, 3, 5, 7]))):
        start = scene.uniform(0.0, 1.0, 2)
        heading, length = float(scene.uniform(0, 2 * np.pi)), float(scene.uniform(0.2, 0.7))
        points = walk(scene, (float(start[0]), float(start[1])), heading, length, 12, 0.12)
        width = float(scene.uniform(0.0012, 0.0026))
        distance, along = path_distance(size, points, width + 3 / size)
        rgb = mix(rgb, colour, 0.8 * cover(distance - width * (1 - 0.6 * along), size, 0.001))
    return rgb


def _gel(scene: Rng, rgb: Array) -> Array:
    """Bubbles of the contact gel and small reflections."""
    size = rgb.shape[0]
    y, x = grid(size)
    for _ in range(int(scene.choice([0, 0, 0, 1, 2, 4]))):
        cy, cx, radius = scene.uniform(0, 1), scene.uniform(0, 1), float(scene.uniform(0.006, 0.02))
        away = np.hypot(y - cy, x - cx)
        ring = np.exp(-(((away - radius) / 0.003) ** 2))
        spark = np.exp(-((np.hypot(y - cy + 0.4 * radius, x - cx + 0.4 * radius) / (0.25 * radius)) ** 2))
        rgb = rgb * (1 - 0.18 * ring[..., None]) + 0.35 * spark[..., None]
    return rgb
