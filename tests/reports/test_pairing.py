"""Two sides paired cell by cell: what is paired, what is named, and whose numbers they are."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

from adbench.reports.pairing import Pairing, Side, adjust, pair
from adbench.reports.schema import ImageScores, RunResult
from adbench.reports.store import ResultStore

Make = Callable[..., RunResult]
CATEGORIES = ("a", "b", "c")
LATER = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def side(make_result: Make, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Side]:
    """A side from results, stored in a folder of its own."""

    def stored(*changes: dict[str, Any]) -> Side:
        store = ResultStore(tmp_path_factory.mktemp("side"))
        store.prepare()
        for one in changes:
            store.append(make_result(**one))
        return Side(store.runs(), store.images())

    return stored


def scored(category: str, strength: float, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """A run whose image scores separate the labels by ``strength``; equal noise for equal category and seed."""
    rng = np.random.default_rng([ord(category), seed])
    labels = np.arange(200) % 2
    scores = (strength * labels + rng.normal(size=200)).astype(np.float32)
    images = ImageScores(
        split="test",
        image_ids=tuple(f"{index:03d}" for index in range(200)),
        labels=labels,
        defect_types=("",) * 200,
        scores=scores,
    )
    metrics = {"image_auroc": float(roc_auc_score(labels, scores)), **changes.pop("metrics", {})}
    return {"category": category, "seed": seed, "images": (images,), "metrics": metrics, **changes}


def only(pairings: list[Pairing]) -> Pairing:
    assert len(pairings) == 1
    return pairings[0]


def test_a_better_version_is_shown_to_be_better_and_the_same_one_not(side: Callable[..., Side]) -> None:
    before = side(*(scored(one, 1.0, metrics={"image_fpr95": 0.5}) for one in CATEGORIES))
    after = side(*(scored(one, 1.6, metrics={"image_fpr95": 0.4}, method_version="2") for one in CATEGORIES))
    changed = only(pair("ckaad", before, after))
    found = changed.whole["image_auroc"]
    means = [side.runs["image_auroc"].mean() for side in (before, after)]
    assert [found.a, found.b] == pytest.approx(means)
    assert found.outcome == "better"
    assert found.counts == (3, 0, 0)
    assert found.wilcoxon == pytest.approx(stats.wilcoxon([1, 2, 3]).pvalue)
    assert found.p is not None and found.p < 0.01
    assert changed.whole["image_fpr95"].counts == (3, 0, 0)  # lower is better
    assert changed.whole["image_fpr95"].outcome == "not tested"
    assert [one.label for one in changed.by_category["image_auroc"]] == [f"phantom/{one}" for one in CATEGORIES]
    assert changed.versions[1].startswith("version 2; ")
    assert only(pair("ckaad", after, before)).whole["image_auroc"].outcome == "worse"
    same = only(pair("ckaad", before, before)).whole["image_auroc"]
    assert same.difference == 0
    assert same.outcome == "no difference shown"


def test_what_is_not_paired_is_named_with_the_reason(side: Callable[..., Side]) -> None:
    later: dict[str, Any] = {"started_at": LATER, "finished_at": LATER}
    before = side(
        scored("a", 1.0),
        scored("b", 1.0),
        scored("c", 1.0),
        scored("d", 1.0),
        scored("e", 1.0, metric_version=1),
        {"category": "f", "status": "failed"},
    )
    after = side(
        scored("a", 1.5),
        scored("b", 1.5, split_hash="6" * 16, **later),
        scored("d", 1.5, dataset_fingerprint="e" * 16, **later),
        scored("e", 1.5, metric_version=2),
        scored("f", 1.5),
        scored("g", 1.5),
    )
    found = only(pair("ckaad", before, after))
    assert found.n_paired == 1
    assert found.whole["image_auroc"].over == "1 category with 1 seed each"
    assert found.unpaired == (
        "phantom/b, seed 0: another split in A than in B",
        "phantom/c, seed 0: not run in B",
        "phantom/d, seed 0: other data in A than in B",
        "phantom/e, seed 0: metric version 1 in A, 2 in B",
        "phantom/f, seed 0: failed in A",
        "phantom/g, seed 0: not run in A",
    )


def test_one_shared_cell_of_many_is_paired(side: Callable[..., Side]) -> None:
    many = side(*(scored(one, 1.0, seed) for one in CATEGORIES for seed in range(3)))
    few = side(scored("b", 1.4, 2))
    found = only(pair("ckaad", many, few))
    assert found.n_paired == 1
    assert len(found.unpaired) == 8
    cell = many.runs[(many.runs["category"] == "b") & (many.runs["seed"] == 2)]
    assert found.whole["image_auroc"].a == pytest.approx(cell["image_auroc"].item())


def test_nothing_in_common_is_no_number(side: Callable[..., Side]) -> None:
    found = only(pair("ckaad", side(scored("a", 1.0)), side(scored("b", 1.0))))
    assert (found.n_paired, found.whole, len(found.unpaired)) == (0, {}, 2)


def test_budgets_are_compared_apart_and_changed_parameters_are_named(side: Callable[..., Side]) -> None:
    before = side(scored("a", 1.0, params='{"gamma":0.3,"lr":1}'), scored("a", 1.0, budget="full", run_id="full"))
    after = side(scored("a", 1.0, params='{"gamma":0.5,"lr":1}'))
    full, smoke = pair("ckaad", before, after)
    assert (full.budget, full.n_paired, smoke.budget, smoke.n_paired) == ("full", 0, "smoke", 1)
    assert smoke.changed_params == ("gamma: 0.3 → 0.5",)


def test_p_values_are_adjusted_for_all_that_is_compared(side: Callable[..., Side]) -> None:
    found = only(pair("ckaad", side(*(scored(one, 1.0) for one in CATEGORIES)), side(scored("a", 1.6))))
    change = replace(found.whole["image_auroc"], wilcoxon=0.25)
    values = (0.03, 0.001, 0.04, None)
    single = [
        replace(found, whole={"image_auroc": own}, by_category={"image_auroc": (own, own)})
        for own in (replace(change, p=p) for p in values)
    ]
    adjusted = adjust(single)
    assert [one.whole["image_auroc"].p for one in adjusted] == pytest.approx(
        [*multipletests(values[:3], method="holm")[1], None]
    )
    assert [one.whole["image_auroc"].outcome for one in single] == ["better"] * 4
    assert [one.whole["image_auroc"].outcome for one in adjusted[:3]] == [
        *("no difference shown", "better", "no difference shown")
    ]
    assert [one.whole["image_auroc"].wilcoxon for one in adjusted] == [1.0] * 4
    by_category = [own.p for one in adjusted for own in one.by_category["image_auroc"]]
    twice = [p for p in values[:3] for _ in range(2)]
    assert by_category == pytest.approx([*multipletests(twice, method="holm")[1], None, None])
    assert all(one.whole["image_auroc"].low == change.low for one in adjusted)
