"""The leaderboard of large stores: seconds to render it, bytes, and seconds that its reader waits in a browser."""

import shutil
import time
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from adbench.benchmark_suites.sampled_curve import FALSE_POSITIVE_RATES
from adbench.reports.page import render_page
from adbench.reports.schema import (
    CURVES_SCHEMA,
    HISTORY_SCHEMA,
    IMAGES_SCHEMA,
    METRIC_COLUMNS,
    RUNS_SCHEMA,
    VAL_METRIC_COLUMNS,
)
from adbench.reports.store import ResultStore
from bench_tables import OthersLoad, megabytes, table

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
IMAGES = 40  # test images of a run
FAILED = 0.01  # share of runs
CURVES = ("pixel_roc", "pro", "spro")
MOST_BYTES = 10_000_000
READY_SECONDS = 2.0


@dataclass(frozen=True)
class Shape:
    """How many of each a store has; their product are its runs."""

    methods: int
    datasets: int
    categories: int
    seeds: int
    seconds: float
    """In which it is to be rendered."""

    @property
    def runs(self) -> int:
        return self.methods * self.datasets * self.categories * self.seeds


SHAPES = (
    Shape(8, 5, 10, 5, seconds=10.0),
    Shape(25, 20, 20, 10, seconds=60.0),
    Shape(50, 100, 10, 2, seconds=60.0),  # as many runs, and ten times as much to compare
)
# Total blocking time: what tasks of the page's main thread last beyond 50 ms each.
WATCH_LONG_TASKS = """
    window.blocked = 0;
    new PerformanceObserver((found) => {
      for (const { duration } of found.getEntries()) window.blocked += duration - 50;
    }).observe({ type: "longtask" });
"""


@dataclass(frozen=True)
class Opening:
    """Seconds that a reader waits, the driver's own time included."""

    interactive: float
    """From asking a browser for the page until the table has followed a click."""
    first_figure: float
    """Then from scrolling to the first figure until it is drawn, which runs Plotly's script."""
    blocked: float
    """Of this, for how long a click would have had to wait: the total blocking time."""


def page_report(folder: Path, shapes: tuple[Shape, ...] = SHAPES) -> str:
    """Every shape's store is written, rendered once, and its page opened three times."""
    load = OthersLoad()
    rows = []
    for shape in shapes:
        store = write_store(folder / str(shape.runs), shape)
        began = time.perf_counter()
        page = render_page(store)
        seconds = time.perf_counter() - began
        size = page.stat().st_size
        beside = [file for file in page.parent.rglob("*") if file.is_file() and file != page]
        best = min((open_page(page) for _ in range(3)), key=lambda one: one.interactive)
        rows.append(
            [
                f"{shape.runs:,}",
                f"{seconds:.1f} s (< {shape.seconds:.0f} s)",
                f"{megabytes(size)} (< {megabytes(MOST_BYTES)})",
                f"{len(beside)}, {megabytes(sum(file.stat().st_size for file in beside))}",
                f"{best.interactive:.2f} s (< {READY_SECONDS:.0f} s)",
                f"{best.first_figure:.2f} s",
                f"{best.blocked:.2f} s",
            ]
        )
    heads = ["runs", "render", "page", "side files", "interactive", "first figure", "blocked"]
    return f"{load.line()}\n{table(heads, rows)}"


def open_page(page: Path) -> Opening:
    """Open the page in a browser of its own, click, and go to the first figure."""
    from selenium import webdriver
    from selenium.webdriver.common.by import By

    options = webdriver.ChromeOptions()
    options.binary_location = str(next(filter(None, map(shutil.which, BROWSERS))))
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.get("about:blank")
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH_LONG_TASKS})
        began = time.perf_counter()
        driver.get(page.as_uri())
        while driver.execute_script("return document.documentElement.dataset.ready") != "true":
            time.sleep(0.01)
        driver.find_element(By.CSS_SELECTOR, "#headline th[data-key='method'] button").click()
        assert driver.find_elements(By.CSS_SELECTOR, "#headline th[data-key='method'][aria-sort]")
        interactive = time.perf_counter() - began
        blocked = driver.execute_script("return blocked")
        began = time.perf_counter()
        first = driver.find_element(By.ID, "ranks")
        driver.execute_script("arguments[0].scrollIntoView()", first)
        while first.get_attribute("aria-busy"):
            time.sleep(0.01)
        drawn = time.perf_counter() - began
        assert first.find_elements(By.CSS_SELECTOR, ".main-svg")
        time.sleep(0.1)  # the browser tells of a long task a moment after it
        return Opening(interactive, drawn, (driver.execute_script("return blocked") - blocked) / 1000)
    finally:
        driver.quit()


def write_store(out: Path, shape: Shape) -> ResultStore:
    """A store as many runs, with ``IMAGES`` test images each, and a compaction leave it."""
    store = ResultStore(out)
    store.prepare()
    runs, images, curves = draw(shape)
    for name, rows in (("runs", runs), ("images", images), ("curves", curves)):
        pq.write_table(rows, out / name / "compacted.0.parquet", compression="zstd", row_group_size=2**17)
    pq.write_table(HISTORY_SCHEMA.empty_table(), out / "history" / "compacted.0.parquet")
    return store


def draw(shape: Shape) -> tuple[pa.Table, pa.Table, pa.Table]:
    """The runs, images and curves tables of methods that differ in skill, on categories that differ in difficulty."""
    rng = np.random.default_rng(0)
    count = shape.runs
    grid = np.unravel_index(np.arange(count), (shape.methods, shape.datasets, shape.categories, shape.seeds))
    method, dataset, category, seed = grid
    place = dataset * shape.categories + category
    ok = rng.random(count) >= FAILED
    run_id = np.array([f"{number * 7919:032x}" for number in rng.permutation(count)])
    skill = rng.uniform(0.5, 2.5, shape.methods)[method] * rng.uniform(0.5, 1.5, place.max() + 1)[place]
    began = pd.Timestamp("2026-01-01", tz=UTC) + pd.to_timedelta(np.arange(count), unit="s")
    command = [
        f"adbench run suite=all method=method{m:02d} dataset=dataset{d:02d} seed={s}"
        for m, d, s in zip(method, dataset, seed, strict=True)
    ]
    columns: dict[str, Any] = {
        "run_id": run_id,
        "suite": "all",
        "method": np.char.add("method", np.char.zfill(method.astype(str), 2)),
        "method_version": "1",
        "dataset": np.char.add("dataset", np.char.zfill(dataset.astype(str), 2)),
        "dataset_params": "{}",
        "category": np.char.add("category", np.char.zfill(category.astype(str), 2)),
        "modality": np.where(dataset % 3, "industrial", "medical"),
        "seed": seed,
        "params": '{"epochs":10,"gamma":0.3}',
        "budget": "quick",
        "status": np.where(ok, "ok", "failed"),
        "error": [None if one else "RuntimeError: CUDA out of memory" for one in ok],
        "selection": "none",
        "metric_version": 1,
        "n_train": 100,
        "n_labelled": 10,
        "n_val": 20,
        "n_test": IMAGES,
        "image_size": 256,
        "fit_seconds": np.where(ok, rng.lognormal(3, 1, count), np.nan),
        "predict_ms_per_image": np.where(ok, rng.lognormal(1, 1, count), np.nan),
        "peak_rss_mb": rng.uniform(500, 900, count),
        "device": "cpu",
        "world_size": 1,
        "started_at": began,
        "finished_at": began + pd.Timedelta(seconds=12),
        "host": "workstation",
        "hardware": "8-core CPU",
        "git_commit": "0" * 40,
        "adbench_version": "0.1.0",
        "torch_version": "2.9.0",
        "ray_version": "2.51.0",
        "python_version": "3.11.9",
        "dataset_fingerprint": [f"{one:016x}" for one in place],
        "split_hash": [f"{one + 1000:016x}" for one in place],
        "command": command,
    }
    for name in (*METRIC_COLUMNS, *VAL_METRIC_COLUMNS):
        value = 1 / (1 + np.exp(-skill - rng.normal(0, 0.3, count)))
        columns[name] = np.where(ok, value, np.nan)
    runs = pd.DataFrame(columns, index=range(count))
    for name in set(RUNS_SCHEMA.names) - set(columns):
        runs[name] = None
    table = pa.Table.from_pandas(runs, RUNS_SCHEMA, preserve_index=False)
    return table, _images(run_id[ok], skill[ok], rng), _curves(run_id[ok], skill[ok], rng)


def _images(run_id: Any, skill: Any, rng: np.random.Generator) -> pa.Table:
    label = np.tile(np.arange(IMAGES) % 2, len(run_id)).astype(np.int8)
    names = np.array([f"test/{number:03d}.png" for number in range(IMAGES)])
    return pa.table(
        {
            "run_id": np.repeat(run_id, IMAGES),
            "split": pa.array(["test"]).take(pa.array(np.zeros(len(label), dtype=int))),
            "image_id": np.tile(names, len(run_id)),
            "label": label,
            "defect_type": np.where(label, "crack", "good"),
            "score": (np.repeat(skill, IMAGES) * label + rng.normal(size=len(label))).astype(np.float32),
        },
        IMAGES_SCHEMA,
    )


def _curves(run_id: Any, skill: Any, rng: np.random.Generator) -> pa.Table:
    points = len(FALSE_POSITIVE_RATES)
    power = np.exp(-skill - rng.normal(0, 0.3, (len(CURVES), len(run_id)))).ravel()
    offsets = pa.array(np.arange(len(power) + 1, dtype=np.int32) * points)
    x = pa.array(np.tile(FALSE_POSITIVE_RATES.astype(np.float32), len(power)))
    y = pa.array((FALSE_POSITIVE_RATES ** power[:, None]).astype(np.float32).ravel())
    columns = {
        "run_id": np.tile(run_id, len(CURVES)),
        "split": np.repeat("test", len(power)),
        "name": np.repeat(CURVES, len(run_id)),
        "x": pa.ListArray.from_arrays(offsets, x),
        "y": pa.ListArray.from_arrays(offsets, y),
    }
    return pa.table(columns, CURVES_SCHEMA)
