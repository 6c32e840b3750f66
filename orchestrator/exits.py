"""How a command ends: its exit code, and one message instead of a traceback for what is the user's to mend."""

import functools
import traceback
from collections.abc import Callable
from typing import Any

import click

from adbench.datasets.errors import RequestError
from adbench.orchestrator.errors import RunAbortedError
from adbench.orchestrator.terminal import echo
from adbench.reports.errors import StoreError

USAGE_ERROR = 2
INTERRUPTED = 130
SOME_FAILED = 1


def guarded(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """Turn what a command raises into messages and exit codes."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> int | None:
        try:
            return command(*args, **kwargs)
        except RequestError as error:
            if click.get_current_context().find_root().params.get("debug"):
                traceback.print_exc()
            echo("error: " + "\n".join(error.lines()), err=True)
            return USAGE_ERROR
        except StoreError as error:
            echo(f"error: {error.problem}\n  to do:   {error.remedy}", err=True)
            return USAGE_ERROR
        except RunAbortedError as error:
            echo(f"error: {error}\nwhat was finished is recorded; the same command continues", err=True)
            return SOME_FAILED
        except KeyboardInterrupt:
            echo("interrupted: what was finished is kept; the same command continues", err=True)
            return INTERRUPTED

    return guarded
