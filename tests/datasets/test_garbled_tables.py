"""Tables with one letter wrong: word for word, each ends in a message, or no image has another label or role."""

import random
import re
from pathlib import Path
from typing import Any

import pytest

from adbench.datasets.errors import RequestError
from adbench.datasets.file_index import kept_in
from adbench.datasets.files import FilesDataset
from adbench.datasets.registry import open_dataset
from miniatures import ON_DISK

TABLES = {
    "dagm": "*/*/Label/Labels.txt",
    "dtd": "dtd/labels/*1.txt",
    "isic2018": "**/*.csv",
    "lag": "LAG/data.json",
    "mvtec_loco": "*/defects_config.json",
    "real_iad": "realiad_jsons/realiad_jsons/*.json",
    "visa": "split_csv/1cls.csv",
    "folder as visa": "split_csv/1cls.csv",
    "folder with a table": "list.csv",
}
WORDS = 200
"""Words that are garbled in all tables of a case together, about."""


@pytest.mark.parametrize("case", TABLES)
def test_a_wrong_letter_is_named_or_changes_no_label(case: str, tmp_path: Path) -> None:
    name, params, write = ON_DISK[case]
    root, rng = write(tmp_path / "data"), random.Random(case)

    def said() -> dict[tuple[str, str], tuple[Any, ...]] | None:
        """Label and role of each image; None where a message tells that something is wrong."""
        try:
            dataset = open_dataset(name, {"root": str(root), **params})
            assert isinstance(dataset, FilesDataset)
            if any(dataset.verify(category) for category in dataset.categories()):
                return None
            return {
                (category, sample.image_id): (sample.label, sample.role)
                for category in dataset.categories()
                for sample in dataset.samples(category)
            }
        except RequestError:
            return None

    words = [
        (table, found.span())
        for table in sorted(root.glob(TABLES[case]))
        for found in re.finditer(rb"[\w./ -]+", table.read_bytes())
    ]
    named = 0
    with kept_in(tmp_path / "cache"):
        before = said()
        assert before
        for table, span in words[:: max(1, len(words) // WORDS)]:
            intact = table.read_bytes()
            garbled = bytearray(intact)
            garbled[rng.randrange(*span)] ^= 1 << rng.randrange(6)
            table.write_bytes(garbled)
            after = said()
            assert after in (None, before), f"{table.name}, {intact[slice(*span)]!r} is {garbled[slice(*span)]!r}"
            named += after is None
            table.write_bytes(intact)
        assert said() == before
    assert named >= len(words) // 10 or case == "dagm"  # Whose masks say what its images are.
