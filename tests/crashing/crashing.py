"""Processes that die between two changes of the disk."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest


class Killed(BaseException):
    """Stands for SIGKILL: no handler of errors catches it."""


@contextmanager
def killed_at(step: int, changes: Sequence[tuple[Any, str]]) -> Iterator[list[str]]:
    """Kill before the call number ``step`` (from 0) of ``changes``, by owner and name; gives the calls made."""
    calls: list[str] = []

    def stepping(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if len(calls) >= step:
                raise Killed(name)
            calls.append(name)
            return real(*args, **kwargs)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in changes:
            patch.setattr(owner, name, stepping(name, getattr(owner, name)))
        with suppress(Killed):
            yield calls
