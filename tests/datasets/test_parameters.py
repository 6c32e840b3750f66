"""What a wrong parameter is answered with."""

import pickle
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from adbench.datasets.errors import RequestError, unknown_name
from adbench.datasets.parameters import describe_field, validate


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=10, ge=1, le=100)
    gamma: Annotated[float, "search"] = Field(default=0.5, gt=0.0, lt=1.0)
    level: Literal["patch", "image"] = "patch"
    layers: tuple[int, ...] = (1, 2)
    weights: str | None = None
    limit: float | None = Field(default=None, ge=0.5)
    doubtful: bool = False
    even: int = 2

    @field_validator("even")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("an even number")
        return value


def test_right_values_are_taken_as_a_command_line_gives_them() -> None:
    config = validate(Config, {"epochs": 3, "gamma": 0.25, "level": "image", "layers": [2, 3], "doubtful": True})
    assert (config.epochs, config.gamma, config.level, config.layers, config.doubtful) == (
        3,
        0.25,
        "image",
        (2, 3),
        True,
    )
    assert validate(Config, {}) == Config()


@pytest.mark.parametrize(
    ("params", "shown", "allowed"),
    [
        ({"epochs": 0}, "method.epochs=0", "a whole number, at least 1, at most 100"),
        ({"epochs": 1.5}, "method.epochs=1.5", "a whole number, at least 1, at most 100"),
        ({"epochs": "many"}, "method.epochs=many", "a whole number, at least 1, at most 100"),
        ({"gamma": 1.0}, "method.gamma=1.0", "a number, above 0, below 1"),
        ({"gamma": float("nan")}, "method.gamma=nan", "a number, above 0, below 1"),
        ({"gamma": True, "level": "pixel"}, "method.gamma=true", "a number, above 0, below 1"),
        ({"level": "pixel"}, "method.level=pixel", "patch or image"),
        ({"layers": 3}, "method.layers=3", "a list such as [a whole number, ...]"),
        ({"layers": ["deep"]}, "method.layers=['deep']", "a list such as [a whole number, ...]"),
        ({"weights": 3}, "method.weights=3", "a text, or null"),
        ({"limit": 0.1}, "method.limit=0.1", "a number, at least 0.5, or null"),
        ({"doubtful": "perhaps"}, "method.doubtful=perhaps", "true or false"),
        ({"even": 3}, "method.even=3", "an even number"),
    ],
)
def test_a_wrong_value_is_shown_with_what_is_allowed(params: dict[str, object], shown: str, allowed: str) -> None:
    with pytest.raises(RequestError) as caught:
        validate(Config, params, prefix="method.", owner="ckaad")
    assert caught.value.problem == f"{shown} is not allowed for 'ckaad'"
    assert caught.value.allowed == allowed


def test_an_unknown_parameter_is_answered_with_the_nearest_and_all() -> None:
    with pytest.raises(RequestError, match="unknown parameter of 'ckaad' 'gama'; did you mean 'gamma'") as caught:
        validate(Config, {"gama": 0.5}, prefix="method.", owner="ckaad")
    assert caught.value.allowed == ", ".join(sorted(Config.model_fields))


def test_every_field_can_be_described() -> None:
    assert [describe_field(field) for field in Config.model_fields.values()] == [
        "a whole number, at least 1, at most 100",
        "a number, above 0, below 1",
        "patch or image",
        "a list such as [a whole number, ...]",
        "a text, or null",
        "a number, at least 0.5, or null",
        "true or false",
        "a whole number",
    ]


def test_far_names_are_not_suggested() -> None:
    assert unknown_name("dataset", "zzz", ["elpv", "folder"]).problem == "unknown dataset 'zzz'"
    assert unknown_name("dataset", "x", []).allowed == "(none)"


class Narrower(RequestError):
    """A kind of its own, as a plug-in may have."""


@pytest.mark.parametrize("kind", [RequestError, Narrower])
def test_an_error_survives_the_way_between_processes(kind: type[RequestError]) -> None:
    error = pickle.loads(pickle.dumps(kind("wrong", allowed="right", remedy="mend it")))
    assert type(error) is kind
    assert str(error) == "wrong\n  allowed: right\n  to do:   mend it"
    assert (error.problem, error.allowed, error.remedy) == ("wrong", "right", "mend it")
    assert str(kind("wrong")) == "wrong"
