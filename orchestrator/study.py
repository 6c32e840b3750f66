"""A search's Optuna study: kept in the results folder, continued after any death of the driver."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import optuna
from filelock import FileLock, Timeout
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from adbench.datasets.errors import RequestError
from adbench.orchestrator.search_space import Space, grid

Sampler = Literal["tpe", "random", "cmaes", "grid", "nsgaii"]
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def journal_path(out: str) -> Path:
    """The file in the results folder that holds all its studies; optuna-dashboard opens it."""
    return Path(out) / "sweeps" / "optuna.journal"


def open_storage(journal: Path) -> JournalStorage:
    """The storage in the file, which may be new."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(journal)))


@contextmanager
def alone(journal: Path, otherwise: str) -> Iterator[None]:
    """Keep other sweeps out of the folder: they would take our running trials for those of a driver that died.

    RequestError if one is at work there, with waiting for it as the remedy, or ``otherwise``.
    """
    journal.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(journal.with_suffix(".lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise RequestError(
            f"another sweep is at work in {journal.parent.parent}", remedy=f"wait for it, or {otherwise}"
        ) from error
    try:
        yield
    finally:
        lock.release()


def drop_torn_line(journal: Path) -> None:
    """Drop a last line that a full disk cut off. Only for one who writes alone: another's may be half written."""
    if journal.exists() and not (content := journal.read_bytes()).endswith(b"\n"):
        with journal.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


def stored_study(storage: BaseStorage, sweep_id: str) -> optuna.Study | None:
    """The study as it is, to be looked at; None if there is none."""
    try:
        return optuna.load_study(study_name=sweep_id, storage=storage)
    except KeyError:
        return None


def open_study(storage: BaseStorage, sweep_id: str, modes: Sequence[Literal["min", "max"]]) -> optuna.Study:
    """The study, new or as the last driver left it: what was running then has failed, and is to be tried again."""
    directions = [StudyDirection.MINIMIZE if mode == "min" else StudyDirection.MAXIMIZE for mode in modes]
    study = optuna.create_study(storage=storage, study_name=sweep_id, directions=directions, load_if_exists=True)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.set_user_attr(f"lost-{trial.number}", True)
        study.enqueue_trial(trial.params)
    return study


def ended(study: optuna.Study) -> int:
    """How many trials of the budget are spent; those that a death of the driver cost are not."""
    return len(study.get_trials(deepcopy=False, states=_ENDED)) - lost(study)


def lost(study: optuna.Study) -> int:
    """How many trials a death of the driver cost; each is tried again."""
    return sum(name.startswith("lost-") for name in study.user_attrs)


def make_sampler(name: Sampler, space: Space, seed: int) -> optuna.samplers.BaseSampler:
    """The sampler by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "tpe":
            # Trials run side by side: the constant liar keeps them from all trying the same place.
            return optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)
        if name == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        if name == "nsgaii":
            return optuna.samplers.NSGAIISampler(seed=seed)
        if name == "grid":
            return optuna.samplers.GridSampler(grid(space), seed=seed)
        return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)


def best(study: optuna.Study) -> tuple[dict[str, Any], tuple[float, ...]] | None:
    """Parameters, as Optuna stores them, and values of the best trial (by the first objective); None without one."""
    found = next(iter(best_first(study)), None)
    return None if found is None else (dict(found.params), tuple(found.values))


def best_first(study: optuna.Study) -> list[FrozenTrial]:
    """The complete trials, by the first objective; of equals the earlier one first."""
    sign = -1 if study.directions[0] == StudyDirection.MAXIMIZE else 1
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(complete, key=lambda trial: (sign * trial.values[0], trial.number))


def try_first(study: optuna.Study, settings: Sequence[Mapping[str, Any]]) -> None:
    """Have these settings, as Optuna stores them, tried before any other, unless they were before."""
    for setting in settings:
        study.enqueue_trial(dict(setting), skip_if_exists=True)
