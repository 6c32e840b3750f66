"""Claims as suites state them."""

import pytest
from pydantic import ValidationError

from adbench.benchmark_suites.claims import Claim, Side


def test_a_side_covers_runs_whose_parameters_include_its_own() -> None:
    side = Side(method="ckaad", params={"layers": (2, 3), "gamma": 0.5})
    assert side.covers("ckaad", {"layers": [2, 3], "gamma": 0.5, "lr": 1.0})
    assert not side.covers("recon", {"layers": [2, 3], "gamma": 0.5})
    assert not side.covers("ckaad", {"layers": [1, 2, 3], "gamma": 0.5})
    assert not side.covers("ckaad", {"layers": [2, 3]})


def test_a_claim_names_metrics_that_exist() -> None:
    side = Side(method="ckaad")
    with pytest.raises(ValidationError, match="'accuracy' is no metric; one of image_auroc"):
        Claim(text="better", better=side, than=side, metrics=("accuracy",))
    with pytest.raises(ValidationError):
        Claim(text="better", better=side, than=side, metrics=())
