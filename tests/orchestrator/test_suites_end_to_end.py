"""The suites medical and industrial with all their methods, from archives on disk to the leaderboard."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result

from adbench.benchmark_suites.suites import read_suite
from adbench.reports.store import ResultStore
from miniatures import MINIATURES

pytestmark = pytest.mark.slow

Adbench = Callable[..., Result]
METHODS = {"ckaad", "kist", "ssae", "slsg", "recon", "padim", "patchcore"}
PLACES = {
    "medical": {("isic2018", "skin")} | {(name, name) for name in ("br35h", "oct2017", "chest_xray2017")},
    "industrial": {("mvtec_ad", "bottle"), ("mvtec_ad", "carpet"), ("visa", "candle"), ("visa", "pcb1")},
}
OF_IMAGES = ["image_auroc", "image_ap", "image_f1max_oracle"]
OF_PIXELS = ["pixel_auroc", "pixel_ap", "aupro_030", "aupro_005"]


@pytest.mark.parametrize("suite", PLACES)
def test_every_method_runs_to_the_leaderboard(suite: str, adbench: Adbench) -> None:
    prepare(suite, adbench)
    words = (f"suite={suite}", "budget=smoke", "seed=0", "launcher=inprocess", "cache_dir=cache")
    done = adbench("run", *words, "method.iterations=4", "method.steps=4")  # those of slsg and ssae, the slowest
    assert done.exit_code == 0, done.output
    assert "28 run, 0 already recorded, 0 failed" in done.output

    runs = ResultStore("adbench-results").runs()
    assert (runs["status"] == "ok").all() and set(runs["image_size"]) == {64}
    cells = set(zip(runs["method"], runs["dataset"], runs["category"], strict=True))
    assert cells == {(method, *place) for method in METHODS for place in PLACES[suite]}
    check_metrics(runs, masks=suite == "industrial")
    check_labels(runs, labelled=suite == "medical")

    page = Path("adbench-results/report/index.html").read_text(encoding="utf-8")
    assert f"<h1>{suite}</h1>" in page and str(read_suite(suite)["title"]).replace("'", "&#39;") in page
    assert "28 runs ok" in page and "0 failed" in page and "not there</a>" not in page
    assert all(f'"{name}"' in page for name in (*METHODS, *(dataset for dataset, _ in PLACES[suite])))


def prepare(suite: str, adbench: Adbench) -> None:
    """Each dataset of the suite in miniature, unpacked from an archive to where `adbench run` looks by itself."""
    for name in {dataset for dataset, _ in PLACES[suite]}:
        archive = shutil.make_archive(f"{name}-mini", "zip", MINIATURES[name](Path("original") / name))
        told = adbench("data", "prepare", name, archive)
        assert f"prepared: {Path('adbench-data').absolute() / name}" in told.output, told.output


def check_metrics(runs: pd.DataFrame, masks: bool) -> None:
    """Metrics are in [0, 1] where they are defined, and null where they are not."""
    defined, undefined = (OF_IMAGES + OF_PIXELS, []) if masks else (OF_IMAGES, OF_PIXELS)
    values = runs[defined].to_numpy(dtype=float)
    assert ((values >= 0) & (values <= 1)).all()
    assert runs[[*undefined, "spro_005"]].isna().to_numpy().all()
    # A blob on a grating: a memory of normal patches finds all of them.
    assert runs.loc[runs["method"] == "patchcore", "image_auroc"].eq(1).all()


def check_labels(runs: pd.DataFrame, labelled: bool) -> None:
    """Anomalies to learn from are there in the suite's protocol alone; without them they are simulated, and said."""
    weak = runs["method"].isin(["ckaad", "kist"])
    assert (runs.loc[weak, "n_labelled"] > 0).eq(labelled).all() and runs.loc[~weak, "n_labelled"].eq(0).all()
    assert runs.loc[weak, "notes"].fillna("").str.contains("no labelled anomalies").ne(labelled).all()
    if labelled:
        params = runs.loc[weak, "params"].map(json.loads)
        assert {(one["anomaly_ratio"], one["labelled_classes"]) for one in params} == {(0.05, 1)}
