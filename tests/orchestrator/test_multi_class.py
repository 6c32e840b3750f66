"""One model for all categories of a dataset, from the plan to the rows and the page's labels."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result

from adbench.datasets.errors import RequestError
from adbench.datasets.imageset import ImageSet
from adbench.methods.base import Method
from adbench.methods.registry import method_class
from adbench.orchestrator import run_cell as module
from adbench.orchestrator.cell import Cell, Watch
from adbench.orchestrator.plan import Plan
from adbench.orchestrator.run_cell import Surroundings, run_cell
from adbench.reports.entries import sort_runs
from adbench.reports.schema import RunResult
from adbench.reports.store import ResultStore
from miniatures import MINIATURES

Adbench = Callable[..., Result]
PlanOf = Callable[..., Plan]
TOGETHER = ("multi_class=true", "maps=none")


@pytest.fixture
def data(tmp_path: Path, mvtec_folder: Callable[..., Path]) -> list[str]:
    """Words for a folder of two categories, with 8 and 9 training images, 1 and 2 of them for val."""
    for seed, category in enumerate(("left", "right")):
        mvtec_folder(tmp_path / "set" / category, train=8 + seed, test=3, labelled={"hole": 2}, seed=seed)
    return ["suite=smoke", "dataset=folder", f"dataset.root={tmp_path / 'set'}"]


def _scores(result: RunResult) -> dict[str, bytes]:
    assert result.record.status == "ok", result.record.error
    return {scores.split: scores.scores.tobytes() for scores in result.images}


def _alone(cell: Cell, here: Surroundings) -> RunResult:
    module._kept.clear()
    return run_cell(cell, here)


def _fits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ImageSet, ImageSet]]:
    seen: list[tuple[ImageSet, ImageSet]] = []
    kind = method_class("recon")
    fit = kind.fit

    def noted(self: Method, train: ImageSet, labelled: ImageSet) -> None:
        seen.append((train, labelled))
        fit(self, train, labelled)

    monkeypatch.setattr(kind, "fit", noted)
    return seen


def test_one_training_serves_all_categories(
    plan_of: PlanOf, data: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Surroundings(cache_dir=str(tmp_path / "cache"), maps="none")
    left, right = plan_of(*data, "method=recon", *TOGETHER).cells
    seen = _fits(monkeypatch)
    together = [run_cell(cell, here) for cell in (left, right)]
    ((train, _),) = seen
    assert {name.split("/")[0] for name in train.ids} == {"left", "right"} and not train.labels.any()
    one, other = (result.record for result in together)
    assert one.n_train == other.n_train == len(train) and one.multi_class and other.multi_class
    assert one.fit_seconds == other.fit_seconds and together[0].history == together[1].history
    (kept,) = module._kept.values()  # What the training took counts for both; judging may take more.
    assert 0 < (kept.memory.rss_mb or 0) <= min(one.peak_rss_mb or 0, other.peak_rss_mb or 0)
    # Whoever trained it, in whatever order: the same numbers.
    for cell, result in zip((left, right), together, strict=True):
        assert _scores(_alone(cell, here)) == _scores(result)
    assert len(seen) == 3
    run_cell(right, here)
    assert len(seen) == 3


def test_what_belongs_to_one_category_stays_with_it(plan_of: PlanOf, data: list[str], tmp_path: Path) -> None:
    ordinary = plan_of(*data, "method=recon").cells
    together = plan_of(*data, "method=recon", "multi_class=true").cells
    assert [cell.category for cell in together] == [cell.category for cell in ordinary] == ["left", "right"]
    assert len({cell.run_id for cell in (*ordinary, *together)}) == 4
    assert [cell.fit_id for cell in ordinary] == [None, None] and len({cell.fit_id for cell in together}) == 1
    assert [cell.base_split_hash for cell in together] == [cell.split_hash for cell in ordinary]
    here = Surroundings(cache_dir=str(tmp_path / "cache"), maps="none")
    for alone, shared in zip(ordinary, together, strict=True):
        judged = [[scores.image_ids for scores in run_cell(cell, here).images] for cell in (alone, shared)]
        assert judged[0] == judged[1]


def test_another_seed_parameter_or_dataset_is_another_model(plan_of: PlanOf, data: list[str]) -> None:
    words = (*data, "method=recon", "multi_class=true")
    fits = [plan_of(*words, *more).cells[0].fit_id for more in ([], ["seed=1"], ["method.epochs=2"], ["n_normal=2"])]
    fits += [plan_of(*words, "dataset.labelled_from_test=0.3").cells[0].fit_id]
    assert None not in fits and len(set(fits)) == 5
    (left,) = plan_of(*words, "category=left").cells
    assert left.run_id == plan_of(*words).cells[0].run_id and list(left.trained_on) == ["left", "right"]


def test_a_single_category_has_no_other_protocol(plan_of: PlanOf, data: list[str], tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "set" / "right")
    (alone,), (together,) = (plan_of(*data, "method=recon", *words).cells for words in ((), ("multi_class=true",)))
    assert together.run_id == alone.run_id and not together.protocol.asked()


def test_what_is_normal_in_one_category_must_not_be_an_anomaly_in_another(plan_of: PlanOf, tmp_path: Path) -> None:
    words = ("suite=smoke", "method=recon", "dataset=dtd", f"dataset.root={MINIATURES['dtd'](tmp_path)}")
    assert len(plan_of(*words).cells) > 1
    with pytest.raises(RequestError, match="in 'dtd' what is normal in one category is anomalous"):
        plan_of(*words, "multi_class=true")


def test_labelled_anomalies_and_few_images_are_counted_in_each_category(
    plan_of: PlanOf, data: list[str], tmp_path: Path
) -> None:
    here = Surroundings(cache_dir=str(tmp_path / "cache"), maps="none")
    words = (*data, "method=ckaad", *TOGETHER, "n_normal=5", "method.anomaly_ratio=0.3", "category=right")
    (cell,) = plan_of(*words).cells
    record = run_cell(cell, here).record
    assert record.status == "ok", record.error
    assert (record.n_train, record.n_normal) == (10, 5)
    notes = (record.notes or "").splitlines()
    assert [note for note in notes if note.startswith("left: anomaly ratio 0.3 asks for 2")]
    assert [note for note in notes if note.startswith("right: anomaly ratio 0.3 asks for 2")]


def test_notes_of_the_training_are_in_every_row(plan_of: PlanOf, data: list[str], tmp_path: Path) -> None:
    here = Surroundings(cache_dir=str(tmp_path / "cache"), maps="none")
    cells = plan_of(*data, "method=ssae", *TOGETHER).cells
    kind = method_class("ssae")
    fit = kind.fit

    def noting(self: Method, train: ImageSet, labelled: ImageSet) -> None:
        fit(self, train, labelled)
        self.context.notes.append("something to know")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "fit", noting)
        notes = [(run_cell(cell, here).record.notes or "").splitlines().count("something to know") for cell in cells]
    assert notes == [1, 1]


def test_a_failed_training_is_a_failed_row_of_each(
    plan_of: PlanOf, data: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Method, train: ImageSet, labelled: ImageSet) -> None:
        raise RuntimeError("no luck")

    monkeypatch.setattr(method_class("recon"), "fit", broken)
    for cell in plan_of(*data, "method=recon", *TOGETHER).cells:
        record = run_cell(cell, Surroundings(cache_dir=str(tmp_path))).record
        assert record.status == "failed" and "no luck" in str(record.error)


def test_an_image_that_another_category_trains_on_is_a_leak(plan_of: PlanOf, data: list[str], tmp_path: Path) -> None:
    copied = next((tmp_path / "set" / "left" / "train" / "good").iterdir())
    (tmp_path / "set" / "right" / "test" / "good" / "copy.png").write_bytes(copied.read_bytes())
    here = Surroundings(cache_dir=str(tmp_path / "cache"), maps="none")
    alone, together = (
        run_cell(plan_of(*data, "method=recon", "category=right", *words).cells[0], here).record.notes or ""
        for words in ((), TOGETHER)
    )
    assert "LEAK" not in alone and "LEAK: 1 test image(s) are copies" in together


@pytest.mark.slow
def test_from_the_command_to_the_page(adbench: Adbench, data: list[str]) -> None:
    words = [*data, "method=recon", "launcher=inprocess"]
    for more in ([], ["multi_class=true"]):
        done = adbench("run", *words, *more)
        assert done.exit_code == 0, done.output
    runs = ResultStore("adbench-results").runs()
    shared = runs[runs["multi_class"]]
    assert len(runs) == 4 and len(shared) == 2
    assert [entry.label for entry in sort_runs(runs).entries] == ["recon", "recon · multi-class"]
    again = adbench("run", *shlex.split(shared.iloc[0]["command"])[2:], "launcher=inprocess")
    assert "0 run, 1 already recorded" in again.output, again.output
    (table,) = Path("adbench-results/splits").glob(f"*{shared.iloc[0]['split_hash']}*")
    split = pd.read_csv(table)
    assert set(split[split["role"] == "train"]["image_id"].str.split("/").str[0]) == {"left", "right"}


def test_a_watched_share_is_not_asked_of_a_shared_model(plan_of: PlanOf, data: list[str]) -> None:
    from adbench.orchestrator.search import searches
    from adbench.orchestrator.trial import TrialJob, trial_cells

    def shares(*words: str) -> list[tuple[float, ...]]:
        (search,) = searches(plan_of(*data, "method=recon", *words), {})
        job = TrialJob("d", search.sweep_id, search.cells, search.spec, (0.1, 0.6), {})
        watches = [cell.watch for cell in trial_cells(job, {})]
        assert all(isinstance(watch, Watch) for watch in watches)
        return [watch.shares for watch in watches if watch]

    assert shares() == [(0.2,), (0.2,)] and shares("multi_class=true") == [(), ()]
