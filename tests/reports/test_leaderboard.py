"""The leaderboard's numbers, from stored runs to slices."""

import json
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adbench.reports.coverage import build_coverage, first_line
from adbench.reports.leaderboard import Aggregate, Leaderboard, Slice
from adbench.reports.schema import PlannedCell, RunResult, SuitePlan

NOW = datetime(2026, 2, 1, tzinfo=UTC)
Make = Callable[..., RunResult]
Build = Callable[..., Leaderboard]


def part(board: Leaderboard, **chosen: str | None) -> Slice:
    """The one slice of these filters; without a budget, of the first."""
    wanted = {"budget": board.budgets[0], "modality": None, "dataset": None, **chosen}
    found = [one for one in board.slices if all(getattr(one, name) == wanted[name] for name in wanted)]
    assert len(found) == 1
    return found[0]


def means(board: Leaderboard, aggregate: Aggregate) -> dict[str, float]:
    return {
        entry.label: estimate.mean
        for entry, estimate in zip(board.entries, aggregate.estimates, strict=True)
        if estimate is not None
    }


def test_mean_gives_categories_equal_weight_whatever_their_seeds(make_result: Make, build: Build) -> None:
    values = {("gear", 0): 0.2, ("gear", 1): 0.4, ("texture", 0): 0.9}
    board = build(
        *(
            make_result(category=category, seed=seed, metrics={"image_auroc": value})
            for (category, seed), value in values.items()
        )
    )
    aggregate = part(board).metrics["image_auroc"]
    assert means(board, aggregate)["ckaad"] == pytest.approx((0.3 + 0.9) / 2)
    assert (aggregate.n_categories, aggregate.n_cells, aggregate.seeds) == (2, 3, (1, 2))


def test_budgets_are_never_mixed(make_result: Make, build: Build) -> None:
    board = build(
        make_result(budget="smoke", metrics={"image_auroc": 0.5}),
        make_result(budget="full", metrics={"image_auroc": 0.9}),
        make_result(budget="full", seed=1, metrics={"image_auroc": 0.7}),
    )
    assert board.budgets == ("full", "smoke")
    assert means(board, part(board, budget="smoke").metrics["image_auroc"])["ckaad"] == pytest.approx(0.5)
    assert means(board, part(board, budget="full").metrics["image_auroc"])["ckaad"] == pytest.approx(0.8)


def test_only_shared_cells_count_and_the_others_are_named(make_result: Make, build: Build) -> None:
    board = build(
        *(
            make_result(method="ckaad", category=category, metrics={"image_auroc": value})
            for category, value in (("gear", 0.8), ("noise", 0.1), ("texture", 0.6))
        ),
        make_result(method="ssae", category="gear", metrics={"image_auroc": 0.7}),
        make_result(method="ssae", category="texture", metrics={"image_auroc": 0.9}),
        make_result(method="ssae", category="noise", status="failed"),
    )
    found = part(board)
    assert (found.n_cells, found.n_shared_cells, found.n_shared_categories) == (3, 2, 2)
    assert found.left_out == ("phantom/noise, seed 0: ssae failed",)
    assert dict(zip((entry.label for entry in board.entries), found.finished, strict=True)) == {"ckaad": 3, "ssae": 2}
    assert means(board, found.metrics["image_auroc"]) == pytest.approx({"ckaad": 0.7, "ssae": 0.8})
    estimates = {
        entry.label: estimate
        for entry, estimate in zip(board.entries, found.metrics["image_auroc"].estimates, strict=True)
        if estimate
    }
    assert (estimates["ckaad"].rank, estimates["ckaad"].wins) == (1.5, 1)
    assert (estimates["ssae"].rank, estimates["ssae"].wins) == (1.5, 1)


def test_cells_on_different_data_are_not_compared(make_result: Make, build: Build) -> None:
    board = build(
        *(make_result(method=method, category="gear") for method in ("ckaad", "ssae")),
        make_result(method="ckaad", category="texture", split_hash="a", started_at=NOW),
        make_result(method="ssae", category="texture", split_hash="b", started_at=NOW + timedelta(hours=1)),
    )
    found = part(board)
    assert found.n_shared_cells == 1
    assert found.left_out == ("phantom/texture, seed 0: ckaad older data or metric",)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"dataset_fingerprint": "a"}, {"dataset_fingerprint": "b"}),
        ({"split_hash": "a"}, {"split_hash": "b"}),
        ({"metric_version": 1}, {"metric_version": 2}),
    ],
)
def test_old_and_new_data_are_not_averaged_over_seeds(
    make_result: Make, build: Build, old: dict[str, Any], new: dict[str, Any]
) -> None:
    later = NOW + timedelta(hours=1)
    board = build(
        make_result(seed=0, started_at=NOW, metrics={"image_auroc": 0.1}, **old),
        make_result(method="ssae", seed=0, started_at=NOW, metrics={"image_auroc": 0.2}, **old),
        make_result(seed=1, started_at=later, metrics={"image_auroc": 0.7}, **new),
        make_result(seed=2, started_at=later, status="failed", **{**new, "metric_version": None}),
        make_result(seed=0, budget="full", started_at=NOW, metrics={"image_auroc": 0.4}, **old),
    )
    assert means(board, part(board, budget="smoke").metrics["image_auroc"]) == pytest.approx({"ckaad": 0.7})
    assert means(board, part(board, budget="full").metrics["image_auroc"]) == pytest.approx({"ckaad": 0.4})
    assert part(board, budget="smoke").n_cells == 2  # what failed on the new data is not passed over
    coverage = build_coverage(board)
    assert [(one.method, one.budget, one.cells, one.text) for one in coverage.older] == [
        ("ckaad", "smoke", ("phantom/texture (seed 0)",), "older data or metric, not counted"),
        ("ssae", "smoke", ("phantom/texture (seed 0)",), "older data or metric, not counted"),
    ]
    assert (coverage.n_older, coverage.n_repeated, coverage.n_failed) == (2, 0, 1)


def test_method_with_older_data_alone_is_named_and_not_compared(make_result: Make, build: Build) -> None:
    board = build(
        make_result(method="a", started_at=NOW, dataset_fingerprint="old"),
        make_result(method="b", started_at=NOW + timedelta(hours=1), dataset_fingerprint="new"),
    )
    found = part(board)
    assert [board.entries[entry].label for entry in found.compared] == ["b"]
    assert found.not_compared == ((0, "no successful run here"),)
    assert build_coverage(board).n_missing == 0  # it is among the older ones


def test_image_sizes_are_categories_of_their_own(make_result: Make, build: Build) -> None:
    board = build(
        make_result(run_id="small", image_size=64, started_at=NOW, metrics={"image_auroc": 0.5}),
        make_result(run_id="large", image_size=96, started_at=NOW, metrics={"image_auroc": 0.9}),
        make_result(run_id="other", image_size=96, started_at=NOW, method="ssae", metrics={"image_auroc": 0.6}),
    )
    assert [category.label for category in board.categories] == ["phantom/texture · 64 px", "phantom/texture · 96 px"]
    found = part(board)
    assert means(board, found.metrics["image_auroc"]) == pytest.approx({"ckaad": 0.9, "ssae": 0.6})
    assert found.left_out == ("phantom/texture · 64 px, seed 0: ssae missing",)
    assert build_coverage(board).n_repeated == 0


def test_image_size_is_not_named_where_each_budget_has_one(make_result: Make, build: Build) -> None:
    board = build(
        make_result(budget="smoke", image_size=64),
        make_result(budget="full", image_size=256),
    )
    assert [category.label for category in board.categories] == ["phantom/texture"] * 2
    assert all(one.n_categories == 1 for one in board.slices)


def folder(root: str, **more: Any) -> str:
    return json.dumps({"root": root, **more}, sort_keys=True)


def test_same_images_in_another_folder_are_the_same_category(make_result: Make, build: Build) -> None:
    board = build(
        make_result(method="a", dataset_params=folder("/home/ada/parts"), metrics={"image_auroc": 0.5}),
        make_result(method="b", dataset_params=folder("/mnt/parts"), metrics={"image_auroc": 0.7}),
    )
    assert [category.label for category in board.categories] == ["phantom/texture"]
    assert means(board, part(board).metrics["image_auroc"]) == pytest.approx({"a": 0.5, "b": 0.7})


def test_folders_with_other_images_are_other_categories(make_result: Make, build: Build) -> None:
    board = build(
        make_result(run_id="1", dataset_params=folder("/a/line/parts"), dataset_fingerprint="one"),
        make_result(run_id="2", dataset_params=folder("/b/line/parts"), dataset_fingerprint="two"),
        make_result(run_id="3", dataset_params=folder("/b/line/parts"), category="gear"),
    )
    assert [category.label for category in board.categories] == [
        "phantom/gear",
        "phantom/texture · a/line/parts",
        "phantom/texture · b/line/parts",
    ]
    assert (part(board).n_cells, build_coverage(board).n_older) == (3, 0)


def test_changed_images_of_a_moved_folder_are_newer_data_of_one_category(make_result: Make, build: Build) -> None:
    runs = [("/a", "old"), ("/b", "old"), ("/b", "new")]
    board = build(
        *(
            make_result(
                run_id=str(hour),
                seed=hour,
                started_at=NOW + timedelta(hours=hour),
                dataset_params=folder(root),
                dataset_fingerprint=fingerprint,
            )
            for hour, (root, fingerprint) in enumerate(runs)
        )
    )
    assert [category.label for category in board.categories] == ["phantom/texture"]
    assert (part(board).n_cells, build_coverage(board).n_older) == (1, 2)


def test_differing_dataset_parameters_are_in_the_label(make_result: Make, build: Build) -> None:
    board = build(
        *(make_result(run_id=str(n), dataset_params=folder("/a", n_train=n, seed=0)) for n in (50, 100)),
    )
    assert [category.label for category in board.categories] == [
        "phantom/texture · n_train=100",
        "phantom/texture · n_train=50",
    ]


def test_undefined_metric_leaves_its_category_out_of_its_own_mean_only(make_result: Make, build: Build) -> None:
    board = build(
        make_result(category="gear", metrics={"image_auroc": 0.6, "aupro_030": 0.4}),
        make_result(category="texture", metrics={"image_auroc": 0.8, "aupro_030": None}),
    )
    found = part(board)
    assert found.metrics["image_auroc"].n_categories == 2
    assert found.metrics["aupro_030"].n_categories == 1
    assert means(board, found.metrics["aupro_030"])["ckaad"] == pytest.approx(0.4)
    assert "pixel_ap" not in found.metrics


def test_method_without_maps_does_not_undo_the_pixel_metrics_of_others(make_result: Make, build: Build) -> None:
    board = build(
        make_result(method="ckaad", metrics={"image_auroc": 0.6, "pixel_ap": 0.4}),
        make_result(method="scores_only", metrics={"image_auroc": 0.8}),
    )
    found = part(board)
    assert set(means(board, found.metrics["image_auroc"])) == {"ckaad", "scores_only"}
    assert set(means(board, found.metrics["pixel_ap"])) == {"ckaad"}


def test_lower_is_better_for_error_rates(make_result: Make, build: Build) -> None:
    board = build(
        make_result(method="good", metrics={"image_fpr95": 0.1}),
        make_result(method="bad", metrics={"image_fpr95": 0.8}),
    )
    ranks = {
        entry.label: estimate.rank
        for entry, estimate in zip(board.entries, part(board).metrics["image_fpr95"].estimates, strict=True)
        if estimate
    }
    assert ranks == {"good": 1.0, "bad": 2.0}


def test_latest_successful_run_of_a_cell_counts(make_result: Make, build: Build) -> None:
    board = build(
        make_result(run_id="old", started_at=NOW, metrics={"image_auroc": 0.1}),
        make_result(run_id="new", started_at=NOW + timedelta(hours=1), metrics={"image_auroc": 0.7}),
        make_result(run_id="broken", started_at=NOW + timedelta(hours=2), status="failed"),
    )
    assert means(board, part(board).metrics["image_auroc"])["ckaad"] == pytest.approx(0.7)
    coverage = build_coverage(board)
    assert (coverage.n_failed, coverage.n_repeated) == (0, 2)


def test_trials_of_a_search_are_never_ranked(make_result: Make, build: Build) -> None:
    board = build(
        make_result(params='{"gamma":0.1}', sweep_id="s"),
        make_result(params='{"gamma":0.2}', sweep_id="s"),
        make_result(params='{"gamma":0.2}', seed=1, sweep_id="s", selection="val"),
    )
    assert [entry.label for entry in board.entries] == ["ckaad · tuned on val"]
    assert build_coverage(board).n_trials == 2


def test_varied_parameters_make_rows_of_their_own(make_result: Make, build: Build) -> None:
    board = build(
        *(make_result(params=f'{{"gamma":{gamma},"lr":0.1}}', category="gear") for gamma in (0.3, 0.5)),
        make_result(params='{"gamma":0.3,"lr":0.2}', category="texture"),
        make_result(method="ssae", params='{"depth":2}', category="gear"),
        make_result(method="ssae", params='{"depth":3}', category="texture"),
    )
    assert [entry.label for entry in board.entries] == [
        "ckaad · gamma=0.3, lr=0.1",
        "ckaad · gamma=0.3, lr=0.2",
        "ckaad · gamma=0.5, lr=0.1",
        "ssae · depth=2",
        "ssae · depth=3",
    ]


def test_varied_parameters_are_not_merged_over_seeds(make_result: Make, build: Build) -> None:
    board = build(*(make_result(params=f'{{"gamma":{0.1 * seed}}}', seed=seed) for seed in range(3)))
    assert len(board.entries) == 3
    assert part(board).n_shared_cells == 1


def test_presets_of_a_budget_or_a_modality_make_no_row(make_result: Make, build: Build) -> None:
    gammas = [
        make_result(
            params=f'{{"gamma":{gamma},"lr":{lr}}}',
            dataset=modality,
            modality=modality,
            metrics={"image_auroc": gamma},
        )
        for gamma in (0.3, 0.5)
        for modality, lr in (("industrial", 0.005), ("medical", 0.001))
    ]
    preset = [make_result(params=f'{{"gamma":0.3,"lr":{lr}}}', budget=f"b{lr}", seed=5) for lr in (1, 2)]
    board = build(*gammas, *preset)
    assert [entry.label for entry in board.entries] == ["ckaad", "ckaad · gamma=0.3", "ckaad · gamma=0.5"]
    found = means(board, part(board, budget="smoke").metrics["image_auroc"])
    assert found == pytest.approx({"ckaad · gamma=0.3": 0.3, "ckaad · gamma=0.5": 0.5})
    assert part(board, budget="smoke").n_shared_categories == 2


def test_versions_are_of_the_runs_that_count(make_result: Make, build: Build) -> None:
    board = build(
        make_result(run_id="old", started_at=NOW, method_version="1"),
        make_result(run_id="new", started_at=NOW + timedelta(hours=1), method_version="2"),
    )
    assert board.entries[0].versions == ("2",)


def test_rows_tuned_on_test_stand_apart(make_result: Make, build: Build) -> None:
    board = build(make_result(run_id="plain"), make_result(run_id="peeked", selection="test"))
    assert [(entry.label, entry.selection) for entry in board.entries] == [
        ("ckaad", "none"),
        ("ckaad · tuned on test", "test"),
    ]


def test_filters_cover_every_modality_and_dataset(make_result: Make, build: Build) -> None:
    board = build(
        make_result(dataset="phantom", metrics={"image_auroc": 0.4}),
        make_result(dataset="elpv", metrics={"image_auroc": 0.6}),
        make_result(dataset="ct", modality="medical", metrics={"image_auroc": 0.9}),
    )
    found = {(one.modality, one.dataset): means(board, one.metrics["image_auroc"]) for one in board.slices}
    assert found[None, None]["ckaad"] == pytest.approx(1.9 / 3)
    assert found["industrial", None]["ckaad"] == pytest.approx(0.5)
    assert found["medical", "ct"]["ckaad"] == pytest.approx(0.9)
    assert set(found) == {
        (None, None),
        ("industrial", None),
        ("medical", None),
        ("industrial", "phantom"),
        ("industrial", "elpv"),
        ("medical", "ct"),
    }


def test_costs_are_means_over_shared_cells(make_result: Make, build: Build) -> None:
    board = build(
        make_result(method="a", seed=0, fit_seconds=10.0),
        make_result(method="a", seed=1, fit_seconds=20.0),
        make_result(method="b", seed=0, fit_seconds=5.0, hardware="GPU"),
    )
    first, second = part(board).costs
    assert first is not None
    assert second is not None
    assert (first.fit_seconds, second.fit_seconds) == (10.0, 5.0)
    assert (first.hardware, second.hardware) == (("8-core CPU",), ("GPU",))
    assert first.peak_vram_mb is None


def test_suite_filter_keeps_that_suite_only(make_result: Make, build: Build) -> None:
    board = build(make_result(suite="one", method="a"), make_result(suite="two", method="b"), suite="two")
    assert [entry.label for entry in board.entries] == ["b"]


def plan_of(*results: RunResult, name: str = "planned", rank_by: str = "image_ap") -> SuitePlan:
    names = [entry.name for entry in fields(PlannedCell)]
    cells = tuple(PlannedCell(**{name: getattr(one.record, name) for name in names}) for one in results)
    return SuitePlan(name=name, title=name.title(), rank_by=rank_by, cells=cells)


def test_suite_has_the_cells_that_another_suite_recorded_for_it(make_result: Make, build: Build) -> None:
    other = make_result(suite="other", method="a")
    absent = [make_result(method="c", seed=seed) for seed in (1, 0)]
    board = build(
        other,
        make_result(suite="other", method="unplanned"),
        make_result(suite="planned", method="b"),
        suite="planned",
        plans=[plan_of(other, *absent)],
    )
    assert [entry.label for entry in board.entries] == ["a", "b"]
    coverage = build_coverage(board)
    assert [(one.method, one.budget, one.cells, one.text) for one in coverage.planned] == [
        ("c", "smoke", ("phantom/texture (seed 0, 1)",), "planned by planned, not run")
    ]
    assert coverage.n_planned == 2


@pytest.mark.parametrize(
    ("plans", "expected"),
    [
        ([], "image_auroc"),
        (["image_ap"], "image_ap"),
        (["image_ap", "image_ap"], "image_ap"),
        (["image_ap", "pixel_ap"], "image_auroc"),
        (["pixel_ap"], "image_auroc"),  # no run has a value
    ],
)
def test_page_ranks_by_what_the_suites_agree_on(
    make_result: Make, build: Build, plans: list[str], expected: str
) -> None:
    shown = [plan_of(name=str(index), rank_by=name) for index, name in enumerate(plans)]
    board = build(make_result(metrics={"image_ap": 0.5, "image_auroc": 0.5}), plans=shown)
    assert board.rank_by == expected


def test_no_runs_make_an_empty_leaderboard(build: Build) -> None:
    board = build()
    assert (board.entries, board.budgets, board.slices) == ((), (), ())
    assert build_coverage(board).failures == ()


def test_all_runs_failed(make_result: Make, build: Build) -> None:
    board = build(make_result(status="failed"))
    found = part(board)
    assert (found.compared, found.n_shared_cells, found.metrics) == ((), 0, {})
    assert found.not_compared == ((0, "no successful run here"),)
    assert build_coverage(board).n_failed == 1


def test_coverage_names_failures_gaps_and_warnings(make_result: Make, build: Build) -> None:
    error = "Traceback (most recent call last):\n  File x\nMemoryError: {}"
    board = build(
        *(make_result(method="a", seed=seed) for seed in range(3)),
        make_result(method="b", seed=0, notes="few images\nslow disk\n"),
        make_result(method="b", seed=1, status="failed", error=error.format("lane 1"), command="repeat me"),
    )
    coverage = build_coverage(board)
    (failure,) = coverage.failures
    assert failure.summary == "MemoryError: lane 1"
    assert failure.cells == ("phantom/texture (seed 1)",)
    assert (failure.error, failure.command) == (error.format("lane 1"), "repeat me")
    (missing,) = coverage.missing
    assert (missing.method, missing.cells, coverage.n_missing) == ("b", ("phantom/texture (seed 2)",), 1)
    assert [note.text for note in coverage.notes] == ["few images", "slow disk"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("cell limit of 60 s reached\nmore", "cell limit of 60 s reached"),
        ("Traceback (most recent call last):\n  x\nValueError: y\n", "ValueError: y"),
        ("", "no error message"),
        (None, "no error message"),
    ],
)
def test_first_line_says_what_happened(error: str | None, line: str) -> None:
    assert first_line(error) == line
