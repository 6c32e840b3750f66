"""SLSG's networks against their equations: modules by hand, the graph node by node, and its precision."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adbench.methods.slsg_networks import (
    GraphBlock,
    Restorer,
    SegmentationNetwork,
    SkipAttention,
    max_relative,
    nearest_with_gaps,
    neighbour_count,
    products,
    relative_position,
)

CPU = torch.device("cpu")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_skip_attention_by_hand() -> None:
    attention = SkipAttention(1)
    first, second, mix = (module for module in attention.attention if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        for module in (first, second):
            module.weight.zero_()
            module.bias.zero_()  # type: ignore[union-attr]
        first.weight[0, 0, 1, 1], first.weight[0, 0, 1, 2] = 1.0, 1.0  # x and its right neighbour
        second.weight[0, 0, 1, 2] = 1.0  # what lies three to the right
        mix.weight.fill_(2.0)
        mix.bias.fill_(-1.0)  # type: ignore[union-attr]
        attention.output.weight.fill_(0.5)
        attention.output.bias.fill_(0.25)  # type: ignore[union-attr]
    x = torch.tensor([[[[1.0, 2.0, 3.0, 4.0, 5.0]]]])
    # Places 3 and 4 to the right of the first: 4 + 5; of the second: 5 + nothing; then nothing.
    attended = [2 * 9 - 1, 2 * 5 - 1, -1, -1, -1]
    expected = [v + 0.5 * max(0.0, v * a) + 0.25 for v, a in zip((1, 2, 3, 4, 5), attended, strict=True)]
    torch.testing.assert_close(attention(x).flatten(), torch.tensor(expected))


def test_relative_position_is_the_product_of_sine_cosine_embeddings() -> None:
    height, width, channels = 3, 4, 16
    frequencies = [10_000 ** (-k / 4) for k in range(4)]

    def embedding(y: int, x: int) -> list[float]:
        return [f(w * place) for place in (y, x) for f in (math.sin, math.cos) for w in frequencies]

    every = torch.tensor([embedding(y, x) for y in range(height) for x in range(width)])
    found = relative_position(height, width, channels, CPU)
    torch.testing.assert_close(found, 2 * every @ every.T / channels)
    torch.testing.assert_close(found.diagonal(), torch.ones(12))


def test_neighbours_of_a_hand_made_map() -> None:
    # Affinities of node 0 to nodes 0..8, in an order that is easily read off; 3 neighbours of 9.
    affinity = torch.tensor([[[0.9, 0.1, 0.5, 0.8, 0.3, 0.7, 0.2, 0.6, 0.4]]])
    # Sorted: nodes 0 3 5 | 7 2 8 | 4 6 1; every third.
    assert nearest_with_gaps(affinity, 3).tolist() == [[[0, 7, 4]]]
    assert nearest_with_gaps(affinity, 2).tolist() == [[[0, 7]]]


def test_max_relative_by_hand() -> None:
    nodes = torch.tensor([[[1.0, 5.0, 2.0], [0.0, -1.0, 4.0]]])  # Two channels, three nodes.
    neighbours = torch.tensor([[[0, 2], [0, 2], [1, 1]]])
    expected = torch.tensor([[[1.0, -3.0, 3.0], [4.0, 5.0, -5.0]]])
    assert torch.equal(max_relative(nodes, neighbours), expected)


@pytest.mark.parametrize(
    ("neighbours", "nodes", "expected"),
    [(9, 256, 9), (9, 1024, 9), (9, 64, 4), (9, 16, 2), (15, 256, 15), (9, 4, 1), (9, 1, 1), (1, 256, 2)],
)
def test_fewer_nodes_have_fewer_neighbours(neighbours: int, nodes: int, expected: int) -> None:
    assert neighbour_count(neighbours, nodes) == expected
    assert nearest_with_gaps(noise(1, nodes, nodes), expected).shape == (1, nodes, expected)


@pytest.mark.parametrize("position", ["far", "near", "off"])
def test_the_position_s_sign_decides_who_is_a_neighbour(position: Any) -> None:
    """Of a map that is equal everywhere only places differ: first oneself if near, the farthest if far."""
    block = GraphBlock(8, "sparse", position, 9, "batch")
    keys = torch.ones(1, 256, 4)
    neighbours = block.find_neighbours(keys, 16, 16)
    assert neighbours.shape == (1, 256, 9)
    places = torch.stack([torch.arange(256) // 16, torch.arange(256) % 16], dim=1).float()
    reach = (places[neighbours[0]] - places[:, None]).norm(dim=2)
    if position == "near":
        assert (neighbours[0, :, 0] == torch.arange(256)).all() and reach.max() < 10
    if position == "far":
        assert reach[:, 0].min() > 8
    # What a node looks like comes before where it is: one like it is found wherever it lies.
    keys = torch.zeros(1, 256, 2)
    keys[..., 0], keys[0, [0, 255], 0], keys[0, [0, 255], 1] = -1.0, 1.0, 0.0
    assert set(block.find_neighbours(keys, 16, 16)[0, 0, :1].tolist()) <= {0, 255}


def by_hand(block: GraphBlock, x: Tensor) -> Tensor:
    """The graph block's equations, node by node, in evaluation mode."""
    (image,) = x
    channels, height, width = image.shape
    if block.branches in ("both", "dense"):
        keys = block.key(x)[0].flatten(1).T
        values = block.value(x)[0].flatten(1).T
        mixed = []
        for key in keys:
            weights = (keys @ key).exp() / (keys @ key).exp().sum()
            mixed.append((weights[:, None] * values).sum(0))
        x = x + block.output(torch.stack(mixed).T.reshape(1, channels, height, width))
    if block.branches in ("both", "sparse"):
        keys = block.key(torch.as_tensor(image)[None])[0].flatten(1).T  # Q and K are of the block's input.
        nodes = x[0].flatten(1).T
        near = relative_position(height, width, 256, x.device)
        sign = {"far": -1, "near": 1, "off": 0}[block.position]
        largest = []
        for i, node in enumerate(nodes):
            affinity = torch.stack([torch.cosine_similarity(keys[i], key, dim=0) for key in keys]) + sign * near[i]
            order = affinity.argsort(descending=True)[: 3 * neighbour_count(block.neighbours, len(nodes)) : 3]
            largest.append((nodes[order] - node).amax(0))
        pairs = torch.stack([nodes, torch.stack(largest)], dim=2).flatten(1).T.reshape(1, -1, height, width)
        x = x + nn.functional.gelu(block.fusion_norm(block.fusion(pairs)))
    return x


@pytest.mark.parametrize("branches", ["both", "dense", "sparse"])
@pytest.mark.parametrize("position", ["far", "near"])
@torch.no_grad()
def test_the_graph_block_by_hand(branches: Any, position: Any) -> None:
    torch.manual_seed(0)
    block = GraphBlock(8, branches, position, 9, "batch").eval()
    block.key.get_submodule("0").get_parameter("weight").mul_(0.1)  # Attention that is spread over nodes.
    x = noise(2, 8, 5, 6)
    torch.testing.assert_close(
        block(x), torch.cat([by_hand(block, image[None]) for image in x]), atol=1e-5, rtol=1e-4
    )


def test_the_graph_reaches_across_the_image_and_is_off_when_asked() -> None:
    torch.manual_seed(0)
    x = noise(1, 8, 8, 8).requires_grad_()
    GraphBlock(8, "both", "far", 9, "group")(x)[0, :, 0, 0].sum().backward()
    assert x.grad is not None and (x.grad[0, :, 5:, 5:] != 0).any()
    network = SegmentationNetwork([4, 8], "off", "far", 9, "group")
    assert isinstance(network.graph, nn.Identity)
    assert torch.equal(network([noise(1, 4, 16, 16), x]).pooled, x.mean(dim=(2, 3)))


@pytest.mark.parametrize("sizes", [(16, 8, 4), (25, 13, 7), (25, 12, 6), (2, 1, 1)])
@pytest.mark.parametrize("branches", ["both", "off"])
def test_the_network_returns_logits_at_the_shallowest_and_deepest_size(sizes: Any, branches: Any) -> None:
    channels = [4, 6, 10]
    features = [noise(2, channel, size, size) for channel, size in zip(channels, sizes, strict=True)]
    output = SegmentationNetwork(channels, branches, "far", 9, "group")(features)
    assert output.logits.shape == (2, 2, sizes[0], sizes[0])
    assert output.auxiliary.shape == (2, 2, sizes[2], sizes[2]) and output.pooled.shape == (2, 10)
    assert Restorer(10, 16, "batch")(features[2], 97).shape == (2, 3, 97, 97)


def close_keys() -> Tensor:
    """[1, 64, 8]: their products, near 200, differ by less than bfloat16 can tell apart."""
    return 5 + 0.02 * noise(1, 64, 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_are_exact_under_autocast(dtype: torch.dtype) -> None:
    keys = close_keys().to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (keys @ keys.mT).dtype == torch.bfloat16, "which autocast does to others"
        found = products(keys)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), keys.double() @ keys.double().mT, rtol=1e-6, atol=0)


def test_neighbours_are_the_same_under_autocast() -> None:
    keys = noise(1, 256, 8)
    units = nn.functional.normalize(keys.double(), dim=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = GraphBlock(8, "sparse", "off", 9, "batch").find_neighbours(keys, 16, 16)
    assert torch.equal(found, nearest_with_gaps(units @ units.mT, 9))


@torch.no_grad()
def test_attention_is_exact_under_autocast() -> None:
    keys, x = close_keys(), noise(1, 8, 8, 8)
    block = GraphBlock(8, "dense", "off", 9, "batch")
    block.key.register_forward_hook(lambda *_: keys.mT.reshape(1, 8, 8, 8))
    for convolution in (block.value, block.output):  # They pass on what they get.
        nn.init.dirac_(convolution.weight)
        convolution.get_parameter("bias").zero_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        gathered = block(x) - x
    attention = (keys.double() @ keys.double().mT).softmax(dim=2)
    expected = x.flatten(2).double() @ attention.mT
    torch.testing.assert_close(gathered.flatten(2).double(), expected, rtol=0.02, atol=0.005)


@pytest.mark.parametrize(("branches", "learn"), [("both", True), ("dense", True), ("sparse", False)])
def test_keys_learn_from_the_dense_branch_alone(branches: Any, learn: bool) -> None:
    block = GraphBlock(8, branches, "far", 9, "group")
    block(noise(1, 8, 8, 8)).square().sum().backward()
    assert all((parameter.grad is not None) == learn for parameter in block.key.parameters())
