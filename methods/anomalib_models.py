"""Models of anomalib (Akcay et al., ICIP 2022, arXiv 2202.08341) as methods here; this file: PaDiM and PatchCore.

What is anomalib's: the torch model with its map and score, raw: no normalisation, no threshold, no post-processing.
What is ours: splits, seeds, image size, the backbone and its weights and input normalisation, metrics, costs. Nothing
is downloaded: anomalib's networks are built without weights and take over those of `Backbone`.

Why not through Lightning's trainer: these two train nothing, their torch models collect features batch by batch and
are then fitted as anomalib's modules do it. Seeds, stop requests and costs so work as for our own methods.

Deviations: the default backbone is the bundled one, not a ResNet. As in anomalib, and unlike our own methods, the
smoothing width is 4 pixels at every image size. anomalib's version is part of a method's version.
"""

import contextlib
import importlib
import importlib.metadata
import io
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from adbench.datasets.base import Modality
from adbench.datasets.imageset import ImageSet
from adbench.methods.backbone import BUNDLED, Backbone, check_backbone
from adbench.methods.base import Choice, Context, InputPath, Method, MethodConfig, Search, to_unit_tensor
from adbench.methods.training import epoch_seed

_BATCH = 32


def anomalib(name: str) -> Any:
    """anomalib's module ``name``. Imported late, for that takes seconds, and without the warnings it sets off."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"anomalib.{name}")


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """torch's global random numbers, from which anomalib draws, start at ``seed`` within and go on as before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


class BackboneConfig(MethodConfig):
    """Parameters of a model on the frozen features of a backbone."""

    backbone: str = Field(default=BUNDLED, description="timm model whose frozen features are used")
    weights: InputPath = Field(default=None, description="safetensors file with the backbone's weights")
    layers: Annotated[tuple[int, ...], Choice(((2, 3), (1, 2, 3)))] = Field(
        default=(1, 2, 3), description="the backbone's layers, shallow to deep; layers 1, 2, 3 of a ResNet"
    )

    def check(self, image_size: int) -> None:
        """Backbone, layers and weights exist."""
        check_backbone(self.backbone, self.layers, self.weights)


class PaDiMConfig(BackboneConfig):
    """Parameters of PaDiM; anomalib's defaults except for the backbone."""

    n_features: Annotated[int, Search(50, 170)] = Field(
        default=100,
        ge=1,
        le=10_000,
        description="channels kept, drawn by the seed; all if there are fewer (paper: ResNet18 100, WRN50-2 550)",
    )


class PatchCoreConfig(BackboneConfig):
    """Parameters of PatchCore; anomalib's defaults except for the backbone."""

    layers: Annotated[tuple[int, ...], Choice(((2, 3), (1, 2, 3)))] = Field(
        default=(2, 3), description="the backbone's layers, joined at the size of the shallowest's map"
    )
    coreset_sampling_ratio: Annotated[float, Search(0.001, 0.25, log=True)] = Field(
        default=0.1, gt=0.0, le=1.0, description="share of all patches that the memory bank keeps"
    )
    num_neighbors: Annotated[int, Search(1, 15)] = Field(
        default=9, ge=1, le=1000, description="neighbours in the bank that weight the image score; 1: no weighting"
    )

    @classmethod
    def preset(cls, budget: str, modality: Modality) -> dict[str, Any]:
        """A smaller bank where time is short: its selection takes time in proportion to its size."""
        return {"quick": {"coreset_sampling_ratio": 0.005}}.get(budget, {})


class AnomalibMethod(Method):
    """A torch model of anomalib. It answers in training mode with what its loss needs, else with score and map."""

    version: ClassVar[str] = f"1+anomalib{importlib.metadata.version('anomalib')}"
    frozen: ClassVar[tuple[str, ...]] = ()
    """Prefixes of the model's tensors that are given, not learned."""

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        # Built on the CPU under a seed of their own: the same initial weights on every device.
        with seeded(epoch_seed(context.seed, -1), torch.device("cpu")):
            self.model: Any = self.build().to(context.device).eval()

    @abstractmethod
    def build(self) -> nn.Module:
        """anomalib's torch model, with initial weights drawn from torch's global random numbers."""

    def prepare(self, images: Tensor) -> Tensor:
        """What the model wants to see of images [N, 3, S, S] in [0, 1]."""
        return images

    def predict_checked(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """anomalib's raw score and map."""
        if len(images) == 0:
            return images.new_zeros(0), images.new_zeros((0, *images.shape[2:]))
        self.model.eval()
        found = self.model(self.prepare(images))
        return found.pred_score.reshape(-1), found.anomaly_map.reshape(len(images), *images.shape[2:])

    def state_dict(self) -> dict[str, Tensor]:
        """The model's tensors, without those that were given."""
        return {name: value for name, value in self.model.state_dict().items() if not name.startswith(self.frozen)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore ``state_dict``."""
        given = {name: value for name, value in self.model.state_dict().items() if name.startswith(self.frozen)}
        self.model.load_state_dict({**given, **state})


class OnBackbone(AnomalibMethod):
    """A model on frozen features."""

    def __init__(self, config: Any, context: Context) -> None:
        self.backbone = Backbone(config.backbone, getattr(config, "layers", (1, 2, 3)), config.weights)
        self.backbone.to(context.device)
        super().__init__(config, context)

    def prepare(self, images: Tensor) -> Tensor:
        """Normalised as the backbone's weights want it."""
        return (images - self.backbone.mean) / self.backbone.std

    def built_on(self, extractor: Any) -> None:
        """Put our network, with its weights, in the place of the one that anomalib's extractor built without any."""
        extractor.feature_extractor = self.backbone.network

    def timm_name(self) -> str:
        """The backbone's name in timm."""
        from adbench.methods.backbone_weights import BUNDLED_TIMM_NAME  # timm takes seconds to import

        return BUNDLED_TIMM_NAME if self.config.backbone == BUNDLED else str(self.config.backbone)


class MemoryBank(OnBackbone):
    """A model that collects the features of all normal images, then condenses them."""

    frozen = ("feature_extractor.",)

    @torch.no_grad()
    def fit(self, train_images: ImageSet, labelled: ImageSet) -> None:
        """One pass over the normal images, then anomalib's fit."""
        self.model.train()
        step = 0
        for step, start in enumerate(range(0, len(train_images), _BATCH), start=1):
            pixels = train_images.pixels(slice(start, start + _BATCH))
            self.model(self.prepare(to_unit_tensor(pixels, self.context.device)))
            self.context.report(step, {"images": float(start + len(pixels))})
        self.condense()
        self.context.report(step + 1, {"condensed": 1.0})

    def predict_checked(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """anomalib's raw score and map; RuntimeError before ``fit``."""
        if self.learned().numel() == 0:
            raise RuntimeError(f"{type(self).__name__} is not fitted: call fit or load_state_dict first")
        return super().predict_checked(images)

    @abstractmethod
    def condense(self) -> None:
        """Turn the collected features into what predictions need."""

    @abstractmethod
    def learned(self) -> Tensor:
        """A tensor that is empty until ``condense``."""


class AnomalibPaDiM(MemoryBank):
    """A Gaussian at every place of the feature map; Mahalanobis distance."""

    paper: ClassVar[str] = "Defard et al., PaDiM, ICPR 2021 workshops, arXiv 2011.08785; model of anomalib"
    config_class = PaDiMConfig

    def build(self) -> nn.Module:
        """The channels that are kept are drawn here."""
        kept = min(self.config.n_features, sum(self.backbone.channels))
        module = anomalib("models.image.padim.torch_model")
        model: Any = module.PadimModel(self.timm_name(), list(self.config.layers), pre_trained=False, n_features=kept)
        self.built_on(model.feature_extractor)
        return model  # type: ignore[no-any-return]

    def condense(self) -> None:
        """Means and inverse covariances."""
        self.model.fit()

    def learned(self) -> Tensor:
        """The means [C, P]."""
        return self.model.gaussian.mean  # type: ignore[no-any-return]


class AnomalibPatchCore(MemoryBank):
    """Distance to the nearest of a bank of normal patches."""

    paper: ClassVar[str] = "Roth et al., PatchCore, CVPR 2022, arXiv 2106.08265; model of anomalib"
    config_class = PatchCoreConfig

    def build(self) -> nn.Module:
        """The model with an empty bank."""
        module = anomalib("models.image.patchcore.torch_model")
        neighbours = self.config.num_neighbors
        model: Any = module.PatchcoreModel(
            list(self.config.layers), self.timm_name(), pre_trained=False, num_neighbors=neighbours
        )
        self.built_on(model.feature_extractor)
        return model  # type: ignore[no-any-return]

    def condense(self) -> None:
        """The greedy coreset of all patches, as in the model's ``subsample_embedding``."""
        patches = torch.vstack(self.model.embedding_store)
        self.model.embedding_store.clear()
        sampler = anomalib("models.components").KCenterGreedy(patches, self.config.coreset_sampling_ratio)
        seed = epoch_seed(self.context.seed, -2)
        # The projection draws from numpy; left to itself, from its global state.
        sampler.model.random_state = np.random.RandomState(seed % 2**32)
        with seeded(seed, patches.device), contextlib.redirect_stderr(io.StringIO()):  # Without its progress bar.
            self.model.memory_bank = sampler.sample_coreset()

    def learned(self) -> Tensor:
        """The bank [M, C]."""
        return self.model.memory_bank  # type: ignore[no-any-return]
