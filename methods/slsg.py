"""SLSG: self-supervised learning and self-attentive graph convolution (Yang et al., arXiv 2305.00398).

An encoder is pre-trained to restore shuffled normal images and then frozen; on its features a segmentation network
with a graph over the deepest map learns to find simulated anomalies. Structural defects show in the texture of a
place, logical ones in how places relate, which is what the graph is for. One-class: no labelled anomaly is used.

Reconstructed by us, where the paper's text leaves it open: the form and length of the pre-training (tiles are an
eighth of the image's side; a third of them change places, a fifth turn grey; mean absolute error; Adam; batch
statistics stay those of ImageNet); the decoder's form and widths; anomalies are simulated on the same normal images
that a step also shows unchanged; the one-class term is on the direction of the graph's mean, its margin twice the
normals' distance from their centre before training; fewer neighbours where the graph has fewer nodes; iterations are
rounded up to whole epochs; with the sparse branch alone, neighbours are found by a random projection, for their
choice lets no gradient through to the keys. Without pre-training the encoder keeps its ImageNet weights.

The control graph=off takes away the block's convolutions with the graph: a gain of the graph may be one of depth.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from adbench.datasets.base import Modality
from adbench.datasets.errors import RequestError
from adbench.datasets.imageset import ImageSet
from adbench.methods.anomaly_maps import top_mean
from adbench.methods.backbone import BUNDLED, Backbone, check_backbone
from adbench.methods.base import Choice, Context, InputPath, Method, MethodConfig, Search, to_unit_tensor
from adbench.methods.features import FeatureSet, cached_features
from adbench.methods.simulated_anomalies import ROLLS, Branch, Recipe, shuffled_tiles, simulate
from adbench.methods.slsg_networks import Branches, Norm, Output, Position, Restorer, SegmentationNetwork, to_size
from adbench.methods.textures import texture_batch, texture_files, uniforms
from adbench.methods.training import Batch, autocast, epoch_seed, optimise, train

FOCAL_GAMMA = 4.0
MARGIN = 2.0
"""Simulated anomalies are pushed this far from the centre, in units of the normals' mean distance."""

_SCORED_PIXELS = 100
_SALT = 0x515C
_TILES = (8, 8)
_SHUFFLED, _MASKED = 1 / 3, 1 / 5
_CENTRE_BATCH = 32
_SPARSE = ("graph", ("both", "sparse"))


class SLSGConfig(MethodConfig):
    """Parameters of SLSG; defaults of the paper where it states them."""

    backbone: str = Field(default=BUNDLED, description="timm model that is the encoder")
    weights: InputPath = Field(default=None, description="safetensors file with the encoder's first weights")
    layers: Annotated[tuple[int, ...], Choice(((1, 2, 3), (0, 1, 2, 3)))] = Field(
        default=(1, 2, 3), description="the encoder's layers, shallow to deep; the deepest becomes the graph"
    )
    iterations: int = Field(
        default=3500, ge=1, le=1_000_000, description="steps on simulated anomalies, rounded up to whole epochs"
    )
    pretrain_iterations: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="steps of the encoder's pre-training; 0: ImageNet weights stay",
    )
    pretrain_lr: float = Field(
        default=1e-5,
        gt=0.0,
        le=1.0,
        description="learning rate of the encoder's pre-training; without effect at pretrain_iterations=0",
    )
    batch_size: int = Field(
        default=4, ge=1, le=1024, description="normal images per step, and as many simulated anomalies"
    )
    lr: Annotated[float, Search(1e-3, 0.2, log=True)] = Field(
        default=0.04, gt=0.0, le=10.0, description="SGD's learning rate, which falls to 0 along a cosine"
    )
    graph: Annotated[Branches, Choice(("both", "dense", "sparse", "off"))] = Field(
        default="both", description="branches of the graph block; off: the control without a graph"
    )
    position: Annotated[Position, Choice(("far", "near", "off"), only_if=_SPARSE)] = Field(
        default="far",
        description="whether far (the authors' code) or near nodes are favoured as neighbours; of effect only with a "
        "sparse branch (graph both or sparse)",
    )
    neighbours: Annotated[int, Choice((5, 9, 15), only_if=_SPARSE)] = Field(
        default=9,
        ge=1,
        le=64,
        description="neighbours of a node in a graph of 256 nodes: every third of the nearest; of effect only with a "
        "sparse branch (graph both or sparse)",
    )
    p_scar: Annotated[float, Search(0.0, 1.0)] = Field(
        default=0.58, ge=0.0, le=1.0, description="share of scars among simulated anomalies; the others are textures"
    )
    texture_beta: Annotated[float, Search(0.2, 1.0)] = Field(
        default=0.9, ge=0.0, le=1.0, description="textures show up to this share of the image below them"
    )
    scar_beta: Annotated[float, Search(0.0, 0.9)] = Field(
        default=0.25, ge=0.0, le=1.0, description="scars show up to this share of the image below them"
    )
    textures: InputPath = Field(default=None, description="folder of texture images such as DTD; null: drawn ones")
    w_focal: Annotated[float, Search(0.05, 2.0, log=True)] = Field(
        default=0.4, ge=0.0, le=100.0, description="weight of the focal loss"
    )
    w_l1: Annotated[float, Search(0.05, 2.0, log=True)] = Field(
        default=0.6, ge=0.0, le=100.0, description="weight of the L1 loss"
    )
    w_aux: Annotated[float, Search(0.0, 1.0)] = Field(
        default=0.3, ge=0.0, le=100.0, description="weight of the L1 loss of the graph's own head"
    )
    lambda_oc: Annotated[float, Search(0.0, 10.0)] = Field(
        default=0.0, ge=0.0, le=100.0, description="weight of the one-class term; 0: none"
    )
    norm: Norm = Field(default="batch", description="normalisation in the trained networks")

    @classmethod
    def preset(cls, budget: str, modality: Modality) -> dict[str, Any]:
        """The paper's length and pre-training at full; fewer steps, and larger ones at quick, at smaller budgets.

        The learning rate at quick was chosen on validation data of elpv mono and phantom weave.
        """
        if budget == "full":
            return {"pretrain_iterations": 3500, "layers": (0, 1, 2, 3)}
        return {"iterations": 40} if budget == "smoke" else {"iterations": 160, "lr": 0.15}

    def check(self, image_size: int) -> None:
        """Backbone, layers and weights exist, and the textures; the graph has more than one node."""
        strides = check_backbone(self.backbone, self.layers, self.weights)
        if image_size < 2 * strides[-1]:
            raise RequestError(
                f"image_size={image_size} is too small for a graph at stride {strides[-1]}",
                allowed=f"{2 * strides[-1]} or more",
            )
        if self.textures is not None:
            texture_files(Path(self.textures))


class SLSG(Method):
    """A frozen encoder and a segmentation network with a graph block, trained on simulated anomalies."""

    version = "1"
    paper: ClassVar[str] = (
        "Yang et al., SLSG: Industrial Image Anomaly Detection by Learning Better Feature Embeddings and One-Class "
        "Classification, arXiv 2305.00398"
    )
    config_class = SLSGConfig

    def __init__(self, config: SLSGConfig, context: Context) -> None:
        super().__init__(config, context)
        self.config: SLSGConfig = config
        device = context.device
        self.encoder = Backbone(config.backbone, config.layers, config.weights).to(device)
        channels = self.encoder.channels
        # Built on the CPU under a seed of their own: the same initial weights on every device.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(epoch_seed(context.seed, -1))
            self.network = SegmentationNetwork(
                channels, config.graph, config.position, config.neighbours, config.norm
            ).to(device)
            self.restorer = Restorer(channels[-1], self.encoder.strides[-1], config.norm).to(device)
        self._optimizer = torch.optim.SGD(self.network.parameters(), lr=config.lr, momentum=0.9, weight_decay=3e-5)
        self._pretrain_optimizer = torch.optim.Adam(
            [
                {"params": list(self.encoder.parameters()), "lr": config.pretrain_lr},
                {"params": list(self.restorer.parameters()), "lr": 1e-3},
            ]
        )
        self._centre = torch.zeros(channels[-1], device=device)
        self._radius = torch.ones((), device=device)
        self._recipe = Recipe(Branch(3, 0.5, config.texture_beta), Branch(2, 0.4, config.scar_beta), config.p_scar)
        self._texture_folder = None if config.textures is None else Path(config.textures)
        self._images: ImageSet | None = None
        self._normals: FeatureSet | None = None
        self._epoch_steps = self._pretrain_epochs = self._step = 0

    def fit(self, train_images: ImageSet, labelled: ImageSet) -> None:
        """Pre-train the encoder on normal images, then the segmentation network on these and simulated anomalies."""
        config, context = self.config, self.context
        self._images = train_images
        self._epoch_steps = math.ceil(len(train_images) / config.batch_size)
        self._pretrain_epochs = math.ceil(config.pretrain_iterations / self._epoch_steps)
        if not config.pretrain_iterations:  # Otherwise the encoder is one that nobody else can share.
            self._normals = cached_features(self.encoder, train_images, context.cache, context.device)
        epochs = self._pretrain_epochs + math.ceil(config.iterations / self._epoch_steps)
        train(self, context, n_images=len(train_images), batch_size=config.batch_size, epochs=epochs)
        self._images = self._normals = None

    def start_epoch(self, epoch: int) -> None:
        """Pre-training first; then the encoder is frozen and, for the one-class term, the centre is found."""
        self._pretraining = epoch < self._pretrain_epochs
        self.encoder.requires_grad_(self._pretraining)
        self._step = (epoch - (0 if self._pretraining else self._pretrain_epochs)) * self._epoch_steps
        if epoch == self._pretrain_epochs and self.config.lambda_oc:
            self._find_centre()

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        """A step of the stage."""
        assert self._images is not None
        images = to_unit_tensor(self._images.pixels(batch.indices.numpy()), self.context.device)
        losses = self._restoration_step(images, batch) if self._pretraining else self._detection_step(images, batch)
        self._step += 1
        return losses

    def _restoration_step(self, images: Tensor, batch: Batch) -> dict[str, Tensor]:
        rolls = uniforms(batch.seeds, _SALT, 3 * math.prod(_TILES)).to(images.device)
        self._anneal(self._pretrain_optimizer, (self.config.pretrain_lr, 1e-3), self._pretrain_epochs)
        self.restorer.train()
        with autocast(images.device):
            restored = self.restorer(self.encoder(disordered(images, rolls))[-1], images.shape[-1])
            loss = (restored.float() - images).abs().mean()
        optimise(loss, self._pretrain_optimizer, [*self.encoder.parameters(), *self.restorer.parameters()])
        return {"restoration": loss}

    def _detection_step(self, images: Tensor, batch: Batch) -> dict[str, Tensor]:
        config, device = self.config, self.context.device
        rolls = uniforms(batch.seeds, _SALT, ROLLS).to(device)

        def textures(chosen: Tensor) -> Tensor:
            return texture_batch(batch.seeds[chosen.cpu()], images.shape[-1], device, self._texture_folder)

        simulated, masks = simulate(images, rolls, textures, self._recipe)
        self.network.train()
        self._anneal(self._optimizer, (config.lr,), math.ceil(config.iterations / self._epoch_steps))
        features = self._features(images, simulated, batch)
        with autocast(device):
            output = self.network(features)
        targets = torch.cat([torch.zeros_like(masks), masks]).float()
        focal, l1, auxiliary = segmentation_losses(output, targets)
        loss = config.w_focal * focal + config.w_l1 * l1 + config.w_aux * auxiliary
        losses = {"focal": focal, "l1": l1, "auxiliary": auxiliary}
        if config.lambda_oc:
            normal, pushed = (direction(output) - self._centre).chunk(2)
            losses["one_class"] = one_class_loss(normal, pushed, MARGIN * self._radius)
            loss = loss + config.lambda_oc * losses["one_class"]
        optimise(loss, self._optimizer, self.network.parameters())
        return {"loss": loss, **losses}

    @torch.no_grad()
    def _features(self, images: Tensor, simulated: Tensor, batch: Batch) -> list[Tensor]:
        """Frozen features of normal images, then of simulated ones; in float32, as those that are cached."""
        if self._normals is None:
            features: list[Tensor] = self.encoder(torch.cat([images, simulated]))
            return features
        normal = self._normals.batch(batch.indices, self.context.device)
        return [torch.cat(pair) for pair in zip(normal, self.encoder(simulated), strict=True)]

    def _anneal(self, optimizer: torch.optim.Optimizer, rates: tuple[float, ...], epochs: int) -> None:
        share = self._step / (epochs * self._epoch_steps)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (1 + math.cos(math.pi * share)) / 2

    @torch.no_grad()
    def _find_centre(self) -> None:
        """Centre of the normal images' directions before training, and their mean distance from it."""
        assert self._images is not None
        self.network.train()  # Running statistics have seen nothing yet.
        found = []
        for start in range(0, len(self._images), _CENTRE_BATCH):
            images = to_unit_tensor(self._images.pixels(slice(start, start + _CENTRE_BATCH)), self.context.device)
            found.append(direction(self.network(self.encoder(images))))
        every = torch.cat(found)
        self._centre = every.mean(dim=0)
        self._radius = (every - self._centre).norm(dim=1).mean()

    def predict_checked(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map: the decoder's probability of an anomaly, at image size; score: mean of its 100 largest (at 256 px)."""
        self.network.eval()
        features = self.encoder(images)
        with autocast(self.context.device):
            output = self.network(features)
        maps = to_size(output.logits.float(), images.shape[-2:]).softmax(dim=1)[:, 1]
        return top_mean(maps, _SCORED_PIXELS), maps

    def state_dict(self) -> dict[str, Tensor]:
        """The segmentation network's weights, and the encoder's if they were learned."""
        state = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        if self.config.pretrain_iterations:
            state |= {f"encoder.{name}": value for name, value in self.encoder.state_dict().items()}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the networks."""
        self.network.load_state_dict(_part(state, "network."))
        if self.config.pretrain_iterations:
            self.encoder.load_state_dict(_part(state, "encoder."))

    def train_state(self) -> dict[str, Any]:
        """Networks, optimisers, and the one-class term's centre."""
        return {
            "networks": self.state_dict(),
            "restorer": self.restorer.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "pretrain_optimizer": self._pretrain_optimizer.state_dict(),
            "centre": self._centre,
            "radius": self._radius,
        }

    def load_train_state(self, state: dict[str, Any]) -> None:
        """Restore ``train_state``."""
        self.load_state_dict(state["networks"])
        self.restorer.load_state_dict(state["restorer"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._pretrain_optimizer.load_state_dict(state["pretrain_optimizer"])
        self._centre, self._radius = state["centre"], state["radius"]


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def disordered(images: Tensor, rolls: Tensor) -> Tensor:
    """Images [N, 3, S, S] whose tiles, on a grid of 8 x 8, partly changed places and partly turned grey.

    ``rolls`` [N, 3 x 64] in [0, 1): which tiles move, to where, which turn grey.
    """
    moving, keys, grey = rolls.chunk(3, dim=1)
    moves = moving < _SHUFFLED
    # Both list the moving tiles first: by place, and by chance. The others follow by place in both.
    by_place = torch.where(moves, 0.0, 2.0).argsort(dim=1, stable=True)
    by_chance = torch.where(moves, keys, 2.0).argsort(dim=1, stable=True)
    order = torch.empty_like(by_place).scatter(1, by_place, by_chance)
    shuffled = shuffled_tiles(images, order, _TILES)
    masked = (grey < _MASKED).float().view(-1, 1, *_TILES)
    return torch.where(functional.interpolate(masked, images.shape[-2:], mode="nearest") > 0, 0.5, shuffled)


def segmentation_losses(output: Output, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Focal loss and L1 of the decoder, L1 of the auxiliary head, at the size of ``targets`` [N, S, S] in {0, 1}."""
    size = targets.shape[-2:]
    log_probabilities = to_size(output.logits.float(), size).log_softmax(dim=1)
    anomalous = log_probabilities[:, 1].exp()
    auxiliary = to_size(output.auxiliary.float(), size).softmax(dim=1)[:, 1]
    focal = focal_loss(log_probabilities, targets, FOCAL_GAMMA)
    return focal, (anomalous - targets).abs().mean(), (auxiliary - targets).abs().mean()


def focal_loss(log_probabilities: Tensor, targets: Tensor, gamma: float) -> Tensor:
    """Mean over pixels of -(1 - p_t)^gamma log p_t; log p [N, 2, S, S], ``targets`` [N, S, S] in {0, 1}."""
    log_p = torch.where(targets > 0.5, log_probabilities[:, 1], log_probabilities[:, 0])
    return ((1 - log_p.exp()).clamp(min=0) ** gamma * -log_p).mean()


def direction(output: Output) -> Tensor:
    """z [N, C] of the one-class term: the graph's mean over its nodes, of unit length, so that it cannot run away."""
    return functional.normalize(output.pooled.float(), dim=1)


def one_class_loss(normal: Tensor, simulated: Tensor, margin: Tensor | float) -> Tensor:
    """mean |z|^2 over normals + mean [m - |z|]_+^2 over simulated anomalies; z [N, C] from the centre."""
    distances = (simulated.square().sum(dim=1) + 1e-12).sqrt()  # Differentiable at the centre.
    return normal.square().sum(dim=1).mean() + functional.relu(margin - distances).square().mean()
