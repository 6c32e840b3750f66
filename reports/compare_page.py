"""The page of a comparison: one HTML file without a script."""

from dataclasses import dataclass

from adbench.benchmark_suites.metrics import METRICS
from adbench.reports.pairing import Change, Pairing
from adbench.reports.side_page import render_side_page

PAGE = "compare/index.html"


@dataclass(frozen=True)
class Comparison:
    """What was compared with what, row by row of the leaderboard; ``alone``: rows that only one side has."""

    a: str
    b: str
    pairings: tuple[Pairing, ...]
    alone: tuple[str, ...]


def render_comparison(found: Comparison) -> str:
    """The page as HTML text."""
    return render_side_page("compare.html", f"{found.a} → {found.b}", found=found, metrics=METRICS, reach=reach)


def reach(changes: list[Change]) -> float:
    """Half the width of the axis on which all these differences and their intervals lie."""
    ends = [abs(one) for change in changes for one in (change.difference, change.low, change.high) if one is not None]
    return max(ends, default=0.0) or 1.0
