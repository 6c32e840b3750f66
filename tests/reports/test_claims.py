"""Verdicts on claims: paired differences of the right runs, with the right sign."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from adbench.benchmark_suites.claims import Claim, Side
from adbench.reports.claims import Verdict, verdicts
from adbench.reports.schema import RunResult
from adbench.reports.store import ResultStore

MakeResult = Callable[..., RunResult]
CLAIM = Claim(
    text="gamma helps",
    better=Side(method="ckaad", params={"gamma": 0.5}),
    than=Side(method="recon"),
    metrics=("pixel_auroc",),
)


def judged(
    tmp_path: Any, make_result: MakeResult, gain: float, seeds: int = 5, metric: str = "pixel_auroc"
) -> Verdict:
    """Two categories of paired runs without image rows: ckaad at gamma .5 is better by ``gain`` +- 0.01."""
    store = ResultStore(tmp_path)
    rng = np.random.default_rng(0)
    for category in ("a", "b"):
        for seed in range(seeds):
            base = rng.uniform(0.6, 0.8)
            for method, params, value in (
                ("recon", "{}", base),
                ("ckaad", '{"gamma":0.5,"lr":1}', base + gain + rng.normal(0, 0.01)),
                ("ckaad", '{"gamma":1.0,"lr":1}', 0.1),
            ):
                store.append(
                    make_result(
                        method=method, params=params, category=category, seed=seed, metrics={metric: value}, images=()
                    )
                )
    claim = CLAIM.model_copy(update={"metrics": (metric,)})
    (verdict,) = verdicts([claim], store.runs(), store.images())
    return verdict


def test_a_gain_is_shown_and_its_absence_is_not(tmp_path: Any, make_result: MakeResult) -> None:
    shown = judged(tmp_path / "shown", make_result, 0.05)
    assert shown.outcome == "shown" and shown.difference == pytest.approx(0.05, abs=0.01)
    assert shown.low is not None and shown.high is not None and 0 < shown.low < 0.05 < shown.high < 0.1
    assert shown.seeds == (5, 5) and set(shown.by_category) == {"phantom/a", "phantom/b"}
    assert np.mean(list(shown.by_category.values())) == pytest.approx(shown.difference)
    assert shown.means is not None and shown.means[0] - shown.means[1] == pytest.approx(shown.difference)
    assert shown.line.startswith("gamma helps: pixel_auroc +0.0") and shown.line.endswith(
        "over 2 categories, 5 seed(s): shown"
    )
    assert judged(tmp_path / "none", make_result, 0.0).outcome == "not shown"
    assert judged(tmp_path / "worse", make_result, -0.05).outcome == "contradicted"


def test_where_less_is_better_a_claim_is_of_less(tmp_path: Any, make_result: MakeResult) -> None:
    assert judged(tmp_path / "more", make_result, 0.05, metric="image_fpr95").outcome == "contradicted"
    assert judged(tmp_path / "less", make_result, -0.05, metric="image_fpr95").outcome == "shown"


def test_one_seed_shows_nothing(tmp_path: Any, make_result: MakeResult) -> None:
    verdict = judged(tmp_path, make_result, 0.05, seeds=1)
    assert verdict.outcome == "not measured" and verdict.low is None
    assert verdict.difference == pytest.approx(0.05, abs=0.03)


def test_a_side_without_runs_is_not_measured(tmp_path: Any, make_result: MakeResult) -> None:
    store = ResultStore(tmp_path)
    store.append(make_result(method="recon", params="{}"))
    for runs in (store.runs(), store.runs().iloc[:0]):
        (verdict,) = verdicts([CLAIM], runs, store.images())
        assert verdict.outcome == "not measured" and verdict.difference is None and verdict.by_category == {}
        assert verdict.line == "gamma helps: pixel_auroc not measured"


def test_runs_that_a_claim_does_not_tell_apart_are_refused(tmp_path: Any, make_result: MakeResult) -> None:
    store = ResultStore(tmp_path)
    for lr in (1, 2):
        store.append(make_result(params=f'{{"gamma":0.5,"lr":{lr}}}'))
    with pytest.raises(ValueError, match="claim 'gamma helps': several runs of one cell are ckaad"):
        verdicts([CLAIM], store.runs(), pd.DataFrame({"run_id": []}))
