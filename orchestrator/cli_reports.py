"""The commands around recorded results: the page, tables for papers, comparisons, the index of pages, merging."""

import sys
import webbrowser
from pathlib import Path
from typing import Literal

import click

from adbench.orchestrator.exits import SOME_FAILED, guarded
from adbench.orchestrator.terminal import echo, visible

_TO = click.option("--to", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")


@click.command(short_help="Render the leaderboard from recorded results.")
@click.argument("overrides", nargs=-1, metavar="[suite=NAME] [out=FOLDER] [data_root=FOLDER]")
@click.option(
    "--rescore",
    is_flag=True,
    help="First recompute metrics whose definition changed since, from the kept scores and maps; trains nothing.",
)
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
@click.option("--watch", "watching", is_flag=True, help="Render again whenever a cell finishes, until interrupted.")
@guarded
def report(overrides: tuple[str, ...], rescore: bool, open_page: bool, watching: bool) -> int | None:
    """Render out/report/index.html from the results in out (default: adbench-results).

    With --rescore, data_root=FOLDER says where datasets are that have moved, and the exit code is 1 if some runs
    could not be re-scored; these keep their row. With --watch, an open page loads itself again, or says that it is
    older than the results while it is being read.
    """
    from adbench.orchestrator.report import render, rescore_and_render, watch

    if watching and rescore:
        raise click.UsageError("--watch and --rescore exclude each other: re-score first.")

    def show(page: Path) -> None:
        echo(f"leaderboard: {page}")
        if open_page:
            webbrowser.open(page.as_uri())

    if watching:
        watch(overrides, show, echo)
        return 0
    page, complete = rescore_and_render(overrides, echo) if rescore else (render(overrides), True)
    show(page)
    return 0 if complete else SOME_FAILED


_EXPORT_KEYS = "[suite=NAME] [out=FOLDER] [budget=B] [modality=M] [dataset=D] [metric=A,B]"


@click.command(short_help="Tables for papers: CSV, LaTeX, Markdown, Parquet.")
@click.argument("overrides", nargs=-1, metavar=_EXPORT_KEYS)
@click.option(
    "--format", "kind", type=click.Choice(["csv", "latex", "markdown", "parquet"]), required=True, help="Of the text."
)
@click.option(
    "--table",
    "which",
    type=click.Choice(["all", "methods", "categories"]),
    default="all",
    show_default=True,
    help="Methods by metrics, or one metric by category and method.",
)
@_TO
@guarded
def export(
    overrides: tuple[str, ...],
    kind: Literal["csv", "latex", "markdown", "parquet"],
    which: Literal["all", "methods", "categories"],
    to: Path | None,
) -> int | None:
    """Print the numbers of the page as tables: methods by metrics, and a metric by category and method.

    budget=, modality=, dataset= and metric= filter as on the page; of metric=A,B each has a table by category.
    latex (needs the package booktabs) and markdown are for readers: per cent, best bold, 95 % intervals as ± or
    [low, high]. csv and parquet hold a row for each value, in full precision. Figures: the page's buttons save PNG
    and SVG, and its browser prints to PDF.
    """
    if kind == "parquet" and to is None and sys.stdout.isatty():
        raise click.UsageError("Parquet is no text for a terminal: give a file with --to.")
    from adbench.orchestrator import export as exporting

    content = exporting.export(overrides, kind, which)
    if to is None:
        to_terminal = sys.stdout.isatty()
        click.echo(visible(content.decode()) if to_terminal else content, nl=False)
    else:
        exporting.write(content, to)
        echo(f"written: {to}", err=True)
    return 0


@click.command(short_help="Two results folders, suites or methods, paired cell by cell.")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.argument(
    "overrides", nargs=-1, metavar="[out=FOLDER] [suite=NAME] [budget=B] [modality=M] [dataset=D] [metric=M1,M2]"
)
@_TO
@guarded
def compare(a: str, b: str, overrides: tuple[str, ...], to: Path | None) -> int | None:
    """Say whether B is better than A: before and after a change, or two methods.

    A and B are two results folders or two suites, of which each method is compared with itself, or two methods of
    out= (METHOD@VERSION for one version, or the name of a row of the leaderboard). Only cells that both finished on
    the same data count; all others are named. metric= chooses whose categories are printed. A page with everything
    goes to compare/index.html in the results folder of A.
    """
    from adbench.orchestrator import compare as comparing

    found, metrics = comparing.compare(a, b, overrides)
    echo(comparing.terminal_text(found, metrics))
    echo(f"\npage: {comparing.write_page(found, a, overrides, to)}")
    return 0


@click.command(short_help="One page over several results folders, with the history of methods.")
@click.argument("words", nargs=-1, metavar="[FOLDER ...] [metric=NAME]")
@_TO
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
@guarded
def index(words: tuple[str, ...], to: Path | None, open_page: bool) -> int | None:
    """Render FOLDER/report/all.html, in the first FOLDER (default: adbench-results).

    It lists the suites of all folders with their best methods and links to the folders' pages, and shows how each
    method's score moved between its versions and folders, on the same cells only.
    """
    from adbench.orchestrator.index import write_index

    path = write_index(words, to)
    echo(f"index: {path}")
    if open_page:
        webbrowser.open(path.as_uri())
    return 0


@click.command(short_help="The results folders of several machines into one.")
@click.argument("sources", nargs=-1, required=True, metavar="SRC...")
@click.argument("destination", metavar="DST")
@guarded
def merge(sources: tuple[str, ...], destination: str) -> int | None:
    """Copy into the results folder DST, which may be new, what it lacks of each SRC, then render the leaderboard.

    All are folders or URLs (s3://, gs://). A run that is ok in several is taken from DST, else from the first SRC; an
    ok run takes the place of a failed one. Each SRC is only read: even one in which a run is at work, of which comes
    what has ended. The same command completes an interrupted merge.

    Exit codes: 0 all is merged; 1 it ended early (disk full); 2 the request is wrong; 130 interrupted.
    """
    from adbench.orchestrator.merge import merge as merging

    echo(f"leaderboard: {merging(sources, destination, echo)}")
    return 0


REPORT_COMMANDS = (report, export, compare, index, merge)
