"""Tables for papers as text: LaTeX (booktabs) and Markdown, in per cent with one decimal."""

import re
from collections.abc import Iterable, Sequence

from adbench.reports.tables import Table, Value

_INTERVALS = {
    "images": "95 % intervals over test images",
    "images+seeds": "95 % intervals over test images and seeds",
    "seeds": "95 % intervals over seeds",
    "range": "lowest to highest seed in brackets with a dash",
}
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    # In the font encodings OT1 and T1 alike, and no shorthand of babel.
    '"': r"\symbol{34}",
    # After the \\ that ends a row these would be its arguments.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
}
_ARROWS = {"↑": r"$\uparrow$", "↓": r"$\downarrow$"}
_LIGATURE = re.compile(r"([-',])(?=\1)")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~&$])")


def one_line(text: str) -> str:
    """``text`` without line breaks and characters that print nothing, which would break a table's row."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def latex_text(text: str) -> str:
    """``text`` such that LaTeX prints it literally, in a table's cell too. What is not ASCII stays as it is.

    Letters that pdfLaTeX does not know need LuaLaTeX or XeLaTeX with a font that has them.
    """
    apart = _LIGATURE.sub(lambda found: f"{found.group()}\0", one_line(text))
    return "".join(_LATEX.get(one, one) for one in apart).replace("\0", "{}")


def markdown_text(text: str) -> str:
    """``text`` such that Markdown prints it literally, in a table's cell too."""
    return _MARKDOWN.sub(r"\\\1", one_line(text))


def latex(tables: Sequence[Table]) -> str:
    """The tables, each a float of its own, in need of the package booktabs."""
    head = "% Needs \\usepackage{booktabs}; letters beyond Latin need LuaLaTeX or XeLaTeX with a font that has them."
    return "\n\n".join([head, *map(_latex_table, tables)]) + "\n"


def markdown(tables: Sequence[Table]) -> str:
    """The tables as those of GitHub's Markdown, each under its title."""
    return "\n\n".join(map(_markdown_table, tables)) + "\n"


def _latex_table(table: Table) -> str:
    def head(text: str) -> str:
        arrow = next((one for one in _ARROWS if text.endswith(f" {one}")), None)
        return latex_text(text) if arrow is None else f"{latex_text(text[:-2])} {_ARROWS[arrow]}"

    rows = [" & ".join([latex_text(label), *map(_latex_value, values)]) + r" \\" for label, values in table.rows]
    if table.kind == "categories" and len(rows) > 1:
        rows.insert(-1, r"\midrule")
    caption = latex_text(f"{table.title}. {_note(table)}")
    for arrow, command in _ARROWS.items():
        caption = caption.replace(arrow, command)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
            r"\toprule",
            " & ".join(map(head, table.columns)) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _latex_value(value: Value | str) -> str:
    if isinstance(value, str):
        return latex_text(value)
    mean = _shown(value.mean)
    text = rf"\textbf{{{mean}}}" if value.best else mean
    reach = _reach(value)
    if reach is not None:
        return rf"{text} $\pm$ {reach}"
    ends = _ends(value)
    return f"{text} {latex_text(ends)}" if ends else text


def _markdown_table(table: Table) -> str:
    lines = [
        f"**{markdown_text(table.title)}**",
        "",
        _markdown_row(map(markdown_text, table.columns)),
        _markdown_row(["---", *["---:"] * (len(table.columns) - 1)]),
        *(_markdown_row([markdown_text(label), *map(_markdown_value, values)]) for label, values in table.rows),
        "",
        markdown_text(_note(table)),
    ]
    return "\n".join(lines)


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_value(value: Value | str) -> str:
    if isinstance(value, str):
        return markdown_text(value)
    text = f"**{_shown(value.mean)}**" if value.best else _shown(value.mean)
    reach = _reach(value)
    ends = f"± {reach}" if reach is not None else _ends(value)
    return f"{text} {ends}" if ends else text


def _shown(value: float) -> str:
    return f"{100 * value:.1f}"


def _reach(value: Value) -> str | None:
    """How far an interval reaches to both sides; None where there is none, or it is not symmetric as shown."""
    if value.low is None or value.high is None or value.interval == "range":
        return None
    below, above = _shown(value.mean - value.low), _shown(value.high - value.mean)
    return below if below == above else None


def _ends(value: Value) -> str:
    if value.low is None or value.high is None:
        return ""
    dash = "–" if value.interval == "range" else ", "
    return f"[{_shown(value.low)}{dash}{_shown(value.high)}]"


def _note(table: Table) -> str:
    kinds = {value.interval for _, values in table.rows for value in values if isinstance(value, Value)}
    covered = [text for kind, text in _INTERVALS.items() if kind in kinds]
    intervals = f" {'; '.join(covered)}." if covered else ""
    return f"{table.note} Per cent.{intervals}"
