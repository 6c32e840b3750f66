"""`adbench report`: the page from what is recorded, on request re-scored before."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from adbench.datasets.errors import RequestError, unknown_name
from adbench.orchestrator.keys import plain_keys, results_folder
from adbench.reports import watched
from adbench.reports.errors import StoreError
from adbench.reports.files import LocalFolder
from adbench.reports.page import render_page
from adbench.reports.store import ResultStore

POLL_SECONDS = 2.0


def render(arguments: Sequence[str]) -> Path:
    """Render the page of the results folder, of one suite's runs if suite= is given; its path."""
    keys = plain_keys(arguments, "suite", "out")
    return render_page(opened(keys), keys.get("suite"))


def rescore_and_render(arguments: Sequence[str], tell: Callable[[str], None]) -> tuple[Path, bool]:
    """Re-score the runs first, and tell how that went; the page's path, and whether all its runs are current now.

    data_root= says where datasets lie that are no longer where they were.
    """
    from adbench.orchestrator.rescore import rescore  # late: it needs torch, and plain reports do not

    keys = plain_keys(arguments, "suite", "out", "data_root")
    store = opened(keys)
    outcome = rescore(store, keys.get("suite"), keys.get("data_root"))
    for line in outcome.lines():
        tell(line)
    return render_page(store, keys.get("suite")), not outcome.left


def watch(arguments: Sequence[str], show: Callable[[Path], None], tell: Callable[[str], None]) -> None:
    """Render the page, ``show`` it, and render it again whenever a run is recorded, until interrupted.

    The folder is looked at every POLL_SECONDS; large pages are rendered half of the time at most.
    """
    keys = plain_keys(arguments, "suite", "out")
    store = opened(keys)
    if not isinstance(store.folder, LocalFolder):
        raise RequestError(
            f"--watch needs a results folder on a disk, not {store.out}", remedy="render it now and then without"
        )
    page: Path | None = None
    try:
        while True:
            seen, began = _stamps(store.folder), time.monotonic()
            if page is None:
                page = render_page(store, keys.get("suite"), watched=True)
                show(page)
            else:
                tell(_rendered_again(store, keys.get("suite")))
            time.sleep(max(POLL_SECONDS, time.monotonic() - began))
            while _stamps(store.folder) == seen:
                time.sleep(POLL_SECONDS)
    finally:
        watched.announce(store.folder, None)


def _rendered_again(store: ResultStore, suite: str | None) -> str:
    """How that went. What cannot be read now, amid another's work, may be readable when the next run ends."""
    try:
        render_page(store, suite, watched=True)
    except StoreError as error:
        return f"not rendered at {datetime.now():%H:%M:%S}: {error}"
    return f"rendered again at {datetime.now():%H:%M:%S}"


def _stamps(folder: LocalFolder) -> tuple[int, ...]:
    """What changes when a run or a plan is recorded: a file's new name changes the time of its folder."""
    paths = (folder.local / name for name in ("runs", "suites"))
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


def opened(keys: dict[str, str]) -> ResultStore:
    """The store of out=. RequestError without results, or if it has no suite of the name suite=."""
    out = results_folder(keys)
    store = ResultStore(out)
    suite = keys.get("suite")
    if suite is not None:
        recorded = sorted({*store.runs()["suite"], *store.plans()})
        if suite not in recorded:
            raise unknown_name(f"suite in {out}", suite, recorded)
    return store
