"""The Optuna studies of recorded searches, read from the journal in the results folder without touching it."""

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from adbench.reports.files import Folder

JOURNAL = "sweeps/optuna.journal"
_BACK = "Put the file back, or search anew with the same command"


def read_studies(folder: Folder, sweep_ids: Collection[str]) -> tuple[dict[str, optuna.Study], dict[str, str]]:
    """The studies by sweep_id, and for each that cannot be read the reason, as a sentence."""
    with folder.explained("read the results folder"):
        if not folder.exists(JOURNAL):
            return {}, dict.fromkeys(sweep_ids, f"The trials are not here: {JOURNAL} is missing. {_BACK}.")
        content = folder.read(JOURNAL)
    try:
        stored = _studies_in(content)
    except Exception as error:  # what a damaged journal makes Optuna raise is open
        problem = f"The trials cannot be read: {JOURNAL} is damaged ({type(error).__name__}). {_BACK}."
        return {}, dict.fromkeys(sweep_ids, problem)
    absent = f"The trials of this sweep are not in {JOURNAL}. {_BACK}."
    found = {name: stored[name] for name in sweep_ids if name in stored}
    return found, {name: absent for name in sweep_ids if name not in stored}


def _studies_in(content: bytes) -> dict[str, optuna.Study]:
    with tempfile.TemporaryDirectory(prefix="adbench-journal-") as scratch, quiet():
        copy = Path(scratch) / "optuna.journal"
        copy.write_bytes(content[: content.rfind(b"\n") + 1])  # the last line may be half written
        storage = JournalStorage(JournalFileBackend(str(copy)))
        names = [study.study_name for study in storage.get_all_studies()]
        return {name: _in_memory(optuna.load_study(study_name=name, storage=storage)) for name in names}


def _in_memory(study: optuna.Study) -> optuna.Study:
    trials = study.get_trials(deepcopy=False)
    return _study_of(study, [trial if trial.state.is_finished() else _blank() for trial in trials])


def thinned(study: optuna.Study, most: int) -> optuna.Study:
    """The study with at most ``most`` complete trials, evenly spaced, the best ones among them; numbers stay."""
    trials = study.get_trials(deepcopy=False)
    complete = [trial.number for trial in trials if trial.state == TrialState.COMPLETE]
    if len(complete) <= most:
        return study
    best = [trial.number for trial in study.best_trials][: most // 2]
    rest = [number for number in complete if number not in set(best)]
    room = most - len(best)
    kept = {*best, *(rest[index * len(rest) // room] for index in range(room))}
    return _study_of(study, [trial if trial.number in kept else _blank() for trial in trials])


def _study_of(study: optuna.Study, trials: list[FrozenTrial]) -> optuna.Study:
    with quiet():
        own = optuna.create_study(directions=study.directions)
        own.add_trials(trials)
    return own


def _blank() -> FrozenTrial:
    """Holds the number of a trial that is not shown."""
    return create_trial(state=TrialState.FAIL)


@contextmanager
def quiet() -> Iterator[None]:
    """No message of Optuna during the block."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
