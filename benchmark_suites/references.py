"""Numbers that others have published, to be seen beside a suite's own: never ranked with them."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from adbench.benchmark_suites.metrics import METRICS


class Reference(BaseModel):
    """``value`` of ``metric`` that ``source`` states for ``method``; ``category`` None: the mean over all of them.

    Values are shares, from 0 to 1. Sources name the publication and where in it the number stands.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = Field(min_length=1)
    dataset: str = Field(min_length=1)
    category: str | None = None
    metric: str
    value: float = Field(ge=0.0, le=1.0)
    source: str = Field(min_length=1)

    @model_validator(mode="after")
    def _known_metric(self) -> Self:
        if self.metric not in METRICS:
            raise ValueError(f"'{self.metric}' is no metric; one of " + ", ".join(METRICS))
        return self
