"""What reaches a terminal: text alone, whatever stands in names and errors."""

import re

import click

_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # not the tab and the line's end


def visible(text: str) -> str:
    """``text`` with control characters, and those that turn the direction of writing, spelled as in Python.

    A terminal would obey them: colours, titles, lines that overwrite others.
    """
    return _COMMANDS.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def echo(text: str, *, nl: bool = True, err: bool = False) -> None:
    """Print ``text`` as ``visible``."""
    click.echo(visible(text), nl=nl, err=err)
