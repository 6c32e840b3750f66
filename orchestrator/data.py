"""`adbench data`: archives to a verified dataset, and what verifying it found, as text."""

import re
from collections.abc import Sequence
from pathlib import Path

import click

from adbench.datasets.prepare import PREPARED, Checked, prepare, verify
from adbench.datasets.registry import dataset_class
from adbench.orchestrator.environment import adbench_version
from adbench.orchestrator.keys import dataset_root, plain_keys
from adbench.orchestrator.listing import render_table

_PARTS = ("", "train", "val", "test")
"""Parts of a dataset in the order of their columns."""


def run_prepare(name: str, words: Sequence[str], fetch: bool, force: bool) -> bool:
    """Prepare the dataset from the archives among the words, and print what came of it; whether all is well."""
    keys = [word for word in words if re.match(r"\w+=", word) and not Path(word).exists()]
    archives = [Path(word) for word in words if word not in keys]
    data_root = plain_keys(keys, "data_root").get("data_root")
    checked = prepare(
        name,
        archives,
        dataset_root(name, None, data_root).parent,
        fetch=fetch,
        force=force,
        version=adbench_version(),
        say=click.echo,
    )
    click.echo(_page(checked))
    click.echo(f"prepared: {checked.root} ({PREPARED} in it says of what)")
    click.echo(f"use it:   adbench run suite=... dataset={name}" + (f" data_root={data_root}" if data_root else ""))
    return not checked.problems


def run_verify(name: str, words: Sequence[str]) -> bool:
    """Verify the dataset and print every problem; whether there is none."""
    keys = plain_keys(words, "data_root", "root")
    takes_root = "root" in dataset_class(name).config_class.model_fields
    root = dataset_root(name, keys.get("root"), keys.get("data_root")) if takes_root or keys else None
    checked = verify(name, root, say=click.echo)
    click.echo(_page(checked))
    return not checked.problems


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
