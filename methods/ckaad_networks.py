"""CKAAD's networks: the feature autoencoder g, the patch and the image discriminator."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.1


class _DownBlock(nn.Module):
    """Residual block of stride 2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
            nn.InstanceNorm2d(outputs, affine=True),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.InstanceNorm2d(outputs, affine=True),
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride=2, bias=False), nn.InstanceNorm2d(outputs, affine=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.shortcut(x))


class _UpBlock(nn.Module):
    """Residual block of stride 1/2, the mirror of _DownBlock."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False),
            nn.InstanceNorm2d(outputs, affine=True),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.InstanceNorm2d(outputs, affine=True),
        )
        self.shortcut = nn.Sequential(
            nn.ConvTranspose2d(inputs, outputs, 2, stride=2, bias=False),
            nn.InstanceNorm2d(outputs, affine=True),
        )

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        # Odd feature sizes halve upwards, so their mirror is one too large.
        return _to_size(functional.relu(self.body(x) + self.shortcut(x)), size)


def _to_size(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x if x.shape[-2:] == size else functional.interpolate(x, size, mode="bilinear", align_corners=False)


class FeatureAutoencoder(nn.Module):
    """g: features of several layers through one bottleneck and back (CKAAD, section 3.2).

    Per layer, stride-2 3x3 convolutions lead to the deepest layer's size; their concatenation passes a residual
    stage of stride 2, the bottleneck; a mirrored transposed residual decoder returns every layer. The 1x1 heads
    without activation are ours: a backbone's features may be negative.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        deepest = channels[-1]
        self.reduce = nn.ModuleList(
            self._reduce(channel, deepest, strides[-1] // stride)
            for channel, stride in zip(channels, strides, strict=True)
        )
        self.bottleneck = _DownBlock(deepest * len(channels), 2 * deepest)
        blocks, heads, width = [], [], 2 * deepest
        for channel in reversed(channels):
            blocks.append(_UpBlock(width, channel))
            heads.append(nn.Conv2d(channel, channel, 1))
            width = channel
        self.blocks = nn.ModuleList(blocks)
        self.heads = nn.ModuleList(heads)
        if any(later != 2 * earlier for earlier, later in itertools.pairwise(strides)):
            raise ValueError(f"layers must follow each other at strides that double, not {list(strides)}")

    @staticmethod
    def _reduce(channels: int, deepest: int, factor: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        while factor > 1:
            layers += [
                nn.Conv2d(channels, deepest, 3, stride=2, padding=1, bias=False),
                nn.InstanceNorm2d(deepest, affine=True),
                nn.ReLU(inplace=True),
            ]
            channels, factor = deepest, factor // 2
        return nn.Sequential(*layers)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Features [N, C_l, H_l, W_l], shallow to deep, to reconstructions of the same shapes."""
        sizes = [(feature.shape[-2], feature.shape[-1]) for feature in features]
        # Some backbones (Inception, VGG) halve odd sizes downwards.
        reduced = [_to_size(reduce(f), sizes[-1]) for reduce, f in zip(self.reduce, features, strict=True)]
        x = self.bottleneck(torch.cat(reduced, dim=1))
        rebuilt: list[Tensor] = []
        for block, head, size in zip(self.blocks, self.heads, reversed(sizes), strict=True):
            x = block(x, size)
            rebuilt.append(head(x))
        return rebuilt[::-1]


class PatchDiscriminator(nn.Module):
    """Energy E = |s| of every patch of every layer (CKAAD, section 3.3); no biases."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channel, channel, 1, bias=False),
                nn.LeakyReLU(SLOPE, inplace=True),
                nn.Conv2d(channel, channel, 1, bias=False),
                nn.LeakyReLU(SLOPE, inplace=True),
                nn.Conv2d(channel, 1, 1, bias=False),
            )
            for channel in channels
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Features [N, C_l, H_l, W_l] to energies [N, 1, H_l, W_l] >= 0."""
        return [
            layer(functional.normalize(feature, dim=1)).abs()
            for layer, feature in zip(self.layers, features, strict=True)
        ]


class ImageDiscriminator(nn.Module):
    """Energy E = |s| of a whole image, per layer: stride-2 convolutions to 1x1 and a linear head."""

    def __init__(self, channels: Sequence[int], sizes: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(self._layer(channel, size) for channel, size in zip(channels, sizes, strict=True))

    @staticmethod
    def _layer(channels: int, size: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        while size > 1:
            layers += [
                nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False),
                nn.LeakyReLU(SLOPE, True),
            ]
            size = (size + 1) // 2
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels, 1, bias=False))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Features [N, C_l, H_l, W_l] to energies [N, 1] >= 0, one per layer."""
        return [
            layer(functional.normalize(feature, dim=1)).abs()
            for layer, feature in zip(self.layers, features, strict=True)
        ]
