"""What a method is: a config class with bounds and search ranges, ``fit`` on normals, ``predict`` scores and maps."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from adbench.datasets.base import Dataset, Modality
from adbench.datasets.cache import Cache
from adbench.datasets.imageset import ImageSet

PREDICT_BATCH = 32


Condition = tuple[str, tuple[Any, ...]]
"""Another parameter, declared before, and the values of it with which this one has an effect."""


@dataclass(frozen=True, slots=True)
class Search:
    """Search range of a number, attached to a config field; ``log`` searches its logarithm."""

    low: float
    high: float
    log: bool = False
    only_if: Condition | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """Search range of a choice, attached to a config field."""

    values: tuple[Any, ...]
    only_if: Condition | None = None


@dataclass(frozen=True, slots=True)
class _Input:
    """Marks a config field that names a file or folder."""


InputPath = Annotated[str | None, _Input()]
"""A file or folder that a method reads; its content, not its place, is part of a cell's identity."""


class MethodConfig(BaseModel):
    """Parameters of a method: names, bounds, defaults and search ranges, declared once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def preset(cls, budget: str, modality: Modality) -> dict[str, Any]:
        """Values that differ from the defaults at a budget (smoke, quick, full) and modality."""
        return {}

    @classmethod
    def for_data(cls, dataset: str, category: str) -> dict[str, Any]:
        """Values that differ from the defaults for certain data, such as an expert's rules for it."""
        return {}

    @classmethod
    def suited(cls, budget: str, dataset: Dataset, category: str | None) -> dict[str, Any]:
        """All values that differ from the defaults at a budget for a category; None: for all categories together."""
        if category is not None:
            return cls.preset(budget, dataset.modality(category)) | cls.for_data(dataset.record.name, category)
        first, *others = (cls.for_data(dataset.record.name, name) for name in dataset.categories())
        shared = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
        return cls.preset(budget, dataset.record.modality) | shared

    def labelled_request(self) -> tuple[float, int]:
        """(anomaly ratio r, number of labelled classes k; 0 = all) that the method wants to train on."""
        return (0.0, 0)

    def input_files(self) -> dict[str, Path]:
        """Files and folders in use, by the parameter that names them."""
        names = [name for name, field in type(self).model_fields.items() if _Input() in field.metadata]
        return {name: Path(getattr(self, name)) for name in names if getattr(self, name) is not None}

    def check(self, image_size: int) -> None:
        """Raise RequestError for what bounds cannot express (such as missing weights), before anything trains."""


class WeaklySupervisedConfig(MethodConfig):
    """Parameters of a method that also learns from a few image-labelled anomalies."""

    anomaly_ratio: Annotated[float, Choice((0.01, 0.05, 0.1, 0.2))] = Field(
        default=0.1,
        ge=0.0,
        le=0.5,
        description="r: labelled anomalies as a share of the training images, N_a = round(N_n/(1-r) - N_n)",
    )
    labelled_classes: int = Field(
        default=0,
        ge=0,
        le=100,
        description="k: how many defect types the labelled anomalies come from; 0: all",
    )

    def labelled_request(self) -> tuple[float, int]:
        """r and k as configured."""
        return (self.anomaly_ratio, self.labelled_classes)


@dataclass
class Context:
    """What a method may use of its surroundings.

    ``report(step, values)`` is called once an epoch; it raises to stop a run, and it may predict. ``epochs`` is how
    many of these calls there will be, set by the training loop; None where nothing is trained. ``checkpoint_dir`` is
    where training may resume from, or None; only checkpoints with the same ``code_version`` are. ``resumed_seconds``
    is the training time that an earlier attempt spent. ``notes`` collects warnings that go into the result row.
    """

    seed: int
    device: torch.device
    image_size: int
    cache: Cache
    report: Callable[[int, Mapping[str, float]], None] = lambda step, values: None
    checkpoint_dir: Path | None = None
    code_version: str = ""
    resumed_seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    epochs: int | None = None


@dataclass(frozen=True)
class Prediction:
    """``scores`` float32 [N], ``maps`` float32 [N, S, S] at the model's size, larger = more anomalous; unscaled."""

    scores: NDArray[np.float32]
    maps: NDArray[np.float32]
    seconds: float


@dataclass(frozen=True)
class KeptMaps:
    """``maps`` float32 [N, S, S] in [0, 1] over the images ``image_ids``; ``name`` says what and when ("round 1").

    ``images`` uint8 [P, S, S, 3] are the first P of these, as they were trained on; few, for they are kept too.
    """

    name: str
    image_ids: tuple[str, ...]
    maps: NDArray[np.float32]
    images: NDArray[np.uint8]


class Method(ABC):
    """A method built from its config and context; ``fit`` once, then ``predict`` as often as wanted."""

    version: ClassVar[str]
    """Raised whenever the numbers change: part of a cell's identity."""
    paper: ClassVar[str]
    config_class: ClassVar[type[MethodConfig]]

    def __init__(self, config: Any, context: Context) -> None:
        self.config = config
        self.context = context

    @abstractmethod
    def fit(self, train_images: ImageSet, labelled: ImageSet) -> None:
        """Learn from normal images and, if the method wants them, image-labelled anomalies (may be empty)."""

    @abstractmethod
    def predict_checked(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Finite images [N, 3, S, S] in [0, 1] to (scores [N], maps [N, S, S]), both float32 on the same device."""

    @abstractmethod
    def state_dict(self) -> dict[str, Tensor]:
        """Everything that ``fit`` learned."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what ``state_dict`` returned; predictions are then equal bit for bit."""

    def kept_maps(self) -> Sequence[KeptMaps]:
        """Maps over training images that show how ``fit`` came to what it learned; kept with the run."""
        return ()

    @torch.inference_mode()
    def predict_batch(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [N, 3 or 1, S, S] in [0, 1] to (scores [N], maps [N, S, S]), both float32 on the same device.

        Raises ValueError for another shape and for values that are NaN or infinite.
        """
        size = self.context.image_size
        if images.dim() != 4 or images.shape[1] not in (1, 3) or images.shape[2:] != (size, size):
            raise ValueError(f"images of shape {list(images.shape)}: [N, 3, {size}, {size}] is what can be judged")
        if not images.isfinite().all():
            raise ValueError("images with NaN or infinite values cannot be judged")
        return self.predict_checked(images.expand(-1, 3, -1, -1))

    def predict(self, images: ImageSet) -> Prediction:
        """Scores and maps of all images, in batches; ``seconds`` is the time from pixels to maps."""
        scores = np.empty(len(images), np.float32)
        maps = np.empty((len(images), images.size, images.size), np.float32)
        seconds = 0.0
        for start in range(0, len(images), PREDICT_BATCH):
            chosen = slice(start, min(start + PREDICT_BATCH, len(images)))
            pixels = images.pixels(chosen)
            began = time.perf_counter()
            batch_scores, batch_maps = self.predict_batch(to_unit_tensor(pixels, self.context.device))
            scores[chosen], maps[chosen] = batch_scores.cpu().numpy(), batch_maps.cpu().numpy()
            seconds += time.perf_counter() - began
        return Prediction(scores, maps, seconds)


def to_unit_tensor(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """uint8 [N, H, W, 3] to float32 [N, 3, H, W] in [0, 1] on the device."""
    tensor = torch.from_numpy(np.ascontiguousarray(pixels)).to(device)
    return tensor.permute(0, 3, 1, 2).float() / 255.0
