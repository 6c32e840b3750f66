"""SSAE's network: a convolutional autoencoder with dilated blocks and skips by convex combination."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

_GROUP = 8
_MEAN, _DEVIATION = 0.5, 0.25
"""Images in [0, 1] are brought to about zero mean and unit deviation, and back."""


def _conv(inputs: int, outputs: int, kernel: int = 3, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
        nn.GroupNorm(max(1, outputs // _GROUP), outputs),
        nn.LeakyReLU(0.1, inplace=True),
    )


class DilatedBlock(nn.Module):
    """Stacked dilated convolutions: parallel 3x3 convolutions, concatenated; brought back to C channels and added."""

    def __init__(self, channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        branch = -(-channels // len(dilations))
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, branch, 3, padding=dilation, dilation=dilation) for dilation in dilations
        )
        self.fuse = _conv(branch * len(dilations), channels, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        seen = torch.cat([branch(x) for branch in self.branches], dim=1)
        fused: Tensor = self.fuse(functional.leaky_relu(seen, 0.1))
        return x + fused


class ConvexSkip(nn.Module):
    """out = C e + (1 - C) d with C = sigmoid(conv[e, d]): everywhere between encoder and decoder."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, e: Tensor, d: Tensor) -> Tensor:
        """Both [N, C, H, W] to the same shape."""
        # Under autocast norms return float32 and convolutions bfloat16; lerp takes one type.
        gate = torch.sigmoid(self.gate(torch.cat([e, d], dim=1)))
        return torch.lerp(d, e.to(d.dtype), gate.to(d.dtype))


class CorruptionAutoencoder(nn.Module):
    """f: images to what they would look like without anomalies.

    Stages of ``width`` channels and twice, four times as many (no more) are parted by ``poolings`` 2x2 max-poolings.
    ``stem`` > 1 folds each stem x stem pixels into channels first, and unfolds them at the end; the papers' is 1.
    ``input_skip`` adds a convex skip from the input image itself to the output.
    """

    def __init__(self, width: int, poolings: int, stem: int, blocks: int, image_size: int, input_skip: bool) -> None:
        super().__init__()
        self.stem, self.input_skip = stem, input_skip
        self.stride = stem * 2**poolings
        channels = [width * min(2**level, 4) for level in range(poolings + 1)]
        pixels = 3 * stem * stem
        self.down = nn.ModuleList(
            nn.Sequential(_conv(inputs, outputs), _conv(outputs, outputs))
            for inputs, outputs in pairwise([pixels, *channels])
        )
        deepest = -(-image_size // self.stride)
        # Dilations that reach beyond the map would see nothing but padding.
        dilations = [dilation for dilation in (1, 2, 4, 8, 16, 32) if dilation < max(2, deepest)]
        self.middle = nn.Sequential(*(DilatedBlock(channels[-1], dilations) for _ in range(blocks)))
        upwards = list(pairwise(reversed(channels)))
        self.up = nn.ModuleList(_conv(inputs, outputs) for inputs, outputs in upwards)
        self.skips = nn.ModuleList(ConvexSkip(outputs) for _, outputs in upwards)
        self.after = nn.ModuleList(_conv(outputs, outputs) for _, outputs in upwards)
        self.head = nn.Conv2d(width, (4 if input_skip else 3) * stem * stem, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Images [N, 3, S, S] in about [0, 1] to the same shape."""
        size = images.shape[-1]
        normal = (images - _MEAN) / _DEVIATION
        missing = -size % self.stride
        padded = functional.pad(normal, (0, missing, 0, missing), mode="reflect") if missing else normal
        x = functional.pixel_unshuffle(padded, self.stem).contiguous(memory_format=torch.channels_last)
        kept = []
        for level, stage in enumerate(self.down):
            x = stage(functional.max_pool2d(x, 2) if level else x)
            kept.append(x)
        x = self.middle(x)
        for up, skip, after, e in zip(self.up, self.skips, self.after, reversed(kept[:-1]), strict=True):
            d = functional.interpolate(up(x), scale_factor=2, mode="nearest")
            x = after(skip(e, d))
        # In float32 whatever the autocast: what is kept of the image itself is not rounded.
        out = functional.pixel_shuffle(self.head(x).float(), self.stem)
        if self.input_skip:
            out = torch.lerp(out[:, :3], padded, torch.sigmoid(out[:, 3:]))
        return out[:, :, :size, :size] * _DEVIATION + _MEAN
