"""`adbench export`, `compare`, `index` and `report --watch` on real stores."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result

from adbench.reports.schema import RunResult
from adbench.reports.store import ResultStore

Adbench = Callable[..., Result]


@pytest.fixture
def results(make_result: Callable[..., RunResult], tmp_path: Path) -> Callable[..., Path]:
    """A results folder of two methods on three categories, all of one version, of which ckaad scores ``score``."""

    def filled(name: str, version: str = "1", score: float = 0.8) -> Path:
        store = ResultStore(tmp_path / name)
        store.prepare()
        day = datetime(2026, 3, int(version), tzinfo=UTC)
        for method in ("ckaad", "padim"):
            for category in ("a", "b", "c"):
                result = make_result(
                    run_id=f"{method}-{category}-{version}",
                    method=method,
                    category=category,
                    method_version=version,
                    started_at=day,
                    finished_at=day,
                    metrics={"image_auroc": score if method == "ckaad" else 0.6, "image_ap": 0.5},
                )
                store.append(result)
        return tmp_path / name

    return filled


def test_export_writes_the_numbers_of_the_page(adbench: Adbench, results: Callable[..., Path]) -> None:
    out = results("out")
    frame = pd.read_csv(io.StringIO(adbench("export", "--format", "csv", f"out={out}").output))
    means = frame[(frame["table"] == "methods") & (frame["metric"] == "image_auroc")].set_index("method")["mean"]
    assert means.to_dict() == pytest.approx({"ckaad": 0.8, "padim": 0.6})
    written = adbench("export", "--format", "parquet", f"out={out}", "--to", str(out / "deep" / "t.parquet"))
    assert written.exit_code == 0, written.output
    assert pd.read_parquet(out / "deep" / "t.parquet")["mean"].tolist() == pytest.approx(frame["mean"].tolist())
    latex = adbench("export", "--format", "latex", "--table", "methods", f"out={out}").output
    assert re.search(r"^ckaad & \\textbf\{80\.0\}.* & \\textbf\{50\.0\}.* \\\\$", latex, re.MULTILINE)
    assert latex.count(r"\begin{table}") == 1
    markdown = adbench("export", "--format", "markdown", f"out={out}", "metric=image_ap,image_auroc").output
    assert [line for line in markdown.splitlines() if line.startswith("**")] == [
        "**Methods by metrics, all datasets, budget smoke**",
        "**Image AP ↑ by category, all datasets, budget smoke**",
        "**Image AUROC ↑ by category, all datasets, budget smoke**",
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["metric=image_auro"], "unknown metric 'image_auro'; did you mean 'image_auroc'?"),
        (["metric=spro_005"], "no run has a value of metric 'spro_005'"),
        (["dataset=fantom"], "unknown dataset 'fantom'; did you mean 'phantom'?"),
        (["budget=smoky"], "did you mean 'smoke'?"),
        (["modality=industral"], "did you mean 'industrial'?"),
        (["suite=quickstrat"], "did you mean 'quickstart'?"),
        (["datasets=phantom"], "unknown key 'datasets'; did you mean 'dataset'?"),
    ],
)
def test_a_wrong_export_is_one_message(
    words: list[str], told: str, adbench: Adbench, results: Callable[..., Path]
) -> None:
    refused = adbench("export", "--format", "csv", f"out={results('out')}", *words)
    assert refused.exit_code == 2
    assert told in refused.output
    assert "Traceback" not in refused.output


def test_two_folders_compare_each_method_with_itself(adbench: Adbench, results: Callable[..., Path]) -> None:
    before, after = results("before"), results("after", "2", 0.9)
    result = adbench("compare", str(before), str(after))
    assert result.exit_code == 0, result.output
    parts = result.output.split("\n\n")
    assert [part.split(":")[0] for part in parts if "cells paired" in part] == [
        "ckaad, budget smoke",
        "padim, budget smoke",
    ]
    assert re.search(r"Image AUROC ↑ +80\.00 +90\.00 +\+10\.00", result.output)
    assert re.search(r"phantom/b +80\.00 +90\.00 +\+10\.00", result.output)
    assert re.search(r"Image AUROC ↑ +60\.00 +60\.00 +\+0\.00", result.output)
    assert "adjusted after Holm" in result.output and "p (Holm)" in result.output
    assert "version 2" in (before / "compare" / "index.html").read_text()


def test_methods_suites_and_versions_of_one_folder_compare(adbench: Adbench, results: Callable[..., Path]) -> None:
    out = results("out")
    results("out", "2", 0.9)
    methods = adbench("compare", "padim", "ckaad", f"out={out}", "--to", str(out / "c.html"))
    assert re.search(r"Image AUROC ↑ +60\.00 +90\.00 +\+30\.00", methods.output), methods.output
    assert (out / "c.html").stat().st_size > 5000
    versions = adbench("compare", "ckaad@1", "ckaad@2", f"out={out}", "metric=image_ap")
    assert re.search(r"Image AUROC ↑ +80\.00 +90\.00 +\+10\.00", versions.output), versions.output
    assert re.search(r"^Image AP ↑ +A +B", versions.output, re.MULTILINE)


def test_two_suites_compare_the_methods_of_both(adbench: Adbench, make_result: Callable[..., RunResult]) -> None:
    store = ResultStore("adbench-results")
    store.prepare()
    for suite, score in (("plain", 0.7), ("long", 0.8)):
        for method in ("ckaad", suite):
            metrics = {"image_auroc": score}
            store.append(make_result(run_id=f"{method}-{suite}", method=method, suite=suite, metrics=metrics))
    result = adbench("compare", "plain", "long")
    assert result.exit_code == 0, result.output
    assert re.search(r"Image AUROC ↑ +70\.00 +80\.00 +\+10\.00", result.output)
    assert "left out: plain, in A alone\nleft out: long, in B alone\n" in result.output
    assert Path("adbench-results/compare/index.html").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["ckaad", "padin"], "did you mean 'padim'?"),
        (["ckaad", "ckaad"], "'ckaad' is compared with itself"),
        (["ckaad@1", "ckaad@3"], "unknown version of ckaad '3'"),
        (["ckaad", "padim", "metric=aupro_030"], "no run has a value of metric 'aupro_030'"),
        (["ckaad", "OUT"], "'ckaad' is no results folder"),
    ],
)
def test_a_wrong_comparison_is_one_message(
    words: list[str], told: str, adbench: Adbench, results: Callable[..., Path]
) -> None:
    out = results("out")
    refused = adbench("compare", *(str(out) if word == "OUT" else word for word in words), f"out={out}")
    assert refused.exit_code == 2
    assert told in refused.output


def test_index_links_the_pages_and_shows_the_history(adbench: Adbench, results: Callable[..., Path]) -> None:
    old, new = results("old results"), results("new", "2", 0.9)
    adbench("report", f"out={old}")
    result = adbench("index", str(old), str(new))
    assert result.exit_code == 0, result.output
    html = (old / "report" / "all.html").read_text()
    assert 'href="index.html"' in html
    assert html.count("no page yet") == 1
    assert "+10.00" in html
    elsewhere = adbench("index", str(old), "--to", str(new / "all.html"))
    assert 'href="../old%20results/report/index.html"' in (new / "all.html").read_text(), elsewhere.output
    assert "no results in" in adbench("index", str(old / "nowhere")).output


def wait_for(happened: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_watch_renders_what_finishes_until_interrupted(
    results: Callable[..., Path], make_result: Callable[..., RunResult]
) -> None:
    out = results("out")
    newest = out / "report" / "newest.js"

    def stamp() -> str | None:
        found = re.fullmatch(r"adbenchNewest\((.*)\);\n", newest.read_text()) if newest.exists() else None
        return found and json.loads(found.group(1))

    command = [sys.executable, "-m", "adbench.orchestrator.cli", "report", "--watch", f"out={out}"]
    watcher = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
    )
    try:
        wait_for(lambda: stamp() is not None)
        first = stamp()
        assert f'data-rendered="{first}"' in (out / "report" / "index.html").read_text()
        unreadable = out / "runs" / "half-copied.parquet"
        unreadable.write_bytes(b"PAR1")
        assert watcher.stdout is not None
        told = next(line for line in watcher.stdout if "rendered" in line)
        assert told.startswith("not rendered") and unreadable.name in told
        unreadable.unlink()
        ResultStore(out).append(make_result(method="latecomer", metrics={"image_auroc": 0.7}))
        wait_for(lambda: stamp() != first)
        assert "latecomer" in (out / "report" / "index.html").read_text()
        watcher.send_signal(signal.SIGINT)
        output, _ = watcher.communicate(timeout=60)
    finally:
        watcher.kill()
    assert watcher.returncode == 130
    assert "rendered again" in output
    assert newest.read_text() == "adbenchNewest(null);\n"
    assert ResultStore(out).runs()["method"].nunique() == 3


def test_watch_and_rescore_exclude_each_other(adbench: Adbench) -> None:
    refused = adbench("report", "--watch", "--rescore")
    assert refused.exit_code == 2
    assert "exclude each other" in refused.output
