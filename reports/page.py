"""The leaderboard page: an HTML file that needs no network, and files beside it for what is too large for one."""

import base64
import gzip
import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from adbench.benchmark_suites.metrics import METRICS
from adbench.reports import export, intervals, tables
from adbench.reports.coverage import build_coverage
from adbench.reports.curves import build_curves
from adbench.reports.figures_ranks import MOST_METHODS
from adbench.reports.files import Folder, LocalFolder
from adbench.reports.gallery import COLOUR_MAP, GalleryView, build_gallery
from adbench.reports.leaderboard import Leaderboard, Slice, build_leaderboard, rows_of_suite
from adbench.reports.page_views import build_views
from adbench.reports.pixel_curves import build_pixel_curves
from adbench.reports.roc import build_rocs
from adbench.reports.run_table import pack_runs, run_choices
from adbench.reports.schema import COSTS
from adbench.reports.side_files import SideFiles, packed
from adbench.reports.store import ResultStore
from adbench.reports.sweeps import build_sweeps
from adbench.reports.table_library import table_library
from adbench.reports.templates import FOLDER, templates
from adbench.reports.watched import announce

PAGE = "report/index.html"
DEFAULT_COLUMNS = (
    "image_auroc",
    "image_ap",
    "image_f1_val",
    "pixel_auroc",
    "pixel_ap",
    "aupro_030",
    "spro_005",
)

_SCRIPTS = (
    "page_plot.js",
    "page_methods.js",
    "page_labels.js",
    "page_figures.js",
    "page_difference.js",
    "page_files.js",
    "page_runs.js",
    "page_run_table.js",
    "page_cards.js",
    "page_roc.js",
    "page_search.js",
    "page_curves.js",
    "page_follow.js",
    "page_address.js",
    "page_watch.js",
    "page.js",
)  # the last one starts the page


def render_page(store: ResultStore, suite: str | None = None, *, watched: bool = False) -> Path:
    """Write the leaderboard of the store's runs (of one suite's, if named) and return the page's path.

    A suite's runs are those that it recorded, and those of its plan that another suite recorded.
    The page is ``report/index.html`` in the results folder. For a folder on an object store it is written
    there too, and the path returned is that of a copy on this machine. Raises StoreError if that fails.
    A ``watched`` page looks for a newer one.
    """
    board, images = _read(store, suite)
    folder = store.folder
    beside = SideFiles()
    parts = {
        "sweeps": build_sweeps(board, folder, images),
        "rocs": asdict(build_rocs(board, images)),
        "pixel_curves": build_pixel_curves(board, store.curves, beside),
    }
    page = render(
        board, build_gallery(board, store.gallery, store.training_maps), beside, parts, watched=watched
    ).encode()
    with folder.explained("write to the results folder"):
        _write(folder, page, beside)
    if watched:
        announce(folder, board.created)
    if isinstance(folder, LocalFolder):
        return folder.local / PAGE
    copy = LocalFolder("", Path(tempfile.mkdtemp(prefix="adbench-")))
    _write(copy, page, beside)
    return copy.local / PAGE


def read_leaderboard(store: ResultStore, suite: str | None = None) -> Leaderboard:
    """The leaderboard of the store's runs, or of one suite's."""
    return _read(store, suite)[0]


def _read(store: ResultStore, suite: str | None) -> tuple[Leaderboard, pd.DataFrame]:
    """The leaderboard, and the images' scores that it was made from."""
    runs = store.runs()
    plans = tuple(plan for name, plan in store.plans().items() if suite in (None, name))
    if suite is not None:
        runs = rows_of_suite(runs, suite, plans)
    images = store.images(runs.loc[runs["status"] == "ok", "run_id"].tolist())
    board = build_leaderboard(
        runs, images, suite=suite, plans=plans, searches=store.searches(), created=datetime.now(UTC)
    )
    return board, images


def _write(folder: Folder, page: bytes, beside: SideFiles) -> None:
    """Write a page and what lies beside it, such that a page in the folder always has its files."""
    report = PAGE.split("/")[0]
    folder.make(report)
    beside.write(folder, report)
    folder.write(PAGE, page)
    beside.clear(folder, report)


def render(
    board: Leaderboard,
    gallery: GalleryView,
    beside: SideFiles,
    parts: Mapping[str, Any] | None = None,
    *,
    watched: bool = False,
) -> str:
    """The page as HTML text; what does not fit into it is added to ``beside``. ``parts``: by name, what sections draw
    that need more than the board."""
    runs = pack_runs(board, beside)
    script = _script()
    return (
        templates()
        .get_template("page.html")
        .render(
            board=board,
            watched=watched,
            title=_title(board),
            coverage=build_coverage(board),
            dataset_of=_dataset_of(board),
            gallery=gallery,
            counts=board.sorted.runs["status"].value_counts().to_dict(),
            newest=board.sorted.runs["finished_at"].max() if len(board.sorted.runs) else None,
            hardware=sorted(board.sorted.current["hardware"].dropna().unique()),
            resamples=board.resamples,
            fewest_seeds=intervals.FEWEST_SEEDS,
            runs=runs,
            n_beside=sum(file["count"] for file in runs["files"]),
            colour_map=", ".join(f"rgb({r} {g} {b})" for r, g, b in COLOUR_MAP[::15].tolist()),
            model=Markup(packed(_model(board))),
            tiles=_json(gallery.tiles),
            packed=Markup(
                packed(
                    {
                        "runs": runs,
                        "table_library": table_library(),
                        **build_views(board, beside),
                        "curves": build_curves(board),
                        "latex": [_latex(board, part) for part in board.slices],
                        "cards": {
                            f"{one.kind} {one.name}": asdict(one) for plan in board.plans for one in plan.cards
                        },
                        **(parts or {}),
                    }
                )
            ),
            has_side_files=bool(beside.contents),
            style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
            plotly=Markup(_plotly()),
            script=Markup(script),
            hashes=[_csp_hash(one) for one in (get_plotlyjs(), table_library(), script)],
        )
    )


def shown_metrics(board: Leaderboard) -> list[str]:
    """The metrics that tables have unless others are chosen, that which ranks first."""
    known = [name for name in board.metrics if name in (*DEFAULT_COLUMNS, board.rank_by)]
    return sorted(known, key=lambda name: name != board.rank_by)


def _latex(board: Leaderboard, part: Slice) -> str:
    """The slice's table of methods; empty where nothing is compared."""
    metrics = shown_metrics(board)
    return export.latex([tables.methods_by_metrics(board, part, metrics)]) if metrics and part.compared else ""


def _dataset_of(board: Leaderboard) -> Callable[[str], str]:
    """Of which dataset a cell is, as the coverage writes it: "LABEL (seed 0, 1)"."""
    planned = {f"{cell.dataset}/{cell.category}": cell.dataset for plan in board.plans for cell in plan.cells}
    datasets = {**planned, **{category.label: category.dataset for category in board.categories}}
    return lambda cell: datasets[cell.rpartition(" (seed ")[0]]


def _title(board: Leaderboard) -> str:
    suites = sorted({*board.sorted.runs["suite"], *(plan.name for plan in board.plans)})
    return board.suite or ", ".join(suites) or "no runs yet"


@cache
def _plotly() -> str:
    """Plotly's script, packed: the page runs it after all else is drawn."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), compresslevel=6, mtime=0)).decode()


def _script() -> str:
    """The page's scripts as one, in a block of its own so that no name of theirs is global."""
    parts = [(FOLDER / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    return "\n".join(['"use strict";', "{", *parts, "}"])


def _csp_hash(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _json(value: Any) -> Markup:
    """JSON that cannot end the script element it stands in, nor begin a comment there."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _model(board: Leaderboard) -> dict[str, Any]:
    """What the page's script displays; the keys are the script's."""
    return {
        "entries": [asdict(entry) for entry in board.entries],
        "categories": [asdict(category) for category in board.categories],
        "budgets": board.budgets,
        "rank_by": board.rank_by,
        "metrics": [
            {
                "name": name,
                "title": METRICS[name].title,
                "definition": METRICS[name].definition,
                "higher": METRICS[name].higher_is_better,
                "shown": name in shown_metrics(board),
            }
            for name in board.metrics
        ],
        "costs": COSTS,
        "most_ranked": MOST_METHODS,
        "slices": [_slice(part) for part in board.slices],
        "published": _published(board),
        "run_choices": run_choices(board),
    }


def _published(board: Leaderboard) -> list[dict[str, Any]]:
    """What others have published of the datasets of the suites shown: a row for each method, category and source."""
    rows: dict[tuple[str, str, str, str], dict[str, float]] = {}
    for plan in board.plans:
        for one in plan.published:
            rows.setdefault((one.method, one.dataset, one.category, one.source), {})[one.metric] = one.value
    return [
        {"method": method, "dataset": dataset, "category": category, "source": source, "values": values}
        for (method, dataset, category, source), values in rows.items()
    ]


def _slice(part: Slice) -> dict[str, Any]:
    """A slice without its comparisons, which are packed."""
    own = asdict(replace(part, metrics={}))
    own["costs"] = [cost and {name: _short(value) for name, value in cost.items()} for cost in own["costs"]]
    for name, aggregate in part.metrics.items():
        estimates = [one and {key: _short(value) for key, value in vars(one).items()} for one in aggregate.estimates]
        found = {**vars(aggregate), "estimates": estimates}
        del found["comparison"], found["compared"]
        own["metrics"][name] = found
    return own


def _short(value: Any) -> Any:
    """A float with eight digits: more tell nobody anything, and make the page larger."""
    return float(f"{value:.8g}") if isinstance(value, float) else value
