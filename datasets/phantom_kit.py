"""The drawn logical category: a tray of six compartments, each with its own kind and number of parts."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adbench.datasets.base import Saturation
from adbench.datasets.phantom_defects import Defect, Drawing, scratch, stain
from adbench.datasets.phantom_noise import (
    Array,
    Rng,
    blur,
    box_distance,
    camera,
    cover,
    fractal,
    grid,
    lighting,
    noise,
)
from adbench.datasets.phantom_parts import HALF_SIDE, Part, paint_part, part_shape

# Row by row; a compartment has four places for its parts, so that one can be added without touching another.
CONTENTS = (("screw", 2), ("nut", 2), ("cap", 1), ("washer", 3), ("dowel", 2), ("spring", 1))
LOGICAL = ("missing_part", "extra_part", "swapped_parts", "misplaced_part", "wrong_colour")
_ROWS, _COLUMNS = (0.275, 0.725), (0.19, 0.5, 0.81)
_HALF = (0.205, 0.138)
_WHOLE = Saturation(1.0, relative=True)
# Either of two exchanged groups shows the exchange; finding half of what is marked is finding it.
_HALF_OF_IT = Saturation(0.5, relative=True)


@dataclass(frozen=True)
class _Tray:
    """The parts, and for every compartment the four places (y, x) of which the parts take the first ones."""

    parts: tuple[Part, ...]
    places: tuple[tuple[tuple[float, float], ...], ...]


def kit(scene: Rng, sensor: Rng, size: int, defect: Defect | None) -> Drawing:
    """A filled tray; logical anomalies as in ``LOGICAL``, structural ones: scratch, stain (on a part)."""
    tray = _filled(scene)
    shift_y, shift_x = scene.normal(0, 0.006, 2).tolist()
    rgb = _plastic(scene, size, shift_y, shift_x)
    parts = tray.parts
    regions: list[NDArray[np.bool_]] = []
    saturation: tuple[Saturation, ...] = ()
    wrong = defect is not None and defect.name in LOGICAL
    if defect is not None and wrong:
        parts = _rearranged(tray, defect)
    for part in parts:
        rgb = paint_part(rgb, _moved(part, shift_y, shift_x))
    if defect is not None and wrong:
        before = [_moved(part, shift_y, shift_x) for part in tray.parts]
        after = [_moved(part, shift_y, shift_x) for part in parts]
        regions, saturation = _ground_truth(defect, before, after, size, (shift_y, shift_x))
    if defect is not None and not wrong:
        rgb = _damaged(rgb, defect, [_moved(part, shift_y, shift_x) for part in parts])
    fine = 1 + 0.012 * fractal(scene, size, 50, 3, 0.8)
    factor = lighting(scene, size, 0.12, 0.03) * float(np.exp(scene.normal(0, 0.05))) * fine
    picture = camera(sensor, np.clip(rgb, 0, 1) * factor[..., None], 0.013)
    return Drawing(picture, np.stack(regions) if regions else None, saturation)


def _moved(part: Part, shift_y: float, shift_x: float) -> Part:
    return replace(part, y=part.y + shift_y, x=part.x + shift_x)


def _filled(scene: Rng) -> _Tray:
    """A tray as it should be: kinds and counts fixed, places and turns free."""
    parts, places = [], []
    for compartment, (kind, count) in enumerate(CONTENTS):
        cy, cx = _ROWS[compartment // 3], _COLUMNS[compartment % 3]
        jitter = scene.normal(0, 1, (4, 2)).clip(-2, 2) * (0.010, 0.0045)
        order = scene.permutation(4)
        spots = [
            (
                cy + (0.098 if order[k] >= 2 else -0.098) + float(jitter[k, 0]),
                cx + (0.067 if order[k] % 2 else -0.067) + float(jitter[k, 1]),
            )
            for k in range(4)
        ]
        places.append(tuple(spots))
        for k in range(count):
            turn, shade, look = scene.uniform(-1, 1), scene.normal(0, 0.05), int(scene.integers(1 << 30))
            parts.append(Part(kind, compartment, *spots[k], _turn(kind, float(turn)), float(shade), 0.0, look))
    return _Tray(tuple(parts), tuple(places))


def _turn(kind: str, turn: float) -> float:
    """A turn in radians for ``turn`` in -1..1: long parts lie roughly upright, round ones anyhow."""
    return turn * (0.28 if kind in ("screw", "dowel", "spring") else np.pi)


def _rearranged(tray: _Tray, defect: Defect) -> tuple[Part, ...]:
    """The parts of ``tray`` after the logical anomaly."""
    rng, parts = defect.rng, list(tray.parts)
    chosen = int(rng.integers(len(parts)))
    part = parts[chosen]
    if defect.name == "missing_part":
        del parts[chosen]
    elif defect.name == "extra_part":
        y, x = tray.places[part.compartment][CONTENTS[part.compartment][1]]
        turn = _turn(part.kind, float(rng.uniform(-1, 1)))
        parts.append(replace(part, y=y, x=x, turn=turn, look=int(rng.integers(1 << 30))))
    elif defect.name == "misplaced_part":
        others = [c for c in range(len(CONTENTS)) if c != part.compartment]
        other = int(rng.choice(others))
        y, x = tray.places[other][3]
        parts[chosen] = replace(part, compartment=other, y=y, x=x)
    elif defect.name == "swapped_parts":
        first, second = rng.choice(len(CONTENTS), 2, replace=False).tolist()
        for n, moving in enumerate(parts):
            if moving.compartment in (first, second):
                other = second if moving.compartment == first else first
                rank = sum(p.compartment == moving.compartment for p in tray.parts[:n])
                y, x = tray.places[other][rank]
                parts[n] = replace(moving, compartment=other, y=y, x=x)
    else:
        coloured = [n for n, p in enumerate(parts) if p.kind in ("cap", "dowel")]
        chosen = int(rng.choice(coloured))
        hue = float(rng.choice([-1, 1]) * rng.uniform(0.5, 1.0)) * min(1.0, defect.strength)
        parts[chosen] = replace(parts[chosen], hue=hue)
    return tuple(parts)


def _ground_truth(
    defect: Defect, before: list[Part], after: list[Part], size: int, shift: tuple[float, float]
) -> tuple[list[NDArray[np.bool_]], tuple[Saturation, ...]]:
    """Marked regions and their saturation, after the convention of MVTec LOCO.

    A part that is missing could lie anywhere on its compartment's free floor: the floor is marked and
    saturates at the area of the part. A part that should not be there is marked itself.
    """
    gone = [part for part in before if part not in after]
    come = [part for part in after if part not in before]
    if defect.name == "swapped_parts":
        both = np.any([part_shape(part, size) for part in gone + come], axis=0)
        return [both], (_HALF_OF_IT,)
    if defect.name in ("extra_part", "wrong_colour"):
        return [np.any([part_shape(part, size) for part in come], axis=0)], (_WHOLE,)
    floor = cover(_compartment_distance(size, gone[0].compartment, *shift), size) >= 0.5
    for part in after:
        floor = floor & ~part_shape(part, size)
    area = float(part_shape(gone[0], size).sum())
    regions, saturation = [floor], [Saturation(max(area, 1.0), relative=False)]
    if come:
        regions.append(part_shape(come[0], size))
        saturation.append(_WHOLE)
    return regions, tuple(saturation)


def _compartment_distance(size: int, compartment: int, shift_y: float, shift_x: float) -> Array:
    y, x = grid(size)
    cy, cx = _ROWS[compartment // 3] + shift_y, _COLUMNS[compartment % 3] + shift_x
    return box_distance(y - cy, x - cx, _HALF, 0.02)


def _plastic(scene: Rng, size: int, shift_y: float, shift_x: float) -> Array:
    """The empty tray: a light grey moulding with six recessed floors."""
    distance = np.min([_compartment_distance(size, c, shift_y, shift_x) for c in range(6)], axis=0)
    inside = cover(distance, size, 0.003)
    slope_y, slope_x = np.gradient(distance * size)
    wall = np.exp(-(((distance - 0.002) / 0.005) ** 2)) * (0.7 * slope_y + 0.5 * slope_x)
    hidden = blur(np.roll(1 - inside, (round(0.014 * size), round(0.011 * size)), axis=(0, 1)), 0.008)
    grey = 0.60 + 0.08 * wall - inside * (0.14 + 0.22 * hidden)
    grey = grey * (1 + 0.012 * noise(scene, size, 160) + 0.015 * fractal(scene, size, 5, 3))
    return np.asarray(grey[..., None] * np.array([0.95, 0.99, 1.02]) * np.exp(scene.normal(0, 0.01, 3)))


def _damaged(rgb: Array, defect: Defect, parts: list[Part]) -> Array:
    """A scratch or a stain that begins on one of the parts."""
    part = parts[int(defect.rng.integers(len(parts)))]
    start = (part.y + float(defect.rng.normal(0, 0.012)), part.x + float(defect.rng.normal(0, 0.012)))
    if defect.name == "scratch":
        return scratch(rgb, defect, start, (0.95, 0.95, 0.95), 0.55 * HALF_SIDE * 2)
    return stain(rgb, defect, start, (0.32, 0.24, 0.18), 0.035)
