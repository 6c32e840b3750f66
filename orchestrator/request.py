"""The typed request: what a suite and its overrides come to, frozen and validated once."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from adbench.benchmark_suites.claims import Claim
from adbench.benchmark_suites.references import Reference
from adbench.datasets.protocol import Protocol
from adbench.reports.schema import METRIC_COLUMNS

Budget = Literal["smoke", "quick", "full"]
IMAGE_SIZES: dict[str, int] = {"smoke": 64, "quick": 128, "full": 256}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class MethodSpec(_Frozen):
    """A method of the suite, with the parameters that differ from its defaults.

    ``data`` are the datasets and categories (DATASET/CATEGORY) that it is for; None: all.
    """

    name: str
    params: dict[str, Any] = Field(default_factory=dict)
    data: tuple[str, ...] | None = None


class DatasetSpec(_Frozen):
    """A dataset of the suite; ``categories`` None means all of them."""

    name: str
    categories: tuple[str, ...] | None = None
    params: dict[str, Any] = Field(default_factory=dict)


class SearchSpec(_Frozen):
    """The keys ``search.*`` of `adbench sweep`; its --help prints their descriptions."""

    trials: int = Field(default=32, ge=1, le=1_000_000, description="settings to try, those of earlier runs included")
    sampler: Literal["tpe", "random", "cmaes", "grid", "nsgaii"] = Field(
        default="tpe", description="who proposes them"
    )
    scheduler: Literal["asha", "hyperband", "none"] = Field(
        default="asha", description="who stops poor trials early; with several objectives nobody does"
    )
    objective: tuple[str, ...] = Field(
        default=("val_image_auroc",),
        min_length=1,
        description="a validation metric; further ones, or costs such as predict_ms_per_image, for a trade-off",
    )
    hours: float | None = Field(default=None, gt=0.0, description="wall-clock time after which no trial starts")
    gpu_hours: float | None = Field(default=None, gt=0.0, description="the same, as GPUs of all lanes times hours")
    fresh_seeds: int = Field(
        default=3, ge=0, le=1000, description="seeds on which the best setting is run at the end"
    )
    warm_start: bool = Field(default=True, description="try the best recorded settings first")
    seed: int = Field(default=0, ge=0, lt=2**32, description="seed of the sampler")
    allow_test_selection: bool = Field(default=False, description="let test metrics be objectives; every row says so")
    space: dict[str, str] = Field(
        default_factory=dict, description="ranges, such as search.space.gamma=interval(0.1,1)"
    )

    @property
    def test_objectives(self) -> tuple[str, ...]:
        """The objectives that are metrics of the test split."""
        return tuple(name for name in self.objective if name in METRIC_COLUMNS)

    @field_validator("objective", mode="before")
    @classmethod
    def _listed(cls, names: object) -> object:
        return [names] if isinstance(names, str) else names


class Request(_Frozen):
    """Everything a run is asked for."""

    name: str = Field(description="the suite's name")
    source: str = Field(default="", description="what suite= was given")
    title: str = ""
    description: str = ""
    methods: tuple[MethodSpec, ...] = Field(min_length=1)
    datasets: tuple[DatasetSpec, ...] = Field(min_length=1)
    claims: tuple[Claim, ...] = ()
    references: tuple[Reference, ...] = ()
    search: SearchSpec = SearchSpec()
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1, description="training seeds")
    budget: Budget = Field(
        default="quick", description="smoke: seconds a cell; quick: tens of seconds; full: papers'"
    )
    shortened: bool = Field(
        default=False, description="smoke asked of a suite of another budget: its lengths and image size give way"
    )
    image_size: int | None = Field(
        default=None, ge=32, le=4096, description="pixels a side (default: 64 smoke, 128 quick, 256 full)"
    )
    split_seed: int = Field(default=0, ge=0, description="seed of the splits that adbench makes")
    n_normal: int | None = Field(default=None, ge=1, description="few-shot: normal training images (default: all)")
    noise: float = Field(
        default=0.0, ge=0.0, lt=0.5, description="share of the training images that are anomalies taken for normal"
    )
    noise_from_test: bool = Field(
        default=False, description="noise may take from test, where the labelled pool does not suffice"
    )
    multi_class: bool = Field(
        default=False, description="one model for all categories of a dataset, judged on each of them"
    )
    rank_by: str = Field(default="image_auroc", description="metric that ranks the leaderboard")

    out: str = Field(default="adbench-results", min_length=1, description="results folder, or its s3:// or gs:// URL")
    data_root: str | None = Field(default=None, description="folder of the datasets (default: adbench-data)")
    cache_dir: str | None = Field(default=None, description="cache of decoded images and features (default: user's)")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: CUDA where there is one")
    launcher: Literal["ray", "inprocess"] = Field(default="ray", description="inprocess: one by one, for debugging")
    lanes: int | Literal["auto"] = Field(default="auto", description="how many cells run at a time")
    workers_per_lane: int = Field(
        default=1, ge=1, le=1024, description="Ray Train workers of a lane, which share every batch of a training"
    )
    cpus_per_lane: int = Field(
        default=1, ge=1, le=1024, description="processors, and torch threads, of each worker of a lane"
    )
    gpus_per_lane: float = Field(
        default=1.0,
        gt=0.0,
        le=64.0,
        description="GPUs of each worker of a lane where CUDA is used; a fraction only if it has one worker",
    )
    address: str | None = Field(default=None, description="a Ray cluster to join: auto, or HOST:PORT")
    cell_timeout: float | None = Field(
        default=None,
        gt=0.0,
        description="seconds after which a cell fails: at the end of an epoch, or a little later with its worker",
    )
    maps: Literal["report", "all", "none"] = Field(
        default="report", description="anomaly maps to keep: a few for the page, all of val and test too, or none"
    )

    @field_validator("seeds")
    @classmethod
    def _natural(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not all(0 <= seed < 2**32 for seed in seeds) or len(set(seeds)) != len(seeds):
            raise ValueError("different whole numbers from 0 to 4294967295")
        return seeds

    @field_validator("seeds", mode="before")
    @classmethod
    def _no_booleans(cls, seeds: object) -> object:
        if isinstance(seeds, list) and any(isinstance(seed, bool) for seed in seeds):
            raise ValueError("whole numbers, not true or false")
        return seeds

    @field_validator("noise_from_test")
    @classmethod
    def _some_noise(cls, from_test: bool, info: ValidationInfo) -> bool:
        if from_test and info.data.get("noise") == 0.0:
            raise ValueError("false with noise=0; true with noise=0.1, for instance")
        return from_test

    @field_validator("rank_by")
    @classmethod
    def _known_metric(cls, name: str) -> str:
        if name not in METRIC_COLUMNS:
            raise ValueError("one of " + ", ".join(METRIC_COLUMNS))
        return name

    @field_validator("lanes")
    @classmethod
    def _some_lanes(cls, lanes: int | str) -> int | str:
        if isinstance(lanes, int) and lanes < 1:
            raise ValueError("auto, or a whole number from 1 on")
        return lanes

    @field_validator("workers_per_lane")
    @classmethod
    def _one_process(cls, workers: int, info: ValidationInfo) -> int:
        if workers > 1 and info.data.get("launcher") == "inprocess":
            raise ValueError("1 with launcher=inprocess, which has one process; more with launcher=ray")
        return workers

    @field_validator("gpus_per_lane")
    @classmethod
    def _whole_gpus(cls, gpus: float, info: ValidationInfo) -> float:
        workers = info.data.get("workers_per_lane", 1)
        if workers > 1 and gpus % 1:  # NCCL refuses two workers on one GPU.
            raise ValueError(f"a whole number with workers_per_lane={workers}; a fraction with workers_per_lane=1")
        return gpus

    @property
    def protocol(self) -> Protocol:
        """What is asked of the training images."""
        return Protocol(self.n_normal, self.noise, self.noise_from_test, self.multi_class)

    def pixels(self) -> int:
        """The side of the images that methods see."""
        return self.image_size or IMAGE_SIZES[self.budget]
