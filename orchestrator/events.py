"""What launchers tell the driver while cells run."""

from collections.abc import Mapping
from dataclasses import dataclass

from adbench.orchestrator.cell import Cell
from adbench.reports.schema import RunResult


@dataclass(frozen=True)
class CellStarted:
    """A lane took a cell."""

    lane: int
    cell: Cell


@dataclass(frozen=True)
class CellProgress:
    """An epoch ended: ``step`` counts from 1, ``values`` are its mean losses."""

    lane: int
    run_id: str
    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class CellFinished:
    """A cell ended, ok or failed; its result is to be recorded now."""

    lane: int
    cell: Cell
    result: RunResult


@dataclass(frozen=True)
class CellAbandoned:
    """A lane was stopped amid a cell, which leaves no result."""

    lane: int
    cell: Cell


@dataclass(frozen=True)
class LaneMessage:
    """Something about a lane that the user should know."""

    lane: int
    text: str


Event = CellStarted | CellProgress | CellFinished | CellAbandoned | LaneMessage
