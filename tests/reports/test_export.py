"""Tables as LaTeX and Markdown: nothing in a name can change them, and the numbers are the page's."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from adbench.reports.export import latex, latex_text, markdown, one_line
from adbench.reports.intervals import Interval
from adbench.reports.leaderboard import Leaderboard
from adbench.reports.schema import RunResult
from adbench.reports.tables import Table, Value, categories_by_methods, find_slice, long_table, methods_by_metrics

Make = Callable[..., RunResult]
Build = Callable[..., Leaderboard]

SPECIAL = "\\{}&%$#_~^<>|`\"[]*-'?!,"
TEXTS = st.text(max_size=60) | st.text(alphabet=SPECIAL + "a \n\0é中🙂\u202eא", max_size=60)

COMMANDS = {
    r"\textbackslash{}": "\\",
    r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^",
    r"\textless{}": "<",
    r"\textgreater{}": ">",
    r"\textbar{}": "|",
    r"\textasciigrave{}": "`",
    r"\symbol{34}": '"',
    **{f"\\{one}": one for one in "{}&%$#_"},
    **{f"{{{one}}}": one for one in "[]*"},
    "{}": "",
}
TOKEN = re.compile("|".join(map(re.escape, COMMANDS)) + r"""|[^\\{}&%$#_~^<>|`"\[\]*]""", re.DOTALL)


def typeset(source: str) -> str:
    """What LaTeX prints for ``source``, read strictly: a special character outside the commands above is wrong."""
    printed, at = "", 0
    while at < len(source):
        found = TOKEN.match(source, at)
        assert found, f"not literal at {source[at:]!r}"
        printed += COMMANDS.get(found.group(), found.group())
        at = found.end()
    return printed


@given(TEXTS)
@example(SPECIAL * 2)
@example("a--b ''c'' ?`d,, \\\\[1em] \\input{/etc/passwd} <script>alert(1)</script> 100% & $x_1^2$ #1 ~")
@example("<script>" * 300)
def test_latex_prints_every_text_literally(text: str) -> None:
    source = latex_text(text)
    assert typeset(source) == one_line(text)
    assert not re.search("--|''|,,", source)  # ligatures
    assert "\n" not in source


@given(TEXTS, TEXTS)
def test_a_name_changes_no_table(label: str, column: str) -> None:
    value = Value(0.9, 0.8, 0.95, "images", best=True)
    rows: tuple[tuple[str, tuple[Value | str, ...]], ...] = ((label, (value,)), ("plain", ("missing",)))
    table = Table("methods", f"T {label}", f"N {label}", ("Method", column), rows)
    lines = latex([table]).splitlines()[2:]
    assert lines[:2] == [r"\begin{table}", r"\centering"]
    assert typeset(lines[2].removeprefix(r"\caption{").removesuffix("}")).startswith(one_line(f"T {label}"))
    assert [*lines[3:5], lines[6], *lines[9:]] == [
        *(r"\begin{tabular}{lr}", r"\toprule", r"\midrule"),
        *(r"\bottomrule", r"\end{tabular}", r"\end{table}"),
    ]
    assert [typeset(one) for one in cells(lines[5])] == ["Method", one_line(column)]
    assert typeset(cells(lines[7])[0]) == one_line(label)
    assert cells(lines[8]) == ["plain", "missing"]


@given(TEXTS, TEXTS)
@example("a & b \\\\ \\end{tabular} % $x_1^2$ {", "<script>alert(1)</script> שלום 🙂 " + "long" * 75)
def test_a_parser_of_latex_finds_the_rows_and_columns(label: str, column: str) -> None:
    walker = pytest.importorskip("pylatexenc.latexwalker", reason="pylatexenc is not installed")
    value = Value(0.9, 0.8, 0.95, "images", best=True)
    rows: tuple[tuple[str, tuple[Value | str, ...]], ...] = ((label, (value,)), ("plain", ("missing",)))
    table = Table("methods", f"T {label}", f"N {column}", ("Method", column), rows)
    whole, _, _ = walker.LatexWalker(latex([table]), tolerant_parsing=False).get_latex_nodes()
    (float_,) = (node for node in whole if node.isNodeType(walker.LatexEnvironmentNode))
    (tabular,) = (node for node in float_.nodelist if node.isNodeType(walker.LatexEnvironmentNode))
    assert (float_.environmentname, tabular.environmentname) == ("table", "tabular")
    macros = [node.macroname for node in tabular.nodelist if node.isNodeType(walker.LatexMacroNode)]
    specials = [node.specials_chars for node in tabular.nodelist if node.isNodeType(walker.LatexSpecialsNode)]
    assert (macros.count("\\"), specials.count("&")) == (3, 3)
    assert not [node for node in tabular.nodelist if node.isNodeType(walker.LatexCommentNode)]


def cells(line: str) -> list[str]:
    assert line.endswith(r" \\")
    return re.split(r"(?<!\\) ?& ?", line.removesuffix(r" \\"))


@given(TEXTS, TEXTS)
@example("a|b\\|c", "<img src=x> [x](javascript:1) **b** `c` &lt; ~~d~~ $x$")
def test_markdown_prints_every_text_literally(label: str, column: str) -> None:
    value = Value(0.9, 0.8, 0.95, "images", best=True)
    rows: tuple[tuple[str, tuple[Value | str, ...]], ...] = ((label, (value,)), ("plain", ("missing",)))
    text = markdown([Table("methods", f"T {label}", f"N {label}", ("Method", column), rows)])
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    shown = ["".join(child.content for child in one.children or ()) for one in tokens if one.type == "inline"]
    assert shown[:7] == [
        *(one_line(f"T {label}"), "Method", one_line(column)),
        *(one_line(label), "90.0 [80.0, 95.0]", "plain", "missing"),
    ]
    assert shown[7].startswith(one_line(f"N {label}"))
    assert sum(token.type == "tr_open" for token in tokens) == 3


@pytest.mark.parametrize(
    ("ends", "kind", "expected"),
    [
        ((0.88, 0.92), "images", r"\textbf{90.0} $\pm$ 2.0"),
        ((0.87, 0.92), "images", r"\textbf{90.0} {[}87.0, 92.0{]}"),
        ((0.88, 0.92), "range", r"\textbf{90.0} {[}88.0–92.0{]}"),
        ((None, None), "none", r"\textbf{90.0}"),
    ],
)
def test_an_interval_is_plus_minus_only_where_it_is_symmetric(
    ends: tuple[float | None, float | None], kind: Interval, expected: str
) -> None:
    value = Value(0.9, *ends, kind, best=True)
    table = Table("methods", "t", "n", ("Method", "m"), (("a", (value,)),))
    assert f"a & {expected} \\\\" in latex([table])


def values(table: Table) -> dict[str, list[float | str]]:
    return {label: [one if isinstance(one, str) else one.mean for one in row] for label, row in table.rows}


@pytest.fixture
def board(make_result: Make, build: Build) -> Leaderboard:
    scores = {("ckaad", "a"): 0.9, ("ckaad", "b"): 0.7, ("padim", "a"): 0.8, ("padim", "b"): 0.6}
    results = [
        make_result(method=method, category=category, metrics={"image_auroc": score, "image_fpr95": 1 - score})
        for (method, category), score in scores.items()
    ]
    failed: dict[str, Any] = {"method": "padim", "category": "c", "status": "failed"}
    return build(
        *results, make_result(method="ckaad", category="c", metrics={"image_auroc": 0.5}), make_result(**failed)
    )


def test_methods_by_metrics_are_means_over_shared_cells_with_the_best_marked(board: Leaderboard) -> None:
    part = find_slice(board, "smoke", None, None)
    assert part is not None
    table = methods_by_metrics(board, part, ["image_auroc", "image_fpr95"])
    assert values(table) == {"ckaad": pytest.approx([0.8, 0.2]), "padim": pytest.approx([0.7, 0.3])}
    assert [[one.best for one in row if isinstance(one, Value)] for _, row in table.rows] == [[True] * 2, [False] * 2]
    assert "2 categories with 1 seed each" in table.note
    assert [column[-1] for column in table.columns[1:]] == ["↑", "↓"]


def test_categories_hold_own_seeds_and_say_why_a_value_is_not_there(board: Leaderboard) -> None:
    part = find_slice(board, "smoke", None, "phantom")
    assert part is not None
    table = categories_by_methods(board, part, "image_auroc")
    assert values(table) == {
        "phantom/a": pytest.approx([0.9, 0.8]),
        "phantom/b": pytest.approx([0.7, 0.6]),
        "phantom/c": [0.5, "failed"],
        "Mean over shared cells": pytest.approx([0.8, 0.7]),
    }
    assert r"\midrule" + "\nMean over shared cells" in latex([table])


def test_the_long_table_has_every_value_in_full_precision(board: Leaderboard) -> None:
    part = find_slice(board, "smoke", None, None)
    assert part is not None
    frame = long_table(board, part, ["image_auroc"], ["image_auroc"])
    assert len(frame) == 2 + 6
    whole = frame[frame["table"] == "methods"].set_index("method")
    assert whole.loc["ckaad", "mean"] == pytest.approx(0.8, abs=1e-12)
    assert whole["wins"].to_dict() == {"ckaad": 2, "padim": 0}
    failed = frame[frame["state"] == "failed"]
    assert failed[["method", "category", "dataset"]].to_numpy().tolist() == [["padim", "phantom/c", "phantom"]]
    assert failed["mean"].isna().all()


def test_slices_are_found_as_the_page_finds_them(make_result: Make, build: Build) -> None:
    board = build(make_result(), make_result(dataset="ct", modality="medical"), make_result(budget="full"))
    for modality, dataset in ((None, None), ("medical", None), ("medical", "ct"), (None, "ct")):
        part = find_slice(board, "smoke", modality, dataset)
        assert part is not None
        assert part.dataset == dataset
        assert part.modality == ("medical" if dataset else modality)
    assert find_slice(board, "smoke", "industrial", "ct") is None
    assert find_slice(board, "full", "medical", None) is None
