"""Names and errors cannot command a terminal, and change no table for papers."""

import io
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from adbench.orchestrator.listing import render_table
from adbench.orchestrator.terminal import visible
from adbench.reports.schema import RunResult
from adbench.reports.store import ResultStore

Adbench = Callable[..., Result]
COMMANDS = "\x1b[31m\x1b]0;title\x07\x9b2J\r\b\u202e"
NAME = f"<script>alert(1)</script> {COMMANDS} שלום 👩\u200d🔬 & _x^2$ % " + "long" * 75


@given(st.text())
def test_nothing_but_text_and_its_lines_is_left(text: str) -> None:
    shown = visible(text)
    assert all(one.isprintable() or one in "\n\t" or ord(one) > 0x9F for one in shown)
    assert visible(shown) == shown
    assert [one for one in shown if ord(one) > 0x9F] == [
        one for one in text if ord(one) > 0x9F and one not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    ]


def test_tables_keep_their_columns() -> None:
    assert render_table(("a", "b"), [("x\x1b[31m", "y"), ("<b>", "[red]z[/red]")]).splitlines() == [
        *("a          b", r"x\x1b[31m  y", "<b>        [red]z[/red]")
    ]


@pytest.fixture
def out(make_result: Callable[..., RunResult], tmp_path: Path) -> Path:
    """Results in whose every field of text stands a hostile one, and a failure."""
    store = ResultStore(tmp_path / "out")
    store.prepare()
    for method in (NAME, "plain"):
        for seed in range(2):
            place = {"method": method, "dataset": NAME, "category": NAME, "seed": seed, "suite": "own"}
            store.append(make_result(**place, metrics={"image_auroc": 0.5}))
    store.append(make_result(**{**place, "seed": 3}, status="failed", run_id="bad", error=NAME, notes=NAME))
    return tmp_path / "out"


@pytest.mark.parametrize(
    "words", [("ls", "runs"), ("show", "run", "bad"), ("compare", NAME, "plain"), ("compare", "nowhere", "plain")]
)
def test_no_command_of_a_name_reaches_the_terminal(words: tuple[str, ...], adbench: Adbench, out: Path) -> None:
    printed = adbench(*words, f"out={out}").output
    assert r"\x1b[31m" in printed and "👩\u200d🔬" in printed
    assert not [one for one in COMMANDS if not one.isprintable() and one in printed]


def test_exports_hold_names_as_text(adbench: Adbench, out: Path) -> None:
    def export(kind: str) -> str:
        result = adbench("export", "--format", kind, f"out={out}", "--to", str(out / kind))
        assert result.exit_code == 0, result.output
        return (out / kind).read_bytes().decode() if kind != "parquet" else ""

    names = {"plain", NAME}
    assert set(pd.read_csv(io.StringIO(export("csv"), newline=""))["method"]) == names
    export("parquet")
    assert set(pd.read_parquet(out / "parquet")["method"]) == names
    for kind, spelled in (("latex", r"\textless{}script\textgreater{}alert(1)"), ("markdown", r"\<script\>alert(1)")):
        text = export(kind)
        assert spelled in text and "<script>" not in text
        assert not [one for one in text if ord(one) < 32 and one != "\n"]
