"""The result tables' columns: one typed record per run, and the Arrow schemas that every file must have."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args, get_type_hints

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from adbench.benchmark_suites.sampled_curve import CurveName

METRIC_COLUMNS: tuple[str, ...] = (
    "image_auroc",
    "image_ap",
    "image_f1max_oracle",
    "image_fpr95",
    "image_f1_val",
    "image_ece",
    "pixel_auroc",
    "pixel_ap",
    "pixel_f1max_oracle",
    "aupro_030",
    "aupro_005",
    "spro_001",
    "spro_005",
    "spro_010",
    "spro_030",
    "spro_100",
)
VAL_METRIC_COLUMNS: tuple[str, ...] = tuple(
    f"val_{name}" for name in METRIC_COLUMNS if name not in ("image_f1_val", "image_ece")
)


EvalSplit = Literal["val", "test"]
EVAL_SPLITS: tuple[EvalSplit, ...] = ("val", "test")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One row of the runs table: everything needed to judge, compare and repeat the run.

    ``metrics`` maps names of METRIC_COLUMNS and VAL_METRIC_COLUMNS to values; absent or None means undefined.
    """

    run_id: str
    suite: str
    method: str
    method_version: str
    dataset: str
    dataset_params: str  # canonical JSON
    category: str
    modality: str
    seed: int
    params: str  # canonical JSON
    budget: str
    preset_params: str | None = None  # JSON list: parameters whose value the method chose for this budget and data
    status: Literal["ok", "failed"]
    error: str | None = None
    selection: Literal["none", "val", "test"] = "none"
    sweep_id: str | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)
    metric_version: int | None = None
    pixel_error_bound: float | None = None  # exact pixel metrics lie within this of the stated; 0: they are exact
    n_train: int | None = None  # with n_hidden
    n_labelled: int | None = None
    n_val: int | None = None
    n_test: int | None = None
    n_normal: int | None = None  # asked for: how many normal images to train on; null: all
    noise: float | None = None  # asked for: the share of training images that are hidden anomalies; null: none
    noise_source: str | None = None  # "labelled", or "test": some of them left test; null without noise
    multi_class: bool | None = None  # whether one model was trained on all categories of the dataset
    n_hidden: int | None = None  # anomalies among the n_train that were taken for normal; null without noise
    image_size: int | None = None
    fit_seconds: float | None = None
    predict_ms_per_image: float | None = None
    peak_rss_mb: float | None = None
    peak_vram_mb: float | None = None
    device: str | None = None
    world_size: int | None = None
    started_at: datetime
    finished_at: datetime
    host: str
    hardware: str  # processor or GPU model, for the reader of the cost columns
    git_commit: str | None = None
    adbench_version: str
    torch_version: str | None = None
    ray_version: str | None = None
    python_version: str
    dataset_fingerprint: str | None = None
    split_hash: str | None = None
    base_split_hash: str | None = None  # the split without a protocol; null where split_hash is of that
    notes: str | None = None  # warnings the run gave, a line each
    command: str  # repeats exactly this row


@dataclass(frozen=True, kw_only=True)
class ImageScores:
    """Scores of one split of a run, in one order: the rows of the images table."""

    split: EvalSplit
    image_ids: tuple[str, ...]
    labels: NDArray[np.int64]  # [N], 0 or 1
    defect_types: tuple[str, ...]
    scores: NDArray[np.float32]  # [N], larger = more anomalous


@dataclass(frozen=True, kw_only=True)
class KeptCurve:
    """A curve over the false positive rate of the pixels of one split of a run: one row of the curves table.

    ``x`` [K] are false positive rates, ascending; ``y`` [K] is the recall of pixels, or the (saturated) overlap of
    regions, that is reached with at most as many false positives.
    """

    split: EvalSplit
    name: CurveName
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class GalleryCase:
    """An image kept for the report.

    ``image`` uint8 [S, S, 3]; ``mask`` bool [S, S] or None; ``anomaly_map`` float32 [S, S], unscaled.
    ``case`` says why it was kept.
    """

    case: Literal["best", "typical", "worst"]
    image_id: str
    label: int
    defect_type: str
    score: float
    image: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None
    anomaly_map: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The kept images of one run. ``low`` and ``high`` give the one colour range of all its maps."""

    low: float
    high: float
    cases: tuple[GalleryCase, ...]


@dataclass(frozen=True, kw_only=True)
class SplitMaps:
    """All anomaly maps of one split, float32 [N, S, S] at the method's size, unscaled; kept on request."""

    split: EvalSplit
    image_ids: tuple[str, ...]
    maps: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class TrainingMaps:
    """Maps over training images that show how a method came to what it learned, such as pseudo-labels of a round.

    ``maps`` float32 [N, S, S] in [0, 1]; they are kept in 256 levels. ``images`` uint8 [P, S, S, 3] are the first P
    images; none in stores of versions that kept maps alone.
    """

    name: str
    image_ids: tuple[str, ...]
    maps: NDArray[np.float32]
    images: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """All that one executed cell leaves behind. ``history`` rows are (step, name, value)."""

    record: RunRecord
    images: tuple[ImageScores, ...] = ()
    history: tuple[tuple[int, str, float], ...] = ()
    curves: tuple[KeptCurve, ...] = ()
    gallery: Gallery | None = None
    maps: tuple[SplitMaps, ...] = ()
    training_maps: tuple[TrainingMaps, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell that a suite asks for, and the ``run_id`` under which its run is recorded."""

    run_id: str
    method: str
    dataset: str
    category: str
    seed: int
    budget: str


@dataclass(frozen=True, kw_only=True)
class PublishedValue:
    """A number that others have published; ``category`` "" stands for the mean over all of the dataset's."""

    method: str
    dataset: str
    category: str
    metric: str
    value: float
    source: str


@dataclass(frozen=True, kw_only=True)
class MissingDataset:
    """A dataset of a suite that was not there when it was last run."""

    name: str
    title: str
    home: str
    licence: str


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known of a method or a dataset, in words.

    ``facts`` are labels with their texts, ``text`` says more, ``head`` and ``rows`` are the table of parameters.
    """

    kind: Literal["method", "dataset"]
    name: str
    facts: tuple[tuple[str, str], ...]
    text: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class SuitePlan:
    """What a suite asked for when it was last run. ``rank_by`` is the metric it ranks methods by."""

    name: str
    title: str
    rank_by: str
    cells: tuple[PlannedCell, ...]
    published: tuple[PublishedValue, ...] = ()
    missing: tuple[MissingDataset, ...] = ()
    cards: tuple[Card, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SearchRecord:
    """What a search for a method's parameters has come to so far.

    Of ``trials`` settings that were asked for, ``complete`` were trained to their end, ``stopped`` early by the
    scheduler, and ``failed``. ``lane_seconds`` is what all of them cost, also the stopped ones, which leave no row.
    ``best`` are the values of ``objective`` that ``setting`` reached; both are empty without a complete trial.
    ``missing`` are the datasets of the suite that were not there, and so were not searched on.
    """

    sweep_id: str
    suite: str
    method: str
    data: tuple[str, ...]  # dataset/category
    budget: str
    objective: tuple[str, ...]
    sampler: str
    scheduler: str
    trials: int
    complete: int
    stopped: int
    failed: int
    lane_seconds: float
    best: tuple[float, ...]
    setting: dict[str, Any]
    missing: tuple[MissingDataset, ...] = ()

    @property
    def reached(self) -> str:
        """The objectives that the best setting reached; empty without one."""
        return ", ".join(f"{name} {value:.4g}" for name, value in zip(self.objective, self.best, strict=False))


COSTS: dict[str, str] = {
    "fit_seconds": "Fit time (s)",
    "predict_ms_per_image": "Latency (ms/image)",
    "peak_rss_mb": "Peak memory (MB)",
    "peak_vram_mb": "Peak GPU memory (MB)",
}
"""Columns of the runs table that say what a run cost, each with its title: all are better small."""

_ARROW_TYPES: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    bool: pa.bool_(),
    float: pa.float64(),
    datetime: pa.timestamp("us", tz="UTC"),
}


def _arrow_type(annotation: object) -> pa.DataType:
    choices = [choice for choice in get_args(annotation) if choice is not type(None)] or [annotation]
    kind = type(choices[0]) if isinstance(choices[0], str) else choices[0]
    return _ARROW_TYPES[kind]


def _runs_schema() -> pa.Schema:
    fields: list[pa.Field] = []
    for name, annotation in get_type_hints(RunRecord).items():
        if name == "metrics":
            fields += [pa.field(metric, pa.float64()) for metric in (*METRIC_COLUMNS, *VAL_METRIC_COLUMNS)]
        else:
            fields.append(pa.field(name, _arrow_type(annotation)))
    return pa.schema(fields)


RUNS_SCHEMA: pa.Schema = _runs_schema()
IMAGES_SCHEMA: pa.Schema = pa.schema(
    [
        ("run_id", pa.string()),
        ("split", pa.string()),
        ("image_id", pa.string()),
        ("label", pa.int8()),
        ("defect_type", pa.string()),
        ("score", pa.float32()),
    ]
)
HISTORY_SCHEMA: pa.Schema = pa.schema(
    [("run_id", pa.string()), ("step", pa.int64()), ("name", pa.string()), ("value", pa.float64())]
)
CURVES_SCHEMA: pa.Schema = pa.schema(
    [
        ("run_id", pa.string()),
        ("split", pa.string()),
        ("name", pa.string()),
        ("x", pa.list_(pa.float32())),
        ("y", pa.list_(pa.float32())),
    ]
)
