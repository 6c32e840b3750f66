"""`adbench ls` and `adbench cache`: short tables. Nothing here imports torch or Ray."""

import shutil
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.table import Table

from adbench.datasets.base import Dataset
from adbench.datasets.cache import Cache, default_cache_dir
from adbench.datasets.errors import RequestError
from adbench.orchestrator.keys import plain_keys, results_folder
from adbench.orchestrator.terminal import visible


def table(what: str, arguments: Sequence[str]) -> str:
    """The table that ``adbench ls WHAT`` prints."""
    if what in ("runs", "sweeps"):
        return {"runs": _runs, "sweeps": _sweeps}[what](arguments)
    plain_keys(arguments)
    return {"methods": _methods, "datasets": _datasets, "suites": _suites, "metrics": _metrics}[what]()


def cache(what: str, arguments: Sequence[str]) -> str:
    """List the cache's entries, or remove them."""
    folder = Path(plain_keys(arguments, "cache_dir").get("cache_dir") or default_cache_dir())
    store = Cache(folder)
    if what == "clear":
        freed = store.clear()
        shutil.rmtree(folder / "file-index", ignore_errors=True)
        return f"freed {freed / 2**20:.1f} MiB in {folder}"
    entries = sorted(store.entries(), key=lambda entry: entry.key["what"])
    rows = [
        (
            entry.digest[:12],
            entry.key["what"],
            str(entry.key.get("size", "")),
            f"{entry.bytes / 2**20:.1f} MiB",
        )
        for entry in entries
    ]
    total = sum(entry.bytes for entry in entries) / 2**20
    return render_table(("entry", "what", "image size", "bytes"), rows) + f"\n{total:.1f} MiB in {folder}"


def _methods() -> str:
    from adbench.methods.registry import methods

    return render_table(("method", "what it does"), [(name, entry.summary) for name, entry in methods().items()])


def _datasets() -> str:
    from adbench.datasets.registry import dataset_class, dataset_names

    kinds = [dataset_class(name) for name in dataset_names()]
    rows = [(kind.record.name, kind.record.title, _modalities(kind), kind.record.licence) for kind in kinds]
    return render_table(("dataset", "title", "modality", "licence"), rows)


def _modalities(kind: type[Dataset]) -> str:
    try:
        dataset = kind(kind.config_class())
    except RequestError:  # Its data is not here.
        return kind.record.modality
    return ", ".join(sorted({dataset.modality(category) for category in dataset.categories()}))


def _suites() -> str:
    from adbench.benchmark_suites.suites import read_suite, suite_names

    return render_table(
        ("suite", "what it holds"),
        [(name, read_suite(name).get("description", "")) for name in suite_names()],
    )


def _metrics() -> str:
    from adbench.benchmark_suites.metrics import METRICS

    rows = [
        (info.name, "higher" if info.higher_is_better else "lower", str(info.changed_in), info.definition)
        for info in METRICS.values()
    ]
    return render_table(("metric", "better", "metric_version", "definition"), rows)


def _runs(arguments: Sequence[str]) -> str:
    import pandas as pd

    from adbench.reports.protocols import protocol_labels
    from adbench.reports.store import ResultStore

    runs = ResultStore(results_folder(plain_keys(arguments, "out"))).runs()
    rows = [
        (
            row["run_id"][:12],
            row["method"],
            f"{row['dataset']}/{row['category']}",
            protocol,
            str(row["seed"]),
            row["budget"],
            row["status"],
            "" if pd.isna(row["metric_version"]) else str(row["metric_version"]),
            "" if pd.isna(row["image_auroc"]) else f"{row['image_auroc']:.3f}",
        )
        for row, protocol in zip(runs.to_dict("records"), protocol_labels(runs), strict=True)
    ]
    heads = ("run", "method", "data", "protocol", "seed", "budget", "status", "metric_version", "image AUROC")
    return render_table(heads, rows)


def _sweeps(arguments: Sequence[str]) -> str:
    from adbench.reports.store import ResultStore

    rows = [
        (
            search.sweep_id,
            ", ".join(search.data),
            f"{search.complete} + {search.stopped} + {search.failed} of {search.trials}",
            f"{search.lane_seconds / 3600:.2g} h",
            search.reached,
        )
        for search in ResultStore(results_folder(plain_keys(arguments, "out"))).searches().values()
    ]
    return render_table(("sweep", "data", "trials complete + stopped + failed", "lanes", "best"), rows)


def render_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as wide as the terminal; in a pipe, wide enough to break no line."""
    console = Console(file=(text := StringIO()), width=None if Console().is_terminal else 400, markup=False)
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, column in enumerate(columns):
        shown.add_column(visible(column), no_wrap=index == 0, overflow="fold")
    for row in rows:
        shown.add_row(*map(visible, row))
    console.print(shown)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
