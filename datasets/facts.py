"""What is known of a dataset, as text: for `adbench show dataset` and docs/datasets.md."""

from adbench.datasets.base import Dataset, DatasetRecord


def dataset_facts(kind: type[Dataset]) -> list[tuple[str, str]]:
    """What the dataset's record says, a label and its text each, in the order in which they are shown."""
    record = kind.record
    known = {
        "title": record.title,
        "home page": record.home,
        "licence": record.licence,
        "citation": record.citation,
        "get it": how_to_get(kind),
        "layout": record.layout,
        "images": published_images(record),
        "splits": record.splits,
        "masks": record.masks,
        "known problems": record.known_problems,
        "version": record.version,
    }
    return [(label, text) for label, text in known.items() if text is not None]


def how_to_get(kind: type[Dataset]) -> str | None:
    """The command that puts the dataset on disk, and what has to be fetched by hand for it; None where there is
    nothing to put there."""
    record = kind.record
    if record.home == "-" or "root" not in kind.config_class.model_fields:
        return None
    if record.can_be_fetched:
        return f"adbench data prepare {record.name} --download"
    names = " ".join([archive.name for archive in record.archives[:3]] + ["..."] * (len(record.archives) > 3))
    archives = names or "its archives"
    return f"{archives} from the home page, then: adbench data prepare {record.name} {names or 'ARCHIVE...'}"


def published_images(record: DatasetRecord) -> str | None:
    """How many images and categories are published; None where the record does not know it of all categories."""
    complete = [counts for counts in record.counts.values() if any(part.endswith("anomalous") for part in counts)]
    if not complete or len(complete) < len(record.counts):
        return None
    images = sum(sum(counts.values()) for counts in complete)
    return f"{images:,} in {len(complete)} categor{'y' if len(complete) == 1 else 'ies'}, as published"
