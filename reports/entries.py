"""Which runs count, and which of them form one row of the leaderboard."""

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

CELL = ["dataset", "dataset_params", "category", "seed", "budget"]
"""Columns that, together with a row of the leaderboard, name one run."""

_SELECTION = {"none": "", "val": "tuned on val", "test": "tuned on test"}


@dataclass(frozen=True)
class Entry:
    """A row of the leaderboard: a method under one choice of those parameters that were varied in some cell.

    ``settings`` spells that choice out and is empty where nothing was varied. ``versions`` are the method's
    versions among the runs; more than one makes the row a mixture, and the page says so.
    """

    label: str
    method: str
    settings: str
    selection: str
    versions: tuple[str, ...]
    suites: tuple[str, ...]


@dataclass(frozen=True)
class Category:
    """The unit a model is trained on; ``label`` adds the dataset's parameters where runs differ in them."""

    dataset: str
    category: str
    modality: str
    label: str


@dataclass(frozen=True)
class Sorted:
    """The runs, each with its place.

    ``runs`` has three more columns: ``standing`` ("current"; "repeated" by a better or later run of the same
    cell; "trial" of a search, which is never ranked), ``entry`` and ``place``, indices into ``entries`` and
    ``categories`` (-1 for trials).
    """

    runs: pd.DataFrame
    entries: tuple[Entry, ...]
    categories: tuple[Category, ...]

    @property
    def current(self) -> pd.DataFrame:
        """The runs that count: one for each row of the leaderboard and cell."""
        return self.runs[self.runs["standing"] == "current"]


def sort_runs(runs: pd.DataFrame) -> Sorted:
    """Give every run its place.

    Of several runs of one cell with equal parameters the latest successful one counts, or the latest failure
    where none succeeded. Runs of a search (``sweep_id`` set) with ``selection`` "none" are trials: proposals,
    not the parameters that the search chose.
    """
    runs = runs.sort_values(["finished_at", "run_id"], kind="stable").reset_index(drop=True)
    trial = runs["sweep_id"].notna() & (runs["selection"] == "none")
    runs["standing"] = trial.map({True: "trial", False: "repeated"})
    candidates = runs[~trial].assign(ok=lambda frame: frame["status"] == "ok").sort_values("ok", kind="stable")
    counted = candidates.drop_duplicates(["method", "selection", "params", *CELL], keep="last").index
    runs.loc[counted, "standing"] = "current"
    entry, entries = _entries(runs[~trial])
    place, categories = _categories(runs[~trial])
    runs["entry"] = entry.reindex(runs.index, fill_value=-1).astype(int)
    runs["place"] = place.reindex(runs.index, fill_value=-1).astype(int)
    return Sorted(runs, entries, categories)


@cache
def _parameters(text: str) -> dict[str, str]:
    """Top-level parameters, each value as JSON; text that is no JSON object counts as one parameter."""
    try:
        parsed: Any = json.loads(text)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        return {"params": text}
    return {str(name): json.dumps(value, sort_keys=True) for name, value in parsed.items()}


def _varied(runs: pd.DataFrame) -> dict[tuple[str, str], list[str]]:
    """Names of the parameters that differ between runs of one cell, by method and selection."""
    varied: dict[tuple[str, str], list[str]] = {}
    groups = runs.groupby(["method", "selection", *CELL], dropna=False)["params"]
    several = groups.transform("nunique") > 1
    for key, texts in runs[several].groupby(["method", "selection", *CELL], dropna=False)["params"]:
        names = varied.setdefault((str(key[0]), str(key[1])), [])
        choices = [_parameters(text) for text in texts.unique()]
        for name in sorted({name for choice in choices for name in choice}):
            if name not in names and len({choice.get(name) for choice in choices}) > 1:
                names.append(name)
    return varied


def _entries(runs: pd.DataFrame) -> tuple[pd.Series, tuple[Entry, ...]]:
    varied = _varied(runs)

    def settings(method: str, selection: str, params: str) -> str:
        values = _parameters(params)
        names = varied.get((method, selection), [])
        return ", ".join(f"{name}={values.get(name, 'unset')}" for name in names)

    keys = [
        (method, selection, settings(method, selection, params))
        for method, selection, params in zip(runs["method"], runs["selection"], runs["params"], strict=True)
    ]
    order = {key: index for index, key in enumerate(sorted(set(keys)))}
    index = pd.Series([order[key] for key in keys], index=runs.index, dtype="int64")
    entries = []
    for key, position in order.items():
        method, selection, chosen = key
        own = runs[index == position]
        label = " · ".join(part for part in (method, chosen, _SELECTION.get(selection, selection)) if part)
        versions = tuple(sorted(str(version) for version in own["method_version"].dropna().unique()))
        suites = tuple(sorted(str(suite) for suite in own["suite"].dropna().unique()))
        entries.append(Entry(label, method, chosen, selection, versions, suites))
    return index, tuple(entries)


def _categories(runs: pd.DataFrame) -> tuple[pd.Series, tuple[Category, ...]]:
    columns = ["modality", "dataset", "dataset_params", "category"]
    known = runs.drop_duplicates(columns[1:])[columns].sort_values(columns, kind="stable")
    has_variants = known.groupby("dataset")["dataset_params"].nunique() > 1
    order: dict[tuple[str, str, str], int] = {}
    categories: list[Category] = []
    for modality, dataset, params, category in known.itertuples(index=False, name=None):
        suffix = f" {params}" if has_variants[dataset] else ""
        order[(dataset, params, category)] = len(categories)
        categories.append(Category(dataset, category, modality, f"{dataset}/{category}{suffix}"))
    keys = zip(runs["dataset"], runs["dataset_params"], runs["category"], strict=True)
    return pd.Series([order[key] for key in keys], index=runs.index, dtype="int64"), tuple(categories)
