"""Few-shot and noisy training from the command line to the row, the split table and the page's numbers."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import Result

from adbench.datasets.imageset import ImageSet
from adbench.methods.registry import method_class
from adbench.orchestrator.plan import Plan
from adbench.orchestrator.run_cell import Surroundings, run_cell
from adbench.reports.entries import sort_runs
from adbench.reports.store import ResultStore
from miniatures import MINIATURES

Adbench = Callable[..., Result]
PlanOf = Callable[..., Plan]
WEAVE = ("suite=smoke", "category=weave")


def _table(out: str, split_hash: str) -> pd.DataFrame:
    (path,) = Path(out, "splits").glob(f"*{split_hash}*")
    return pd.read_csv(path)


@pytest.mark.slow
def test_a_noisy_few_shot_run_from_the_command_to_the_page(adbench: Adbench, tmp_path: Path) -> None:
    root = MINIATURES["mvtec_ad"](tmp_path / "mvtec")
    words = ["suite=smoke", "method=recon", "dataset=mvtec_ad", f"dataset.root={root}", "launcher=inprocess"]
    protocol = ["n_normal=3", "noise=0.25", "noise_from_test=true"]
    for more in ([], protocol):
        result = adbench("run", *words, *more, "--limit", "1")
        assert result.exit_code == 0, result.output
    store = ResultStore("adbench-results")
    runs = store.runs()
    full, few = (runs[own].iloc[0] for own in (runs["n_normal"].isna(), runs["n_normal"].notna()))
    assert (few["n_normal"], few["noise"], few["noise_source"]) == (3, 0.25, "test")
    assert (few["n_train"], few["n_hidden"], few["n_val"], few["n_test"]) == (4, 1, full["n_val"], full["n_test"] - 1)
    assert pd.isna(full["noise"]) and pd.isna(full["n_hidden"]) and pd.isna(full["base_split_hash"])
    assert few["base_split_hash"] == full["split_hash"] != few["split_hash"]
    assert "LEAK" not in str(few["notes"])

    table = _table("adbench-results", few["split_hash"])
    (hidden,) = table[(table["role"] == "train") & (table["label"] == 1)]["image_id"]
    assert table["image_id"].is_unique
    scores = store.images([few["run_id"]])
    assert hidden not in set(scores["image_id"]) and hidden in set(store.images([full["run_id"]])["image_id"])

    shown = adbench("show", "run", few["run_id"][:10]).output
    assert "noise_source" in shown and "n_hidden" in shown
    assert "n_normal=3, noise=0.25" in adbench("ls", "runs").output
    command = shlex.split(few["command"])[2:]
    assert set(protocol) <= set(command) and "noise" not in full["command"]
    again = adbench("run", *command, "launcher=inprocess")
    assert "0 run, 1 already recorded" in again.output, again.output
    found = sort_runs(runs)
    assert [entry.label for entry in found.entries] == ["recon", "recon · n_normal=3, noise=0.25"]
    assert set(found.runs["standing"]) == {"current"}


def test_the_configuration_shows_the_protocol(adbench: Adbench) -> None:
    shown = yaml.safe_load(adbench("run", *WEAVE, "n_normal=8", "noise=0.2", "--cfg").stdout)
    assert (shown["n_normal"], shown["noise"], shown["noise_from_test"]) == (8, 0.2, False)


def test_a_method_sees_hidden_anomalies_as_normal_images(
    plan_of: PlanOf, tmp_path: Path, faulty_methods: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[ImageSet, ImageSet]] = []
    (cell,) = plan_of(*WEAVE, "method=brightness", "n_normal=8", "noise=0.2").cells
    monkeypatch.setattr(
        method_class("brightness"), "fit", lambda self, train, labelled: seen.append((train, labelled))
    )
    record = run_cell(cell, Surroundings(cache_dir=str(tmp_path))).record
    assert record.status == "ok", record.error
    ((train, _),) = seen
    assert (record.n_train, record.n_hidden, record.n_normal, record.noise) == (10, 2, 8, 0.2)
    assert record.noise_source == "labelled"
    assert not train.labels.any() and not train.masks(range(10)).any()
    assert {sample.defect_type for sample in train.samples} == {"good"}
    assert record.notes is None  # Nothing is amiss: few images were asked for.


def test_labelled_anomalies_are_a_share_of_all_that_is_trained_on(plan_of: PlanOf, tmp_path: Path) -> None:
    (cell,) = plan_of(*WEAVE, "method=ckaad", "n_normal=8", "noise=0.2", "method.anomaly_ratio=0.1").cells
    record = run_cell(cell, Surroundings(cache_dir=str(tmp_path))).record
    assert record.status == "ok", record.error
    assert (record.n_train, record.n_hidden, record.n_labelled) == (10, 2, 1)


def test_what_could_not_be_had_is_a_note(plan_of: PlanOf, tmp_path: Path, faulty_methods: Path) -> None:
    (cell,) = plan_of(*WEAVE, "method=brightness", "n_normal=99", "noise=0.4").cells
    notes = (run_cell(cell, Surroundings(cache_dir=str(tmp_path))).record.notes or "").splitlines()
    assert notes == [
        "n_normal=99: only 12 normal training images exist",
        "noise=0.4 asks for 8 hidden anomalies, only 4 are at hand: true share 0.250",
    ]


def test_leave_to_take_from_test_that_is_not_needed_makes_no_other_cell(plan_of: PlanOf) -> None:
    def cell(*words: str) -> tuple[str, str]:
        (found,) = plan_of(*WEAVE, "method=recon", *words).cells
        return found.run_id, found.split_hash

    assert cell("noise=0.1") == cell("noise=0.1", "noise_from_test=true")
    assert cell("noise=0.4")[0] != cell("noise=0.4", "noise_from_test=true")[0]
