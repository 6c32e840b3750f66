"""What the page draws for each filter and metric: figures, comparisons, intervals of cells."""

from typing import Any

import numpy as np

from adbench.reports import figures, significance
from adbench.reports.figures_ranks import rank_diagram
from adbench.reports.leaderboard import Aggregate, Leaderboard, Slice
from adbench.reports.run_table import json_value
from adbench.reports.schema import COSTS
from adbench.reports.side_files import SideFiles, zipped

MOST_PAIRED = 12  # methods in the table of all pairs
MOST_VIEW_BYTES = 700_000  # of the compressed figures and comparisons, before base64


def build_views(board: Leaderboard, beside: SideFiles) -> dict[str, Any]:
    """Figures, comparisons and intervals. Where these are too large, only those that the page shows first.

    Then ``views`` has a file for each other budget and metric: the same, of these alone.
    """
    found = {
        "figures": _figures(board),
        "comparisons": [_comparisons(part) for part in board.slices],
        "intervals": _cell_intervals(board),
        "views": {},
    }
    views = [(budget, name) for budget in board.budgets for name in board.metrics]
    # all of a large store takes seconds to compress
    guessed = len(views) * len(zipped(_view(board, found, *views[-1]))) if views else 0
    if guessed <= 2 * MOST_VIEW_BYTES and len(zipped(found)) <= MOST_VIEW_BYTES:
        return found
    first = (board.budgets[0], board.rank_by)
    others = [view for view in views if view != first]
    files = {f"{budget} {name}": beside.add(_view(board, found, budget, name)) for budget, name in others}
    return {**_view(board, found, *first), "views": files}


def _view(board: Leaderboard, found: dict[str, Any], budget: str, metric: str) -> dict[str, Any]:
    """What ``build_views`` has of one budget and metric, for all slices in their order."""
    shown = [part.budget == budget for part in board.slices]
    return {
        "figures": [
            {kind: {metric: one[kind][metric]} if own and metric in one[kind] else {} for kind in one}
            for one, own in zip(found["figures"], shown, strict=True)
        ],
        "comparisons": [
            {metric: one[metric]} if own and metric in one else {}
            for one, own in zip(found["comparisons"], shown, strict=True)
        ],
        "intervals": {budget: {metric: found["intervals"][budget][metric]}},
    }


def _comparisons(part: Slice) -> dict[str, Any]:
    """By metric, what tests say; of each two of the first MOST_PAIRED methods by rank, first against second."""
    return {
        name: _comparison(aggregate) for name, aggregate in part.metrics.items() if aggregate.comparison is not None
    }


def _comparison(aggregate: Aggregate) -> dict[str, Any]:
    found = aggregate.comparison
    assert found is not None
    ranks = found.ranks[:MOST_PAIRED]
    first, second = np.triu_indices(len(ranks), 1)
    tables = {
        "wins": found.wins,
        "losses": found.wins.T,
        "ties": found.ties,
        "wilcoxon": found.wilcoxon,
        "p": found.p,
    }
    if found.friedman is not None:
        apart = np.triu(ranks[:, None] - ranks)  # zeros cost nothing
        tables["nemenyi"] = significance.nemenyi(apart, len(found.ranks), found.n_categories)
    if found.pairs is not None:
        tables |= {"difference": found.pairs.difference, "low": found.pairs.low, "high": found.pairs.high}
    return {
        "entries": aggregate.compared,
        "friedman": found.friedman and [round(one, 5) for one in found.friedman],
        "groups": None if found.groups is None else len(found.groups),
        "smallest": significance.smallest_p(found.n_categories),
        **{
            name: None if table is None else [json_value(one) for one in table[first, second].round(6).tolist()]
            for name, table in tables.items()
        },
    }


def _cell_intervals(board: Leaderboard) -> dict[str, dict[str, dict[str, list[Any]]]]:
    """By budget and metric, the intervals of entries in categories, as columns."""
    columns: dict[str, dict[str, dict[str, list[Any]]]] = {budget: {} for budget in board.budgets}
    for (budget, metric), found in board.cell_intervals.items():
        columns[budget][metric] = {
            "place": [place for place, _ in found],
            "entry": [entry for _, entry in found],
            "low": [round(one.low, 5) for one in found.values()],
            "high": [round(one.high, 5) for one in found.values()],
            "kind": [one.interval for one in found.values()],
        }
    return columns


def _figures(board: Leaderboard) -> list[dict[str, Any]]:
    """For each slice: {"heat": {metric: figure}, "ranks": likewise, "cost": {metric: {cost: figure}}}."""
    tables = {
        (budget, metric): figures.category_values(board.sorted, budget, metric)
        for budget in board.budgets
        for metric in board.metrics
    }
    return [
        {
            "heat": {
                metric: figures.heat_map(board.sorted, part, metric, tables[part.budget, metric])
                for metric in board.metrics
            },
            "ranks": {metric: rank_diagram(board.sorted, aggregate) for metric, aggregate in part.metrics.items()},
            "cost": {
                metric: {cost: figures.cost_scatter(board.sorted, part, metric, cost) for cost in COSTS}
                for metric in board.metrics
            },
        }
        for part in board.slices
    ]
