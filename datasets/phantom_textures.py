"""Four drawn industrial textures: a twill weave, wood grain, a wire grid and a two-ink print."""

import numpy as np

from adbench.datasets.phantom_defects import Defect, Drawing, crack, hole, jagged, scratch, stain, warp
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
    noise_at,
    profile,
    smoothstep,
    turned,
)


def _finish(scene: Rng, sensor: Rng, rgb: Array, slope: float, unevenness: float, deviation: float) -> Drawing:
    light = lighting(scene, rgb.shape[0], slope, unevenness) * float(np.exp(scene.normal(0, 0.05)))
    return Drawing(camera(sensor, np.clip(rgb, 0, 1) * light[..., None], deviation))


def _nothing(size: int) -> Array:
    return np.zeros((size, size), dtype=np.float32)


def _lint(scene: Rng, rgb: Array, colour: tuple[float, float, float], most: int) -> Array:
    """Harmless specks of dust, part of the normal variation."""
    y, x = grid(rgb.shape[0])
    for _ in range(int(scene.integers(0, most + 1))):
        cy, cx, radius = scene.uniform(0, 1), scene.uniform(0, 1), scene.uniform(0.0015, 0.004)
        speck = cover(blob_distance(scene, y - cy, x - cx, float(radius), 0.3), rgb.shape[0], 0.002)
        rgb = mix(rgb, colour, 0.6 * speck)
    return rgb


def _twill(u: Array, v: Array, gone_warp: Array, gone_weft: Array) -> tuple[Array, Array]:
    """Height (0..1) of the thread seen at (u, v), in threads, and whether it is of the warp, in a 2/2 twill.

    ``gone_warp`` and ``gone_weft`` (0..1) say how far the threads are missing.
    """
    i, j = np.floor(u), np.floor(v)
    round_warp = np.sqrt(np.clip(1 - (2.1 * (u - i - 0.5)) ** 2, 0, 1))
    round_weft = np.sqrt(np.clip(1 - (2.1 * (v - j - 0.5)) ** 2, 0, 1))
    float_warp, float_weft = (v - i + 1) % 4, (u - j - 2) % 4
    bow_warp = np.sin(np.pi * float_warp / 2)
    bow_weft = np.sin(np.pi * float_weft / 2)
    high_warp = round_warp * (0.62 + 0.38 * bow_warp) * (1 - gone_warp)
    high_weft = round_weft * (0.62 + 0.38 * bow_weft) * (1 - gone_weft)
    on_top = np.where(float_warp < 2, gone_warp < 0.5, gone_weft >= 0.5)
    return np.where(on_top, high_warp, high_weft), on_top


def weave(scene: Rng, sensor: Rng, size: int, defect: Defect | None) -> Drawing:
    """Denim-like 2/2 twill of about 34 threads a side; defects: hole, stain, missing_thread, warp."""
    threads = 34 * float(np.exp(scene.normal(0, 0.04)))
    y, x = turned(size, (0.5, 0.5), float(scene.normal(0, 0.035)))
    u = (x + 0.005 * noise(scene, size, 3)) * threads + float(scene.uniform(40, 60))
    v = (y + 0.005 * noise(scene, size, 3)) * threads + float(scene.uniform(40, 60))
    gone_warp = gone_weft = torn = _nothing(size)
    if defect is not None and defect.name == "missing_thread":
        gone_warp, gone_weft = _missing(defect, u, v, threads)
    if defect is not None and defect.name == "hole":
        cy, cx = defect.place(0.1)
        gy, gx = grid(size)
        ragged = 0.007 * noise(defect.rng, size, 60) + 0.006 * np.sin(2 * np.pi * (u + v) / 2)
        torn = cover(blob_distance(defect.rng, gy - cy, gx - cx, 0.028 * defect.extent, 0.2) + ragged, size, 0.004)
        torn = torn * defect.opacity(0.85)
    height, is_warp = _twill(u, v, gone_warp, gone_weft)
    slub_warp, slub_weft = scene.normal(0, 0.07, 128), scene.normal(0, 0.07, 128)
    tone = np.where(is_warp, slub_warp[u.astype(int) % 128], slub_weft[v.astype(int) % 128])
    fibre = np.where(is_warp, noise(scene, size, 70, 240), noise(scene, size, 240, 70))
    shade = (0.22 + 0.78 * height) * (1 + tone + 0.09 * fibre + 0.05 * fractal(scene, size, 6, 3))
    blue = np.array([0.27, 0.36, 0.53]) * np.exp(scene.normal(0, [0.06, 0.04, 0.04]))
    pale = np.array([0.74, 0.73, 0.69]) * np.exp(scene.normal(0, 0.03, 3))
    rgb = np.where(is_warp[..., None], blue, pale) * shade[..., None]
    rgb = _lint(scene, rgb, (0.85, 0.85, 0.83), 3)
    if defect is not None and defect.name == "hole":
        rgb = mix(rgb, (0.05, 0.04, 0.05), torn)
    if defect is not None and defect.name == "stain":
        rgb = stain(rgb, defect, defect.place(0.12), (0.55, 0.42, 0.25))
    if defect is not None and defect.name == "warp":
        rgb = warp(rgb, defect, defect.place(0.15), 0.022)
    return _finish(scene, sensor, rgb, 0.15, 0.04, 0.018)


def _missing(defect: Defect, u: Array, v: Array, threads: float) -> tuple[Array, Array]:
    """How far warp and weft threads are missing (0..1): one thread over part of its length."""
    across, along = (u, v) if defect.rng.random() < 0.5 else (v, u)
    flat = along.ravel()
    middle_across = np.floor(np.quantile(across, defect.rng.uniform(0.1, 0.9)))
    middle_along = flat.min() + defect.rng.uniform(0.2, 0.8) * (flat.max() - flat.min())
    half = 0.16 * threads * defect.extent * defect.rng.uniform(0.6, 1.4)
    count = 1 + int(defect.extent * defect.rng.random() > 0.75)
    lines = (np.floor(across) >= middle_across) & (np.floor(across) < middle_across + count)
    gone = (lines & (np.abs(along - middle_along) < half)) * defect.opacity(0.75)
    none = np.zeros_like(u)
    return (gone, none) if across is u else (none, gone)


def grain(scene: Rng, sensor: Rng, size: int, defect: Defect | None) -> Drawing:
    """A planed softwood board, growth rings along y; defects: scratch, stain, hole, crack."""
    y, x = turned(size, (0.5, 0.5), float(scene.normal(0, 0.04)))
    bend = 0.035 * noise(scene, size, 2) + 0.006 * noise(scene, size, 4, 9)
    pith, slant = float(scene.uniform(-0.9, 0.9)), float(scene.uniform(0.08, 0.3))
    depth = np.hypot(x + bend - pith, slant * (y + float(scene.uniform(-0.8, 0.8))))
    rings = depth * float(scene.uniform(14, 20))
    rings = rings + 0.5 * np.interp(rings, np.arange(48), scene.normal(0, 0.6, 48))
    year = rings % 1.0
    late = smoothstep(year, 0.35, 0.93) * (1 - smoothstep(year, 0.93, 1.0))
    late = late * np.clip(np.interp(rings, np.arange(48), scene.normal(0.8, 0.2, 48)), 0.3, 1.1)
    fibre = 0.6 * noise(scene, size, 5, 110) + 0.7 * noise(scene, size, 12, 230)
    pores = smoothstep(noise(scene, size, 26, 200), 1.7, 2.6) * (0.3 + late)
    dark = np.clip(0.12 + 0.5 * late + 0.055 * fibre + 0.05 * fractal(scene, size, 3, 3) + 0.25 * pores, 0, 1)
    early = np.array([0.84, 0.67, 0.46]) * np.exp(scene.normal(0, [0.02, 0.025, 0.05]))
    rgb = mix(np.broadcast_to(early, (size, size, 3)), (0.42, 0.24, 0.12), dark)
    rgb = _knots(scene, rgb)
    if defect is not None:
        rgb = _on_wood(rgb, defect)
    return _finish(scene, sensor, rgb, 0.12, 0.03, 0.014)


def _knots(scene: Rng, rgb: Array) -> Array:
    """Small pin knots, which good boards have too."""
    y, x = grid(rgb.shape[0])
    for _ in range(int(scene.choice([0, 0, 1, 2]))):
        cy, cx, radius = scene.uniform(0.05, 0.95), scene.uniform(0.05, 0.95), scene.uniform(0.008, 0.016)
        distance = blob_distance(scene, 0.7 * (y - cy), x - cx, radius, 0.08)
        rgb = mix(rgb, (0.45, 0.26, 0.14), 0.45 * cover(distance, rgb.shape[0], 0.5 * radius))
    return rgb


def _on_wood(rgb: Array, defect: Defect) -> Array:
    if defect.name == "scratch":
        return scratch(rgb, defect, defect.place(0.2), (0.93, 0.82, 0.66))
    if defect.name == "stain":
        return stain(rgb, defect, defect.place(0.12), (0.5, 0.45, 0.5))
    if defect.name == "hole":
        for _ in range(int(defect.rng.integers(1, 4))):
            rgb = hole(rgb, defect, defect.place(0.08), (0.13, 0.07, 0.04), 0.012)
        return rgb
    heading = float(defect.rng.choice([-1, 1])) * np.pi / 2 + float(defect.rng.normal(0, 0.06))
    path = jagged(defect.rng, defect.place(0.25), heading, 0.28 * defect.extent)
    return crack(rgb, defect, path, 0.004 * defect.extent**0.5)


def wire_grid(scene: Rng, sensor: Rng, size: int, defect: Defect | None) -> Drawing:
    """A woven steel mesh, on its corner, before a dark ground; defects: broken_wire, bent, hole, stain."""
    wires = 13 * float(np.exp(scene.normal(0, 0.04)))
    y, x = turned(size, (0.5, 0.5), np.pi / 4 + float(scene.normal(0, 0.03)))
    u = (x + 0.004 * noise(scene, size, 4)) * wires + 20 + float(scene.uniform(0, 2))
    v = (y + 0.004 * noise(scene, size, 4)) * wires + 20 + float(scene.uniform(0, 2))
    sides = (u, v)
    cut = [_nothing(size), _nothing(size)]
    if defect is not None and defect.name in ("broken_wire", "hole"):
        cut = _cut(defect, size, sides)
    ground = 0.09 + 0.02 * fractal(scene, size, 3, 3)
    rgb = np.repeat(ground[..., None], 3, axis=2) * np.array([0.9, 1.0, 1.1])
    layers = []
    for axis in (0, 1):
        across, along = sides[axis], sides[1 - axis]
        line = np.round(across).astype(int)
        offset = across - line - scene.normal(0, 0.025, 64)[line % 64]
        crimp = np.cos(np.pi * along) * np.where(line % 2 == 0, 1, -1) * (1 if axis == 0 else -1)
        side = np.clip(offset / 0.17, -1, 1)
        gleam = 0.30 + 0.55 * np.exp(-(((side - 0.3) / 0.42) ** 2)) * (0.75 + 0.25 * crimp)
        gleam = gleam * (1 + scene.normal(0, 0.06, 64)[line % 64]) + 0.035 * noise(scene, size, 120)
        solid = cover((np.abs(offset) - 0.17) / wires, size, 0.001) * (1 - cut[axis])
        layers.append((crimp, solid, gleam))
    steel = np.array([0.95, 0.97, 1.0]) * np.exp(scene.normal(0, 0.02, 3))
    first_below = layers[0][0] < layers[1][0]
    for lower in (True, False):
        for axis in (0, 1):
            _, solid, gleam = layers[axis]
            here = first_below if (axis == 0) == lower else ~first_below
            rgb = mix(rgb, gleam[..., None] * steel, solid * here)
    if defect is not None and defect.name == "bent":
        rgb = warp(rgb, defect, defect.place(0.15), 0.03, 0.09)
    if defect is not None and defect.name == "stain":
        rgb = _residue(rgb, defect)
    return _finish(scene, sensor, rgb, 0.2, 0.05, 0.016)


def _cut(defect: Defect, size: int, sides: tuple[Array, Array]) -> list[Array]:
    """How far each of the two sets of wires is gone (0..1)."""
    cy, cx = defect.place(0.15)
    row, column = int(cy * size), int(cx * size)
    gone = [np.zeros_like(sides[0]), np.zeros_like(sides[0])]
    if defect.name == "hole":
        y, x = grid(size)
        for axis in (0, 1):
            distance = blob_distance(defect.rng, y - cy, x - cx, 0.055 * defect.extent, 0.2)
            gone[axis] = cover(distance, size, 0.003) * defect.opacity(0.85)
        return gone
    axis = int(defect.rng.integers(2))
    across, along = sides[axis], sides[1 - axis]
    line = np.round(across) == np.round(across[row, column])
    half = 0.7 * defect.extent * float(defect.rng.uniform(0.6, 1.4))
    gone[axis] = (line & (np.abs(along - along[row, column]) < half)) * defect.opacity(0.85)
    return gone


def _residue(rgb: Array, defect: Defect) -> Array:
    """A drop of glue or resin over wires and gaps: glossy, warm, brighter than the ground."""
    size = rgb.shape[0]
    y, x = grid(size)
    cy, cx = defect.place(0.12)
    radius = 0.045 * defect.extent
    distance = blob_distance(defect.rng, y - cy, x - cx, radius, 0.2) + 0.1 * radius * noise(defect.rng, size, 24)
    gloss = np.exp(-((np.hypot(y - cy + 0.4 * radius, x - cx - 0.3 * radius) / (0.35 * radius)) ** 2))
    body = cover(distance, size, 0.15 * radius) * defect.opacity(0.35)
    return mix(rgb, np.array([0.5, 0.42, 0.3]) * (0.8 + 0.9 * gloss[..., None]), body)


def printed(scene: Rng, sensor: Rng, size: int, defect: Defect | None) -> Drawing:
    """Paper with a two-ink ornament on a brick lattice; defects: scratch, stain, missing_ink, smear."""
    repeats = 6.5 * float(np.exp(scene.normal(0, 0.03)))
    y, x = turned(size, (0.5, 0.5), float(scene.normal(0, 0.03)))
    y, x = y + 0.0025 * noise(scene, size, 3), x + 0.0025 * noise(scene, size, 3)
    phase_y, phase_x = scene.uniform(0, 2, 2) + 20
    paper = np.array([0.88, 0.85, 0.79]) * np.exp(scene.normal(0, 0.01, 3))
    texture = 0.015 * fractal(scene, size, 40, 3, 0.8) + 0.012 * noise(scene, size, 5)
    rgb = paper * (1 + texture[..., None])
    patchy = [0.05 * noise(scene, size, 4) + 0.07 * noise(scene, size, 150) for _ in range(2)]
    registration = scene.normal(0, 0.0025, 2)
    inks = (np.array([0.11, 0.36, 0.42]), np.array([0.80, 0.38, 0.20]))
    void = _nothing(size)
    if defect is not None and defect.name == "missing_ink":
        void = _void(defect, size)
    for ink in (0, 1):
        shift_y, shift_x = registration * ink
        row = (y + shift_y) * repeats + phase_y
        column = (x + shift_x) * repeats + phase_x + 0.5 * (np.floor(row) % 2)
        a, b = row % 1 - 0.5, column % 1 - 0.5
        colour = inks[ink] * np.exp(scene.normal(0, 0.05, 3))
        share = cover(_ornament(a, b, ink) / repeats, size, 0.002)
        rgb = mix(rgb, colour, share * np.clip(0.88 + patchy[ink], 0, 1) * (1 - void))
    rgb = _lint(scene, rgb, (0.55, 0.5, 0.45), 3)
    if defect is not None:
        if defect.name == "scratch":
            rgb = scratch(rgb, defect, defect.place(0.2), (0.95, 0.94, 0.92))
        if defect.name == "stain":
            rgb = stain(rgb, defect, defect.place(0.1), (0.30, 0.34, 0.50), 0.06)
        if defect.name == "smear":
            rgb = warp(rgb, defect, defect.place(0.15), 0.024, 0.09)
    return _finish(scene, sensor, rgb, 0.1, 0.025, 0.012)


def _ornament(a: Array, b: Array, ink: int) -> Array:
    """Signed distance, in repeats, to the parts of one ink of the ornament about (0, 0)."""
    radius, angle = np.hypot(a, b), np.arctan2(a, b)
    if ink == 0:
        petals = radius - 0.27 * (0.72 + 0.28 * np.cos(6 * angle))
        corner = np.hypot(np.abs(a) - 0.5, b) - 0.06
        vine = np.abs(np.abs(a) - 0.5 + 0.05 * np.cos(2 * np.pi * b)) - 0.018
        return np.asarray(np.minimum(np.minimum(np.maximum(petals, 0.1 - radius), corner), vine))
    ring = np.abs(radius - 0.345) - 0.022
    dots = np.hypot(np.abs(a) - 0.30, np.abs(b) - 0.30) - 0.035
    return np.asarray(np.minimum(np.minimum(radius - 0.075, ring), dots))


def _void(defect: Defect, size: int) -> Array:
    """How far the ink is missing (0..1): a fading, streaky patch."""
    y, x = grid(size)
    cy, cx = defect.place(0.1)
    distance = blob_distance(defect.rng, y - cy, x - cx, 0.065 * defect.extent, 0.2)
    streaks = 0.018 * noise_at(defect.rng, 20 * y + 4, 120 * x + 4, (32, 136))
    drift = 0.01 * profile(defect.rng, size, 30)[:, None]
    return cover(distance + streaks + drift, size, 0.02) * defect.opacity(0.7)
