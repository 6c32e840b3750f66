"""Hydra's grammar, sorted by what an override addresses."""

import pytest

from adbench.datasets.errors import RequestError
from adbench.orchestrator.overrides import parse_overrides


def test_selectors_take_lists_in_every_spelling() -> None:
    assert parse_overrides(["method=ckaad,recon"]).methods == ["ckaad", "recon"]
    assert parse_overrides(["method=[ckaad,recon]"]).methods == ["ckaad", "recon"]
    assert parse_overrides(["dataset=elpv"]).datasets == ["elpv"]
    assert parse_overrides(["category=mono,weave"]).categories == ["mono", "weave"]
    assert parse_overrides(["seed=range(0,5)"]).seeds == [0, 1, 2, 3, 4]
    assert parse_overrides(["seed=3"]).seeds == [3]


def test_parameters_keep_their_types() -> None:
    found = parse_overrides(
        ["method.gamma=0.3", "method.layers=[1,2]", "method.w_adv=0.1,0.2", "+dataset.doubtful=true", "budget=quick"]
    )
    assert found.method_params == {"gamma": [0.3], "layers": [[1, 2]], "w_adv": [0.1, 0.2]}
    assert found.dataset_params == {"doubtful": True}
    assert found.settings == {"budget": "quick"}


def test_paths_need_no_quotes() -> None:
    found = parse_overrides(["suite=/a b/my suite.yaml", "dataset.root=/x (1)/y, z", "out=s3://bucket/a b"])
    assert found.suite == "/a b/my suite.yaml"
    assert found.dataset_params["root"] == "/x (1)/y, z"
    assert found.settings["out"] == "s3://bucket/a b"
    assert parse_overrides(["dataset.root='/x y'"]).dataset_params["root"] == "/x y"


def test_removal() -> None:
    assert parse_overrides(["~image_size", "~method.gamma"]).removed == ["image_size", "method.gamma"]


@pytest.mark.parametrize("argument", ["gamma", "method.gamma=interval(0,1)", "a=[1", "=3", "dataset.x=1,2"])
def test_what_is_not_in_the_grammar_is_shown(argument: str) -> None:
    with pytest.raises(RequestError) as error:
        parse_overrides([argument])
    assert argument in str(error.value)
