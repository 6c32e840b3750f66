"""`adbench simulate`: how long a plan would take on so many lanes, before anybody rents them.

Recorded durations go through the real plan and the real dispatcher in simulated time. Lanes start together; a cell
takes what like cells took when they were recorded, so on hardware like theirs. Not simulated: deaths, and the first
decoding of a category's images (the recorded medians are mostly of warm cells).
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from adbench.datasets.errors import RequestError
from adbench.orchestrator.cell import Cell
from adbench.orchestrator.dispatcher import Dispatcher
from adbench.orchestrator.display import format_seconds
from adbench.orchestrator.listing import render_table
from adbench.orchestrator.record import recorded_params

LANE_START_SECONDS = 15.0
"""What a lane takes to start, on a small machine."""

CELL_OVERHEAD_SECONDS = 0.05
"""What it takes between two cells; `make bench` measures it."""

_LIKENESS = (
    ("the same setting and images", ["method", "dataset", "category", "params"]),
    ("the same method and images", ["method", "dataset", "category"]),
    ("the same method and dataset", ["method", "dataset"]),
    ("the same method", ["method"]),
)
_LADDER = (1, 2, 10, 40, 100, 1000)


@dataclass(frozen=True)
class Schedule:
    """What so many lanes come to: ``makespan``, and in ``busy`` the time that cells take, in seconds."""

    lanes: int
    makespan: float
    busy: float

    @property
    def lane_seconds(self) -> float:
        """What is paid for: all lanes until the last cell ends."""
        return self.lanes * self.makespan

    @property
    def idle(self) -> float:
        """Share of the paid time in which no cell ran."""
        return 1 - self.busy / self.lane_seconds if self.lane_seconds else 0.0


def simulate(cells: Sequence[Cell], seconds: Mapping[str, float], lanes: int) -> Schedule:
    """Serve the cells, which take ``seconds`` by run_id, on that many lanes."""
    dispatcher = Dispatcher(cells)
    ready = [(LANE_START_SECONDS, lane) for lane in range(lanes)]  # A heap already.
    makespan = 0.0
    while ready:
        now, lane = heapq.heappop(ready)
        dispatcher.abandon(lane)
        cell = dispatcher.next_cell(lane)
        dispatcher.fetch()
        if isinstance(cell, Cell):
            makespan = max(makespan, now + seconds[cell.run_id])
            heapq.heappush(ready, (now + seconds[cell.run_id] + CELL_OVERHEAD_SECONDS, lane))
    return Schedule(lanes, makespan, sum(seconds[cell.run_id] for cell in cells))


def recorded_seconds(cells: Iterable[Cell], runs: pd.DataFrame) -> tuple[dict[str, float], dict[str, int]]:
    """Seconds of each cell by run_id, medians of the most alike runs; how many cells each likeness served.

    Runs count if they are ok and of the cell's budget and image size. RequestError names methods without any.
    """
    runs = runs[runs["status"] == "ok"]
    took = (runs["finished_at"] - runs["started_at"]).dt.total_seconds()
    medians = [
        (name, took.groupby([runs[key] for key in ("budget", "image_size", *keys)]).median().to_dict(), keys)
        for name, keys in _LIKENESS
    ]
    found: dict[str, float] = {}
    served: dict[str, int] = {}
    missing: dict[str, Cell] = {}
    for cell in cells:
        values = {
            "method": cell.method,
            "dataset": cell.dataset,
            "category": cell.category,
            "params": recorded_params(cell),
        }
        for name, table, keys in medians:
            place = (cell.budget, cell.image_size, *(values[key] for key in keys))
            if place in table:
                found[cell.run_id] = float(table[place])
                served[name] = served.get(name, 0) + 1
                break
        else:
            missing.setdefault(cell.method, cell)
    if missing:
        cell = next(iter(missing.values()))
        raise RequestError(
            f"no recorded run tells how long these methods take: {', '.join(missing)}",
            remedy=f"record one each first, for instance with --limit and out= of --from: {cell.command}",
        )
    return found, served


def simulation(cells: Sequence[Cell], runs: pd.DataFrame, lanes: int | None, price: float | None) -> str:
    """The text of `adbench simulate`; ``lanes`` None: several numbers of lanes; ``price`` of a lane's hour."""
    seconds, served = recorded_seconds(cells, runs)
    if not cells:
        return "no cells"
    ladder = [lanes] if lanes else [count for count in _LADDER if count <= len(cells)]
    rows = []
    for schedule in (simulate(cells, seconds, count) for count in ladder):
        hours = schedule.lane_seconds / 3600
        cost = [] if price is None else [f"{hours * price:.2f}"]
        times = (format_seconds(schedule.makespan), f"{100 * schedule.idle:.1f} %", f"{hours:.2f}")
        rows.append((str(schedule.lanes), *times, *cost))
    heads = ("lanes", "makespan", "idle", "lane hours", *([] if price is None else ["cost"]))
    longest = max(cells, key=lambda cell: seconds[cell.run_id])
    lines = [
        f"{len(cells)} cells, {format_seconds(sum(seconds.values()))} of work; durations are medians of runs of "
        + ", ".join(f"{name} ({count})" for name, count in served.items()),
        render_table(heads, rows),
        f"longest cell: {longest.label}, {format_seconds(seconds[longest.run_id])}; no number of lanes ends earlier",
    ]
    return "\n".join(lines)
