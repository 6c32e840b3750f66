"""What a suite sets out to show: that one method, or one setting of it, is better than another."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from adbench.benchmark_suites.metrics import METRICS


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Side(_Frozen):
    """Runs of a method whose parameters include ``params``; other parameters may have any value, but only one."""

    method: str
    params: dict[str, Any] = Field(default_factory=dict)

    def covers(self, method: str, params: Mapping[str, Any]) -> bool:
        """Whether a run of ``method`` with all its ``params`` (as read from JSON) is of this side."""
        wanted = json.loads(json.dumps(self.params))  # tuples become lists
        return method == self.method and all(key in params and params[key] == wanted[key] for key in wanted)


class Claim(_Frozen):
    """``better`` has better values of ``metrics`` than ``than``, each judged by itself, on the suite's data.

    ``kind`` "control" is no claim of a paper, but a comparison without which a claim means little.
    """

    text: str
    better: Side
    than: Side
    metrics: tuple[str, ...] = Field(min_length=1)
    kind: Literal["claim", "control"] = "claim"

    @field_validator("metrics")
    @classmethod
    def _known_metrics(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in METRICS:
                raise ValueError(f"'{name}' is no metric; one of " + ", ".join(METRICS))
        return names
