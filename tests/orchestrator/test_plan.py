"""Suites and overrides -> cells."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
from PIL import Image
from safetensors.torch import save_file

from adbench.datasets.errors import RequestError
from adbench.datasets.file_index import hash_path
from adbench.orchestrator.cell import Cell
from adbench.orchestrator.plan import Plan

PlanOf = Callable[..., Plan]


def test_quickstart_covers_what_it_promises(plan_of: PlanOf) -> None:
    cells = plan_of("suite=quickstart").cells
    data = {(cell.dataset, cell.category) for cell in cells}
    assert {cell.method for cell in cells} == {"ckaad", "kist", "ssae", "slsg", "recon", "padim", "patchcore"}
    assert {
        ("elpv", "mono"),
        ("elpv", "poly"),
        ("phantom", "weave"),
        ("phantom", "kit"),
        ("phantom", "brain"),
    } <= data
    assert {cell.seed for cell in cells} == {0}
    assert len(cells) == 7 * len(data)


def test_identity_is_what_changes_numbers_and_nothing_else(plan_of: PlanOf, tmp_path: Path) -> None:
    def run_id(*overrides: str) -> str:
        (cell,) = plan_of("suite=smoke", "method=ckaad", "category=weave", *overrides).cells
        return cell.run_id

    base = run_id()
    same = ["device=cpu", f"out={tmp_path}", "lanes=1", "launcher=inprocess", "cell_timeout=9", "method.gamma=0.5"]
    same += ["workers_per_lane=1", "cpus_per_lane=2", "n_normal=null", "noise=0", "noise_from_test=false"]
    assert all(run_id(override) == base for override in same)
    other = ["seed=1", "budget=quick", "image_size=96", "method.gamma=0.4", "split_seed=1", "dataset.contrast=0.9"]
    other += ["workers_per_lane=2", "workers_per_lane=3", "n_normal=8", "noise=0.1", "noise=0.2"]
    ids = [run_id(override) for override in other]
    # phantom assigns every role itself, so another split seed changes only which anomalies are labelled.
    assert len({base, *ids}) == len(ids) + 1


def test_one_worker_and_no_protocol_change_no_recorded_run_id() -> None:
    """The literal one is of a time when every lane had one worker, and every run all images."""
    cell = Cell(
        suite="s",
        method="recon",
        method_version="1",
        params={"lr": 0.001},
        dataset="phantom",
        dataset_params={},
        category="weave",
        modality="industrial",
        fingerprint="f",
        split_seed=0,
        split_hash="h",
        seed=0,
        budget="smoke",
        image_size=64,
        metric_version=1,
        command="adbench run",
    )
    assert cell.run_id == "6d803dc226698664fa58-m1"
    others: list[dict[str, Any]] = [{"workers": 2}, {"protocol": {"n_normal": 8}}, {"protocol": {"noise": 0.1}}]
    others += [{"protocol": {"noise": 0.1, "noise_from_test": True}}, {"trained_on": {"weave": "f", "grid": "g"}}]
    assert len({Cell(**{**cell.model_dump(), **other}).run_id for other in [{}, *others]}) == len(others) + 1


def test_two_suites_share_the_same_cell(plan_of: PlanOf, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("methods: [recon]\ndatasets: [{name: elpv, categories: [mono]}]\nbudget: quick\n")
    theirs = {cell.run_id for cell in plan_of("suite=quickstart").cells}
    (cell,) = plan_of(f"suite={mine}").cells
    assert cell.suite == "mine"
    assert cell.run_id in theirs


def test_swept_parameters_make_one_run_each(plan_of: PlanOf) -> None:
    cells = plan_of("suite=smoke", "category=weave", "method.gamma=0.1,0.9").cells
    assert sorted((cell.method, cell.params["gamma"]) for cell in cells) == [
        ("ckaad", 0.1),
        ("ckaad", 0.9),
        ("recon", 0.5),
    ]


def test_the_command_of_a_cell_makes_the_same_cell(
    plan_of: PlanOf, tmp_path: Path, mvtec_folder: Callable[..., Path]
) -> None:
    """What the page prints as the exact command must be exact, also for odd values."""
    suite = tmp_path / "it's mine.yaml"
    suite.write_text(
        "methods: [{name: ckaad, params: {gamma: 0.7, level: both}}, ckaad, recon]\n"
        "datasets: [{name: phantom, categories: [kit, brain], params: {size: 64, n_train: 5, extent: 1.5}}]\n"
        "seeds: [4]\nbudget: smoke\nsplit_seed: 2\nn_normal: 4\nnoise: 0.2\n"
    )
    odd = tmp_path / "a, (b) c"
    mvtec_folder(odd)
    plans = [
        plan_of(f"suite={suite}"),
        plan_of(f"suite={suite}", "dataset.extent=1", "method.gamma=0.5,0.2"),
        plan_of(f"suite={suite}", "~noise", "n_normal=null"),
        plan_of("suite=smoke", "category=weave", "noise=0.45", "noise_from_test=true"),
        plan_of("suite=quickstart", "dataset=phantom", "category=kit", "dataset.size=256", "cpus_per_lane=2"),
        plan_of("suite=smoke", "category=weave", "workers_per_lane=2"),
        plan_of("suite=quickstart", "dataset=folder", f"dataset.root={odd}"),
    ]
    for cell in (cell for plan in plans for cell in plan.cells):
        words = shlex.split(cell.command)
        assert words[:2] == ["adbench", "run"]
        (again,) = plan_of(*words[2:]).cells
        assert again.run_id == cell.run_id


def test_categories_narrow_every_dataset(plan_of: PlanOf) -> None:
    cells = plan_of("suite=quickstart", "category=mono,brain", "seed=0", "method=recon").cells
    assert [(cell.dataset, cell.category) for cell in cells] == [("elpv", "mono"), ("phantom", "brain")]


def test_weights_count_by_their_content(plan_of: PlanOf, tmp_path: Path) -> None:
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    arguments = ("suite=smoke", "method=recon", "category=weave")

    def run_id(path: Path) -> str:
        return plan_of(*arguments, f"method.weights={path}").cells[0].run_id

    save_file(network.state_dict(), tmp_path / "one.safetensors")
    save_file(network.state_dict(), tmp_path / "same.safetensors")
    first = run_id(tmp_path / "one.safetensors")
    assert first == run_id(tmp_path / "same.safetensors")
    assert first != plan_of(*arguments).cells[0].run_id
    network.conv_stem.weight.data.add_(1)
    save_file(network.state_dict(), tmp_path / "one.safetensors")
    assert first != run_id(tmp_path / "one.safetensors")


@pytest.mark.parametrize("method", ["ssae", "slsg", "anomalib_draem"])
def test_folders_become_absolute(
    method: str, plan_of: PlanOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if method.startswith("anomalib"):
        pytest.importorskip("anomalib")
    (tmp_path / "natural").mkdir()
    Image.new("RGB", (64, 64), "red").save(tmp_path / "natural" / "one.png")
    monkeypatch.chdir(tmp_path)  # Workers change directory.
    arguments = ("suite=smoke", f"method={method}", "category=weave", "method.textures=natural")
    assert {cell.params["textures"] for cell in plan_of(*arguments).cells} == {str(tmp_path / "natural")}


def test_a_folder_counts_by_the_content_and_names_of_its_files(tmp_path: Path) -> None:
    def digest(name: str, **files: str) -> str:
        for file, content in files.items():
            (tmp_path / name / "inner").mkdir(parents=True, exist_ok=True)
            (tmp_path / name / "inner" / file).write_text(content)
        return hash_path(tmp_path / name)

    first = digest("one", a="1", b="2")
    assert first == digest("elsewhere", b="2", a="1")
    others = [digest("changed", a="1", b="3"), digest("renamed", a="1", c="2"), digest("fewer", a="1")]
    assert len({first, *others}) == 4


def test_methods_to_be_compared_share_one_split(plan_of: PlanOf) -> None:
    plan = plan_of("suite=quickstart", "category=mono", "method.anomaly_ratio=0.05,0.1")
    assert len({cell.split_hash for cell in plan.cells}) == 1
    assert len({cell.run_id for cell in plan.cells}) == 9  # two each of ckaad and kist
    assert list(plan.splits) == [f"elpv-mono-{plan.cells[0].split_hash}"]


def test_all_broken_data_is_named_at_once(plan_of: PlanOf, tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        "methods: [recon]\ndatasets:\n"
        "  - {name: folder, params: {root: /nowhere/one}}\n  - {name: folder, params: {root: /nowhere/two}}\n"
    )
    with pytest.raises(RequestError) as error:
        plan_of(f"suite={suite}")
    assert re.search("one.*two", str(error.value), re.DOTALL)
