"""`adbench report`: the page from what is recorded."""

from collections.abc import Sequence
from pathlib import Path

from adbench.datasets.errors import unknown_name
from adbench.orchestrator.keys import plain_keys, results_folder
from adbench.reports.page import render_page
from adbench.reports.store import ResultStore


def render(arguments: Sequence[str]) -> Path:
    """Render the page of the results folder, of one suite's runs if suite= is given; its path."""
    keys = plain_keys(arguments, "suite", "out")
    out = results_folder(keys)
    store = ResultStore(out)
    suite = keys.get("suite")
    if suite is not None:
        recorded = sorted({*store.runs()["suite"], *store.plans()})
        if suite not in recorded:
            raise unknown_name(f"suite in {out}", suite, recorded)
    return render_page(store, suite)
