"""`adbench compare A B`: two results folders, suites or methods, paired cell by cell."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from adbench.datasets.errors import RequestError, unknown_name
from adbench.orchestrator.export import chosen_metrics, write
from adbench.orchestrator.keys import plain_keys, results_folder
from adbench.orchestrator.listing import render_table
from adbench.reports.compare_page import PAGE, Comparison, render_comparison
from adbench.reports.entries import Sorted, sort_runs
from adbench.reports.leaderboard import DEFAULT_RANK_BY, rows_of_suite
from adbench.reports.pairing import Change, Pairing, Side, adjust, pair
from adbench.reports.store import ResultStore
from adbench.reports.tables import headed

_FILTERS = ("budget", "modality", "dataset")
_KEYS = ("suite", "out", *_FILTERS, "metric")
_ADJUSTED = (
    "p-values are adjusted after Holm, for the number of means compared here, or of one metric's categories;"
    " intervals are each comparison's own"
)
_MOST_PRINTED = 20  # cells that are not paired; the page names all


@dataclass(frozen=True)
class _Source:
    """Runs of one folder, sorted into rows of its leaderboard."""

    store: ResultStore
    found: Sorted

    def side(self, entry: int) -> Side:
        runs = self.found.runs[self.found.runs["entry"] == entry]
        ids = runs.loc[runs["status"] == "ok", "run_id"].tolist()
        return Side(runs.drop(columns=["standing", "entry", "place"]), self.store.images(ids))


def compare(a: str, b: str, arguments: Sequence[str]) -> tuple[Comparison, list[str]]:
    """What is found, for the page, and the metrics whose categories the terminal shows."""
    keys = plain_keys(arguments, *_KEYS)
    folders = [_is_folder(name) for name in (a, b)]
    if a == b:
        raise RequestError(f"'{a}' is compared with itself", remedy="name two folders, suites or methods")
    if all(folders):
        sources = [_open(name, keys, keys.get("suite")) for name in (a, b)]
        found = _rows_of_both(a, b, sources[0], sources[1])
    elif any(folders):
        other = b if folders[0] else a
        raise RequestError(
            f"'{other}' is no results folder, and the other one is", allowed="two folders, two suites or two methods"
        )
    else:
        found = _named(a, b, keys)
    found = replace(found, pairings=adjust(found.pairings))
    known = list(dict.fromkeys(metric for one in found.pairings for metric in one.whole))
    metrics = chosen_metrics(known, keys) or [
        DEFAULT_RANK_BY if DEFAULT_RANK_BY in known else name for name in known[:1]
    ]
    return found, metrics


def terminal_text(found: Comparison, metrics: Sequence[str]) -> str:
    """The comparison as tables for a terminal: a row for each metric, then for each category of ``metrics``."""
    lines = [f"A  {found.a}", f"B  {found.b}", *(f"left out: {one}" for one in found.alone)]
    for one in found.pairings:
        lines += ["", *_pairing_lines(one, metrics)]
    return "\n".join([*lines, "", _ADJUSTED])


def write_page(found: Comparison, a: str, arguments: Sequence[str], to: Path | None) -> str:
    """Write the page to the file ``to``, or into the results folder of A; where it is."""
    content = render_comparison(found).encode()
    if to is not None:
        write(content, to)
        return str(to)
    folder = ResultStore(a if _is_folder(a) else results_folder(plain_keys(arguments, *_KEYS))).folder
    with folder.explained("write to the results folder"):
        folder.make("compare")
        folder.write(PAGE, content)
    return folder.path(PAGE)


def _pairing_lines(one: Pairing, metrics: Sequence[str]) -> list[str]:
    lines = [f"{one.title}, budget {one.budget}: {one.n_paired} cells paired, {len(one.unpaired)} not"]
    lines += [f"  A: {one.versions[0]}", f"  B: {one.versions[1]}"]
    lines += [f"  parameter {text}" for text in one.changed_params]
    if one.whole:
        rows = [(headed(name), *_cells(change)) for name, change in one.whole.items()]
        lines += ["", render_table(("metric, per cent", *_HEADS), rows)]
    for name in metrics:
        if changes := one.by_category.get(name):
            rows = [(change.label, *_cells(change)) for change in changes]
            lines += ["", render_table((headed(name), *_HEADS), rows)]
    if one.unpaired:
        lines += ["", "not paired:", *(f"  {text}" for text in one.unpaired[:_MOST_PRINTED])]
        more = len(one.unpaired) - _MOST_PRINTED
        lines += [f"  and {more} more, on the page"] if more > 0 else []
    return lines


_HEADS = ("A", "B", "B - A", "95 % interval", "p (Holm)", "better/worse/equal", "over", "B is")


def _cells(change: Change) -> tuple[str, ...]:
    ends = "" if change.low is None or change.high is None else f"{100 * change.low:+.2f} to {100 * change.high:+.2f}"
    return (
        f"{100 * change.a:.2f}",
        f"{100 * change.b:.2f}",
        f"{100 * change.difference:+.2f}",
        ends,
        "" if change.p is None else f"{change.p:.3g}",
        "/".join(map(str, change.counts)),
        change.over,
        change.outcome,
    )


def _is_folder(name: str) -> bool:
    return "://" in name or (Path(name) / "runs").is_dir()


def _open(out: str, keys: dict[str, str], suite: str | None) -> _Source:
    """The runs of a folder, or of one suite in it, under the filters."""
    store = ResultStore(out)
    runs = store.runs()
    if suite is not None:
        plans = store.plans()
        recorded = sorted({*runs["suite"], *plans})
        if suite not in recorded:
            raise unknown_name(f"suite in {out}", suite, recorded)
        runs = rows_of_suite(runs, suite, tuple(plans.values()))
    return _Source(store, sort_runs(_filtered(runs, keys), store.searches()))


def _filtered(runs: pd.DataFrame, keys: dict[str, str]) -> pd.DataFrame:
    for key in _FILTERS:
        if key in keys:
            if keys[key] not in set(runs[key]):
                raise unknown_name(key, keys[key], set(runs[key]))
            runs = runs[runs[key] == keys[key]]
    return runs


def _rows_of_both(a: str, b: str, first: _Source, second: _Source) -> Comparison:
    """Each row of the leaderboard of A with the same one of B."""
    labels = [[entry.label for entry in source.found.entries] for source in (first, second)]
    pairings: list[Pairing] = []
    for label in labels[0]:
        if label in labels[1]:
            pairings += pair(label, first.side(labels[0].index(label)), second.side(labels[1].index(label)))
    alone = [f"{label}, in A alone" for label in labels[0] if label not in labels[1]]
    alone += [f"{label}, in B alone" for label in labels[1] if label not in labels[0]]
    if not pairings:
        raise RequestError(
            f"{a} and {b} have no method in common: {'; '.join(alone) or 'both are empty'}",
            remedy="two methods of one folder are compared by their names: adbench compare METHOD METHOD out=FOLDER",
        )
    return Comparison(a, b, tuple(pairings), tuple(alone))


def _named(a: str, b: str, keys: dict[str, str]) -> Comparison:
    out = results_folder(keys)
    whole = _open(out, keys, None)
    suites = {*whole.found.runs["suite"], *whole.store.plans()}
    if a in suites and b in suites:
        return _rows_of_both(a, b, _open(out, keys, a), _open(out, keys, b))
    source = _open(out, keys, keys.get("suite"))
    (title_a, side_a), (title_b, side_b) = (_method(name, source, suites) for name in (a, b))
    return Comparison(title_a, title_b, tuple(pair(f"{title_a} → {title_b}", side_a, side_b)), ())


def _method(name: str, source: _Source, suites: set[str]) -> tuple[str, Side]:
    """The row that ``name`` means: a method, METHOD@VERSION, or a row's whole label."""
    method, _, version = name.partition("@")
    runs = source.found.runs
    if version and method in set(runs["method"]):
        versions = set(runs.loc[runs["method"] == method, "method_version"])
        if version not in versions:
            raise unknown_name(f"version of {method}", version, versions)
        own = runs[(runs["method"] == method) & (runs["method_version"] == version)]
        source = _Source(source.store, sort_runs(own.drop(columns=["standing", "entry", "place"])))
        name = method
    entries = source.found.entries
    exact = [index for index, entry in enumerate(entries) if entry.label == name]
    found = exact or [index for index, entry in enumerate(entries) if entry.method == name]
    if len(found) > 1:
        raise RequestError(
            f"'{name}' is {len(found)} rows of the leaderboard",
            allowed="; ".join(f"'{entries[index].label}'" for index in found),
            remedy="give one of these as a whole, in quotes",
        )
    if not found:
        known = {*(entry.method for entry in entries), *(entry.label for entry in entries), *suites}
        remedy = (
            "a results folder is one that holds the folder runs; out= says where methods and suites are looked for"
        )
        raise unknown_name(f"method or suite in {source.store.out}", name, known, remedy)
    return (f"{entries[found[0]].label}{f' (version {version})' if version else ''}"), source.side(found[0])
