"""The metrics that methods are judged by: what each means, and the functions that compute them.

docs/metrics.md gives the exact definitions. A metric without a defined value (no anomalies, no normals, no
masks) is None, never 0 or 1. Every function takes one category's images; categories are never pooled.
"""

from dataclasses import dataclass
from typing import Literal

from adbench.benchmark_suites.image_metrics import image_metrics, val_threshold_metrics
from adbench.benchmark_suites.judged_map import JudgedMap
from adbench.benchmark_suites.map_metrics import AUPRO_LIMITS, SPRO_LIMITS, MapMetrics, map_metrics
from adbench.benchmark_suites.pixel_metrics import pixel_metrics
from adbench.benchmark_suites.spro import spro_metrics

__all__ = [
    "METRICS",
    "METRIC_VERSION",
    "JudgedMap",
    "MapMetrics",
    "MetricInfo",
    "image_metrics",
    "map_metrics",
    "pixel_metrics",
    "spro_metrics",
    "val_threshold_metrics",
]

METRIC_VERSION: int = 1
"""Recorded in every run; raised with every change of a definition, lest unlike values be compared. Whoever raises it
says in ``MetricInfo.changed_in`` which definitions changed."""


@dataclass(frozen=True)
class MetricInfo:
    """Facts about a metric, shown by ``adbench ls metrics``; values lie in [0, 1].

    ``changed_in`` is the METRIC_VERSION in which the definition last changed: `adbench report --rescore` carries
    values of that or a later version over, and recomputes older ones.
    """

    name: str
    title: str
    definition: str
    level: Literal["image", "pixel"]
    higher_is_better: bool
    reference: str
    changed_in: int


_ROC = "T. Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 27 (2006)"
_AP = "J. Davis and M. Goadrich, The relationship between Precision-Recall and ROC curves, ICML 2006"
_F1 = "Z. Lipton et al., Optimal thresholding of classifiers to maximize F1 measure, ECML PKDD 2014"
_FPR = "S. Liang et al., Enhancing the reliability of out-of-distribution image detection, ICLR 2018"
_ECE = "C. Guo et al., On calibration of modern neural networks, ICML 2017"
_AUPRO = "P. Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 129 (2021)"
_SPRO = "P. Bergmann et al., Beyond Dents and Scratches, IJCV 130 (2022)"


def _info(
    name: str, title: str, definition: str, reference: str, lower_is_better: bool = False, changed_in: int = 1
) -> MetricInfo:
    return MetricInfo(
        name=name,
        title=title,
        definition=definition,
        level="image" if name.startswith("image_") else "pixel",
        higher_is_better=not lower_is_better,
        reference=reference,
        changed_in=changed_in,
    )


METRICS: dict[str, MetricInfo] = {
    info.name: info
    for info in (
        _info("image_auroc", "Image AUROC", "area under the ROC curve of image scores; ties count half", _ROC),
        _info("image_ap", "Image AP", "average precision of image scores, step-wise", _AP),
        _info(
            "image_f1max_oracle",
            "Image F1-max (oracle)",
            "best F1 over all thresholds, chosen on the evaluated images themselves",
            _F1,
        ),
        _info(
            "image_fpr95",
            "Image FPR at 95 % recall",
            "share of normal images flagged at the largest threshold that finds 95 % of anomalous ones",
            _FPR,
            lower_is_better=True,
        ),
        _info("image_f1_val", "Image F1 (threshold from val)", "F1 on test at a threshold fixed on val", _F1),
        _info(
            "image_ece",
            "Image calibration error",
            "expected calibration error on test, 15 bins, of a logistic calibration fitted on val",
            _ECE,
            lower_is_better=True,
        ),
        _info("pixel_auroc", "Pixel AUROC", "area under the ROC curve of all pixels; ties count half", _ROC),
        _info("pixel_ap", "Pixel AP", "average precision of all pixels, step-wise", _AP),
        _info(
            "pixel_f1max_oracle",
            "Pixel F1-max (oracle)",
            "best F1 of all pixels over all thresholds, chosen on the evaluated images themselves",
            _F1,
        ),
        *(
            _info(
                name,
                f"AUPRO {limit:.2f}",
                f"area under per-region overlap up to a false positive rate of {limit:g}, divided by it",
                _AUPRO,
            )
            for name, limit in AUPRO_LIMITS.items()
        ),
        *(
            _info(
                name,
                f"sPRO {limit:.2f}",
                f"area under saturated per-region overlap up to a false positive rate of {limit:g}, divided "
                "by it; mean of logical and structural anomalies",
                _SPRO,
            )
            for name, limit in SPRO_LIMITS.items()
        ),
    )
}
"""Every metric by name, in the order in which tables show them."""
