"""The shipped suites: each makes a plan where its datasets are, and tells all that is missing where they are not."""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import yaml
from click.testing import Result

from adbench.benchmark_suites.suites import read_suite, suite_names
from adbench.datasets.errors import RequestError
from adbench.datasets.registry import dataset_class, dataset_names
from adbench.methods import backbone_weights
from adbench.orchestrator.compose import compose
from adbench.orchestrator.overrides import Overrides
from adbench.orchestrator.plan import Plan
from adbench.reports.entries import sort_runs
from adbench.reports.store import ResultStore
from miniatures import MINIATURES

Adbench = Callable[..., Result]
PlanOf = Callable[..., Plan]
CKAADS = ("isic2018", "br35h", "oct2017", "chest_xray2017")
MINI = ("method=brightness", "launcher=inprocess", "budget=smoke", "image_size=64", "cache_dir=cache")


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature of every dataset on disk, each under its name."""
    root = tmp_path_factory.mktemp("data")
    for name, write in MINIATURES.items():
        write(root / name)
    return root


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backbones without weights, which need no network; a plan asks them for their strides alone."""

    def load(name: str, layers: tuple[int, ...], weights: str | None) -> Any:
        return timm.create_model(name, features_only=True, out_indices=layers, pretrained=False)

    monkeypatch.setattr(backbone_weights, "load_network", load)


@pytest.mark.parametrize("suite", suite_names())
def test_every_shipped_suite_makes_a_plan(suite: str, plan_of: PlanOf, data_root: Path, untrained: None) -> None:
    plan = plan_of(f"suite={suite}", f"data_root={data_root}")
    content = read_suite(suite)
    named = {item if isinstance(item, str) else item["name"] for item in content["datasets"]}
    assert {cell.dataset for cell in plan.cells} == named
    assert len({cell.run_id for cell in plan.cells}) == len(plan.cells)
    assert plan.request.title and plan.request.description and not plan.missing
    methods = {item if isinstance(item, str) else item["name"] for item in content["methods"]}
    for place in {(cell.dataset, cell.category) for cell in plan.cells}:
        assert {cell.method for cell in plan.cells if (cell.dataset, cell.category) == place} == methods


def test_the_suite_of_all_holds_every_dataset_that_needs_no_path() -> None:
    request = compose(Overrides(suite="all"))
    assert [spec.name for spec in request.datasets] == [
        name for name in dataset_names() if name not in ("folder", "dtd")
    ]


@pytest.mark.parametrize("suite", suite_names())
def test_published_values_are_of_the_suite_and_have_a_source(suite: str) -> None:
    request = compose(Overrides(suite=suite))
    for reference in request.references:
        assert reference.dataset in {spec.name for spec in request.datasets}
        assert reference.category in {None, *dataset_class(reference.dataset).record.counts}
        assert len(reference.source) > 20
    keys = [(one.method, one.dataset, one.category, one.metric) for one in request.references]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"metric": "accuracy"}, "accuracy"), ({"value": 99.2}, "99.2"), ({"source": ""}, "source"), ({"x": 1}, "x")],
)
def test_a_wrong_published_value_is_refused(change: dict[str, Any], expected: str, tmp_path: Path) -> None:
    value = {"method": "m", "dataset": "elpv", "metric": "image_auroc", "value": 0.9, "source": "a table"}
    suite = {"methods": ["recon"], "datasets": ["elpv"], "references": [{**value, **change}]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(suite))
    with pytest.raises(RequestError, match="references") as refused:
        compose(Overrides(suite=str(tmp_path / "mine.yaml")))
    assert expected in str(refused.value)


def test_parameters_of_some_data_alone(plan_of: PlanOf, data_root: Path, untrained: None) -> None:
    cells = plan_of("suite=reproduce/ckaad", f"data_root={data_root}", "method=ckaad", "seed=0").cells
    chosen = {
        cell.dataset: (cell.params["epochs"], cell.params["batch_size"], cell.params["score"]) for cell in cells
    }
    assert chosen == {
        "isic2018": (200, 64, "mean"),
        "br35h": (200, 64, "top"),
        "oct2017": (10, 32, "top"),
        "chest_xray2017": (200, 32, "top"),
    }
    assert {cell.variant for cell in cells} == {""}
    assert all({"epochs", "batch_size", "score"} <= set(cell.preset) for cell in cells)  # one row of the leaderboard
    textures = plan_of("suite=reproduce/ssae", f"data_root={data_root}", "seed=0").cells
    assert {cell.category: cell.params["poolings"] for cell in textures} == {"bottle": 3, "carpet": 2}


def test_smoke_is_short_whatever_the_suite_says(plan_of: PlanOf, data_root: Path, untrained: None) -> None:
    words = ("suite=reproduce/ckaad", f"data_root={data_root}", "seed=0", "budget=smoke")
    cells = plan_of(*words).cells
    assert {(cell.params["epochs"], cell.image_size) for cell in cells} == {(1, 64)}
    assert {cell.params["backbone"] for cell in cells} == {"resnet18"}  # no matter of length
    assert all("epochs" in cell.preset for cell in cells)
    asked = plan_of(*words, "method.epochs=2", "image_size=96").cells
    assert {(cell.params["epochs"], cell.image_size) for cell in asked} == {(2, 96)}
    for cell in cells[:2]:
        (again,) = plan_of(*shlex.split(cell.command)[2:], f"data_root={data_root}").cells
        assert again.run_id == cell.run_id


def test_lengths_of_a_smoke_suite_are_its_own(plan_of: PlanOf, tmp_path: Path) -> None:
    methods = [{"name": "recon", "params": {"epochs": 3}}]
    suite = {"methods": methods, "datasets": ["phantom"], "budget": "smoke", "image_size": 96}
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump(suite))
    for words in ((f"suite={mine}",), (f"suite={mine}", "budget=smoke")):
        (cell,) = plan_of(*words, "category=weave").cells
        assert (cell.params["epochs"], cell.image_size) == (3, 96)


def test_a_parameter_that_the_user_sets_is_nobody_elses_choice(plan_of: PlanOf, data_root: Path) -> None:
    words = ("suite=medical", f"data_root={data_root}", "method=ckaad", "seed=0")
    cells = plan_of(*words, "method.epochs=3").cells
    assert {cell.params["epochs"] for cell in cells} == {3}
    assert not any("epochs" in cell.preset for cell in cells)


def test_what_reproduces_a_cell_comes_to_the_same_cell(plan_of: PlanOf, data_root: Path) -> None:
    words = ("suite=medical", f"data_root={data_root}", "method=ckaad,ssae", "dataset=oct2017", "seed=1")
    for cell in plan_of(*words).cells:
        assert "suite=medical" in cell.command
        again = plan_of(*cell.command.split()[2:], f"data_root={data_root}").cells
        assert [one.run_id for one in again] == [cell.run_id]


def test_parameters_that_follow_the_data_make_one_row(adbench: Adbench) -> None:
    size = {"size": 64, "n_train": 12, "n_val": 6, "n_val_anomalous": 4, "n_test": 8, "n_test_anomalous": 8}
    methods = [
        {"name": "padim", "params": {"regularisation": value}, "data": [f"phantom/{category}"]}
        for value, category in ((0.1, "weave"), (0.2, "grain"))
    ]
    dataset = {"name": "phantom", "categories": ["weave", "grain"], "params": {**size, "n_labelled": 4}}
    suite = {"methods": methods, "datasets": [dataset], "budget": "smoke"}
    Path("mine.yaml").write_text(yaml.safe_dump(suite))
    done = adbench("run", "suite=mine.yaml", "launcher=inprocess", "cache_dir=cache")
    assert done.exit_code == 0 and "2 run" in done.output, done.output
    found = sort_runs(ResultStore("adbench-results").runs())
    assert [entry.label for entry in found.entries] == ["padim"]
    methods[0]["data"] = ["phantm/weave"]
    Path("mine.yaml").write_text(yaml.safe_dump(suite))
    refused = adbench("run", "suite=mine.yaml", "launcher=inprocess")
    assert refused.exit_code == 2 and "did you mean 'phantom'" in refused.output


def test_data_for_which_the_suite_has_no_method(plan_of: PlanOf) -> None:
    with pytest.raises(RequestError, match="no chosen method is for phantom"):
        plan_of("suite=reproduce/ssae", "dataset=phantom")


def test_nested_suites_are_listed_and_shown(adbench: Adbench) -> None:
    assert "\nreproduce/ckaad " in adbench("ls", "suites").output
    shown = yaml.safe_load(adbench("show", "suite", "reproduce/slsg").output)
    assert shown["name"] == "reproduce/slsg" and shown["references"][0]["value"] == 0.905
    assert "*id" not in adbench("show", "suite", "reproduce/ckaad").output  # nothing to look up elsewhere
    refused = adbench("run", "suite=reproduce/ckad")
    assert refused.exit_code == 2 and "did you mean 'reproduce/ckaad'" in refused.output


def _tells(output: str, name: str) -> bool:
    record = dataset_class(name).record
    wanted = (f"dataset '{name}' is not here", record.home, record.licence, record.layout)
    return all(text in output for text in (*wanted, f"adbench data prepare {name} ARCHIVE"))


@pytest.mark.parametrize(
    "words", [("run",), ("run", "--dry-run"), ("run", "--skip-missing"), ("sweep", "--skip-missing")]
)
def test_all_missing_datasets_are_told_at_once(words: tuple[str, ...], adbench: Adbench) -> None:
    refused = adbench(*words, "suite=medical")
    assert refused.exit_code == 2 and "4 of 4 dataset(s) cannot be used" in refused.output
    assert all(_tells(refused.output, name) for name in CKAADS)
    assert refused.output.count("or --download") == len(set(CKAADS) - {"br35h"})  # whose archive nobody may fetch
    assert "Traceback" not in refused.output and "--skip-missing" not in refused.output
    assert not Path("adbench-results").exists()


def test_missing_data_is_told_in_seconds_and_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom adbench.orchestrator.cli import main\n"
        "try:\n    main(['run', 'suite=medical'])\n"
        "except SystemExit as end:\n    print(end.code, 'torch' in sys.modules, 'ray' in sys.modules)\n"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False", "False"]
    assert all(_tells(done.stderr, name) for name in CKAADS)
    assert time.monotonic() - began < 5


def test_what_is_wrong_is_told_beside_what_is_missing(adbench: Adbench) -> None:
    refused = adbench("run", "suite=industrial", "dataset.split=3cls", "--skip-missing")
    assert refused.exit_code == 2
    assert "dataset.split=3cls" in refused.output and "dataset 'mvtec_ad' is not here" in refused.output


def test_broken_images_of_several_datasets_are_told_at_once_and_can_be_left_out(adbench: Adbench) -> None:
    for name, image in (("br35h", "no/no3.jpg"), ("oct2017", "test/CNV/*")):
        (broken, *_) = sorted(MINIATURES[name](Path("data") / name).glob(image))
        broken.write_bytes(b"x")
    words = ("run", "suite=medical", "dataset=isic2018,br35h,oct2017", "data_root=data", "method=padim", "--dry-run")
    table = MINIATURES["isic2018"](Path("data") / "isic2018") / "ISIC2018_Task3_Validation_GroundTruth"
    table.rename("away")
    refused = adbench(*words)
    assert refused.exit_code == 2 and "3 problem(s) in the data" in refused.output
    assert "isic2018/skin: dataset 'isic2018' with protocol=ckaad needs the table ISIC2018" in refused.output
    assert "; unpack it there (from https://challenge.isic" in refused.output
    Path("away").rename(table)
    refused = adbench(*words)
    assert refused.exit_code == 2 and "2 problem(s) in the data" in refused.output
    assert "data/br35h/no/no3.jpg" in refused.output and "data/oct2017/test/CNV/" in refused.output
    assert "dataset.broken=skip" in refused.output
    assert adbench(*words, "dataset.broken=skip").exit_code == 0


@pytest.fixture
def one_there(adbench: Adbench) -> Mapping[str, str]:
    """Only br35h is in data_root."""
    MINIATURES["br35h"](Path("data") / "br35h")
    return {"data_root": "data"}


def test_some_missing_datasets_stop_the_run_and_say_how_to_do_without(
    adbench: Adbench, one_there: Mapping[str, str]
) -> None:
    refused = adbench("run", "suite=medical", "data_root=data")
    assert refused.exit_code == 2 and "3 of 4 dataset(s) cannot be used" in refused.output
    assert "what is here (br35h) is run without the rest by --skip-missing" in refused.output
    assert "data/oct2017 does not exist" in refused.output and "dataset 'br35h'" not in refused.output
    assert f"adbench data prepare oct2017 ARCHIVE... data_root={Path('data').absolute()}  " in refused.output
    assert refused.output.count("--download") == 3  # of isic2018, oct2017 and chest_xray2017
    assert not Path("adbench-results").exists()


def test_skip_missing_runs_what_is_there_and_shows_the_rest(
    adbench: Adbench, one_there: Mapping[str, str], faulty_methods: Path
) -> None:
    done = adbench("run", "suite=medical", "data_root=data", *MINI, "--skip-missing")
    assert done.exit_code == 0, done.output
    assert "left out, for their data is not here: isic2018, oct2017, chest_xray2017" in done.output
    assert "3 run, 0 already recorded, 0 failed" in done.output
    assert "  not here, left out: isic2018, oct2017, chest_xray2017" in done.output.splitlines()
    assert set(ResultStore("adbench-results").runs()["dataset"]) == {"br35h"}
    page = Path("adbench-results/report/index.html").read_text(encoding="utf-8")
    for name in set(CKAADS) - {"br35h"}:
        assert f"<strong>{name}</strong>" in page and f"adbench data prepare {name} ARCHIVE" in page
        assert dataset_class(name).record.home in page
    assert "3 datasets left out, for the data was not there" in page
    MINIATURES["oct2017"](Path("data") / "oct2017")
    again = adbench("run", "suite=medical", "data_root=data", *MINI, "--skip-missing", "seed=0")
    assert "1 run, 1 already recorded" in again.output
    fourfold = ("suite=medical", "data_root=data", *MINI, "seed=range(0,4)", "lanes=2")
    told = adbench("simulate", *fourfold, "--skip-missing")
    assert told.exit_code == 0 and "8 cells" in told.output, told.output
    assert "left out, for their data is not here: isic2018, chest_xray2017" in told.output
    words = ("suite=medical", "data_root=data", *MINI, "--skip-missing", "seed=0", "--json")
    assert json.loads(adbench("run", *words).stdout.splitlines()[-1])["left_out"] == ["isic2018", "chest_xray2017"]
    page = Path("adbench-results/report/index.html").read_text(encoding="utf-8")
    assert "2 datasets left out" in page and "<strong>oct2017</strong>" not in page


def test_skip_missing_in_a_dry_run_and_a_sweep(
    adbench: Adbench, one_there: Mapping[str, str], faulty_methods: Path
) -> None:
    for words in (("run", "suite=medical"), ("sweep", "suite=medical", "method=guess")):
        shown = adbench(*words, "data_root=data", "budget=smoke", "image_size=64", "--skip-missing", "--dry-run")
        assert shown.exit_code == 0, shown.output
        assert "left out, for their data is not here: isic2018, oct2017" in shown.output
        assert "medical-guess-" in shown.output or "br35h/br35h" in shown.output


def test_a_parameter_of_a_dataset_that_is_left_out_is_no_mistake(
    adbench: Adbench, one_there: Mapping[str, str], faulty_methods: Path
) -> None:
    words = ("suite=medical", "data_root=data", *MINI, "dataset.protocol=official", "--skip-missing", "--dry-run")
    assert adbench("run", *words).exit_code == 0
