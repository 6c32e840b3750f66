"""Which runs count, and which of them form one row of the leaderboard."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from adbench.reports.categories import Category, differing, outdated, parameters, place_runs, spelled
from adbench.reports.protocols import protocol_labels
from adbench.reports.schema import SearchRecord

_SELECTION = {"none": "", "val": "tuned on val", "test": "tuned on test"}


@dataclass(frozen=True)
class Entry:
    """A row of the leaderboard: a method under one protocol, and one choice of those parameters that were varied in
    its budget.

    ``settings`` spells both out; it is empty where nothing was varied and no protocol asked for. ``versions`` are the
    method's versions among the runs that count; more than one makes the row a mixture, and the page says so.
    ``search`` says what it cost to find the settings, where a search did.
    """

    label: str
    method: str
    settings: str
    selection: str
    versions: tuple[str, ...]
    suites: tuple[str, ...]
    search: str = ""


@dataclass(frozen=True)
class Sorted:
    """The runs, each with its place.

    ``runs`` has three more columns: ``standing`` ("current"; "repeated" by a better or later run of the same
    cell; "older" data or metric version than others of its category; "trial" of a search, or what it took for the
    best before it found better, neither of which is ranked), ``entry`` and ``place``, indices into ``entries`` and
    ``categories`` (-1 for trials).
    """

    runs: pd.DataFrame
    entries: tuple[Entry, ...]
    categories: tuple[Category, ...]

    @property
    def current(self) -> pd.DataFrame:
        """The runs that count: one for each row of the leaderboard and cell."""
        return self.runs[self.runs["standing"] == "current"]


def trials(runs: pd.DataFrame) -> pd.Series:
    """Which runs are trials: proposals of a search, not the parameters that it chose."""
    return runs["sweep_id"].notna() & (runs["selection"] == "none")


def sort_runs(runs: pd.DataFrame, searches: Mapping[str, SearchRecord] | None = None) -> Sorted:
    """Give every run its place; ``searches`` by their sweep_id say what tuned settings cost.

    Only runs on the newest data of their category count. Of several runs of one cell with equal parameters
    the latest successful one counts, or the latest failure where none succeeded. Trials have no row.
    """
    runs = runs.sort_values(["finished_at", "run_id"], kind="stable").reset_index(drop=True)
    own = runs[~(trials(runs) | _surpassed(runs, searches or {}))].copy()
    own["place"], categories = place_runs(own)
    older = outdated(own)
    own["entry"], keys = _rows(own, older, categories)
    ordered = own[~older].assign(ok=lambda frame: frame["status"] == "ok").sort_values("ok", kind="stable")
    counted = ordered.drop_duplicates(["entry", "place", "seed", "budget"], keep="last").index
    runs["standing"] = "trial"
    runs.loc[own.index, "standing"] = older.map({True: "older", False: "repeated"})
    runs.loc[counted, "standing"] = "current"
    for name in ("entry", "place"):
        runs[name] = own[name].reindex(runs.index, fill_value=-1).astype(int)
    return Sorted(runs, _entries(runs, keys, searches or {}), categories)


def _surpassed(runs: pd.DataFrame, searches: Mapping[str, SearchRecord]) -> pd.Series:
    """Which tuned runs have other settings than their search has come to: nobody may choose among them on test."""

    def surpassed(sweep_id: object, selection: str, params: str) -> bool:
        if selection == "none" or sweep_id not in searches:
            return False
        values = json.loads(params)
        return any(values.get(key) != value for key, value in searches[str(sweep_id)].setting.items())

    columns = (runs[name] for name in ("sweep_id", "selection", "params"))
    return pd.Series([surpassed(*row) for row in zip(*columns, strict=True)], index=runs.index, dtype=bool)


def _rows(
    runs: pd.DataFrame, older: pd.Series, categories: tuple[Category, ...]
) -> tuple[pd.Series, list[tuple[str, str, str]]]:
    """The row of each run as an index into the rows: (method, selection, settings). Protocols never share one.

    Parameters without a setting of their own follow the budget and the data. So what differs between runs of one
    method, selection and budget was varied, and makes rows of their own, if it does so within a category; or within a
    modality, unless each value is the method's own choice (column preset_params).
    """
    modality = [categories[place].modality for place in runs["place"]]
    texts = runs[["method", "selection", "budget", "params", "place", "preset_params"]].assign(modality=modality)
    varied: dict[tuple[str, str, str], set[str]] = {}
    for key, own in texts[~older].groupby(["method", "selection", "budget"]):
        names = varied.setdefault((str(key[0]), str(key[1]), str(key[2])), set())
        names |= _varied_within(own, "place")
        names |= _varied_within(own, "modality") & _set_by_somebody(own)
    columns = [*(texts[name] for name in ("method", "selection", "budget", "params")), protocol_labels(runs)]
    keys = list(zip(*columns, strict=True))
    rows = {}
    for key in dict.fromkeys(keys):
        method, selection, budget, params, protocol = map(str, key)
        choice = spelled(parameters(params), varied.get((method, selection, budget), ()))
        rows[key] = (method, selection, ", ".join(filter(None, [choice, protocol])))
    order = sorted(set(rows.values()))
    position = {row: index for index, row in enumerate(order)}
    return pd.Series([position[rows[key]] for key in keys], index=runs.index, dtype="int64"), order


def _varied_within(runs: pd.DataFrame, column: str) -> set[str]:
    """Names of parameters that differ among runs with the same value of ``column``."""
    alike = (differing(map(parameters, own["params"].unique())) for _, own in runs.groupby(column))
    return set().union(*alike)


def _set_by_somebody(runs: pd.DataFrame) -> set[str]:
    """Names of parameters that are not in all runs the method's own choice; all of a run that does not say."""
    found: set[str] = set()
    for params, preset in set(zip(runs["params"], runs["preset_params"], strict=True)):
        found |= set(parameters(params)) - set(json.loads(preset) if isinstance(preset, str) else ())
    return found


def _entries(
    runs: pd.DataFrame, keys: list[tuple[str, str, str]], searches: Mapping[str, SearchRecord]
) -> tuple[Entry, ...]:
    current = runs[runs["standing"] == "current"]
    versions = current.groupby("entry")["method_version"].unique().to_dict()
    suites = runs.groupby("entry")["suite"].unique().to_dict()
    sweeps = current.groupby("entry")["sweep_id"].unique().to_dict()
    return tuple(
        Entry(
            label=" · ".join(part for part in (method, settings, _SELECTION.get(selection, selection)) if part),
            method=method,
            settings=settings,
            selection=selection,
            versions=tuple(sorted(map(str, versions.get(index, ())))),
            suites=tuple(sorted(map(str, suites.get(index, ())))),
            search=_price([searches[name] for name in sweeps.get(index, ()) if name in searches]),
        )
        for index, (method, selection, settings) in enumerate(keys)
    )


def _price(searches: list[SearchRecord]) -> str:
    if not searches:
        return ""
    n_trials = sum(search.complete + search.stopped + search.failed for search in searches)
    hours = sum(search.lane_seconds for search in searches) / 3600
    return f"found in {n_trials} trials, {hours:.2g} h of lanes"
