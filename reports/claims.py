"""Whether recorded runs bear out what a suite claims: paired differences with their intervals."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import pandas as pd

from adbench.benchmark_suites.claims import Claim
from adbench.benchmark_suites.metrics import METRICS
from adbench.reports.leaderboard import Aggregate, build_leaderboard

Outcome = Literal["shown", "not shown", "contradicted", "not measured"]
_SIDES = ("better", "than")


@dataclass(frozen=True)
class Verdict:
    """One metric of a claim. ``difference`` is that of the means over categories, "better" minus "than", with its
    95 % interval from chance in seeds and, for image metrics, in test images (paired bootstrap); None where it cannot
    be had. ``by_category`` holds the difference of each category's means over the seeds that both have.
    """

    claim: Claim
    metric: str
    means: tuple[float, float] | None
    difference: float | None
    low: float | None
    high: float | None
    seeds: tuple[int, int]
    by_category: dict[str, float]

    @property
    def outcome(self) -> Outcome:
        """Shown if the whole interval is on the right side of zero; nothing is without an interval."""
        if self.low is None or self.high is None:
            return "not measured"
        sign = 1 if METRICS[self.metric].higher_is_better else -1
        low, high = sorted((sign * self.low, sign * self.high))
        return "shown" if low > 0 else "contradicted" if high < 0 else "not shown"

    @property
    def line(self) -> str:
        """The verdict as a sentence."""
        text = f"{self.claim.text}: {self.metric} "
        if self.difference is None:
            return f"{text}not measured"
        interval = "" if self.low is None else f" [{self.low:+.3f}, {self.high:+.3f}]"
        seeds = str(self.seeds[0]) if self.seeds[0] == self.seeds[1] else f"{self.seeds[0]} to {self.seeds[1]}"
        over = f"{len(self.by_category)} categories, {seeds} seed(s)"
        return f"{text}{self.difference:+.3f}{interval} over {over}: {self.outcome}"


def verdicts(claims: Sequence[Claim], runs: pd.DataFrame, images: pd.DataFrame) -> list[Verdict]:
    """What the ``runs`` (rows of the runs table, one for each cell of a plan) and their ``images`` say of each metric
    of each claim. Raises ValueError where the side of a claim covers two runs of one cell: they would be mixed up."""
    params = runs["params"].map(json.loads)
    return [verdict for claim in claims for verdict in _of_claim(claim, runs, params, images)]


def _of_claim(claim: Claim, runs: pd.DataFrame, params: "pd.Series[Any]", images: pd.DataFrame) -> list[Verdict]:
    parts = []
    for name, side in zip(_SIDES, (claim.better, claim.than), strict=True):
        covered = [side.covers(method, own) for method, own in zip(runs["method"], params, strict=True)]
        # As two methods without parameters, the sides are two rows of a leaderboard, whatever else was varied.
        part = runs[covered].assign(method=name, params="{}", selection="none", sweep_id=None)
        if part.duplicated(["dataset", "category", "seed"]).any():
            raise ValueError(f"claim '{claim.text}': several runs of one cell are {side.method} {side.params}")
        parts.append(part)
    both = pd.concat(parts)
    if both.empty:
        return [_verdict(claim, metric, [], None, both) for metric in claim.metrics]
    board = build_leaderboard(both, images[images["run_id"].isin(both["run_id"])], created=datetime.now(UTC))
    order = [entry.method for entry in board.entries]
    whole = next((part for part in board.slices if part.modality is None and part.dataset is None), None)
    return [
        _verdict(claim, metric, order, None if whole is None else whole.metrics.get(metric), both)
        for metric in claim.metrics
    ]


def _verdict(claim: Claim, metric: str, order: list[str], found: Aggregate | None, runs: pd.DataFrame) -> Verdict:
    if found is None or found.comparison is None:
        return Verdict(claim, metric, None, None, None, None, (0, 0), {})
    better, than = (order.index(name) for name in _SIDES)
    estimates = [found.estimates[entry] for entry in (better, than)]
    means = (estimates[0].mean, estimates[1].mean) if estimates[0] and estimates[1] else None
    low = high = None
    if found.comparison.pairs is not None:
        row, column = (found.compared.index(entry) for entry in (better, than))
        low, high = (float(ends[row, column]) for ends in (found.comparison.pairs.low, found.comparison.pairs.high))
    return Verdict(
        claim=claim,
        metric=metric,
        means=means,
        difference=None if means is None else means[0] - means[1],
        low=None if low is None or low != low else low,
        high=None if high is None or high != high else high,
        seeds=found.seeds,
        by_category=_by_category(runs, metric),
    )


def _by_category(runs: pd.DataFrame, metric: str) -> dict[str, float]:
    ok = runs[(runs["status"] == "ok") & runs[metric].notna()]
    table = ok.pivot_table(index=["dataset", "category", "seed"], columns="method", values=metric).dropna()
    if not set(_SIDES) <= set(table.columns):
        return {}
    gain = (table["better"] - table["than"]).reset_index(name="gain")
    names = gain["dataset"] + "/" + gain["category"]
    return {str(name): float(values.mean()) for name, values in gain["gain"].groupby(names)}
