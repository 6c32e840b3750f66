"""What a driver needs for very many cells: time and memory to plan and queue them, and how busy 1,000 lanes are."""

import json
import pickle
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench_lanes import met
from bench_tables import OthersLoad, megabytes, table

CELLS = 100_000
LANES = 1_000
CELL_SECONDS = 60.0
PLAN_SECONDS, MEMORY, BUSY = 10.0, 2e9, 0.95
"""Targets: seconds to plan, bytes at the peak, share of the lanes' time that cells take."""


@dataclass(frozen=True)
class Queued:
    """Seconds to plan ``cells``, to queue them in a dispatcher, to have it hand all out, and to send them elsewhere.

    ``peak`` bytes of the process that did it; ``busy`` share of the simulated lanes' time.
    """

    cells: int
    plan: float
    queue: float
    hand_out: float
    send: float
    peak: int
    busy: float


def queue_report(cells: int = CELLS, lanes: int = LANES) -> str:
    """Plan and queue ``cells`` in a fresh process, then simulate ``lanes`` that serve them."""
    load = OthersLoad()
    command = [sys.executable, str(Path(__file__).resolve()), str(cells), str(lanes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = Queued(**json.loads(done.stdout))
    rows = [
        ["planning them", f"{found.plan:.3g} s", f"< {PLAN_SECONDS:g} s", met(found.plan < PLAN_SECONDS)],
        ["queueing them in the dispatcher", f"{found.queue:.3g} s", "", ""],
        [f"handing them out to {lanes} lanes in turn", f"{found.hand_out:.3g} s", "", ""],
        ["pickling and unpickling them, as for the dispatcher's actor", f"{found.send:.3g} s", "", ""],
        [
            "peak memory of the process, pickled cells included",
            megabytes(found.peak),
            f"< {megabytes(MEMORY)}",
            met(found.peak < MEMORY),
        ],
        [
            f"busy share of {lanes} simulated lanes, {CELL_SECONDS:g} s a cell",
            f"{found.busy:.2%}",
            f">= {BUSY:.0%}",
            met(found.busy >= BUSY),
        ],
    ]
    return f"{load.line()}\n{table([f'{found.cells} cells', 'measured', 'target', ''], rows)}"


def measure(wanted: int, lanes: int) -> Queued:
    """Do it in this process; its peak memory is that of the whole process, imports and the pickled cells included."""
    from adbench.orchestrator.cell import Cell
    from adbench.orchestrator.compose import compose
    from adbench.orchestrator.dispatcher import Dispatcher
    from adbench.orchestrator.overrides import parse_overrides
    from adbench.orchestrator.plan import make_plan
    from adbench.orchestrator.simulate import simulate

    def plan(seeds: int) -> tuple[Cell, ...]:
        parsed = parse_overrides(["suite=phantom", f"seed=range(0,{seeds})"])
        return make_plan(compose(parsed), parsed).cells

    each = len(plan(1))  # Also opens the data once: what is measured is planning, not drawing or hashing images.
    start = time.perf_counter()
    cells = plan(-(-wanted // each))
    planned = time.perf_counter()
    dispatcher = Dispatcher(cells)
    queued = time.perf_counter()
    for turn in range(len(cells)):
        dispatcher.abandon(turn % lanes)
        if dispatcher.next_cell(turn % lanes) is None:
            raise RuntimeError("the dispatcher ran out of cells")
        dispatcher.fetch()
    handed_out = time.perf_counter()
    sent = pickle.dumps(list(cells))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Here, because another process unpickles them.
    if len(pickle.loads(sent)) != len(cells):
        raise RuntimeError("cells were lost")
    received = time.perf_counter()
    schedule = simulate(cells, dict.fromkeys((cell.run_id for cell in cells), CELL_SECONDS), lanes)
    return Queued(
        cells=len(cells),
        plan=planned - start,
        queue=queued - planned,
        hand_out=handed_out - queued,
        send=received - handed_out,
        peak=peak,
        busy=1 - schedule.idle,
    )


if __name__ == "__main__":
    sys.stdout.write(f"{json.dumps(asdict(measure(int(sys.argv[1]), int(sys.argv[2]))))}\n")
