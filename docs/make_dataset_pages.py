"""Writes what docs/datasets.md says of each dataset, from the records: ``python docs/make_dataset_pages.py``."""

import re
from collections.abc import Iterator
from pathlib import Path

from adbench.datasets.base import Dataset
from adbench.datasets.facts import dataset_facts
from adbench.datasets.files import FilesConfig
from adbench.datasets.parameters import describe_field
from adbench.datasets.registry import dataset_class, dataset_names

PAGE = Path(__file__).parent / "datasets.md"
LINES_OF_THEIR_OWN = ("licence", "get it", "layout", "images", "splits", "masks", "known problems")


def public_datasets() -> list[type[Dataset]]:
    """Those that somebody has published and adbench itself knows."""
    kinds = [dataset_class(name) for name in dataset_names()]
    return [k for k in kinds if k.record.home.startswith("http") and k.__module__.startswith("adbench.")]


def overview() -> Iterator[str]:
    """A row for each dataset."""
    yield "| dataset | what | images | masks | licence | get it |"
    yield "|---|---|---|---|---|---|"
    for kind in public_datasets():
        record, facts = kind.record, dict(dataset_facts(kind))
        images = facts.get("images", "").removesuffix(", as published")
        masks = "no" if record.masks.startswith("none") else "yes"
        how = "`--download`" if record.can_be_fetched else "by hand" if "get it" in facts else "package"
        cells = (f"[{record.name}](#{record.name})", _text(record.title), images, masks, _text(record.licence), how)
        yield f"| {' | '.join(cells)} |"


def sections() -> Iterator[str]:
    """What `adbench show dataset` says, dataset by dataset."""
    for kind in public_datasets():
        record, facts = kind.record, dict(dataset_facts(kind))
        yield f"\n### {record.name}"
        yield f"{_text(record.title)}. {_text(record.citation)}. [Home page]({record.home}).\n"
        yield from (f"- **{label}**: {_text(facts[label])}" for label in LINES_OF_THEIR_OWN if label in facts)
        for key, field in kind.config_class.model_fields.items():
            if key not in FilesConfig.model_fields:
                allowed = f"{describe_field(field)}; default {field.default}"
                yield f"- **dataset.{_text(key)}** ({_text(allowed)}): {_text(field.description or '')}"


def written(page: str) -> str:
    """The page with what stands between its marks written anew."""
    for mark, lines in (("overview", overview()), ("sections", sections())):
        begin, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}{chr(10).join(lines)}\n{end}{rest.partition(end)[2]}"
    return page


def _text(plain: str) -> str:
    """Plain text, written so that Markdown shows it as it is."""
    return re.sub(r"([\\*_<|`\[\]])", r"\\\1", plain)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
