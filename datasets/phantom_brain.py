"""Drawn medical category: an axial T1-weighted brain slice with folds, ventricles and deep grey matter."""

from dataclasses import dataclass

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
    smoothstep,
    turned,
)

_WHITE, _GREY, _FLUID, _FAT, _BONE = 0.73, 0.47, 0.13, 0.80, 0.09


@dataclass(frozen=True)
class _Slice:
    """A clean slice: ``signal`` (0..1), ``depth`` below the surface (image sides), ``white`` matter."""

    signal: Array
    depth: Array
    white: Array
    pose: tuple[float, float]


def brain(scene: Rng, sensor: Rng, size: int, defect: Defect | None) -> Drawing:
    """A head slice with Rician noise and a bias field; defects: mass, small_lesions, haemorrhage."""
    clean = _anatomy(scene, size)
    signal = clean.signal if defect is None else _with_lesion(clean, defect)
    bias = lighting(scene, size, 0.25, 0.06) * float(np.exp(scene.normal(0, 0.05)))
    signal = blur(signal * bias, 0.0022)
    deviation = 0.022 * float(np.exp(scene.normal(0, 0.2)))
    real = signal + deviation * sensor.standard_normal((size, size), dtype=np.float32)
    imaginary = deviation * sensor.standard_normal((size, size), dtype=np.float32)
    return Drawing(np.hypot(real, imaginary)[..., None])


def _anatomy(scene: Rng, size: int) -> _Slice:
    centre = (0.5 + float(scene.normal(0, 0.012)), 0.5 + float(scene.normal(0, 0.012)))
    y, x = turned(size, centre, float(scene.normal(0, 0.06)))
    y, x = y + 0.006 * noise(scene, size, 3), x + 0.006 * noise(scene, size, 3)
    tall, wide = 0.375 * float(np.exp(scene.normal(0, 0.025))), 0.305 * float(np.exp(scene.normal(0, 0.025)))
    egg = 1 + 0.10 * y / tall
    depth = -(ellipse_distance(y, x / egg, (tall, wide)) + 0.003 * noise(scene, size, 9))
    side = np.abs(x + 0.006 * np.sin(3 * y) * float(scene.normal(0, 1)))
    sulcus = _sulci(scene, size, y, x, side, depth)
    fissure = side + 0.12 * smoothstep(0.14 + 0.04 * (y < 0) - np.abs(y), 0.0, 0.05)
    furrow = np.minimum(sulcus, fissure)
    ribbon = 0.0165 * float(np.exp(scene.normal(0, 0.08)))
    grey = np.maximum(cover(furrow - ribbon, size, 0.003), cover(depth - 1.2 * ribbon, size, 0.004))
    open_by = 0.0030 * float(np.exp(scene.normal(0, 0.25)))
    fluid = np.maximum(cover(furrow - open_by, size, 0.002), cover(depth - 0.003, size, 0.002))
    deep = _deep_grey(scene, size, y, side)
    ventricle = _ventricles(scene, size, y, side, x)
    signal = _WHITE + 0.012 * fractal(scene, size, 8, 3)
    signal = signal + (_GREY - signal) * np.maximum(grey, deep)
    signal = signal + (_FLUID - signal) * np.maximum(fluid, ventricle)
    white = (1 - np.maximum(grey, deep)) * (1 - np.maximum(fluid, ventricle))
    return _Slice(_in_skull(scene, size, signal, depth), depth, white, centre)


def _sulci(scene: Rng, size: int, y: Array, x: Array, side: Array, depth: Array) -> Array:
    """Distance to the nearest sulcus: zero lines of a noise that is partly mirrored, ending at some depth."""
    shape = (48, 48)
    folds = 0.75 * noise_at(scene, 32 * y + 24, 32 * side + 3, shape)
    folds = folds + 0.55 * noise_at(scene, 32 * y + 24, 32 * x + 24, shape)
    slope_y, slope_x = np.gradient(folds * size)
    away = np.abs(folds) / np.maximum(np.hypot(slope_y, slope_x) / size, 3.0 / size) / size
    reach = 0.092 + 0.025 * noise_at(scene, 8 * y + 8, 8 * side + 2, (16, 16))
    insula = 0.055 * np.exp(-(((y + 0.02) / 0.03) ** 2))
    return np.asarray(away + 0.7 * np.maximum(depth - reach - insula, 0))


def _ventricles(scene: Rng, size: int, y: Array, side: Array, x: Array) -> Array:
    """Share of ventricle: frontal and occipital horns joined by the body, and the third ventricle."""
    wide = float(np.exp(scene.normal(0, 0.22)))
    lopsided = 1 + 0.12 * float(scene.normal(0, 1)) * np.sign(x)
    spread = float(scene.normal(0, 0.004))
    middle = 0.022 + spread + 0.9 * np.maximum(np.abs(y + 0.01) - 0.055, 0) * np.where(y < 0, 0.45, 0.85)
    half = (
        0.0135 * wide * lopsided * (1 + 0.5 * np.cos(18 * (y + 0.1))) * smoothstep(0.145 - np.abs(y + 0.005), 0, 0.05)
    )
    horns = np.abs(side - middle) - half + 0.5 * np.maximum(0.006 - half, 0)
    third = ellipse_distance(y - 0.045, side, (0.032, 0.0055 * wide))
    wall = 0.0015 * noise(scene, size, 30)
    return cover(np.minimum(horns, third) + wall, size, 0.003)


def _deep_grey(scene: Rng, size: int, y: Array, side: Array) -> Array:
    """Share of caudate nucleus, putamen and thalamus, weaker than the cortex."""
    wobble = 0.003 * noise(scene, size, 14)
    lean = side - 0.15 * y
    thalamus = ellipse_distance(y - 0.055, side - 0.042, (0.042, 0.027))
    caudate = ellipse_distance(y + 0.065, side - 0.058, (0.032, 0.014))
    putamen = ellipse_distance(y + 0.008, lean - 0.110, (0.055, 0.018))
    nearest = np.minimum(np.minimum(thalamus, caudate), putamen)
    return cover(nearest + wobble, size, 0.008) * float(scene.uniform(0.6, 0.85))


def _in_skull(scene: Rng, size: int, brain_signal: Array, depth: Array) -> Array:
    """The brain with cerebrospinal fluid, skull with marrow, scalp and air around it."""
    gap, bone = 0.005 * float(np.exp(scene.normal(0, 0.3))), 0.019 * float(np.exp(scene.normal(0, 0.15)))
    skin = 0.020 * float(np.exp(scene.normal(0, 0.25)))
    uneven = 0.12 * fractal(scene, size, 6, 3, 0.7)
    outward = -depth
    layers = (
        (gap, _BONE),
        (gap + 0.35 * bone, 0.36 + 0.5 * uneven),
        (gap + 0.70 * bone, _BONE),
        (gap + bone, _FAT * (0.85 + 0.6 * uneven)),
        (gap + bone + skin, 0.35),
        (gap + bone + 1.25 * skin, 0.0),
    )
    signal = brain_signal + (_FLUID - brain_signal) * cover(-(outward - 0.0), size, 0.002)
    for edge, value in layers:
        signal = signal + (value - signal) * cover(-(outward - edge), size, 0.003)
    return np.clip(signal, 0, 1)


def _place(clean: _Slice, defect: Defect, weight: Array) -> tuple[float, float]:
    """A random point (y, x) where ``weight`` [H, W] exceeds a half; the centre if none is found."""
    size = weight.shape[0]
    for _ in range(200):
        y, x = defect.rng.uniform(0.1, 0.9, 2)
        if weight[int(y * size), int(x * size)] > 0.5:
            return float(y), float(x)
    return clean.pose


def _with_lesion(clean: _Slice, defect: Defect) -> Array:
    size, rng = clean.signal.shape[0], defect.rng
    y, x = grid(size)
    tissue = smoothstep(clean.depth, 0.0, 0.01)
    signal = clean.signal
    if defect.name == "small_lesions":
        bright = rng.random() < 0.3
        for _ in range(int(rng.integers(3, 9))):
            cy, cx = _place(clean, defect, clean.white * (clean.depth > 0.05))
            radius = 0.012 * defect.extent * float(rng.uniform(0.6, 1.4))
            spot = cover(blob_distance(rng, y - cy, x - cx, radius, 0.1), size, 0.8 * radius)
            value = 1.0 if bright else 0.28
            signal = signal + (value - signal) * spot * tissue * defect.opacity(0.5)
        return np.asarray(signal)
    cy, cx = _place(clean, defect, (clean.depth > 0.045).astype(np.float32))
    radius = (0.062 if defect.name == "mass" else 0.050) * defect.extent
    distance = blob_distance(rng, y - cy, x - cx, radius, 0.10) + 0.12 * radius * fractal(rng, size, 14, 2)
    oedema = cover(distance - 0.35 * radius, size, 1.6 * radius) * tissue
    signal = signal + (0.44 - signal) * 0.8 * oedema * defect.opacity(0.45)
    body = cover(distance, size, 0.25 * radius) * tissue * defect.opacity(0.6)
    if defect.name == "haemorrhage":
        return np.asarray(signal + (0.99 + 0.05 * noise(rng, size, 24) - signal) * body)
    core = 0.30 + 0.05 * fractal(rng, size, 20, 2)
    if rng.random() < 0.55:
        rim = np.exp(-(((distance + 0.14 * radius) / (0.14 * radius)) ** 2))
        core = core + 0.5 * rim * (0.75 + 0.25 * noise(rng, size, 12))
    return np.asarray(signal + (core - signal) * body)
