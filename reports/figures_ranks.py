"""The critical-difference diagram (Demšar 2006, figure 1) as a plain Plotly specification, see ``figures.py``.

All names stand at the left, one under the other, so that thirty methods or a narrow screen do not make them overlap.
"""

from adbench.reports.entries import Sorted
from adbench.reports.figures import LINE, Figure, colour_of, plain
from adbench.reports.leaderboard import Aggregate

MOST_METHODS = 30
_LANE = 0.55  # rows that a bar takes
ROW = 24  # pixels
_LONGEST = 24  # characters of a name: about half of a phone's width


def rank_diagram(found: Sorted, aggregate: Aggregate) -> Figure | None:
    """Methods on the axis of average ranks, and a bar over each group between which no difference is shown.

    None with fewer than two methods. Beyond MOST_METHODS the last are left out.
    """
    comparison = aggregate.comparison
    if comparison is None:
        return None
    shown = min(len(comparison.ranks), MOST_METHODS)
    ranks = [round(float(rank), 4) for rank in comparison.ranks[:shown]]
    entries = list(aggregate.compared[:shown])
    names = [found.entries[entry].label for entry in entries]
    groups: list[tuple[int, int]] = []
    for first, last in comparison.groups or ():
        if first < shown - 1 and (not groups or groups[-1][1] < shown - 1):
            groups.append((first, min(last, shown - 1)))
    top = 0.6 + _LANE * len(groups)
    rows = [top + row for row in range(shown)]
    left = 0.6
    right = max(ranks) + max(0.5, 0.2 * (max(ranks) - left))  # room for the last number
    overhang = 0.01 * (right - left)
    stems: list[tuple[float | None, float | None]] = []
    for rank, row in zip(ranks, rows, strict=True):
        stems += [(rank, 0), (rank, row), (left, row), (None, None)]
    data: list[Figure] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [x for x, _ in stems],
            "y": [y for _, y in stems],
            "line": {"color": LINE, "width": 1},
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "mode": "markers+text",
            "x": ranks,
            "y": rows,
            "text": [f"{rank:.2f}" for rank in ranks],
            "textposition": "middle right",
            "hovertext": [plain(name) for name in names],
            "hovertemplate": "%{hovertext}<br>average rank %{x:.2f}<extra></extra>",
            "marker": {"color": [colour_of(entry) for entry in entries], "size": 9},
            "cliponaxis": False,
        },
    ]
    data += [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [ranks[first] - overhang, ranks[last] + overhang],
            "y": [0.45 + _LANE * lane] * 2,
            "line": {"color": LINE, "width": 6},
            "hovertext": [f"no difference shown from {plain(names[first])} to {plain(names[last])}"] * 2,
            "hovertemplate": "%{hovertext}<extra></extra>",
        }
        for lane, (first, last) in enumerate(groups)
    ]
    bottom = rows[-1] + 0.7
    if comparison.critical_difference is not None:
        bottom += 1
        data.append(
            {
                "type": "scatter",
                "mode": "lines+text",
                "x": [1, 1 + comparison.critical_difference, None, 1],
                "y": [bottom - 0.7, bottom - 0.7, None, bottom - 0.1],
                "text": ["", "", "", f"critical difference {comparison.critical_difference:.2f}"],
                "textposition": "middle right",
                "line": {"color": LINE, "width": 3},
                "hoverinfo": "skip",
            }
        )
        right = max(right, 1.2 + comparison.critical_difference)
        bottom += 0.6
    step = 1 if right < 12 else 5
    return {
        "data": [{"showlegend": False, **trace} for trace in data],
        "layout": {
            "height": round(77 + ROW * bottom),
            "margin": {"l": 10, "r": 20, "t": 62, "b": 5},
            "meta": {"entries": entries, "row": ROW},
            "xaxis": {
                "side": "top",
                "range": [left, right],
                "tickvals": [rank for rank in range(1, int(right) + 1) if rank == 1 or rank % step == 0],
                "ticks": "outside",
                "showline": True,
                "showgrid": False,
                "zeroline": False,
                "fixedrange": True,
                "title": {"text": "average rank (1 is best)", "standoff": 4},
            },
            "yaxis": {
                "range": [bottom, 0],
                "tickvals": rows,
                "ticktext": [plain(name, _LONGEST) for name in names],
                "automargin": True,
                "showgrid": False,
                "zeroline": False,
                "fixedrange": True,
            },
        },
    }
