"""`adbench data`: archives to a verified dataset, and what verifying it found, as text."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adbench.datasets.errors import RequestError
from adbench.datasets.prepare import PREPARED, Checked, prepare, verify
from adbench.datasets.registry import dataset_class
from adbench.orchestrator.environment import adbench_version
from adbench.orchestrator.keys import dataset_root, plain_keys
from adbench.orchestrator.listing import render_table
from adbench.orchestrator.overrides import parse_overrides
from adbench.orchestrator.terminal import echo

_PARTS = ("", "train", "val", "test")
"""Parts of a dataset in the order of their columns."""


def run_prepare(name: str, words: Sequence[str], fetch: bool, force: bool) -> bool:
    """Prepare the dataset from the archives among the words, and print what came of it; whether all is well."""
    assignments = [word for word in words if re.match(r"[\w.]+=", word) and not Path(word).exists()]
    archives = [Path(word) for word in words if word not in assignments]
    keys, params = _read(assignments, "data_root")
    if "root" in params:
        raise RequestError(
            "dataset.root has no meaning here: the dataset goes to data_root/NAME", remedy="give data_root=FOLDER"
        )
    data_root = keys.get("data_root")
    checked = prepare(
        name,
        archives,
        dataset_root(name, None, data_root).parent,
        params,
        fetch=fetch,
        force=force,
        version=adbench_version(),
        say=echo,
    )
    echo(_page(checked))
    echo(f"prepared: {checked.root} ({PREPARED} in it says of what)")
    echo(" ".join([f"use it:   adbench run suite=... dataset={name}", *assignments]))
    return not checked.problems


def run_verify(name: str, words: Sequence[str]) -> bool:
    """Verify the dataset and print every problem; whether there is none."""
    keys, params = _read(words, "data_root", "root")
    if "root" in params:
        keys["root"] = str(params.pop("root"))
    takes_root = "root" in dataset_class(name).config_class.model_fields
    root = dataset_root(name, keys.get("root"), keys.get("data_root")) if takes_root or keys else None
    checked = verify(name, root, params, say=echo)
    echo(_page(checked))
    return not checked.problems


def _read(words: Sequence[str], *known: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Plain keys, and parameters of the dataset as `adbench run` takes them (dataset.KEY=VALUE)."""
    of_dataset = [word for word in words if word.startswith("dataset.")]
    keys = plain_keys([word for word in words if word not in of_dataset], *known)
    return keys, parse_overrides(of_dataset).dataset_params


def _page(checked: Checked) -> str:
    found_parts = {part for category in checked.categories for part in category.counts}
    parts = sorted(found_parts, key=lambda part: (_PARTS.index(part.rpartition(" ")[0]), part.endswith("anomalous")))
    rows = [
        (
            category.name,
            *(str(category.counts.get(part, 0)) for part in parts),
            str(len(category.problems)),
            category.fingerprint or "-",
        )
        for category in checked.categories
    ]
    table = render_table(("category", *parts, "problems", "fingerprint"), rows)
    found = [f"  {problem}" for problem in checked.problems]
    verdict = f"{len(found)} problem(s):" if found else "no problems"
    return "\n".join([table, verdict, *found])
