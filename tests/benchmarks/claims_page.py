"""What was measured of the papers' claims, from recorded runs, as the tables of docs/claims.md.

adbench run suite=claims_ckaad out=FOLDER                                 # measures
python tests/benchmarks/claims_page.py claims_ckaad [...] out=FOLDER      # prints the tables
python tests/benchmarks/claims_page.py claims_ckaad [...] out=FOLDER --write

A suite without claims (elpv, phantom) becomes a table of its categories.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from bench import with_part

from adbench.benchmark_suites.metrics import METRICS
from adbench.orchestrator.compose import compose
from adbench.orchestrator.overrides import parse_overrides
from adbench.orchestrator.plan import Plan, make_plan
from adbench.orchestrator.run import judge_claims
from adbench.reports.claims import Verdict
from adbench.reports.leaderboard import Estimate, build_leaderboard
from adbench.reports.store import ResultStore
from bench_tables import table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "claims.md"
SHOWN = ("image_auroc", "pixel_auroc", "pixel_ap", "aupro_030")
PER_CATEGORY = ("image_auroc", "pixel_auroc", "aupro_030")


def claims_report(arguments: Sequence[str]) -> str:
    """The tables of a suite, given as for `adbench run`: claims and settings, or, without claims, categories."""
    parsed = parse_overrides(arguments)
    plan = make_plan(compose(parsed), parsed)
    store = ResultStore(plan.request.out)
    planned = {cell.run_id for cell in plan.cells}
    runs = store.runs()
    runs = runs[runs["run_id"].isin(planned)]
    if not plan.request.claims:
        return "\n".join([_setting(plan, runs, arguments), *_category_tables(runs)])
    verdicts = judge_claims(plan, store)
    judged = table(["", "metric", "difference", "by category", "result"], map(_row, verdicts))
    parts = [_setting(plan, runs, arguments), judged]
    return "\n".join([*parts, _settings_table(runs, store.images(planned), sorted({v.metric for v in verdicts}))])


def _setting(plan: Plan, runs: pd.DataFrame, arguments: Sequence[str]) -> str:
    done, hardware = int((runs["status"] == "ok").sum()), ", ".join(sorted(set(runs["hardware"])))
    hours = runs["fit_seconds"].sum() / 3600
    versions = ", ".join(sorted(set(runs["method"] + " " + runs["method_version"])))
    seeds = f"{'seeds' if len(plan.request.seeds) > 1 else 'seed'} {', '.join(map(str, plan.request.seeds))}"
    words = " ".join(word for word in arguments if not word.startswith("out="))
    return (
        f"{done} of {len(plan.cells)} runs ({hours:.1f} hours of training) on {hardware}; {seeds}; "
        f"versions: {versions}.\n`adbench run {words}`\n"
    )


def _row(verdict: Verdict) -> list[str]:
    kind = "" if verdict.claim.kind == "claim" else "*control:* "
    difference = "-"
    if verdict.difference is not None and verdict.means is not None:
        interval = "" if verdict.low is None else f" [{verdict.low:+.3f}, {verdict.high:+.3f}]"
        difference = f"{verdict.means[0]:.3f} - {verdict.means[1]:.3f} = **{verdict.difference:+.3f}**{interval}"
    by_category = ", ".join(f"{name.split('/')[1]} {value:+.3f}" for name, value in verdict.by_category.items())
    return [kind + verdict.claim.text, METRICS[verdict.metric].name, difference, by_category, verdict.outcome]


def _settings_table(runs: pd.DataFrame, images: pd.DataFrame, metrics: Sequence[str]) -> str:
    board = build_leaderboard(runs, images, created=datetime.now(UTC))
    whole = board.slices[0]
    shown = [name for name in SHOWN if name in whole.metrics and name in {*metrics, "image_auroc"}]

    def cell(estimate: Estimate | None) -> str:
        if estimate is None:
            return "-"
        interval = "" if estimate.low is None else f" ({estimate.low:.3f} - {estimate.high:.3f})"
        return f"{estimate.mean:.3f}{interval}"

    rows = [
        [entry.label, *(cell(whole.metrics[name].estimates[index]) for name in shown)]
        for index, entry in enumerate(board.entries)
    ]
    heads = [f"{name}, {whole.metrics[name].n_categories} categories" for name in shown]
    return table(["setting", *heads], rows)


def _category_tables(runs: pd.DataFrame) -> Iterator[str]:
    for metric in (name for name in PER_CATEGORY if runs[name].notna().any()):
        by = runs.groupby(["method", "category"], sort=False)[metric].agg(["mean", "std"]).unstack()
        means, deviations = by["mean"], by["std"]
        rows = [
            [str(method), *map(_with_spread, each, spread), f"{sum(each) / len(each):.3f}"]
            for method, each, spread in zip(means.index, means.to_numpy(), deviations.to_numpy(), strict=True)
        ]
        what = ", mean and standard deviation over seeds" if runs["seed"].nunique() > 1 else ""
        yield f"{METRICS[metric].name}{what}:\n"
        yield table(["", *map(str, means.columns), "mean"], rows)


def _with_spread(mean: float, spread: float) -> str:
    return f"{mean:.3f}" if math.isnan(spread) else f"{mean:.3f} ± {spread:.3f}"


def main() -> None:
    """Print or write the tables of the suites asked for."""
    parser = argparse.ArgumentParser(description="The tables of docs/claims.md from recorded runs.")
    parser.add_argument("arguments", nargs="+", metavar="SUITE|key=value")
    parser.add_argument("--write", action="store_true", help=f"write the tables to docs/{PAGE.name}")
    chosen = parser.parse_args()
    for suite in (word for word in chosen.arguments if "=" not in word):
        report = claims_report([f"suite={suite}", *(word for word in chosen.arguments if "=" in word)])
        sys.stdout.write(f"## {suite}\n\n{report}\n")
        if chosen.write:
            PAGE.write_text(with_part(PAGE.read_text(encoding="utf-8"), suite, report), encoding="utf-8")


if __name__ == "__main__":
    main()
