"""`adbench report`: the page from what is recorded, on request re-scored before."""

from collections.abc import Callable, Sequence
from pathlib import Path

from adbench.datasets.errors import unknown_name
from adbench.orchestrator.keys import plain_keys, results_folder
from adbench.reports.page import render_page
from adbench.reports.store import ResultStore


def render(arguments: Sequence[str]) -> Path:
    """Render the page of the results folder, of one suite's runs if suite= is given; its path."""
    keys = plain_keys(arguments, "suite", "out")
    return render_page(_opened(keys), keys.get("suite"))


def rescore_and_render(arguments: Sequence[str], tell: Callable[[str], None]) -> tuple[Path, bool]:
    """Re-score the runs first, and tell how that went; the page's path, and whether all its runs are current now.

    data_root= says where datasets lie that are no longer where they were.
    """
    from adbench.orchestrator.rescore import rescore  # late: it needs torch, and plain reports do not

    keys = plain_keys(arguments, "suite", "out", "data_root")
    store = _opened(keys)
    outcome = rescore(store, keys.get("suite"), keys.get("data_root"))
    for line in outcome.lines():
        tell(line)
    return render_page(store, keys.get("suite")), not outcome.left


def _opened(keys: dict[str, str]) -> ResultStore:
    out = results_folder(keys)
    store = ResultStore(out)
    suite = keys.get("suite")
    if suite is not None:
        recorded = sorted({*store.runs()["suite"], *store.plans()})
        if suite not in recorded:
            raise unknown_name(f"suite in {out}", suite, recorded)
    return store
