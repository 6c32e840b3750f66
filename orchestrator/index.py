"""`adbench index`: one page over several results folders, with the history of methods between versions."""

from collections.abc import Sequence
from pathlib import Path

from adbench.benchmark_suites.metrics import METRICS
from adbench.datasets.errors import RequestError, unknown_name
from adbench.orchestrator.export import write
from adbench.orchestrator.keys import DEFAULT_OUT, plain_keys, results_folder
from adbench.reports.files import LocalFolder
from adbench.reports.history import histories, suite_rows
from adbench.reports.index_page import PAGE, render_index
from adbench.reports.leaderboard import DEFAULT_RANK_BY
from adbench.reports.store import ResultStore


def write_index(words: Sequence[str], to: Path | None) -> Path:
    """Render the index of the folders among ``words`` to the file ``to``, or into the first folder; where it is."""
    keys = plain_keys([word for word in words if "=" in word], "metric")
    folders = list(dict.fromkeys(word for word in words if "=" not in word)) or [DEFAULT_OUT]
    metric = keys.get("metric", DEFAULT_RANK_BY)
    if metric not in METRICS:
        raise unknown_name("metric", metric, METRICS)
    stores = [ResultStore(results_folder({"out": folder})) for folder in folders]
    path = to or _default(stores[0])
    write(render_index(stores, suite_rows(stores), histories(stores, metric), path).encode(), path)
    return path.absolute()


def _default(store: ResultStore) -> Path:
    if not isinstance(store.folder, LocalFolder):
        raise RequestError(f"{store.out} is no folder on this disk", remedy="say where the page goes: --to FILE")
    return store.folder.local / PAGE
