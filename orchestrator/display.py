"""What the user sees while cells run: a live table on a terminal, plain lines elsewhere, JSON lines on request."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from adbench.orchestrator.cell import Cell
from adbench.orchestrator.events import CellAbandoned, CellFinished, CellProgress, CellStarted, Event, LaneMessage
from adbench.orchestrator.terminal import visible

_PLAIN_PROGRESS_SECONDS = 10.0

Style = Literal["live", "plain", "quiet", "json"]


@dataclass
class _LaneState:
    cell: Cell
    since: float
    step: int = 0
    loss: float | None = None


class Tally:
    """Counts and the time left, from the events so far."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.ok = 0
        self.failed = 0
        self.stopped = 0
        self.lanes: dict[int, _LaneState] = {}
        self._began: float | None = None

    def note(self, event: Event) -> None:
        """Take an event into account."""
        if isinstance(event, CellStarted):
            self._began = self._began or time.monotonic()  # What Ray needs to start is no pace of cells.
            self.lanes[event.lane] = _LaneState(event.cell, time.monotonic())
        elif isinstance(event, CellProgress) and event.lane in self.lanes:
            self.lanes[event.lane].step = event.step
            self.lanes[event.lane].loss = event.values.get("loss")
        elif isinstance(event, CellAbandoned):
            self.lanes.pop(event.lane, None)
            self.stopped += 1
        elif isinstance(event, CellFinished):
            self.lanes.pop(event.lane, None)
            if event.result.record.status == "ok":
                self.ok += 1
            else:
                self.failed += 1

    @property
    def done(self) -> int:
        """Cells that ended, ok or failed."""
        return self.ok + self.failed

    @property
    def left(self) -> int:
        """Cells not yet ended; of a search at most so many, for it may stop a trial before its last cell."""
        return max(0, self.total - self.done - self.stopped)

    def seconds_left(self) -> float | None:
        """Estimated from the pace so far; None before the first cell ended."""
        ended = self.done + self.stopped
        if ended == 0 or self._began is None:
            return None
        return (time.monotonic() - self._began) / ended * self.left


class Display(Protocol):
    """A context manager that is told of events; ``say`` prints a line."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, event: Event) -> None:
        """Show what happened."""

    def say(self, text: str) -> None:
        """Tell the user something."""


def make_display(style: Style, tally: Tally) -> Display:
    """The display of a style; ``live`` falls back to plain lines where the output is no terminal."""
    console = Console(stderr=style != "live", soft_wrap=True, highlight=False)
    if style == "live" and console.is_terminal:
        return _LiveDisplay(console, tally)
    return {"json": _JsonDisplay, "quiet": _QuietDisplay}.get(style, _PlainDisplay)(tally)


class _PlainDisplay:
    """A line per cell, and now and then one for a cell's progress."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._last: dict[int, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, event: Event) -> None:
        if isinstance(event, CellStarted):
            self.say(f"lane {event.lane}  start   {event.cell.label}")
            self._last[event.lane] = time.monotonic()
        elif isinstance(event, CellProgress):
            if time.monotonic() - self._last.get(event.lane, 0.0) < _PLAIN_PROGRESS_SECONDS:
                return
            self._last[event.lane] = time.monotonic()
            state = self._tally.lanes[event.lane]
            self.say(f"lane {event.lane}  epoch {_epoch(state)}  {state.cell.label}  {_losses(event.values)}")
        elif isinstance(event, CellFinished):
            self.say(f"lane {event.lane}  {describe_finished(event)}  ({_counts(self._tally)})")
        elif isinstance(event, LaneMessage):
            self.say(event.text)

    def say(self, text: str) -> None:
        sys.stdout.write(visible(text) + "\n")
        sys.stdout.flush()


class _QuietDisplay(_PlainDisplay):
    """Failures only."""

    def show(self, event: Event) -> None:
        if isinstance(event, CellFinished) and event.result.record.status == "failed":
            sys.stderr.write(visible(describe_finished(event)) + "\n")

    def say(self, text: str) -> None:
        pass


class _JsonDisplay(_PlainDisplay):
    """One JSON object a line on standard output."""

    def show(self, event: Event) -> None:
        line: dict[str, Any] = {"event": type(event).__name__, "lane": event.lane}
        if isinstance(event, CellStarted):
            line |= {"run_id": event.cell.run_id, "cell": event.cell.label}
        elif isinstance(event, CellProgress):
            line |= {"run_id": event.run_id, "step": event.step, "values": dict(event.values)}
        elif isinstance(event, CellFinished):
            record = event.result.record
            line |= {
                "run_id": record.run_id,
                "status": record.status,
                "error": record.error,
                "metrics": record.metrics,
            }
        elif isinstance(event, CellAbandoned):
            line |= {"run_id": event.cell.run_id}
        else:
            line |= {"text": event.text}
        super().say(json.dumps(line))

    def say(self, text: str) -> None:
        super().say(json.dumps({"event": "Message", "text": text}))


class _LiveDisplay:
    """Lanes, counts, losses and the time left, drawn in place; each finished cell leaves a line above."""

    def __init__(self, console: Console, tally: Tally) -> None:
        self._console = console
        self._tally = tally
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, event: Event) -> None:
        if isinstance(event, CellFinished):
            ok = event.result.record.status == "ok"
            self._console.print(Text(visible(describe_finished(event)), style="" if ok else "bold red"))
        elif isinstance(event, LaneMessage):
            self._console.print(Text(visible(event.text), style="yellow"))

    def say(self, text: str) -> None:
        self._console.print(Text(visible(text)))

    def _render(self) -> RenderableType:
        tally = self._tally
        lanes = Table.grid(padding=(0, 2))
        for lane, state in sorted(tally.lanes.items()):
            loss = "" if state.loss is None else f"loss {state.loss:.4g}"
            spent = f"{time.monotonic() - state.since:.0f} s"
            lanes.add_row(f"lane {lane}", Text(visible(state.cell.label)), f"epoch {_epoch(state)}", loss, spent)
        if not tally.lanes:
            lanes.add_row(Text("starting lanes ..." if not tally.done else "closing lanes ...", style="dim"))
        bar = ProgressBar(total=max(1, tally.total), completed=tally.total - tally.left, width=40)
        return Group(lanes, bar, Text(_counts(tally)))


def describe_finished(event: CellFinished) -> str:
    """One line on an ended cell: its main figures, or the last line of its error."""
    record = event.result.record
    if record.status == "failed":
        reason = (record.error or "").strip().splitlines() or ["no reason known"]
        return f"FAILED  {event.cell.label}: {reason[-1]}"
    auroc, pixel = record.metrics.get("image_auroc"), record.metrics.get("pixel_auroc")
    figures = [] if auroc is None else [f"image AUROC {auroc:.3f}"]
    figures += [] if pixel is None else [f"pixel AUROC {pixel:.3f}"]
    if (watch := event.cell.watch) is not None and (reached := record.metrics.get(watch.metric)) is not None:
        figures = [f"{watch.metric} {reached:.3f}"]
    seconds = (record.finished_at - record.started_at).total_seconds()
    return f"ok      {event.cell.label}: {', '.join(figures) or 'no metric defined'} in {seconds:.0f} s"


def _epoch(state: _LaneState) -> str:
    epochs = state.cell.params.get("epochs")
    return f"{state.step}/{epochs}" if epochs else str(state.step)


def _losses(values: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in values.items())


def _counts(tally: Tally) -> str:
    left = tally.seconds_left()
    pace = "" if left is None or not tally.left else f", about {format_seconds(left)} to go"
    stopped = f", {tally.stopped} stopped early" if tally.stopped else ""
    return f"{tally.done}/{tally.total} done, {tally.failed} failed{stopped}, {tally.left} left{pace}"


def format_seconds(seconds: float) -> str:
    """45 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
