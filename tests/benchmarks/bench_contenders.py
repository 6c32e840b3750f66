"""Who is measured: adbench and other libraries of pixel metrics, each on its fastest exact setting."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np

from bench_arrays import Maps, Masks

Step = Callable[[], dict[str, float]]
"""Computes some of the metrics and gives their values by name."""

METRICS = {"auroc": "AUROC", "ap": "AP", "f1max": "F1max", "aupro": "AUPRO 0.30"}
TINY = 1e-12  # where precision and recall are both 0, so is F1


@dataclass(frozen=True)
class Contender:
    """``prepare`` brings maps and masks into the form that a library takes; that is not part of its time."""

    name: str
    module: str
    prepare: Callable[[Maps, Masks], Mapping[str, Step]]
    on_gpu: bool = False

    @property
    def missing(self) -> str | None:
        """Why it cannot be measured here, or None."""
        if find_spec(self.module) is None:
            return f"not measured: {self.module} is not installed"
        if self.on_gpu:
            import torch

            if not torch.cuda.is_available():
                return "not measured: no GPU on this machine"
        return None


def cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _adbench(maps: Maps, masks: Masks, *, threads: int) -> Mapping[str, Step]:
    return {"all": partial(_pixel_metrics, list(maps), list(masks), threads=threads)}


def _adbench_gpu(maps: Maps, masks: Masks) -> Mapping[str, Step]:
    import torch

    on_gpu = [torch.from_numpy(one).cuda() for one in maps]

    def compute() -> dict[str, float]:
        values = _pixel_metrics(on_gpu, list(masks))
        torch.cuda.synchronize()
        return values

    torch.cuda.synchronize()
    return {"all": compute}


def _pixel_metrics(maps: list[Any], masks: list[Any], **options: int) -> dict[str, float]:
    from adbench.benchmark_suites.metrics import pixel_metrics

    # One AUPRO, as the others compute one.
    values = pixel_metrics(maps, masks, aupro_limits={"aupro": 0.30}, **options)
    names = {"auroc": "pixel_auroc", "ap": "pixel_ap", "f1max": "pixel_f1max_oracle", "aupro": "aupro"}
    return {name: float(values[ours] or 0) for name, ours in names.items()}


def _scikit_learn(maps: Maps, masks: Masks) -> Mapping[str, Step]:
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

    scores, labels = maps.ravel(), masks.ravel()

    def f1max() -> dict[str, float]:
        precision, recall, _ = precision_recall_curve(labels, scores)
        return {"f1max": float(np.max(2 * precision * recall / np.maximum(precision + recall, TINY)))}

    return {
        "auroc": lambda: {"auroc": float(roc_auc_score(labels, scores))},
        "ap": lambda: {"ap": float(average_precision_score(labels, scores))},
        "f1max": f1max,
    }


def _torchmetrics(maps: Maps, masks: Masks) -> Mapping[str, Step]:
    import torch
    from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision, BinaryPrecisionRecallCurve

    torch.set_num_threads(cores())
    scores, labels = torch.from_numpy(maps).flatten(), torch.from_numpy(masks).flatten()

    def computed(metric: Any) -> Any:
        metric.update(scores, labels)  # all pixels at once, so that nothing needs to be joined
        return metric.compute()

    def f1max() -> dict[str, float]:
        # torchmetrics has no best F1; its curve gives it.
        precision, recall, _ = computed(BinaryPrecisionRecallCurve(thresholds=None, validate_args=False))
        return {"f1max": float(torch.max(2 * precision * recall / (precision + recall).clamp(min=TINY)))}

    return {
        "auroc": lambda: {"auroc": float(computed(BinaryAUROC(thresholds=None, validate_args=False)))},
        "ap": lambda: {"ap": float(computed(BinaryAveragePrecision(thresholds=None, validate_args=False)))},
        "f1max": f1max,
    }


def _anomalib(maps: Maps, masks: Masks) -> Mapping[str, Step]:
    import torch
    from anomalib.metrics import AUPR, AUPRO, AUROC, F1Max

    torch.set_num_threads(cores())
    # The metrics read two fields of anomalib's batch; a real batch would want the images too.
    batch = SimpleNamespace(anomaly_map=torch.from_numpy(maps), gt_mask=torch.from_numpy(masks))

    def step(name: str, kind: Any, **options: Any) -> Step:
        def compute() -> dict[str, float]:
            metric = kind(fields=["anomaly_map", "gt_mask"], **options)
            metric.update(batch)
            return {name: float(metric.compute())}

        return compute

    return {
        "auroc": step("auroc", AUROC, validate_args=False),
        "ap": step("ap", AUPR, validate_args=False),
        "f1max": step("f1max", F1Max),
        "aupro": step("aupro", AUPRO, fpr_limit=0.30),
    }


OURS = Contender(f"adbench, {cores()} threads", "adbench", partial(_adbench, threads=cores()))
OURS_ONE_THREAD = Contender("adbench, 1 thread", "adbench", partial(_adbench, threads=1))
OURS_GPU = Contender("adbench, GPU", "torch", _adbench_gpu, on_gpu=True)
OTHERS = (
    Contender("scikit-learn", "sklearn", _scikit_learn),
    Contender("torchmetrics", "torchmetrics", _torchmetrics),
    Contender("anomalib", "anomalib", _anomalib),
)
