"""Optuna's figures of a study, in the form that the page draws: without what suits one theme only."""

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from optuna import visualization
from optuna.importance import FanovaImportanceEvaluator
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from plotly import colors

from adbench.reports import conclusions_search as conclusions
from adbench.reports.figures import FRONT, OTHER, Figure, plain
from adbench.reports.studies import quiet, thinned

MOST_TRIALS = 200  # drawn in one figure
FEWEST_TRIALS = 2  # of which something can be said

_TREES = 32  # of the forest that tells importances; Optuna's 64 take seconds for each figure
_SCALE = [[0.0, OTHER], [0.5, "#a0a0a0"], [1.0, FRONT]]  # stands out from both themes, unlike Optuna's own
_DROPPED = ("template", "title", "width", "plot_bgcolor")

Target = Callable[[FrozenTrial], float] | None


def search_figures(study: optuna.Study, objectives: Sequence[str]) -> list[dict[str, Any]]:
    """The figures, each with its ``kind``, its ``title``, the ``objective`` it is of (None: of several), and a
    ``conclusion``.

    Empty with fewer than two complete trials.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < FEWEST_TRIALS:
        return []
    shown = thinned(study, MOST_TRIALS)
    found: list[dict[str, Any]] = []
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        for first, second in itertools.combinations(range(len(objectives)), 2):
            front = _front(shown, objectives, first, second)
            found.append({**front, "conclusion": conclusions.of_front(len(study.best_trials), len(complete))})
        for index, objective in enumerate(objectives):
            sign = -1 if study.directions[index] == StudyDirection.MAXIMIZE else 1
            ranked = [
                complete[row] for row in np.argsort([sign * one.values[index] for one in complete], kind="stable")
            ]
            found += _of_objective(shown, objective, _target(index) if len(objectives) > 1 else None, ranked)
    return found


def _target(index: int) -> Target:
    return lambda trial: trial.values[index]


def _of_objective(
    shown: optuna.Study, objective: str, target: Target, ranked: Sequence[FrozenTrial]
) -> list[dict[str, Any]]:
    """``ranked`` are all complete trials, the best first."""
    own: dict[str, Any] = {"target": target, "target_name": objective}
    history = _bare(visualization.plot_optimization_history(shown, **own), 300)
    kinds = [("history", "Optimisation history", history, conclusions.of_history(ranked))]
    if any(trial.params for trial in shown.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))):
        slices = _bare(visualization.plot_slice(shown, **own), 330)
        lines = _shaded(_bare(visualization.plot_parallel_coordinate(shown, **own), 380))
        if (bars := _importances(shown, own)) is not None:
            (told,) = bars["data"]
            text = conclusions.of_importances(told["y"], told["x"], min(len(ranked), MOST_TRIALS))
            kinds.append(("importances", "Importance of the parameters", bars, text))
        kinds += [
            ("parallel", "Parallel coordinates", lines, conclusions.of_lines(ranked)),
            ("slice", "Slices", slices, conclusions.of_slices(ranked)),
        ]
    return [
        {"kind": kind, "title": title, "objective": objective, "figure": figure, "conclusion": text}
        for kind, title, figure, text in kinds
    ]


def _importances(study: optuna.Study, own: dict[str, Any]) -> Figure | None:
    """None where nothing can be said, such as of parameters that every trial has alike."""
    try:
        figure = visualization.plot_param_importances(
            study, evaluator=FanovaImportanceEvaluator(n_trees=_TREES, seed=0), **own
        )
    except (ValueError, RuntimeError):
        return None
    if not figure.data or not len(figure.data[0]["y"]):
        return None
    return _bare(figure, 110 + 28 * len(figure.data[0]["y"]))


def _shaded(figure: Figure) -> Figure:
    """Lines of parallel coordinates in the colours of the page's scale, by their place on the first axis."""
    lines = [trace for trace in figure["data"] if trace["mode"] == "lines"]
    shades = colors.sample_colorscale(_SCALE, [trace["y"][0] for trace in lines]) if lines else []
    for trace, shade in zip(lines, shades, strict=True):
        trace["line"]["color"] = shade
        trace["opacity"] = 0.8
    for note in figure["layout"].get("annotations", ()):
        note.get("font", {}).pop("color", None)
    return figure


def _front(study: optuna.Study, objectives: Sequence[str], first: int, second: int) -> dict[str, Any]:
    names = [objectives[first], objectives[second]]
    figure = visualization.plot_pareto_front(
        study, targets=lambda trial: (trial.values[first], trial.values[second]), target_names=names
    )
    looks = (("others", OTHER, "circle-open", 8), ("Pareto front", FRONT, "diamond", 10))
    for trace, (name, color, symbol, size) in zip(figure.data, looks, strict=True):
        trace.update(name=name, showlegend=True)
        trace.marker = {"color": color, "symbol": symbol, "size": size}
    title = f"Pareto front: {' and '.join(names)}"
    return {"kind": "front", "title": title, "objective": None, "figure": _bare(figure, 380)}


def _bare(figure: Any, height: int) -> Figure:
    """Optuna's figure without title, template and colours of its own, its texts escaped."""
    spec = _values(figure.to_plotly_json())
    layout = {name: value for name, value in spec["layout"].items() if name not in _DROPPED}
    layout |= {"height": height, "margin": {"l": 20, "r": 20, "t": 20, "b": 20}}
    layout["legend"] = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    layout |= {name: {**value, "automargin": True} for name, value in layout.items() if name[1:5] == "axis"}
    traces = [trace for trace in spec["data"] if trace["x"]]
    for trace in traces:
        if "colorscale" in trace.get("marker", {}):
            trace["marker"] |= {"colorscale": _SCALE, "reversescale": False}
    return {"data": traces, "layout": layout}


def _values(value: Any, key: str = "") -> Any:
    """As JSON: arrays as lists, numbers to six digits, what is not finite as None, texts as Plotly shows them."""
    if isinstance(value, dict):
        return {name: _values(one, name) for name, one in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_values(one, key) for one in (value.tolist() if isinstance(value, np.ndarray) else value)]
    if isinstance(value, str):
        # these two hold tags of Plotly's own, beside names that are parameters of a method
        return value if key == "hovertemplate" else plain(value).replace("&lt;br&gt;", "<br>")
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    return float(f"{value:.6g}") if math.isfinite(value) else None
