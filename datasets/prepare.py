"""From downloaded archives to a dataset on disk that is known to be whole, and later: is it still?"""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from adbench.datasets.archives import unpack
from adbench.datasets.base import Archive, Dataset, DatasetRecord
from adbench.datasets.download import download, md5_of
from adbench.datasets.errors import RequestError
from adbench.datasets.files import FilesDataset, image_counts
from adbench.datasets.registry import dataset_class, open_dataset

PREPARED = "adbench-prepared.json"
"""What a prepared dataset was made of; lies in its folder."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class CheckedCategory:
    """What a category holds: images by their part ("train normal"), content hash, and what is wrong with it."""

    name: str
    counts: Mapping[str, int]
    fingerprint: str | None
    """None where it cannot be told."""
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Checked:
    """A dataset that was looked through; ``root`` is None where it needs none."""

    name: str
    root: Path | None
    categories: tuple[CheckedCategory, ...]
    changes: tuple[str, ...] = ()
    """Where it is not what was prepared."""

    @property
    def problems(self) -> tuple[str, ...]:
        """All of them, each a sentence."""
        return (*self.changes, *(problem for category in self.categories for problem in category.problems))


@dataclass(frozen=True)
class _Source:
    """An archive that the user has; ``into`` is the folder under the dataset's root for its content."""

    path: Path
    md5: str
    into: str


def verify(name: str, root: Path | None, params: Mapping[str, Any], say: Say) -> Checked:
    """Look at every file of the dataset in ``root``, opened with ``params``: unreadable ones, masks, tables, numbers
    of images, and whether all is as it was prepared. Raises RequestError if it is not there at all."""
    if not _on_disk(name):
        if root is not None:
            raise RequestError(f"dataset '{name}' has no folder", remedy=f"adbench data verify {name}")
        return Checked(name, None, _checked(open_dataset(name, params), say))
    assert root is not None
    categories = _checked(open_dataset(name, {**params, "root": str(root)}), say)
    return Checked(name, root, categories, tuple(_changes(name, root, params, categories)))


def prepare(
    name: str,
    archives: Sequence[Path],
    data_root: Path,
    params: Mapping[str, Any],
    *,
    fetch: bool = False,
    force: bool = False,
    version: str,
    say: Say,
) -> Checked:
    """Unpack the dataset's archives to ``data_root/name`` and verify what came of them, opened with ``params``.

    With ``fetch`` those that have a public address are downloaded first. The dataset appears only when all archives
    are unpacked and hold it; with ``force`` it takes the place of one that was prepared earlier. ``version`` of
    adbench is noted. Raises RequestError, and leaves nothing but complete downloads and their parts, if it cannot.
    """
    if not _on_disk(name):
        layout = dataset_class(name).record.layout
        raise RequestError(f"dataset '{name}' needs no preparation: {layout}", remedy=f"adbench data verify {name}")
    record = dataset_class(name).record
    target = data_root / name
    given = _existing(record, archives)
    with _alone(target):
        _refuse_replacing(target, force)
        if fetch:
            given += _fetched(record, given, target, say)
        if not given and name == "folder":
            raise RequestError(
                "dataset 'folder' is whatever folder of yours you name: there is nothing to prepare",
                remedy="check it with adbench data verify folder dataset.root=PATH, or unpack one with\n"
                "           adbench data prepare folder ARCHIVE...",
            )
        if not given:
            raise _by_hand(record, record.archives, f"no archive of dataset '{name}' was given")
        sources = _recognised(record, given, say)
        facts: dict[str, Any] = {
            "dataset": name,
            "prepared": datetime.now(UTC).isoformat(timespec="seconds"),
            "adbench_version": version,
            "archives": [{"name": s.path.name, "bytes": s.path.stat().st_size, "md5": s.md5} for s in sources],
            "params": dict(params),
            "fingerprints": {},
        }
        _unpack_all(record, sources, target, facts, say)
        categories = _checked(open_dataset(name, {**params, "root": str(target)}), say)
        facts["fingerprints"] = {category.name: category.fingerprint for category in categories}
        _write(target, facts)
    return Checked(name, target, categories)


def _on_disk(name: str) -> bool:
    return "root" in dataset_class(name).config_class.model_fields


def _existing(record: DatasetRecord, archives: Sequence[Path]) -> list[Path]:
    paths = list(dict.fromkeys(path.expanduser().absolute() for path in archives))
    for path in paths:
        if path.is_dir():
            raise RequestError(
                f"{path} is a folder, not an archive",
                remedy=f"if it holds the unpacked dataset: adbench data verify {record.name} root={path}",
            )
        if not path.is_file():
            raise RequestError(
                f"{path} does not exist",
                allowed=_names(record.archives) or None,
                remedy=f"get it from {record.home} (licence: {record.licence})",
            )
    return paths


def _names(archives: Sequence[Archive]) -> str:
    return ", ".join(archive.name for archive in archives)


def _by_hand(record: DatasetRecord, archives: Sequence[Archive], problem: str) -> RequestError:
    """The error that tells how to get what adbench cannot fetch, or was not asked to."""
    offer = f"\n           or let adbench fetch them: adbench data prepare {record.name} --download"
    return RequestError(
        problem,
        allowed=_names(archives) or "the archives as they are published",
        remedy=f"get them from {record.home} (licence: {record.licence}), then\n"
        f"           adbench data prepare {record.name} {' '.join(a.name for a in archives[:3]) or 'ARCHIVE'}"
        + (" ..." if len(archives) > 3 or not archives else "")
        + (offer if record.can_be_fetched else ""),
    )


def _fetched(record: DatasetRecord, given: Sequence[Path], target: Path, say: Say) -> list[Path]:
    """The archives beyond those given, downloaded to a folder beside the dataset unless they are there already."""
    here = {path.name for path in given}
    wanted = [archive for archive in record.archives if archive.name not in here]
    private = [archive for archive in wanted if not archive.url]
    if private or not record.archives:
        raise _by_hand(record, private, f"dataset '{record.name}' has no plain public address")
    folder = target.parent / "downloads" / record.name
    say(f"{record.title}, from {record.home}; licence: {record.licence}; downloaded to {folder}")
    paths = []
    for archive in wanted:
        path = folder / archive.name
        paths.append(path)
        if path.is_file() and (archive.md5 is None or md5_of(path) == archive.md5):
            say(f"already there: {path} (remove it to have it fetched anew)")
            continue
        assert archive.url is not None
        say(f"downloading {archive.url}")
        by_hand = f"fetch {archive.url} by hand, then\n           adbench data prepare {record.name} {archive.name}"
        more = " ..." if len(record.archives) > 1 else ""
        download(archive.url, path, md5=archive.md5, remedy=by_hand + more)
    return paths


def _recognised(record: DatasetRecord, paths: Sequence[Path], say: Say) -> list[_Source]:
    """What each archive is, by its name or else its content; RequestError for one that is not what its name says."""
    sources, seen = [], set()
    for path in paths:
        try:
            md5 = md5_of(path)
        except OSError as failure:
            raise RequestError(
                f"{path} cannot be read: {failure.strerror}", remedy="give a file that you may read"
            ) from None
        known = next((a for a in record.archives if a.name == path.name), None)
        known = known or next((a for a in record.archives if a.md5 == md5), None)
        if known is None and record.archives:
            say(f"note: {path.name} is none of the published archives, {_names(record.archives)}; it is not compared")
        if known and known.md5 and known.md5 != md5:
            raise RequestError(
                f"{path} is not the published file: its md5 is {md5}, not {known.md5}",
                remedy=f"fetch it again from {known.url or record.home}; if it is meant to differ, give it another "
                "name, and it is not compared",
            )
        seen.add(known)
        sources.append(_Source(path, md5, known.into if known else ""))
    absent = [archive for archive in record.archives if archive not in seen]
    if absent:
        say(f"note: not given, so not unpacked: {_names(absent)}")
    return sources


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """No other process prepares the same dataset during the block."""
    lock = target.with_name(f".{target.name}.lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock, timeout=0):
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    lock.unlink()
    except Timeout:
        raise RequestError(
            f"another `adbench data prepare` is at work on {target}", remedy="wait until it has ended"
        ) from None
    except OSError as failure:
        raise RequestError(
            f"cannot write to {failure.filename or target.parent}: {failure.strerror or failure}",
            remedy="choose another folder with data_root=FOLDER",
        ) from None


def _refuse_replacing(target: Path, force: bool) -> None:
    replaced = _replaced(target)
    if replaced.exists() and not target.exists():  # An exchange was cut short: the old dataset is still there.
        replaced.rename(target)
    shutil.rmtree(replaced, ignore_errors=True)
    if not target.exists() and not target.is_symlink():
        return
    foreign = target.is_symlink() or not target.is_dir()
    if foreign or (any(target.iterdir()) and not (target / PREPARED).is_file()):
        raise RequestError(
            f"{target} exists, and it was not made by `adbench data prepare`",
            remedy=f"if it is the dataset: adbench data verify {target.name} root={target}; "
            "else move it away, or choose another folder with data_root=FOLDER",
        )
    if any(target.iterdir()) and not force:
        raise RequestError(
            f"dataset '{target.name}' is prepared already: {target}",
            remedy=f"check it with adbench data verify {target.name} root={target}, or replace it with --force",
        )


def _unpack_all(
    record: DatasetRecord, sources: Sequence[_Source], target: Path, facts: Mapping[str, Any], say: Say
) -> None:
    """All archives to a folder beside the target, which then becomes the target, or is removed."""
    unpacked = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(unpacked, ignore_errors=True)  # left by a process that was killed
    try:
        for source in sources:
            say(_placed(source, unpacked / source.into))
        _refuse_other_content(record, sources, unpacked, facts["params"])
        _write(unpacked, facts)
        _exchange(unpacked, target)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _placed(source: _Source, folder: Path) -> str:
    """Unpack an archive into the folder, or copy a table that is handed out by itself; what was done."""
    if source.path.suffix == ".csv":
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.path, folder / source.path.name)
        return f"copied {source.path.name}"
    return f"unpacked {source.path.name}: {unpack(source.path, folder):,} files"


def _refuse_other_content(
    record: DatasetRecord, sources: Sequence[_Source], unpacked: Path, params: Mapping[str, Any]
) -> None:
    try:
        open_dataset(record.name, {**params, "root": str(unpacked)})
    except RequestError as error:
        seen = ", ".join(sorted(path.name for path in unpacked.iterdir())[:8])
        names = ", ".join(source.path.name for source in sources)
        raise RequestError(
            f"{names}: this is not dataset '{record.name}', or not all of it; unpacked, it holds {seen}",
            allowed=error.allowed or record.layout,
            remedy=f"give the archives of {record.home}"
            + (f": {_names(record.archives)}" if record.archives else ""),
        ) from error


def _exchange(unpacked: Path, target: Path) -> None:
    replaced = _replaced(target)
    if target.exists():
        target.rename(replaced)
    try:
        unpacked.rename(target)
    except OSError:
        if replaced.exists():
            replaced.rename(target)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _replaced(target: Path) -> Path:
    return target.with_name(f".{target.name}.replaced")


def _checked(dataset: Dataset, say: Say) -> tuple[CheckedCategory, ...]:
    names = dataset.categories()
    checked = []
    for number, name in enumerate(names, 1):
        say(f"checking {dataset.record.name}/{name} ({number} of {len(names)})")
        checked.append(_check(dataset, name))
    return tuple(checked)


def _check(dataset: Dataset, name: str) -> CheckedCategory:
    problems: list[str] = []
    try:
        problems += dataset.verify(name)
        if isinstance(dataset, FilesDataset):  # As it lies there: the chosen split may leave images out.
            counts = image_counts(dataset.found(name).samples)
            problems += dataset.count_problems(name)
        else:
            counts = image_counts(dataset.samples(name))
        return CheckedCategory(name, counts, dataset.fingerprint(name), tuple(problems))
    except RequestError as error:  # Such as a missing table: the others are looked at all the same.
        return CheckedCategory(name, {}, None, (*problems, f"{name}: {error.problem}"))


def _changes(
    name: str, root: Path, params: Mapping[str, Any], categories: Sequence[CheckedCategory]
) -> Iterator[str]:
    path = root / PREPARED
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        known: dict[str, str] = dict(facts["fingerprints"])
        then: dict[str, Any] = dict(facts["params"])
        when = f"prepared on {str(facts['prepared'])[:10]} by adbench {facts['adbench_version']}"
    except FileNotFoundError:  # Arranged by hand.
        return
    except (OSError, ValueError, TypeError, KeyError) as error:
        yield f"{path} cannot be read ({error}): nobody knows whether the files are those that were prepared"
        return
    if not known:  # It was prepared, but nobody waited until it was verified.
        return
    if then != params:  # What files count may depend on them.
        dataset = open_dataset(name, {**then, "root": str(root)})
        categories = [_check(dataset, category) for category in dataset.categories()]
    now = {category.name: category.fingerprint for category in categories}
    for category in sorted({*known, *now}):
        if category not in now:
            yield f"{root}: category '{category}' was {when}, and is no longer there"
        elif category not in known:
            yield f"{root}: category '{category}' is not among those that were {when}"
        elif known[category] != now[category]:
            prints = f"fingerprint {known[category]}, now {now[category]}"
            yield f"{root}: category '{category}' is no longer what was {when} ({prints})"


def _write(folder: Path, facts: Mapping[str, Any]) -> None:
    temporary = folder / f".{PREPARED}"
    temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    temporary.replace(folder / PREPARED)
