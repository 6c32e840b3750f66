"""Markdown tables of measurements, and the facts about the machine that go with them."""

import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import psutil

from adbench.orchestrator.environment import package_version, processor
from bench_contenders import cores

LIBRARIES = ("adbench-vision", "numpy", "torch", "scikit-learn", "torchmetrics", "anomalib")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def spread(seconds: Sequence[float]) -> str:
    """Median, and range where there are several."""
    median = f"{statistics.median(seconds):.3g} s"
    return median if len(seconds) == 1 else f"{median} ({min(seconds):.3g} - {max(seconds):.3g})"


def times(factor: float) -> str:
    """A ratio of two measurements."""
    return f"{factor:.0f} x" if factor >= 100 else f"{factor:.3g} x"


def megabytes(count: float) -> str:
    """A size in MB."""
    return f"{count / 1e6:.0f} MB" if count >= 1e7 else f"{count / 1e6:.1f} MB"


class OthersLoad:
    """What other processes take of the cores from creation on; own processes count once they have ended."""

    def __init__(self) -> None:
        self._before = self._seconds()

    def line(self, when: str = "meanwhile") -> str:
        """A sentence for the report."""
        everybody, own, total = (now - then for now, then in zip(self._seconds(), self._before, strict=True))
        return f"Other processes took {max(0.0, everybody - own) / max(total, 0.01):.0%} of the cores {when}.\n"

    @staticmethod
    def _seconds() -> tuple[float, float, float]:
        """Core seconds so far: of all processes, of this one and its children, and idle ones included."""
        of = psutil.cpu_times()
        # Guests' seconds are part of the user's.
        total = sum(of) - getattr(of, "guest", 0.0) - getattr(of, "guest_nice", 0.0)
        return total - of.idle - getattr(of, "iowait", 0.0), sum(os.times()[:4]), total


def load_before(seconds: float = 2.0) -> str:
    """`OthersLoad` of a short while that this takes: for what runs on Ray, whose processes look like others."""
    load = OthersLoad()
    time.sleep(seconds)
    return load.line("before")


def setting() -> str:
    """When, on what and with what is measured."""
    memory = psutil.virtual_memory().total / (1 << 30)
    versions = ", ".join(f"{name} {package_version(name) or 'not installed'}" for name in LIBRARIES)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, {cores()} cores, "
        f"{memory:.0f} GiB; Python {platform.python_version()}, {versions}.\n"
        f"`python tests/benchmarks/bench.py {shlex.join(sys.argv[1:])}`\n"
    )
