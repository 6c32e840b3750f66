"""ROC curves: those of scikit-learn, thinned without an error that can be seen."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from adbench.reports import roc
from adbench.reports.leaderboard import Leaderboard, build_leaderboard
from adbench.reports.roc import build_rocs, found_share, roc_corners
from adbench.reports.schema import ImageScores, RunResult
from adbench.reports.store import ResultStore

Make = Callable[..., RunResult]
Build = Callable[..., Leaderboard]


def area(false: np.ndarray, true: np.ndarray) -> float:
    return float(np.trapezoid(true / true[-1], false / false[-1]))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=60))
def test_corners_are_those_of_scikit_learn(images: list[tuple[bool, int]]) -> None:
    labels = np.array([0, 1, *(int(label) for label, _ in images)])
    scores = np.array([3.0, 4.0, *(float(score) for _, score in images)])
    false, true = roc_corners(labels, scores)
    assert area(false, true) == pytest.approx(roc_auc_score(labels, scores))
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    kept = set(zip((false / false[-1]).round(9), (true / true[-1]).round(9), strict=True))
    assert kept <= set(zip(fpr.round(9), tpr.round(9), strict=True))
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, (labels == 0).sum(), labels.sum())


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=60), st.sampled_from([0.0, 0.05, 0.5])
)
def test_the_share_that_is_found_is_that_of_scikit_learn(images: list[tuple[bool, int]], rate: float) -> None:
    labels = np.array([0, 1, *(int(label) for label, _ in images)])
    scores = np.array([3.0, 4.0, *(float(score) for _, score in images)])
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert found_share(labels, scores, rate) == pytest.approx(tpr[fpr <= rate + 1e-9].max())


def test_many_images_are_thinned_within_the_resolution() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 40_000)
    scores = rng.normal(labels)
    false, true = roc_corners(labels, scores)
    fpr, tpr, _ = roc_curve(labels, scores)
    assert len(false) < 2_100 < len(fpr)
    images = fpr * false[-1] + tpr * true[-1]  # grows along the curve
    at = np.searchsorted(false + true, images.round(), side="right") - 1
    to_corner = np.maximum(fpr - false[at] / false[-1], tpr - true[at] / true[-1])
    to_line = np.abs(fpr - np.interp(images, false + true, false) / false[-1])
    assert np.minimum(to_corner, to_line).max() <= roc.RESOLUTION + 1e-12
    assert area(false, true) == pytest.approx(roc_auc_score(labels, scores), abs=roc.RESOLUTION)


def scored(make_result: Make, name: str, labels: list[int], scores: list[float], **more: object) -> RunResult:
    ids = tuple(f"{index:02d}" for index in range(len(labels)))
    images = ImageScores(
        split="test",
        image_ids=ids,
        labels=np.array(labels, dtype=np.int64),
        defect_types=("x",) * len(ids),
        scores=np.array(scores, dtype=np.float32),
    )
    return make_result(method=name, images=(images,), gallery=None, **more)


def test_each_method_has_the_curve_of_its_lowest_seed(
    make_result: Make, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = ResultStore(tmp_path_factory.mktemp("store"))
    store.prepare()
    labels = [0, 1, 0, 1]
    store.append(scored(make_result, "a", labels, [0.1, 0.9, 0.2, 0.8], seed=1))
    store.append(scored(make_result, "a", labels, [0.1, 0.9, 0.8, 0.2], seed=2))
    store.append(scored(make_result, "<b>", labels, [0.9, 0.1, 0.8, 0.2], seed=0))
    store.append(scored(make_result, "normal", [0, 0], [0.1, 0.2], seed=0))
    store.append(scored(make_result, "a", labels, [0.1, 0.9, 0.2, 0.8], category="other"))
    images = store.images()
    board = build_leaderboard(store.runs(), images, created=store.runs()["finished_at"].max(), resamples=50)
    found = build_rocs(board, images)
    assert found.left_out == 0 and set(found.figures["smoke"]) == {0, 1}
    place = next(i for i, one in enumerate(board.categories) if one.category == "texture")
    curves = {trace["name"]: (trace["x"], trace["y"]) for trace in found.figures["smoke"][place]["data"]}
    assert curves == {
        "&lt;b&gt;, seed 0": ([0, 1, 1], [0, 0, 1]),
        "a, seed 1": ([0, 0, 1], [0, 1, 1]),
        "chance": ([0, 1], [0, 1]),
    }
    told = found.figures["smoke"][place]["conclusion"]
    assert "no method finds more than a (a 100.0 %, <b> 0.0 %). One of the 2 anomalous images is 50.0 points" in told


def test_categories_without_room_are_counted(
    make_result: Make, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = ResultStore(tmp_path_factory.mktemp("store"))
    store.prepare()
    for category in "abc":
        store.append(scored(make_result, "m", [0, 1], [0.1, 0.9], category=category))
    images = store.images()
    board = build_leaderboard(store.runs(), images, created=store.runs()["finished_at"].max(), resamples=50)
    monkeypatch.setattr(roc, "MOST_POINTS", 6)
    found = build_rocs(board, images)
    assert (len(found.figures["smoke"]), found.left_out) == (2, 1)
