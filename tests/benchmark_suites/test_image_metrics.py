"""Image metrics against scikit-learn, against loops over thresholds, and on hand-made cases."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from adbench.benchmark_suites import sorted_scores
from adbench.benchmark_suites.metrics import image_metrics, val_threshold_metrics

Labelled = tuple[NDArray[np.int64], NDArray[np.float64]]


@st.composite
def labelled_scores(draw: st.DrawFn, distinct: int = 6) -> Labelled:
    """Labels with both classes and scores with heavy ties."""
    items = draw(
        st.lists(st.tuples(st.integers(0, 1), st.integers(-distinct, distinct)), min_size=2, max_size=40).filter(
            lambda pairs: len({label for label, _ in pairs}) == 2
        )
    )
    labels, scores = zip(*items, strict=True)
    return np.array(labels, dtype=np.int64), np.array(scores, dtype=np.float64) / 4


def f1_at(labels: NDArray[np.int64], predicted: NDArray[np.bool_]) -> float:
    found = sum(1 for label, flag in zip(labels, predicted, strict=True) if label == 1 and flag)
    return 2 * found / (int((labels == 1).sum()) + int(predicted.sum()))


def fpr95_by_loop(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> float:
    for threshold in sorted(set(scores.tolist()), reverse=True):
        predicted = scores >= threshold
        if 100 * int(predicted[labels == 1].sum()) >= 95 * int((labels == 1).sum()):
            return float(predicted[labels == 0].mean())
    raise AssertionError("the lowest threshold finds everything")


@pytest.mark.slow
@settings(max_examples=1000)
@given(labelled_scores())
def test_equal_to_scikit_learn_and_to_loops_over_all_thresholds(data: Labelled) -> None:
    labels, scores = data
    got = image_metrics(labels, scores)
    assert got["image_auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
    assert got["image_ap"] == pytest.approx(average_precision_score(labels, scores), abs=1e-9)
    best = max(f1_at(labels, scores >= threshold) for threshold in scores)
    assert got["image_f1max_oracle"] == pytest.approx(best, abs=1e-9)
    assert got["image_fpr95"] == pytest.approx(fpr95_by_loop(labels, scores), abs=1e-9)


@given(labelled_scores(distinct=50))
def test_invariant_under_monotone_maps_and_permutation(data: Labelled) -> None:
    labels, scores = data
    order = np.random.default_rng(labels.size).permutation(labels.size)
    expected = image_metrics(labels, scores)
    for warped in (np.exp(scores), 1000 * scores - 7, scores**3):
        assert image_metrics(labels, warped) == expected
    assert image_metrics(labels[order], scores[order]) == expected


def test_average_precision_is_stepwise_not_trapezoidal() -> None:
    labels, scores = np.array([1, 0, 0, 1]), np.array([4.0, 3.0, 2.0, 1.0])
    # Precision 1 for the first half of recall and 2/4 for the second; trapezoids over (0, 1), (1/2, 1),
    # (1/2, 1/2), (1/2, 1/3), (1, 1/2) would give 17/24.
    assert image_metrics(labels, scores)["image_ap"] == pytest.approx(3 / 4, abs=1e-12)


def test_f1_considers_every_threshold_not_a_grid() -> None:
    # All that matters happens within a millionth of the range of scores.
    labels = np.array([0, 0, 0, 1, 1, 0])
    scores = np.array([-1.0, 0.1, 0.100001, 0.100002, 0.100003, 0.1])
    assert image_metrics(labels, scores)["image_f1max_oracle"] == 1.0
    grid = np.linspace(scores.min(), scores.max(), 21)
    assert max(f1_at(labels, scores >= threshold) for threshold in grid) < 0.9


def test_fpr95_at_exactly_95_percent_recall() -> None:
    # 19 of 20 anomalies lie above every normal image: the last one need not be found.
    labels = np.array([1] * 20 + [0] * 4)
    scores = np.array([9.0] * 19 + [0.0] + [5.0, 4.0, 3.0, 2.0])
    assert image_metrics(labels, scores)["image_fpr95"] == 0.0
    scores[18] = 3.5  # now 18 of 20 are not enough, and the threshold falls to 3.5
    assert image_metrics(labels, scores)["image_fpr95"] == 0.5


def test_all_equal_scores_are_chance() -> None:
    got = image_metrics(np.array([0, 1, 0, 0]), np.ones(4))
    assert got["image_auroc"] == 0.5
    assert got["image_ap"] == 0.25
    assert got["image_fpr95"] == 1.0


@pytest.mark.parametrize("labels", [[], [0, 0], [1, 1]])
def test_undefined_is_none(labels: list[int]) -> None:
    got = image_metrics(np.array(labels, dtype=np.int64), np.arange(len(labels), dtype=np.float64))
    assert set(got.values()) == {None}


def test_threshold_is_fixed_on_val_and_only_applied_to_test() -> None:
    val_labels, val_scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.5, 0.9])
    # On val: >= 0.9 gives F1 2/3, >= 0.5 gives 4/5 (best), >= 0.1 gives 2/3.
    labels, scores = np.array([0, 0, 1, 1, 1]), np.array([0.5, 0.4, 0.5, 0.45, 0.8])
    got = val_threshold_metrics(val_labels, val_scores, labels, scores)
    assert got["image_f1_val"] == pytest.approx(4 / 6)  # at 0.5: 2 found, 1 missed, 1 false


@pytest.mark.parametrize("stretch", [1, 100])
def test_of_equally_good_thresholds_on_val_the_largest_is_taken(stretch: int) -> None:
    # On val >= 3 and >= 1 both give F1 2/3; on test the first finds one of two anomalies, the second flags all.
    val_labels, val_scores = np.array([1, 0, 0, 1]), np.array([3.0, 2.0, 1.5, 1.0])
    labels, scores = np.array([1, 1, 0, 0, 0]), np.array([3.5, 2.5, 2.5, 1.2, 1.1])
    assert f1_at(val_labels, val_scores >= 3) == f1_at(val_labels, val_scores >= 1)
    with mock.patch.object(sorted_scores, "STRETCH", stretch):
        got = val_threshold_metrics(val_labels, val_scores, labels, scores)
    assert got["image_f1_val"] == pytest.approx(2 / 3)
    assert f1_at(labels, scores >= 1) == pytest.approx(4 / 7)


@given(labelled_scores(), st.integers(1, 5))
def test_stretches_of_the_curve_do_not_change_the_values(data: Labelled, stretch: int) -> None:
    expected = image_metrics(*data)
    with mock.patch.object(sorted_scores, "STRETCH", stretch):
        assert image_metrics(*data) == pytest.approx(expected, abs=1e-12)


@given(labelled_scores(), labelled_scores())
def test_val_f1_never_exceeds_the_oracle(val: Labelled, test: Labelled) -> None:
    got = val_threshold_metrics(*val, *test)["image_f1_val"]
    oracle = image_metrics(*test)["image_f1max_oracle"]
    assert got is not None and oracle is not None
    assert 0 <= got <= oracle + 1e-12


@given(labelled_scores())
def test_val_equal_to_test_gives_the_oracle(data: Labelled) -> None:
    got = val_threshold_metrics(*data, *data)["image_f1_val"]
    assert got == pytest.approx(image_metrics(*data)["image_f1max_oracle"], abs=1e-12)


def test_normals_only_val_flags_what_lies_above_their_95_percent_quantile() -> None:
    val_scores = np.arange(1.0, 42.0)  # the 95 % quantile of 1..41 is 39
    labels, scores = np.array([0, 0, 1, 1]), np.array([39.0, 40.0, 39.5, 38.0])
    got = val_threshold_metrics(np.zeros(41, dtype=np.int64), val_scores, labels, scores)
    assert got["image_f1_val"] == pytest.approx(1 / 2)  # 39 itself is not flagged: 1 found, 1 missed, 1 false
    assert got["image_ece"] is None


def test_constant_normal_val_scores_do_not_flag_their_own_value() -> None:
    zeros = np.zeros(5, dtype=np.int64)
    got = val_threshold_metrics(zeros, np.zeros(5), np.array([0, 0, 1]), np.array([0.0, 0.0, 1.0]))
    assert got["image_f1_val"] == 1.0


@pytest.mark.parametrize(
    ("val_labels", "labels"),
    [([], [0, 1]), ([1, 1], [0, 1]), ([0, 1], [0, 0]), ([0, 1], [1, 1]), ([0, 1], [])],
)
def test_val_f1_undefined_is_none(val_labels: list[int], labels: list[int]) -> None:
    got = val_threshold_metrics(
        np.array(val_labels, dtype=np.int64),
        np.arange(len(val_labels), dtype=np.float64),
        np.array(labels, dtype=np.int64),
        np.arange(len(labels), dtype=np.float64),
    )
    assert got["image_f1_val"] is None


@pytest.mark.parametrize(("val_labels", "n_test"), [([], 2), ([0, 0], 2), ([1, 1], 2), ([0, 1], 0)])
def test_calibration_error_undefined_is_none(val_labels: list[int], n_test: int) -> None:
    got = val_threshold_metrics(
        np.array(val_labels, dtype=np.int64),
        np.arange(len(val_labels), dtype=np.float64),
        np.arange(n_test, dtype=np.int64) % 2,
        np.arange(n_test, dtype=np.float64),
    )
    assert got["image_ece"] is None


def test_uninformative_scores_are_calibrated_to_the_val_share_of_anomalies() -> None:
    # With constant scores the fitted probability is the share on val, 1/4; on test 3/4 are anomalous.
    val_labels, labels = np.array([0, 0, 0, 1]), np.array([1, 1, 1, 0])
    same = val_threshold_metrics(val_labels, np.full(4, 0.1), val_labels, np.full(4, 0.1))
    moved = val_threshold_metrics(val_labels, np.full(4, 0.1), labels, np.full(4, 0.1))
    assert same["image_ece"] == pytest.approx(0.0, abs=1e-4)
    assert moved["image_ece"] == pytest.approx(0.5, abs=1e-4)


def test_calibration_error_equals_its_definition_bin_by_bin() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    val_labels, labels = rng.integers(0, 2, 60), rng.integers(0, 2, 200)
    val_scores, scores = rng.normal(val_labels), rng.normal(1.5 * labels)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(val_scores[:, None], val_labels)
    probability = model.predict_proba(scores[:, None])[:, 1]
    expected = 0.0
    for low, high in zip(np.arange(15) / 15, np.arange(1, 16) / 15, strict=True):
        inside = (probability >= low) & (probability < high)
        if inside.any():
            expected += inside.mean() * abs(labels[inside].mean() - probability[inside].mean())
    got = val_threshold_metrics(val_labels, val_scores, labels, scores)["image_ece"]
    assert expected > 0.01
    assert got == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_non_finite_scores_are_refused_by_index(broken: float) -> None:
    with pytest.raises(ValueError, match="image 1 has"):
        image_metrics(np.array([0, 1]), np.array([0.0, broken]))
    with pytest.raises(ValueError, match="val image 1 has"):
        val_threshold_metrics(np.array([0, 1]), np.array([0.0, broken]), np.array([0, 1]), np.array([0.0, 1.0]))


def test_wrong_labels_and_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels must be 0 or 1; image 1 has 2"):
        image_metrics(np.array([0, 2]), np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match=r"got \[2\] and \[3\]"):
        image_metrics(np.array([0, 1]), np.zeros(3))
    with pytest.raises(ValueError, match=r"got \[2, 1\] and \[2, 1\]"):
        image_metrics(np.array([[0], [1]]), np.zeros((2, 1)))
