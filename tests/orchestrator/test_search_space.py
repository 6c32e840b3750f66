"""Spaces follow the config classes, their conditions and the user's ranges; what Optuna stores comes back whole."""

from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from adbench.datasets.errors import RequestError
from adbench.datasets.parameters import validate
from adbench.methods.base import Choice, Search
from adbench.methods.ckaad import CKAADConfig
from adbench.methods.kist_config import KISTConfig
from adbench.methods.registry import method_class, method_entry, methods
from adbench.methods.slsg import SLSGConfig
from adbench.methods.ssae import SSAEConfig
from adbench.orchestrator.search_space import decoded, draw, encoded, grid, grid_size, space_of


def _is_searched(name: str) -> bool:
    fields = method_class(name).config_class.model_fields.values()
    return any(isinstance(item, Search) for field in fields for item in field.metadata)


SEARCHED = [name for name in methods() if _is_searched(name)]


@pytest.mark.parametrize("name", SEARCHED)
@given(st.integers(0, 2**31))
def test_every_draw_is_a_valid_setting(name: str, seed: int) -> None:
    kind, fixed = method_class(name).config_class, method_entry(name).fixed
    base = kind(**fixed)
    space = space_of(base, fixed, {})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    values = draw(trial, space, base)
    assert values == decoded(trial.params) and set(values) <= set(space) and not set(values) & set(fixed)
    config = validate(kind, {**fixed, **values})
    assert encoded(config.model_dump(), {key: space[key] for key in values}) == trial.params


@pytest.mark.parametrize("name", SEARCHED)
def test_conditions_ask_for_parameters_declared_before(name: str) -> None:
    fields = list(method_class(name).config_class.model_fields.items())
    for index, (_, field) in enumerate(fields):
        for item in field.metadata:
            if isinstance(item, Search | Choice) and item.only_if is not None:
                before = dict(fields[:index])
                assert item.only_if[0] in before
                for value in item.only_if[1]:
                    validate(method_class(name).config_class, {item.only_if[0]: value})


@given(st.integers(0, 2**31))
def test_a_parameter_without_effect_is_not_drawn(seed: int) -> None:
    base = SLSGConfig()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    values = draw(study.ask(), space_of(base, (), {}), base)
    assert ("neighbours" in values) == ("position" in values) == (values["graph"] in ("both", "sparse"))


def test_what_is_set_is_not_searched_and_decides_conditions() -> None:
    off = space_of(SLSGConfig(graph="dense"), {"graph", "lr"}, {})
    assert not {"graph", "lr", "position", "neighbours"} & set(off) and "p_scar" in off
    assert "noise" not in space_of(SSAEConfig(), (), {})
    assert "noise" in space_of(SSAEConfig(objective="noise"), {"objective"}, {})
    assert "layers" not in space_of(KISTConfig(space="pixels"), {"space"}, {})


def test_ranges_of_the_user() -> None:
    ranges = {
        "gamma": "interval(0.2,0.4)",
        "lr": "tag(log,interval(1e-4,1e-3))",
        "epochs": "range(4,10,2)",
        "layers": "choice([3],[2,3])",
        "batch_size": "interval(8,32)",
    }
    space = space_of(CKAADConfig(), (), ranges)
    assert space["gamma"].distribution == FloatDistribution(0.2, 0.4)
    assert space["lr"].distribution == FloatDistribution(1e-4, 1e-3, log=True)
    assert space["epochs"].distribution == IntDistribution(4, 8, step=2)
    assert space["layers"].distribution == CategoricalDistribution(["[3]", "[2, 3]"])
    assert space["batch_size"].distribution == IntDistribution(8, 32)
    assert "anomaly_ratio" in space  # Its own range stays.


@pytest.mark.parametrize(
    ("fixed", "ranges", "problem"),
    [
        ((), {"gama": "interval(0,1)"}, "gama"),
        ((), {"gamma": "interval(0,2)"}, "search.space.gamma=0"),
        ((), {"gamma": "interval(0.5,0.1)"}, "no range"),
        ((), {"gamma": "0.5"}, "no range"),
        ((), {"gamma": "nonsense("}, "no range"),
        ((), {"lr": "tag(log,interval(0,1))"}, "no range"),
        ({"gamma"}, {"gamma": "interval(0.1,1)"}, "is set"),
        (set(CKAADConfig.model_fields), {}, "nothing to search"),
    ],
)
def test_wrong_ranges_are_refused(fixed: Any, ranges: dict[str, str], problem: str) -> None:
    with pytest.raises(RequestError) as caught:
        space_of(CKAADConfig(), fixed, ranges)
    assert problem in "\n".join(caught.value.lines())


def test_a_grid_spreads_over_each_range() -> None:
    set_before = set(CKAADConfig.model_fields) - {"lr", "epochs", "level"}
    space = space_of(CKAADConfig(), set_before, {"lr": "tag(log,interval(1e-4,1e-2))", "epochs": "range(1,4)"})
    points = grid(space)
    assert points["lr"] == pytest.approx([1e-4, 10**-3.5, 1e-3, 10**-2.5, 1e-2])
    assert points["epochs"] == [1, 2, 3] and points["level"] == ["patch", "image", "both"]
    assert grid_size(space) == 45


def test_settings_outside_the_space_cannot_be_tried_first() -> None:
    space = space_of(CKAADConfig(), (), {"gamma": "interval(0.2,0.4)"})
    assert encoded({"gamma": 0.3, "layers": (2, 3)}, space) == {"gamma": 0.3, "layers": "[2, 3]"}
    assert encoded({"gamma": 0.5}, space) is None and encoded({"layers": (4,)}, space) is None
