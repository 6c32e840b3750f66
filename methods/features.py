"""Backbone features of whole image sets, computed once per node and shared through the cache."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adbench.datasets.cache import Cache
from adbench.datasets.imageset import ImageSet
from adbench.methods.backbone import Backbone
from adbench.methods.base import to_unit_tensor

_BATCH = 32


@dataclass(frozen=True)
class FeatureSet:
    """Features of N images: one array [N, C_l, H_l, W_l] float32 per layer."""

    layers: Sequence[NDArray[np.float32] | Tensor]

    def __len__(self) -> int:
        return len(self.layers[0])

    def batch(self, indices: Tensor, device: torch.device) -> list[Tensor]:
        """The features of the chosen images on the device."""
        batch = []
        for layer in self.layers:
            if isinstance(layer, Tensor):
                batch.append(layer[indices.to(layer.device)].to(device))
            else:
                batch.append(torch.from_numpy(layer[indices.numpy()]).to(device))
        return batch


@torch.inference_mode()
def cached_features(backbone: Backbone, images: ImageSet, cache: Cache, device: torch.device) -> FeatureSet:
    """Features of every image of the set; computed from pixels unless a method before did so."""
    if len(images) == 0:
        raise ValueError("features of an empty image set")
    probe = backbone(to_unit_tensor(images.pixels(slice(0, 1)), device))
    computed: list[list[NDArray[Any]]] = []

    def compute() -> list[list[NDArray[Any]]]:
        # All layers come from one pass; the cache then asks for them one by one.
        if not computed:
            for start in range(0, len(images), _BATCH):
                pixels = images.pixels(slice(start, start + _BATCH))
                computed.append([layer.cpu().numpy() for layer in backbone(to_unit_tensor(pixels, device))])
        return computed

    arrays = []
    for index, layer in enumerate(probe):

        def fill(array: NDArray[Any], index: int = index) -> None:
            start = 0
            for batch in compute():
                array[start : start + len(batch[index])] = batch[index]
                start += len(batch[index])

        key = {
            "what": "features",
            **images.content_key,
            "backbone": backbone.name,
            "weights": backbone.weights_hash,
            "torch": torch.__version__,
            "stride": backbone.strides[index],
            "device": device.type,
            "threads": torch.get_num_threads(),  # The last bits of a convolution can depend on it.
        }
        arrays.append(cache.array(key, (len(images), *layer.shape[1:]), np.float32, fill))
    return FeatureSet(arrays)
