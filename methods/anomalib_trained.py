"""Models of anomalib that are trained: Reverse Distillation, STFPM and DRAEM. See `anomalib_models`.

Trained by our loop, not by Lightning's: anomalib's torch models, losses, optimisers and schedules are used as they
are, while seeds, checkpoints, stop requests and losses per epoch work as for our own methods. In float32, anomalib's
default. The last epoch is kept: anomalib's examples stop early on test metrics.

Deviations. Features of frozen networks are computed once (Reverse Distillation, STFPM). BatchNorm has the statistics
of the whole batch under several processes too. DRAEM's learning rate falls at 4/7 and 6/7 of the steps, which are
anomalib's 400 and 600 of 700 epochs; its pseudo-anomalies bear our textures under anomalib's masks (a folder such as
the Describable Textures Dataset, or drawn ones); smaller budgets use narrower networks.
"""

import math
from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from adbench.datasets.base import Modality
from adbench.datasets.errors import RequestError
from adbench.datasets.imageset import ImageSet
from adbench.methods.anomalib_models import AnomalibMethod, BackboneConfig, OnBackbone, anomalib
from adbench.methods.backbone import check_backbone
from adbench.methods.base import Choice, Context, InputPath, MethodConfig, Search, to_unit_tensor
from adbench.methods.features import FeatureSet, cached_features
from adbench.methods.normalisation import SynchronisedBatchNorm
from adbench.methods.textures import texture_batch, texture_files
from adbench.methods.training import Batch, optimise, train

RD_LAYERS = (1, 2, 3)
_CPU = torch.device("cpu")


def _check_halvings(name: str, image_size: int) -> None:
    if image_size % 32 or image_size < 64:
        raise RequestError(
            f"image_size={image_size} cannot be halved five times, which {name} does",
            allowed="multiples of 32 from 64",
        )


class RDConfig(MethodConfig):
    """Parameters of Reverse Distillation; anomalib's defaults, epochs and batch size of the paper."""

    backbone: Literal["resnet18", "resnet34", "resnet50", "resnet101", "wide_resnet50_2", "wide_resnet101_2"] = Field(
        default="wide_resnet50_2", description="timm ResNet that is distilled; anomalib has decoders for these"
    )
    weights: InputPath = Field(default=None, description="safetensors file with the backbone's weights")
    mode: Annotated[Literal["add", "multiply"], Choice(("add", "multiply"))] = Field(
        default="add", description="how the layers' maps are joined"
    )
    lr: Annotated[float, Search(5e-4, 2e-2, log=True)] = Field(
        default=0.005, gt=0.0, le=1.0, description="learning rate"
    )
    epochs: int = Field(default=200, ge=1, le=100_000, description="passes over the training images")
    batch_size: int = Field(default=16, ge=1, le=4096, description="images per step")

    @classmethod
    def preset(cls, budget: str, modality: Modality) -> dict[str, Any]:
        """A small network at small budgets: weights of a ResNet18 are needed then."""
        if budget == "full":
            return {}
        return {"backbone": "resnet18", "epochs": {"smoke": 1, "quick": 2}[budget]}

    def check(self, image_size: int) -> None:
        """The backbone's weights exist; encoder and decoder maps are equally large."""
        try:
            check_backbone(self.backbone, RD_LAYERS, self.weights)
        except RequestError as error:
            from adbench.methods.backbone_weights import OR_BUNDLED  # timm takes seconds to import

            # There is no decoder for the bundled backbone.
            remedy = error.remedy and error.remedy.removesuffix(OR_BUNDLED)
            raise RequestError(error.problem, allowed=error.allowed, remedy=remedy) from error
        _check_halvings("Reverse Distillation", image_size)


class STFPMConfig(BackboneConfig):
    """Parameters of STFPM; anomalib's defaults except for the backbone."""

    lr: Annotated[float, Search(0.02, 0.8, log=True)] = Field(
        default=0.4, gt=0.0, le=10.0, description="learning rate"
    )
    epochs: int = Field(default=100, ge=1, le=100_000, description="passes over the training images")
    batch_size: int = Field(default=32, ge=1, le=4096, description="images per step")

    @classmethod
    def preset(cls, budget: str, modality: Modality) -> dict[str, Any]:
        """Fewer epochs at smaller budgets."""
        return {"epochs": {"smoke": 1, "quick": 3, "full": 100}[budget]}


class DRAEMConfig(MethodConfig):
    """Parameters of DRAEM; anomalib's defaults, epochs and batch size of the paper."""

    textures: InputPath = Field(
        default=None, description="folder of texture images, such as DTD; null: drawn textures"
    )
    width: int = Field(
        default=128,
        ge=4,
        le=256,
        multiple_of=2,
        description="channels of the reconstructing network's first layer; the discriminating one has half",
    )
    lr: Annotated[float, Search(1e-5, 1e-3, log=True)] = Field(
        default=1e-4,
        gt=0.0,
        le=1.0,
        description="learning rate, a tenth of it from 4/7 of the steps and again from 6/7 on",
    )
    epochs: int = Field(default=700, ge=1, le=100_000, description="passes over the training images")
    batch_size: int = Field(default=8, ge=1, le=4096, description="images per step")

    @classmethod
    def preset(cls, budget: str, modality: Modality) -> dict[str, Any]:
        """Narrower networks and a higher learning rate where few steps can be paid."""
        return {
            "smoke": {"width": 8, "epochs": 1, "lr": 1e-3},
            "quick": {"width": 16, "epochs": 3, "lr": 1e-3},
        }.get(budget, {})

    def check(self, image_size: int) -> None:
        """Textures exist; images can be halved as often as the networks do."""
        if self.textures is not None:
            texture_files(Path(self.textures))
        _check_halvings("DRAEM", image_size)


class Trained(AnomalibMethod):
    """A model trained by our loop on batches of normal images."""

    milestones: ClassVar[tuple[float, ...]] = ()
    """Shares of the steps after which the learning rate is a tenth."""

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        for name, module in self.model.named_modules():
            if not name.startswith(self.frozen):
                synchronise(module)
        self.parameters = list(self.trained_parameters())
        self.optimizer = self.build_optimizer()
        self._step, self._epoch_steps, self._total_steps = 0, 1, 1
        self._images: ImageSet | None = None
        self._rows: NDArray[np.int64] = np.empty(0, np.int64)

    def trained_parameters(self) -> Any:
        """The model's parameters that the optimiser moves."""
        return self.model.parameters()

    def build_optimizer(self) -> torch.optim.Optimizer:
        """anomalib's optimiser."""
        return torch.optim.Adam(self.parameters, lr=self.config.lr)

    @abstractmethod
    def loss_terms(self, batch: Batch) -> dict[str, Tensor]:
        """anomalib's losses on a batch; "loss" is what is minimised."""

    def fit(self, train_images: ImageSet, labelled: ImageSet) -> None:
        """Train on the normal images."""
        self.train_on(train_images, np.arange(len(train_images)), self.config.batch_size, self.config.epochs)

    def train_on(self, images: ImageSet, rows: NDArray[np.int64], batch_size: int, epochs: int) -> None:
        """Train on the chosen rows of an image set."""
        self._images, self._rows = images, rows
        self._epoch_steps = math.ceil(len(rows) / batch_size)
        self._total_steps = epochs * self._epoch_steps
        self.model.train()
        train(self, self.context, n_images=len(rows), batch_size=batch_size, epochs=epochs)
        self._images = None

    def pixels(self, batch: Batch) -> Tensor:
        """The batch's images [B, 3, S, S] in [0, 1], on the CPU."""
        assert self._images is not None
        return to_unit_tensor(self._images.pixels(self._rows[batch.indices.numpy()]), _CPU)

    def start_epoch(self, epoch: int) -> None:
        """The steps done so far, after a resume too."""
        self._step = epoch * self._epoch_steps

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the optimiser, its learning rate by the share of steps done."""
        passed = sum(self._step / self._total_steps >= share for share in self.milestones)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * 0.1**passed
        self._step += 1
        terms = self.loss_terms(batch)
        optimise(terms["loss"], self.optimizer, self.parameters)
        return terms

    def train_state(self) -> dict[str, Any]:
        """Model and optimiser."""
        return {"model": self.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_train_state(self, state: dict[str, Any]) -> None:
        """Restore ``train_state``."""
        self.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


def synchronise(module: nn.Module) -> None:
    """Batch normalisation, timm's too, over all processes. The class changes, not the tensors and their names."""
    from timm.layers.norm_act import BatchNormAct2d  # timm takes seconds to import

    if type(module) is nn.BatchNorm2d:
        module.__class__ = SynchronisedBatchNorm
    elif type(module) is BatchNormAct2d:
        module.__class__ = _SynchronisedBatchNormAct


class _SynchronisedBatchNormAct(SynchronisedBatchNorm):
    """As timm's: followed by an activation."""

    drop: nn.Module
    act: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.act(self.drop(super().forward(x)))
        return activated


class Distilled(OnBackbone, Trained):
    """A network that learns from the features of a frozen one."""

    _features: FeatureSet

    def fit(self, train_images: ImageSet, labelled: ImageSet) -> None:
        """Train on the frozen network's features, computed once."""
        self._features = cached_features(self.backbone, train_images, self.context.cache, self.context.device)
        super().fit(train_images, labelled)
        del self._features


class AnomalibRD(Distilled):
    """A decoder that rebuilds a frozen ResNet's features from a one-class bottleneck."""

    paper: ClassVar[str] = (
        "Deng, Li, Anomaly Detection via Reverse Distillation from One-Class Embedding, CVPR 2022, "
        "arXiv 2201.10703; model of anomalib"
    )
    config_class = RDConfig
    frozen = ("encoder.",)

    def build(self) -> nn.Module:
        """Encoder, bottleneck and decoder."""
        module = anomalib("models.image.reverse_distillation.torch_model")
        mode = module.AnomalyMapGenerationMode(self.config.mode)
        size = (self.context.image_size,) * 2
        model: Any = module.ReverseDistillationModel(self.timm_name(), size, RD_LAYERS, mode, pre_trained=False)
        self.built_on(model.encoder)
        self._loss = anomalib("models.image.reverse_distillation.loss").ReverseDistillationLoss()
        return model  # type: ignore[no-any-return]

    def trained_parameters(self) -> Any:
        """Bottleneck and decoder."""
        return [*self.model.decoder.parameters(), *self.model.bottleneck.parameters()]

    def build_optimizer(self) -> torch.optim.Optimizer:
        """Adam, as in anomalib."""
        return torch.optim.Adam(self.parameters, lr=self.config.lr, betas=(0.5, 0.99))

    def loss_terms(self, batch: Batch) -> dict[str, Tensor]:
        """Sum over layers of 1 - cosine similarity of whole maps."""
        encoded = self._features.batch(batch.indices, self.context.device)
        return {"loss": self._loss(encoded, self.model.decoder(self.model.bottleneck(encoded)))}


class AnomalibSTFPM(Distilled):
    """A student with the frozen teacher's architecture learns the teacher's features of normal images."""

    paper: ClassVar[str] = (
        "Wang et al., Student-Teacher Feature Pyramid Matching for Anomaly Detection, BMVC 2021, "
        "arXiv 2103.04257; model of anomalib"
    )
    config_class = STFPMConfig
    frozen = ("teacher_model.",)

    def build(self) -> nn.Module:
        """Put together as its constructor does, which would fetch the teacher's weights."""
        module = anomalib("models.image.stfpm.torch_model")
        model: Any = module.STFPMModel.__new__(module.STFPMModel)
        nn.Module.__init__(model)
        model.tiler, model.backbone = None, self.timm_name()
        given = {"backbone": model.backbone, "layers": list(self.config.layers), "pre_trained": False}
        model.teacher_model = module.TimmFeatureExtractor(**given)
        model.student_model = module.TimmFeatureExtractor(**given, requires_grad=True)
        model.anomaly_map_generator = module.AnomalyMapGenerator()
        self.built_on(model.teacher_model)
        self._loss = anomalib("models.image.stfpm.loss").STFPMLoss()
        return model  # type: ignore[no-any-return]

    def trained_parameters(self) -> Any:
        """The student."""
        return self.model.student_model.parameters()

    def build_optimizer(self) -> torch.optim.Optimizer:
        """SGD, as in anomalib."""
        return torch.optim.SGD(self.parameters, lr=self.config.lr, momentum=0.9, weight_decay=0.001)

    def loss_terms(self, batch: Batch) -> dict[str, Tensor]:
        """Squared distance of normalised features: mean over places, sum over images and layers."""
        taught = self._features.batch(batch.indices, self.context.device)
        learned = self.model.student_model(self.prepare(self.pixels(batch).to(self.context.device)))
        loss = self._loss(dict(zip(self.config.layers, taught, strict=True)), learned)
        return {"loss": loss * (batch.total / len(batch.indices))}  # A sum over the whole batch, not over a share.


class AnomalibDRAEM(Trained):
    """A network repairs pseudo-anomalies, another finds them by comparing."""

    paper: ClassVar[str] = "Zavrtanik et al., DRAEM, ICCV 2021, arXiv 2108.07610; model of anomalib"
    config_class = DRAEMConfig
    milestones = (4 / 7, 6 / 7)

    def build(self) -> nn.Module:
        """Both networks at the configured width."""
        module = anomalib("models.image.draem.torch_model")
        with torch.device("meta"):  # It would be built at full width.
            model: Any = module.DraemModel()
        width = self.config.width
        model.reconstructive_subnetwork = module.ReconstructiveSubNetwork(base_width=width)
        model.discriminative_subnetwork = module.DiscriminativeSubNetwork(6, 2, base_width=width // 2)
        self._loss = anomalib("models.image.draem.loss").DraemLoss().to(self.context.device)
        self._generator = anomalib("data.utils.generators.perlin").PerlinAnomalyGenerator(blend_factor=(0.1, 1.0))
        return model  # type: ignore[no-any-return]

    def loss_terms(self, batch: Batch) -> dict[str, Tensor]:
        """L2 and SSIM of the repaired image, focal loss of the mask."""
        device = self.context.device
        images = self.pixels(batch)
        corrupted, masks = self.corrupt(images, batch.seeds)
        rebuilt, found = self.model(corrupted.to(device))
        return {"loss": self._loss(images.to(device), rebuilt, masks.to(device), found)}

    def corrupt(self, images: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Images [N, 3, S, S], half of them with a texture blended in where the masks [N, 1, S, S] are 1."""
        folder = None if self.config.textures is None else Path(self.config.textures)
        textures = texture_batch(seeds, images.shape[-1], _CPU, folder)
        pairs = []
        with torch.random.fork_rng(devices=[]):
            for image, texture, seed in zip(images, textures, seeds.tolist(), strict=True):
                torch.manual_seed(seed)
                pairs.append(self._corrupt_one(image, texture))
        return torch.stack([image for image, _ in pairs]), torch.stack([mask for _, mask in pairs])

    def _corrupt_one(self, image: Tensor, texture: Tensor) -> tuple[Tensor, Tensor]:
        """As the generator's own transform, with a given texture in place of a file's."""
        mask = image.new_zeros((1, *image.shape[1:]))
        if torch.rand(1) > self._generator.probability:
            return image, mask
        for _ in range(10):
            mask = self._generator.generate_perturbation(*image.shape[1:], device=_CPU)[1].permute(2, 0, 1)
            if mask.any():
                break
        low, high = self._generator.blend_factor
        beta = low + (high - low) * torch.rand(1)
        blended = beta * self._generator.augmenters(texture) + (1 - beta) * image
        return torch.where(mask > 0, blended, image), mask
