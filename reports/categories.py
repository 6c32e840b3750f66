"""Categories: which runs are of one and the same, and which of those are of its newest data."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from adbench.reports.protocols import labels_of_own_tests, protocol_labels


@dataclass(frozen=True)
class Category:
    """The unit a model is trained on, at one image size; its ``label`` says all that tells it from others.

    These are the dataset's parameters where runs differ in them, the folder's last parts where folders with
    other content have a category of this name, the image size where several occur within a budget, and the protocol
    where images left test for it.
    """

    dataset: str
    category: str
    modality: str
    label: str


@cache
def parameters(text: str) -> Mapping[str, str]:
    """Top-level parameters, each value as JSON; text that is no JSON object counts as one parameter."""
    try:
        parsed: Any = json.loads(text)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        return {"params": text}
    return {str(name): json.dumps(value, sort_keys=True) for name, value in parsed.items()}


def differing(choices: Iterable[Mapping[str, str]]) -> set[str]:
    """Names of the parameters that do not have the same value in all ``choices``."""
    known = list(choices)
    names = {name for choice in known for name in choice}
    return {name for name in names if len({choice.get(name) for choice in known}) > 1}


def spelled(choice: Mapping[str, str], names: Iterable[str]) -> str:
    """The chosen values of ``names``, as a label shows them."""
    return ", ".join(f"{name}={choice.get(name, 'unset')}" for name in sorted(names))


@dataclass(frozen=True)
class _Data:
    """What tells categories apart. ``content`` numbers the folders that hold different images."""

    dataset: str
    params: tuple[tuple[str, str], ...]
    category: str
    content: int
    size: int | None
    protocol: str


def place_runs(runs: pd.DataFrame) -> tuple[pd.Series, tuple[Category, ...]]:
    """The category of each of ``runs`` (oldest first) as an index into the categories.

    The folder ``root`` of a dataset is no part of a category: folders with a fingerprint in common hold the
    same one. Folders that never had one in common hold different categories, whatever their names.
    """
    columns = ["dataset", "dataset_params", "category", "image_size", "dataset_fingerprint"]
    told = runs[columns].astype(object).where(runs[columns].notna(), None).assign(protocol=labels_of_own_tests(runs))
    keys = list(told.itertuples(index=False, name=None))
    content, folders = _contents(dict.fromkeys(keys))
    data: dict[tuple[Any, ...], _Data] = {}
    for key in dict.fromkeys(keys):
        dataset, text, category, size, _, protocol = key
        params, root = _without_root(text)
        number = content[dataset, params, category][root]
        data[key] = _Data(dataset, params, category, number, None if size is None else int(size), protocol)
    own = [data[key] for key in keys]
    modality = dict(zip(own, runs["modality"], strict=True))  # of the latest run
    labels = _labels(own, runs["budget"].tolist(), folders)
    order = sorted(modality, key=lambda one: (modality[one], one.dataset, one.params, one.category, labels[one]))
    categories = tuple(Category(one.dataset, one.category, modality[one], labels[one]) for one in order)
    position = {one: index for index, one in enumerate(order)}
    return pd.Series([position[one] for one in own], index=runs.index, dtype="int64"), categories


def outdated(runs: pd.DataFrame) -> pd.Series:
    """Which of ``runs`` (oldest first, with ``place``) are not of the newest data and metrics of their category.

    The newest data are those of the latest run in the budget; of the runs on them, those that have the
    largest metric version count. A failed run may have no metric version. Runs under different protocols have
    different splits, made of one: that one is compared, and within a protocol the split itself.
    """
    where = [runs["budget"], runs["place"]]
    split = runs["split_hash"].fillna("")
    base = runs["base_split_hash"].where(runs["base_split_hash"].notna(), split)
    data = runs["dataset_fingerprint"].fillna("") + " " + base
    same = data == data.groupby(where).transform("last")
    same &= split == split.groupby([*where, protocol_labels(runs)]).transform("last")
    version = pd.to_numeric(runs["metric_version"]).astype("Float64").fillna(-1).astype(float)
    newest = version.where(same).groupby(where).transform("max")
    return ~same | ((runs["status"] == "ok") & (version < newest))


def _without_root(text: str) -> tuple[tuple[tuple[str, str], ...], str]:
    """A dataset's parameters apart from its folder, and the folder, "" if it has none."""
    known = dict(parameters(text))
    root = json.loads(known.pop("root", "null"))
    return tuple(sorted(known.items())), "" if root is None else str(root)


def _contents(
    keys: Iterable[tuple[Any, ...]],
) -> tuple[dict[tuple[Any, ...], dict[str, int]], dict[tuple[Any, ...], list[str]]]:
    """For each dataset, parameters and category: the content's number by folder, and a folder of each number."""
    groups: dict[tuple[Any, ...], list[tuple[dict[str, None], set[str]]]] = {}
    for dataset, text, category, _, fingerprint, _ in keys:
        params, root = _without_root(text)
        known = groups.setdefault((dataset, params, category), [])
        touching = [one for one in known if root in one[0] or fingerprint in one[1]]
        roots = {name: None for one in touching for name in one[0]} | {root: None}
        prints = {name for one in touching for name in one[1]} | ({fingerprint} if fingerprint else set())
        known[:] = [*(one for one in known if one not in touching), (roots, prints)]
    numbers = {
        unit: {root: number for number, (roots, _) in enumerate(known) for root in roots}
        for unit, known in groups.items()
    }
    return numbers, {unit: [list(roots)[-1] for roots, _ in known] for unit, known in groups.items()}


def _last_parts(folders: list[str]) -> list[str]:
    """The shortest ends of different paths that tell them apart."""
    parts = [[part for part in re.split(r"[/\\]", folder) if part] for folder in folders]
    for count in range(1, max(map(len, parts), default=0) + 1):
        ends = ["/".join(own[-count:]) for own in parts]
        if len(set(ends)) == len(ends):
            return ends
    return folders


def _labels(own: list[_Data], budgets: list[str], folders: dict[tuple[Any, ...], list[str]]) -> dict[_Data, str]:
    sizes: dict[str, set[int | None]] = {}
    choices: dict[str, set[tuple[tuple[str, str], ...]]] = {}
    pairs = dict.fromkeys(zip(own, budgets, strict=True))
    for one, budget in pairs:
        sizes.setdefault(budget, set()).add(one.size)
        choices.setdefault(one.dataset, set()).add(one.params)
    sized = {one for one, budget in pairs if len(sizes[budget]) > 1}
    varied = {dataset: differing(map(dict, found)) for dataset, found in choices.items()}
    labels: dict[_Data, str] = {}
    for one, _ in pairs:
        ends = _last_parts(folders[one.dataset, one.params, one.category])
        parts = [
            f"{one.dataset}/{one.category}",
            spelled(dict(one.params), varied[one.dataset]),
            ends[one.content] if len(ends) > 1 else "",
            f"{'unknown' if one.size is None else one.size} px" if one in sized else "",
            one.protocol,
        ]
        labels[one] = " · ".join(filter(None, parts))
    return labels
