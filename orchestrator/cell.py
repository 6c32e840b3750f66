"""The unit of work and its identity."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from adbench.datasets.base import Modality
from adbench.datasets.protocol import Protocol
from adbench.orchestrator.request import Budget

_NOT_TRAINING = {"suite", "dataset_params", "modality", "command", "variant", "metric_version", "preset"}
_NOT_TRAINING |= {"watch", "sweep_id", "selection", "workers", "protocol", "base_split_hash", "trained_on"}
_OF_ONE_CATEGORY = {"category", "fingerprint", "split_hash"}
_METRIC_VERSION = re.compile(r"-m\d+$")


class Watch(BaseModel):
    """What a search looks at: a metric, also at shares of the training (0 to 1) before its end.

    Trials see the validation split alone; ``test`` only for a user who insists on choosing by it.
    """

    model_config = ConfigDict(frozen=True)

    metric: str
    shares: tuple[float, ...] = ()
    test: bool = False


class Cell(BaseModel):
    """One (method, params, dataset, category, seed, budget): the unit of work.

    Its ``run_id`` is a hash of everything that can change its scores and maps (also the method's version, the images'
    content and the split) and the metric version. Where the data lies, the suite and the device are not part of it.
    """

    model_config = ConfigDict(frozen=True)

    suite: str
    method: str
    method_version: str
    params: dict[str, Any]
    dataset: str
    dataset_params: dict[str, Any]
    category: str
    modality: Modality
    fingerprint: str
    split_seed: int
    split_hash: str
    """Of the split with its whole pool of labelled anomalies: the same for methods that are to be compared."""
    protocol: Protocol = Protocol()
    base_split_hash: str | None = None
    """Of the split as it is without the protocol; None where none is asked for."""
    trained_on: dict[str, str] = {}
    """Fingerprints of the categories that its model is trained on; empty if it is its own category alone."""
    seed: int
    budget: Budget
    image_size: int
    workers: int = 1
    """Of the lane, which share every batch."""
    metric_version: int
    preset: tuple[str, ...] = ()
    """Parameters whose value is the method's own choice for this budget and data."""
    files: dict[str, str] = {}
    """Content hash of each file that a parameter names; where the file lies is not part of the identity."""
    command: str
    """Repeats exactly this cell."""
    variant: str = ""
    """The parameters by which a plan's cells of one method differ, for messages."""
    sweep_id: str | None = None
    selection: Literal["none", "val", "test"] = "none"
    """On what the search ``sweep_id`` chose the parameters; "none" also for its trials, which are proposals."""
    watch: Watch | None = None
    """Of a search's trial; None for a result."""

    @cached_property
    def run_id(self) -> str:
        """20 hex digits, "-m" and the metric version."""
        return with_metric_version(_digest(self._identity()), self.metric_version)

    @cached_property
    def fit_id(self) -> str | None:
        """What cells have in common that are judged on one model; None if the cell has a model to itself."""
        if not self.trained_on:
            return None
        of_all = {key: value for key, value in self._identity().items() if key not in _OF_ONE_CATEGORY}
        # The split is made of the images as these parameters have them.
        return _digest({**of_all, "dataset_params": self.dataset_params})

    def _identity(self) -> dict[str, Any]:
        identity = self.model_dump(mode="json", exclude=_NOT_TRAINING)
        identity["params"] = {key: value for key, value in self.params.items() if key not in self.files}
        if self.watch is not None:  # A trial must not pass for a result: it is not trained to be one.
            identity["trial"] = "test" if self.watch.test else "val"
        if self.selection != "none":  # Also where an ordinary run has these parameters and this seed.
            identity["tuned"] = self.sweep_id
        if asked := self.protocol.asked():
            identity["protocol"] = asked
        if self.workers > 1:  # What several add up differs in the last bits.
            identity["workers"] = self.workers
        if self.trained_on:
            identity["trained_on"] = self.trained_on
        return identity

    @property
    def label(self) -> str:
        """How messages name the cell."""
        return f"{self.method}{self.variant and f' ({self.variant})'} {self.dataset}/{self.category} seed {self.seed}"


def by_model(cells: Iterable[Cell]) -> list[list[Cell]]:
    """The cells in groups that are judged on one model each; most are alone."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.fit_id or cell.run_id, []).append(cell)
    return list(groups.values())


def training_of(run_id: str) -> str:
    """The part of a ``run_id`` that runs share if they differ in nothing but the metric version."""
    return _METRIC_VERSION.sub("", run_id)


def with_metric_version(run_id: str, metric_version: int) -> str:
    """The ``run_id`` of the same training under another metric version."""
    return f"{training_of(run_id)}-m{metric_version}"


def _digest(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:20]


def canonical_json(value: Any) -> str:
    """Equal values give equal text: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
