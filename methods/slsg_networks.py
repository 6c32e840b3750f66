"""SLSG's networks: skip attention, the graph block, the U-Net decoder with its heads, the pre-training's restorer."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from adbench.methods.normalisation import SynchronisedBatchNorm

NODES_AT_256 = 256
"""Nodes of the graph in a 256-pixel image, at stride 16: the paper's count of neighbours is meant for these."""

NEIGHBOUR_STEP = 3
"""Every third of the nearest nodes becomes a neighbour."""

KEY_CHANNELS = 256

Norm = Literal["batch", "group"]
Branches = Literal["both", "dense", "sparse", "off"]
Position = Literal["far", "near", "off"]


def normalisation(kind: Norm, channels: int) -> nn.Module:
    """Batch normalisation, synchronised over processes, or GroupNorm of at least eight channels a group."""
    if kind == "batch":
        return SynchronisedBatchNorm(channels)
    return nn.GroupNorm(math.gcd(channels, max(1, channels // 8)), channels)


def _convolution(inputs: int, outputs: int, norm: Norm) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), normalisation(norm, outputs), nn.ReLU(inplace=True)
    )


def to_size(x: Tensor, size: Sequence[int]) -> Tensor:
    """[N, C, h, w] to [N, C, *size], bilinear."""
    if list(x.shape[-2:]) == list(size):
        return x
    return functional.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


class SkipAttention(nn.Module):
    """y = x + W2 ReLU(x * W1(DW3x3,dil3(DW3x3 x))): large-kernel attention on a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
            nn.Conv2d(channels, channels, 3, padding=3, dilation=3, groups=channels),
            nn.Conv2d(channels, channels, 1),
        )
        self.output = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        attended: Tensor = x + self.output(functional.relu(x * self.attention(x)))
        return attended


def relative_position(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """How near two nodes of a grid lie, [n, n], 1 for a node and itself: 2/D times the product of their sine-cosine
    position embeddings of D channels, in closed form mean_k cos(w_k (y_i - y_j)) and the same in x, averaged."""
    quarter = channels // 4
    frequencies = 10_000.0 ** -(torch.arange(quarter, device=device) / quarter)

    def along(length: int) -> Tensor:
        steps = torch.arange(length, device=device)
        return ((steps[:, None] - steps)[:, :, None] * frequencies).cos().mean(dim=2)

    rows, columns = along(height), along(width)
    both = (rows[:, None, :, None] + columns[None, :, None, :]) / 2
    return both.reshape(height * width, height * width)


def neighbour_count(neighbours: int, nodes: int) -> int:
    """``neighbours`` of 256 nodes; fewer, with the side of the map, where there are fewer nodes; at least two."""
    scaled = round(neighbours * math.sqrt(min(1.0, nodes / NODES_AT_256)))
    return min(max(2, scaled), max(1, nodes // NEIGHBOUR_STEP))


def nearest_with_gaps(affinity: Tensor, count: int) -> Tensor:
    """Every third of the 3 ``count`` nodes of largest affinity [N, n, n]: their indices [N, n, count]."""
    reach = min(NEIGHBOUR_STEP * count, affinity.shape[-1])
    return affinity.topk(reach, dim=-1).indices[..., ::NEIGHBOUR_STEP]


def max_relative(nodes: Tensor, neighbours: Tensor) -> Tensor:
    """m_i = max_j (x_j - x_i) over each node's neighbours: nodes [N, C, n], neighbours [N, n, k] to [N, C, n]."""
    batch, channels, count = nodes.shape
    places = neighbours.flatten(1)[:, None].expand(-1, channels, -1)
    gathered = nodes.gather(2, places).view(batch, channels, count, -1)
    return gathered.amax(dim=3) - nodes


def products(keys: Tensor) -> Tensor:
    """K K^T [N, n, n] of keys [N, n, C], in float32 also under autocast: bfloat16 would change neighbours."""
    with torch.autocast(keys.device.type, enabled=False):
        keys = keys.float()
        return keys @ keys.transpose(1, 2)


class GraphBlock(nn.Module):
    """Self-attentive graph convolution on the deepest map, whose places are the nodes (SLSG, section 3.3).

    Dense branch: x + W(P conv3x3 x), P = softmax(Q K^T). Sparse branch: the neighbours of a node are found by
    cosine(Q, K) and relative position; x + GELU(norm(grouped 1x1 [x, m])), m_i = max_j (x_j - x_i). Q = K.

    Choosing neighbours lets no gradient through. With "both", the keys learn from the dense branch; with "sparse"
    alone they stay what was drawn: neighbours are then near in a random projection of the features.
    """

    def __init__(self, channels: int, branches: Branches, position: Position, neighbours: int, norm: Norm) -> None:
        super().__init__()
        self.branches: Branches = branches
        self.position: Position = position
        self.neighbours = neighbours
        self.key = nn.Sequential(nn.Conv2d(channels, KEY_CHANNELS, 1), normalisation(norm, KEY_CHANNELS))
        if branches in ("both", "dense"):
            self.value = nn.Conv2d(channels, channels, 3, padding=1)
            self.output = nn.Conv2d(channels, channels, 1)
        if branches in ("both", "sparse"):
            self.fusion = nn.Conv2d(2 * channels, channels, 1, groups=math.gcd(4, channels), bias=False)
            self.fusion_norm = normalisation(norm, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same shape."""
        keys = self.key(x).flatten(2).transpose(1, 2)  # [N, n, 256]
        if self.branches in ("both", "dense"):
            attention = products(keys).softmax(dim=2)
            gathered = self.value(x).flatten(2) @ attention.to(x.dtype).transpose(1, 2)
            x = x + self.output(gathered.view_as(x))
        if self.branches in ("both", "sparse"):
            largest = max_relative(x.flatten(2), self.find_neighbours(keys, x.shape[2], x.shape[3])).view_as(x)
            # Channel by channel, so that each group of the fusion sees x and m of the same channels.
            pairs = torch.stack([x, largest], dim=2).flatten(1, 2)
            x = x + functional.gelu(self.fusion_norm(self.fusion(pairs)))
        return x

    @torch.no_grad()
    def find_neighbours(self, keys: Tensor, height: int, width: int) -> Tensor:
        """Keys [N, n, 256] of a map of n = height x width nodes to the places of each one's neighbours [N, n, k]."""
        affinity = products(functional.normalize(keys.float(), dim=2))
        if self.position != "off":
            nearness = relative_position(height, width, KEY_CHANNELS, keys.device)
            affinity = affinity + nearness if self.position == "near" else affinity - nearness
        return nearest_with_gaps(affinity, neighbour_count(self.neighbours, height * width))


@dataclass(frozen=True)
class Output:
    """Logits [N, 2, h, w] (class 1 = anomalous) of the decoder and of the auxiliary head; ``pooled`` [N, C]: the
    graph's mean over its nodes."""

    logits: Tensor
    auxiliary: Tensor
    pooled: Tensor


class SegmentationNetwork(nn.Module):
    """Features of a frozen encoder to logits: skip attention, graph block, U-Net decoder, and two heads.

    The decoder's form is ours: 3x3 convolution to the skip's channels, upsample, concatenate the skip, two 3x3
    convolutions; widths are those of the encoder's layers.
    """

    def __init__(
        self, channels: Sequence[int], branches: Branches, position: Position, neighbours: int, norm: Norm
    ) -> None:
        super().__init__()
        *skips, deepest = channels
        self.attention = nn.ModuleList(SkipAttention(channel) for channel in skips)
        self.graph = nn.Identity() if branches == "off" else GraphBlock(deepest, branches, position, neighbours, norm)
        reduce, fuse, width = [], [], deepest
        for channel in reversed(skips):
            reduce.append(_convolution(width, channel, norm))
            fuse.append(nn.Sequential(_convolution(2 * channel, channel, norm), _convolution(channel, channel, norm)))
            width = channel
        self.reduce, self.fuse = nn.ModuleList(reduce), nn.ModuleList(fuse)
        self.head = nn.Conv2d(width, 2, 1)
        self.auxiliary = nn.Sequential(_convolution(deepest, deepest, norm), nn.Conv2d(deepest, 2, 1))

    def forward(self, features: Sequence[Tensor]) -> Output:
        """Features [N, C_l, H_l, W_l], shallow to deep, to logits at the shallowest and the deepest size."""
        *skips, deepest = features
        graph = self.graph(deepest)
        x = graph
        attended = [attend(skip) for attend, skip in zip(self.attention, skips, strict=True)]
        for reduce, fuse, skip in zip(self.reduce, self.fuse, reversed(attended), strict=True):
            x = fuse(torch.cat([to_size(reduce(x), skip.shape[-2:]), skip], dim=1))
        return Output(self.head(x), self.auxiliary(graph), graph.mean(dim=(2, 3)))


class Restorer(nn.Module):
    """Decoder of the pre-training: the deepest features alone back to an image; no skips, which would let it copy."""

    def __init__(self, channels: int, stride: int, norm: Norm) -> None:
        super().__init__()
        widths = [channels, *(max(16, channels >> step) for step in range(1, stride.bit_length()))]
        self.stages = nn.ModuleList(_convolution(before, after, norm) for before, after in itertools.pairwise(widths))
        self.head = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, deepest: Tensor, size: int) -> Tensor:
        """Features [N, C, h, w] to images [N, 3, size, size]."""
        x = deepest
        for stage in self.stages:
            x = stage(functional.interpolate(x, scale_factor=2, mode="nearest"))
        return to_size(self.head(x), (size, size))
