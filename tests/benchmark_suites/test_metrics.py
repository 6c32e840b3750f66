"""The table of metrics: complete, documented, and matched by what the functions return."""

from pathlib import Path

import numpy as np

from adbench.benchmark_suites.metrics import (
    METRICS,
    image_metrics,
    pixel_metrics,
    spro_metrics,
    val_threshold_metrics,
)
from adbench.reports.schema import METRIC_COLUMNS

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_metrics_are_exactly_the_columns_of_the_results_table_in_their_order() -> None:
    assert tuple(METRICS) == METRIC_COLUMNS
    assert all(name == info.name for name, info in METRICS.items())


def test_functions_return_exactly_the_metrics_of_the_table() -> None:
    labels, scores = np.array([0, 1]), np.array([0.0, 1.0])
    anomaly_map, mask = np.array([[0.0, 1.0]], dtype=np.float32), np.array([[False, True]])
    returned = [
        *image_metrics(labels, scores),
        *val_threshold_metrics(labels, scores, labels, scores),
        *pixel_metrics([anomaly_map], [mask]),
        *spro_metrics([anomaly_map], [mask[None]], [[1]], ["logical"]),
    ]
    assert sorted(returned) == sorted(METRICS)


def test_only_error_rates_are_better_when_lower() -> None:
    assert {name for name, info in METRICS.items() if not info.higher_is_better} == {
        "image_fpr95",
        "image_ece",
    }


def test_level_follows_what_is_ranked() -> None:
    assert all((info.level == "image") == name.startswith("image_") for name, info in METRICS.items())


def test_every_metric_is_defined_in_the_documentation() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert [name for name in METRICS if f"`{name}`" not in text] == []
