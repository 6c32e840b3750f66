"""Validation of parameters against their config class, with messages that show the value and what is allowed."""

from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from adbench.datasets.errors import RequestError, unknown_name

Model = TypeVar("Model", bound=BaseModel)

_BOUNDS = (("gt", "above"), ("ge", "at least"), ("lt", "below"), ("le", "at most"))
_TYPE_NAMES = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    type(None): "null",
}


def validate(model: type[Model], params: Mapping[str, Any], *, prefix: str = "", owner: str = "") -> Model:
    """An instance of ``model``; RequestError shows the first wrong key as ``prefix + key`` of ``owner``."""
    of_owner = f" of '{owner}'" if owner else ""
    for key in params:
        if key not in model.model_fields:
            raise unknown_name(f"{'parameter' if prefix else 'key'}{of_owner}", key, model.model_fields)
    try:
        return model(**params)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        value = params.get(key, first.get("input"))
        shown = value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else repr(value)
        reason = str(first["msg"]).removeprefix("Value error, ")
        allowed = describe_field(model.model_fields[key]) if key in model.model_fields else reason
        if first["type"] == "value_error":
            allowed = reason
        raise RequestError(
            f"{prefix}{key}={shown} is not allowed{' for' + of_owner[3:] if owner else ''}", allowed=allowed
        ) from None


def describe_field(field: FieldInfo) -> str:
    """What a field takes, in words: type, bounds or choices."""
    bounds = [
        f"{word} {getattr(constraint, name):g}"
        for constraint in field.metadata
        for name, word in _BOUNDS
        if getattr(constraint, name, None) is not None
    ]
    kinds = [kind for kind in _alternatives(field.annotation) if kind is not type(None)]
    words = ", ".join([" or ".join(_describe_type(kind) for kind in kinds), *bounds])
    return words if len(kinds) == len(_alternatives(field.annotation)) else f"{words}, or null"


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _describe_type(annotation: Any) -> str:
    if annotation in _TYPE_NAMES:
        return _TYPE_NAMES[annotation]
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        return " or ".join(map(str, arguments))
    if get_origin(annotation) in (tuple, list):
        return f"a list such as [{_describe_type(arguments[0])}, ...]"
    if len(_alternatives(annotation)) > 1:
        return " or ".join(_describe_type(argument) for argument in arguments)
    return getattr(annotation, "__name__", str(annotation))
