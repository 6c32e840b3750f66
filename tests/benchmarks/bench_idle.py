"""How busy a real search keeps its lanes: the share of their time that they spend inside `run_cell`."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench_jobs import Served, plan_of, serve
from bench_lanes import met
from bench_tables import load_before, table

TRIALS = 32
EPOCHS = 4
BUSY = 0.9
"""Share of the lanes' time that trials are to take."""

SEARCH = ("suite=elpv", "method=ckaad", "category=mono", "budget=quick", "seed=0")


def idle_report(trials: int = TRIALS, settings: Sequence[str] = (f"method.epochs={EPOCHS}", "lanes=2")) -> str:
    """A search of CKAAD's parameters on real solar cells, with ``settings`` beside those of ``SEARCH``."""
    load = load_before()
    words = [*SEARCH, *settings, f"search.trials={trials}"]
    with tempfile.TemporaryDirectory() as folder:
        served = serve(plan_of(words, Path(folder)))
    share = busy_share(served)
    first = min(job.began for job in served.trials)
    rows = [
        [
            f"{trials} ({served.stopped} stopped early)",
            str(served.lanes),
            f"{sum(job.ended - job.began for job in served.trials) / len(served.trials):.3g} s",
            f"{max(job.ended for job in served.trials) - first:.4g} s",
            f"{share:.1%}",
            met(share >= BUSY),
            f"{first - served.asked:.3g} s",
        ]
    ]
    heads = ["trials", "lanes", "mean trial", "first to last", "busy", f">= {BUSY:.0%}", "before the first"]
    return f"`adbench sweep {' '.join(words)}`. {load}\n{table(heads, rows)}"


def busy_share(served: Served) -> float:
    """Of the lanes' time between the first trial's begin and the last one's end, what trials took."""
    jobs = served.trials
    paid = served.lanes * (max(job.ended for job in jobs) - min(job.began for job in jobs))
    return sum(job.ended - job.began for job in jobs) / paid
