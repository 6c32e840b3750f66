"""A recorded surface: settings of a method's search space, and what each reached at the rungs and at its end.

It answers what a search proposes without training, in one of two ways:

nearest   what the nearest recorded setting reached, in the space scaled to [0, 1] (logarithms where these are
          searched; different choices are 1 apart). Real curves, but the surface has steps.
forest    a regression over all recorded settings, plus what it missed (out of sample) on one of the ten nearest,
          drawn anew each time: a smooth surface with noise like the recorded, which the rungs of a training share.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from scipy.stats import spearmanr
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsRegressor

from adbench.orchestrator.cell import canonical_json
from adbench.orchestrator.search_space import Space

Floats = NDArray[np.float64]
Way = Literal["nearest", "forest"]
_FOLDS = 10
_NEIGHBOURS = 10


@dataclass(frozen=True)
class Point:
    """A training after a ``share`` of it (0 to 1]: the val metric, and the seconds so far."""

    share: float
    value: float
    seconds: float


Curve = Sequence[Point]


@dataclass(frozen=True)
class Check:
    """How well final values are foretold out of sample: rank correlation, and share of the variance (R2)."""

    rank: float
    variance: float


class Surface:
    """What was recorded: of each setting, as Optuna stores them, the points of its curve, its end included."""

    def __init__(self, space: Space, curves: Mapping[str, Curve], way: Way) -> None:
        """``curves`` by settings as canonical JSON. ValueError for curves of different length, or too few."""
        self._space = space
        self._curves = list(curves.values())
        self._way = way
        if len({len(curve) for curve in self._curves}) != 1:
            raise ValueError("some trainings passed fewer rungs than others: record longer ones")
        if len(self._curves) < 2:
            raise ValueError("a surface needs two settings or more")
        self._places = np.stack([coordinates(space, json.loads(setting)) for setting in curves])
        self._values = np.array([[point.value for point in curve] for curve in self._curves])

    def __len__(self) -> int:
        return len(self._curves)

    def curve(self, setting: Mapping[str, Any], rng: np.random.Generator) -> Curve:
        """What a training with this setting would reach."""
        place = coordinates(self._space, setting)
        near = np.argsort(((self._places - place) ** 2).sum(axis=1), kind="stable")
        recorded = self._curves[int(near[0])]
        if self._way == "nearest":
            return recorded
        missed = self._values - self._foretold["forest"]
        values = self._forest.predict(place[None])[0] + missed[rng.choice(near[:_NEIGHBOURS])]
        clipped = np.clip(values, 0.0, 1.0).tolist()
        return [Point(point.share, value, point.seconds) for point, value in zip(recorded, clipped, strict=True)]

    def check(self, way: Way) -> Check:
        """How well a way foretells settings that it has not seen."""
        foretold, true = self._foretold[way][:, -1], self._values[:, -1]
        return Check(float(spearmanr(foretold, true).statistic), float(r2_score(true, foretold)))

    def rung_ranks(self) -> list[float]:
        """Rank correlation of the values at each rung with the final ones: what an early stop can go by."""
        return [float(spearmanr(values, self._values[:, -1]).statistic) for values in self._values.T[:-1]]

    @cached_property
    def _forest(self) -> ExtraTreesRegressor:
        return _model("forest").fit(self._places, self._values)

    @cached_property
    def _foretold(self) -> dict[str, Floats]:
        """Values [N, R] of each setting, from those of other folds alone."""
        found = {way: np.empty_like(self._values) for way in ("nearest", "forest")}
        folds = KFold(min(_FOLDS, len(self)), shuffle=True, random_state=0)
        for seen, unseen in folds.split(self._places):
            for way, values in found.items():
                values[unseen] = _model(way).fit(self._places[seen], self._values[seen]).predict(self._places[unseen])
        return found


def _model(way: str) -> Any:
    if way == "nearest":
        return KNeighborsRegressor(n_neighbors=1)
    return ExtraTreesRegressor(n_estimators=100, min_samples_leaf=2, random_state=0)


def coordinates(space: Space, setting: Mapping[str, Any]) -> Floats:
    """A setting, as Optuna stores it, in [0, 1]^D; a parameter without effect is in the middle of its range."""
    found: list[float] = []
    for name, parameter in space.items():
        distribution = parameter.distribution
        if isinstance(distribution, CategoricalDistribution):
            # One coordinate for each choice, so scaled that any two are 1 apart.
            found += [float(setting.get(name) == choice) / np.sqrt(2) for choice in distribution.choices]
        elif name not in setting:
            found.append(0.5)
        else:
            scale = np.log if distribution.log else float
            low, high = scale(distribution.low), scale(distribution.high)
            found.append(float((scale(setting[name]) - low) / (high - low)))
    return np.array(found)


def write(path: Path, overrides: Sequence[str], curves: Mapping[str, Curve]) -> None:
    """Write a surface, whole or not at all."""
    rows = [
        {"setting": setting, "share": point.share, "value": point.value, "seconds": point.seconds}
        for setting, curve in curves.items()
        for point in curve
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    pd.DataFrame(rows).assign(overrides=canonical_json(list(overrides))).to_parquet(unfinished)
    unfinished.replace(path)


def read(path: Path) -> tuple[list[str], dict[str, Curve]]:
    """The overrides that a surface was recorded with, and its curves by settings as canonical JSON."""
    rows = pd.read_parquet(path)
    overrides: list[str] = json.loads(rows["overrides"].iloc[0])
    curves: dict[str, Curve] = {
        str(setting): [Point(*map(float, point)) for point in group[["share", "value", "seconds"]].to_numpy()]
        for setting, group in rows.groupby("setting", sort=False)
    }
    return overrides, curves
