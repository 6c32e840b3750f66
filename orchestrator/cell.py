"""The unit of work and its identity."""

import hashlib
import json
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict

from adbench.datasets.base import Modality
from adbench.orchestrator.request import Budget

_NOT_IDENTITY = {"suite", "dataset_params", "modality", "command", "variant"}


class Cell(BaseModel):
    """One (method, params, dataset, category, seed, budget): the unit of work.

    Its ``run_id`` is a hash of everything that can change its numbers: also the method's version, the images' content
    and the split. Where the data lies, the suite and the device are not part of it.
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
    seed: int
    budget: Budget
    image_size: int
    metric_version: int
    files: dict[str, str] = {}
    """Content hash of each file that a parameter names; where the file lies is not part of the identity."""
    command: str
    """Repeats exactly this cell."""
    variant: str = ""
    """The parameters by which a plan's cells of one method differ, for messages."""

    @cached_property
    def run_id(self) -> str:
        """20 hex digits."""
        identity = self.model_dump(mode="json", exclude=_NOT_IDENTITY)
        identity["params"] = {key: value for key, value in self.params.items() if key not in self.files}
        return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:20]

    @property
    def label(self) -> str:
        """How messages name the cell."""
        return f"{self.method}{self.variant and f' ({self.variant})'} {self.dataset}/{self.category} seed {self.seed}"


def canonical_json(value: Any) -> str:
    """Equal values give equal text: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
