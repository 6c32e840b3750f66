"""The index over several results folders: one HTML file without a script."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from adbench.benchmark_suites.metrics import METRICS
from adbench.reports import page
from adbench.reports.files import LocalFolder
from adbench.reports.history import History, SuiteRow
from adbench.reports.side_page import render_side_page
from adbench.reports.store import ResultStore

PAGE = "report/all.html"
_WIDTH, _HEIGHT, _LEFT, _TOP, _FOOT = 720, 170, 56, 16, 40


@dataclass(frozen=True)
class Mark:
    """A point of a drawn history, in pixels, with its labels."""

    x: float
    y: float
    low: float | None
    high: float | None
    version: str
    date: str


@dataclass(frozen=True)
class Drawing:
    """A history as coordinates; ``ticks`` are heights with their labels."""

    width: int
    height: int
    left: int
    marks: tuple[Mark, ...]
    ticks: tuple[tuple[float, str], ...]

    @property
    def line(self) -> str:
        return " ".join(f"{mark.x:.1f},{mark.y:.1f}" for mark in self.marks)


def render_index(
    stores: Sequence[ResultStore], rows: Sequence[SuiteRow], histories: Sequence[History], path: Path
) -> str:
    """The page as HTML text; its links lead from ``path``, where it will lie, to the pages of the folders."""
    return render_side_page(
        "index_page.html",
        "All results",
        rows=rows,
        links={store.out: link for store in stores if (link := _link(store, path)) is not None},
        histories=[(one, draw(one) if one.points else None) for one in histories],
        metrics=METRICS,
        n_folders=len(stores),
    )


def _link(store: ResultStore, path: Path) -> str | None:
    """The URL of a folder's page relative to ``path``; None if there is none on this disk."""
    if not isinstance(store.folder, LocalFolder) or not (store.folder.local / page.PAGE).is_file():
        return None
    relative = os.path.relpath(store.folder.local / page.PAGE, path.absolute().parent)
    return quote(Path(relative).as_posix())


def draw(history: History) -> Drawing:
    """The points at equal distances in the order of their dates."""
    means = [point.estimate.mean for point in history.points]
    ends = [one for point in history.points for one in (point.estimate.low, point.estimate.high) if one is not None]
    bottom, top = min([*means, *ends]), max([*means, *ends])
    spread = max(top - bottom, 0.01)
    room = _HEIGHT - _TOP - _FOOT

    def height(value: float) -> float:
        return _TOP + room * (top - value) / spread

    step = (_WIDTH - _LEFT) / len(history.points)
    marks = [
        Mark(
            x=_LEFT + step * (place + 0.5),
            y=height(point.estimate.mean),
            low=None if point.estimate.low is None else height(point.estimate.low),
            high=None if point.estimate.high is None else height(point.estimate.high),
            version=point.version,
            date=f"{point.finished:%Y-%m-%d}",
        )
        for place, point in enumerate(history.points)
    ]
    ticks = [(height(value), f"{100 * value:.1f}") for value in (top, (top + bottom) / 2, bottom)]
    return Drawing(_WIDTH, _HEIGHT, _LEFT, tuple(marks), tuple(ticks))
