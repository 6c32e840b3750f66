"""The Optuna studies of one results folder into another's journal, by Optuna's own means."""

import tempfile
from pathlib import Path

import optuna
from optuna.storages import BaseStorage

from adbench.orchestrator.study import drop_torn_line, ended, open_storage, stored_study
from adbench.reports.errors import StoreError
from adbench.reports.files import Folder
from adbench.reports.studies import JOURNAL, quiet


def check_journal(folder: Folder) -> None:
    """StoreError if the folder has a journal that cannot be read."""
    with tempfile.TemporaryDirectory(prefix="adbench-journal-") as scratch, quiet():
        _storage_of(folder, Path(scratch) / "journal")


def merge_studies(source: Folder, target: Folder) -> list[str]:
    """Copy the studies that ``target`` lacks, or of which it has fewer ended trials; what was done, as lines.

    The journal of ``target`` is replaced in one step, if at all: no sweep may be at work there.
    """
    with tempfile.TemporaryDirectory(prefix="adbench-journal-") as scratch, quiet():
        journal = Path(scratch) / "target"
        theirs, ours = _storage_of(source, Path(scratch) / "source"), _storage_of(target, journal)
        lines, changed = [], False
        for name in sorted(optuna.get_all_study_names(theirs)):
            there, here = (_ended(storage, name) for storage in (theirs, ours))
            if here is not None and there is not None and there != here:
                stays = "replaces the one with" if there > here else "is left out for the one with"
                lines.append(f"study {name}: the one with {there} ended trial(s) {stays} {here}")
            if here is None or (there is not None and there > here):
                changed = True
                _copy(theirs, ours, name)
        if changed:
            with target.explained("write to the results folder"):
                target.make("sweeps")
                target.write(JOURNAL, journal.read_bytes())
    return lines


def _storage_of(folder: Folder, journal: Path) -> BaseStorage:
    """The studies of a results folder in a copy of its journal, ``journal``."""
    with folder.explained("read the results folder"):
        if folder.exists(JOURNAL):
            journal.write_bytes(folder.read(JOURNAL))
    drop_torn_line(journal)  # a sweep may be writing it
    try:
        return open_storage(journal)
    except Exception as error:  # what a damaged journal makes Optuna raise is open
        raise StoreError(
            f"Cannot read {JOURNAL} of {folder.shown!r}: it is damaged ({type(error).__name__}).",
            "Put the file back, or move it away and do without its trials.",
        ) from error


def _ended(storage: BaseStorage, name: str) -> int | None:
    """How many trials of the study have ended; None without the study."""
    study = stored_study(storage, name)
    return None if study is None else ended(study)


def _copy(source: BaseStorage, target: BaseStorage, name: str) -> None:
    if stored_study(target, name) is not None:
        optuna.delete_study(study_name=name, storage=target)
    optuna.copy_study(from_study_name=name, from_storage=source, to_storage=target)
