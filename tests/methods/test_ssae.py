"""SSAE against its equations: loss and map by hand, what the network sees in a step, convex skips, idempotence."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import adbench.methods.training as training
from adbench.datasets.cache import Cache
from adbench.datasets.errors import RequestError
from adbench.datasets.parameters import validate
from adbench.methods.base import Context
from adbench.methods.corruption import CorruptionLaw, corrupted, donors
from adbench.methods.ssae import SSAE, SSAEConfig, learning_rate_factor, mean_filter, restoration_loss
from adbench.methods.ssae_networks import ConvexSkip, CorruptionAutoencoder, DilatedBlock
from adbench.methods.training import Batch

Sets = Callable[[int], Any]
CPU = torch.device("cpu")
SMALL = {"width": 8, "stem": 2, "blocks": 1, "batch_size": 4, "steps": 3}


def built(size: int = 64, seed: int = 0, **params: Any) -> SSAE:
    context = Context(seed=seed, device=CPU, image_size=size, cache=Cache(None))
    return SSAE(validate(SSAEConfig, {**SMALL, **params}), context)


def random_images(count: int, size: int, seed: int = 0) -> Tensor:
    return torch.rand((count, 3, size, size), generator=torch.Generator().manual_seed(seed))


def test_loss_by_hand() -> None:
    # One row of pixels; errors are averaged over two channels: 1, 4, 2 and 0.5.
    target = torch.zeros(1, 2, 1, 4)
    rebuilt = torch.tensor([[1.0, 2.0, 2.0, 1.0], [1.0, 2.0, 0.0, 0.0]])[None, :, None]
    masks = torch.tensor([0.0, 1.0, 0.5, 1.0])[None, None, None]
    outside = (1.0 * 1 + 0.25 * 2) / 1.5
    inside = (4.0 * 1 + 0.25 * 2 + 0.5 * 1) / 2.5
    for lam in (0.0, 0.3, 0.9, 1.0):
        expected = (1 - lam) * outside + lam * inside
        assert restoration_loss(target, rebuilt, masks, lam).item() == pytest.approx(expected, rel=1e-6)


def test_each_image_is_normalised_by_itself() -> None:
    target, rebuilt = random_images(4, 12), random_images(4, 12, seed=1)
    masks = random_images(4, 12, seed=2)[:, :1] * torch.tensor([0.05, 0.2, 0.5, 1.0])[:, None, None, None]
    alone = [restoration_loss(target[n : n + 1], rebuilt[n : n + 1], masks[n : n + 1], 0.5) for n in range(4)]
    together = restoration_loss(target, rebuilt, masks, 0.5)
    assert together.item() == pytest.approx(torch.stack(alone).mean().item(), rel=1e-5)
    # Four times the area at the same error: the same loss.
    constant = restoration_loss(torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8), torch.ones(1, 1, 8, 8), 1.0)
    assert constant.item() == pytest.approx(1.0)


def test_a_mask_of_nothing_leaves_no_division_by_zero() -> None:
    target, rebuilt = random_images(2, 8), random_images(2, 8, seed=1)
    loss = restoration_loss(target, rebuilt, torch.zeros(2, 1, 8, 8), 0.25)
    assert loss.item() == pytest.approx(0.75 * (rebuilt - target).square().mean().item(), rel=1e-5)


def test_convex_skips_stay_between_encoder_and_decoder() -> None:
    torch.manual_seed(0)
    skip = ConvexSkip(5)
    e, d = 3 * torch.randn(2, 5, 6, 7), 3 * torch.randn(2, 5, 6, 7)
    out = skip(e, d)
    assert (out >= torch.minimum(e, d) - 1e-5).all() and (out <= torch.maximum(e, d) + 1e-5).all()
    share = torch.sigmoid(skip.gate(torch.cat([e, d], dim=1)))
    torch.testing.assert_close(out, share * e + (1 - share) * d)
    torch.testing.assert_close(skip(e, e), e)


def test_a_dilated_block_sees_as_far_as_its_largest_dilation() -> None:
    torch.manual_seed(0)
    block = DilatedBlock(8, (1, 2, 4))
    # Norms are over the whole map; without them, what reaches a place is what its branches see.
    seen = torch.zeros(1, 8, 17, 17, requires_grad=True)
    torch.cat([branch(seen) for branch in block.branches], dim=1)[..., 8, 8].sum().backward()  # type: ignore[no-untyped-call]
    assert seen.grad is not None
    rows, columns = seen.grad.abs().sum(dim=(0, 1)).nonzero().unbind(1)
    assert sorted(set((rows - 8).tolist())) == sorted(set((columns - 8).tolist())) == [-4, -2, -1, 0, 1, 2, 4]
    assert block(torch.randn(2, 8, 9, 9)).shape == (2, 8, 9, 9)


@pytest.mark.parametrize(
    ("poolings", "stem", "size", "dilations"),
    [(2, 1, 256, (1, 2, 4, 8, 16, 32)), (3, 1, 64, (1, 2, 4)), (2, 4, 97, (1, 2, 4)), (1, 1, 8, (1, 2))],
)
def test_the_network_keeps_the_size_and_its_dilations_the_map(
    poolings: int, stem: int, size: int, dilations: tuple[int, ...]
) -> None:
    network = CorruptionAutoencoder(4, poolings, stem, 1, size, input_skip=False)
    channels = [stage[0][0].out_channels for stage in network.down]  # type: ignore[index]
    assert channels == [4, 8, 16, 16][: poolings + 1]
    (block,) = network.middle
    assert tuple(branch.dilation[0] for branch in block.branches) == dilations  # type: ignore[union-attr]
    images = random_images(2, min(size, 97))
    assert network(images).shape == images.shape


def test_with_an_input_skip_the_output_lies_between_the_image_and_what_is_drawn() -> None:
    torch.manual_seed(0)
    network = CorruptionAutoencoder(4, 2, 2, 1, 33, input_skip=True)
    images = random_images(2, 33)
    with torch.no_grad():
        network.head.bias[12:] = 30.0  # type: ignore[index]
        torch.testing.assert_close(network(images), images, atol=1e-5, rtol=0)
        network.head.bias[12:] = -30.0  # type: ignore[index]
        network.head.weight.zero_()
        network.head.bias[:12] = torch.arange(12.0)  # type: ignore[index]
        drawn = network(images)
    # Channel 4 c + 2 i + j of the head is colour c at row i and column j of a folded square.
    assert drawn[0, 1, 0, 0].item() == pytest.approx(0.5 + 0.25 * 4)
    assert drawn[1, 2, 1, 0].item() == pytest.approx(0.5 + 0.25 * 10)


@pytest.mark.parametrize("input_skip", [True, False])
@pytest.mark.parametrize("cuda_like", [True, False])
def test_mixed_precision_is_close_to_float32(
    monkeypatch: pytest.MonkeyPatch, input_skip: bool, cuda_like: bool
) -> None:
    """Forward and backward; on CUDA, autocast lets norms return float32 where processors' return bfloat16."""
    torch.manual_seed(0)
    network = CorruptionAutoencoder(8, 2, 2, 1, 45, input_skip=input_skip)
    images = random_images(2, 45)
    expected = network(images).detach()
    if cuda_like:
        monkeypatch.setattr(nn.GroupNorm, "forward", lambda norm, x: norm_in_float32(norm, x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rebuilt = network(images)
    assert rebuilt.dtype == torch.float32 and rebuilt.shape == images.shape
    torch.testing.assert_close(rebuilt.detach(), expected, atol=0.03, rtol=0)
    rebuilt.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    if input_skip:  # What is kept of the image is not rounded to bfloat16.
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            network.head.bias[12:] = 30.0  # type: ignore[index]
            torch.testing.assert_close(network(images), images, atol=1e-5, rtol=0)


def norm_in_float32(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    return functional.group_norm(x.float(), norm.num_groups, norm.weight, norm.bias, norm.eps)


def test_mean_filter_by_hand() -> None:
    maps = torch.zeros(1, 4, 4)
    maps[0, 0, 0] = 36.0
    # 192 pixels at 256 px are 3 at 4 px.
    once = mean_filter(maps, 192, 1)
    assert once[0, :2, :2].tolist() == [[9.0, 6.0], [6.0, 4.0]] and once.sum() == 25.0
    torch.testing.assert_close(mean_filter(maps, 192, 2), mean_filter(once, 192, 1))
    for size, repeats in ((64, 3), (1, 1), (192, 0)):
        assert torch.equal(mean_filter(maps, size, repeats), maps)
    flat = torch.full((1, 64, 64), 0.3)
    torch.testing.assert_close(mean_filter(flat, 31, 3), flat)


@pytest.mark.parametrize("score", ["sum", "max"])
def test_the_map_is_the_squared_difference(score: str) -> None:
    method = built(score=score, filter_size=21, filter_repeats=2)
    images = random_images(3, 64)
    scores, maps = method.predict_batch(images)
    with torch.inference_mode():
        raw = (images - method.network(images)).square().sum(dim=1) / 3
    expected = mean_filter(raw, 21, 2)
    torch.testing.assert_close(maps, expected)
    reduced = expected.flatten(1).sum(1) if score == "sum" else expected.flatten(1).max(1).values
    torch.testing.assert_close(scores, reduced)


def batch_of(*indices: int) -> Batch:
    at = torch.tensor(indices)
    return Batch(at, at * 7919 + 2**50, len(indices), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("objective", ["corruption", "noise", "autoencoder", "denoising"])
def test_what_is_seen_and_what_shall_be_returned(tiny_sets: Sets, objective: str) -> None:
    sets = tiny_sets(64)
    method = built(objective=objective, noise=0.2)
    method._images = sets.train
    batch = batch_of(3, 0, 11)
    clean = torch.from_numpy(sets.train.pixels([3, 0, 11])).permute(0, 3, 1, 2) / 255.0
    seen, target, masks = method._task(batch)
    if objective in ("corruption", "noise"):
        chosen = donors(batch.indices, batch.seeds, 12).tolist()
        others = torch.from_numpy(sets.train.pixels(chosen)).permute(0, 3, 1, 2) / 255.0
        changed, expected = corrupted(clean, others, batch.seeds, CorruptionLaw())
        assert masks is not None and torch.equal(masks, expected)
        torch.testing.assert_close(seen - target, changed - clean, atol=1e-6, rtol=0)  # The same noise on both.
    else:
        assert masks is None
    noisy = {"corruption": None, "noise": target, "autoencoder": None, "denoising": seen}[objective]
    if noisy is not None:
        noise = noisy - clean
        assert noise.std().item() == pytest.approx(0.2, rel=0.05) and abs(noise.mean().item()) < 0.01
        assert not torch.equal(noise[0], noise[1]), "each image's own"
        alone, _, _ = method._task(batch_of(0))
        torch.testing.assert_close(alone[0], seen[1], atol=1e-3, rtol=0)
    if noisy is not target:
        assert torch.equal(target, clean)
    if objective == "autoencoder":
        assert torch.equal(seen, clean)


def test_the_learning_rate_rises_and_falls_to_zero(tiny_sets: Sets, monkeypatch: pytest.MonkeyPatch) -> None:
    method = built(steps=58, lr=0.01, objective="autoencoder")
    rates = []
    take = method.train_step

    def watched(batch: Batch) -> dict[str, Tensor]:
        losses = take(batch)
        rates.append(method._optimizer.param_groups[0]["lr"])
        return losses

    monkeypatch.setattr(method, "train_step", watched)
    method.fit(tiny_sets(64).train, tiny_sets(64).none)
    assert rates == pytest.approx([0.01 * learning_rate_factor((step + 0.5) / 60) for step in range(60)])
    assert rates.index(max(rates)) == 3 and max(rates) > 0.0098 and rates[-1] < 1e-5
    assert learning_rate_factor(0.025) == pytest.approx(0.5, abs=0.01)
    assert learning_rate_factor(0.5) == pytest.approx(0.5)


def test_a_resumed_training_repeats_an_unbroken_one(
    tiny_sets: Sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1.0)
    sets = tiny_sets(64)
    unbroken, broken, resumed = (built(objective="noise", steps=9) for _ in range(3))
    unbroken.fit(sets.train, sets.none)
    for method in (broken, resumed):
        method.context.checkpoint_dir = tmp_path

    def stop(step: int, values: Mapping[str, float]) -> None:
        if step == 3:
            raise KeyboardInterrupt

    broken.context.report = stop
    with pytest.raises(KeyboardInterrupt):
        broken.fit(sets.train, sets.none)
    assert (tmp_path / "last.pt").exists()
    resumed.fit(sets.train, sets.none)
    for name, value in unbroken.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_a_loss_is_of_the_objective(tiny_sets: Sets, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = tiny_sets(64)
    for objective, lam in (("corruption", 0.9), ("denoising", 0.5)):
        method, reference = (built(objective=objective, lam=lam, width=4) for _ in range(2))
        method._images = reference._images = sets.train
        method.start_epoch(0)
        loss = method.train_step(batch_of(1, 2))["loss"].item()
        with torch.no_grad():
            seen, target, masks = reference._task(batch_of(1, 2))
            rebuilt = reference.network(seen)
            if masks is None:
                expected = (rebuilt - target).square().mean()
            else:
                expected = restoration_loss(target, rebuilt, masks, lam)
        assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_a_folder_of_textures_is_an_input(tmp_path: Path) -> None:
    assert SSAEConfig().input_files() == {}
    config = SSAEConfig(textures=str(tmp_path))
    assert config.input_files() == {"textures": tmp_path} and config.law().textures == tmp_path
    with pytest.raises(RequestError, match="no images in the folder of textures"):
        config.check(128)


@pytest.mark.parametrize(
    ("params", "size", "message"),
    [
        ({"min_area": 0.2, "max_area": 0.1}, 128, "min_area=0.2 exceeds method.max_area=0.1"),
        ({"min_alpha": 0.9, "max_alpha": 0.5}, 128, "min_alpha=0.9 exceeds"),
        ({"poolings": 4, "stem": 4}, 127, "image_size=127 is too small"),
        ({"objective": "autoencoder"}, 128, r"method\.objective=autoencoder with method\.input_skip=true"),
    ],
)
def test_what_bounds_cannot_express_is_refused(params: dict[str, Any], size: int, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        validate(SSAEConfig, params).check(size)
    validate(SSAEConfig, {"contents": ("constant",)}).check(48)
    validate(SSAEConfig, {"objective": "autoencoder", "input_skip": False}).check(48)
    with pytest.raises(RequestError, match="contents"):
        validate(SSAEConfig, {"contents": ()})


def test_presets_take_the_papers_poolings_in_full() -> None:
    assert SSAEConfig.preset("full", "industrial") == {} and SSAEConfig().poolings == 2
    assert SSAEConfig.preset("full", "medical") == {"poolings": 3}
    assert SSAEConfig.for_data("elpv", "mono") == {"score": "sum"} and SSAEConfig.for_data("phantom", "weave") == {}
    config = SSAEConfig()
    assert (config.width, config.stem, config.lam, config.objective) == (64, 1, 0.5, "corruption")


@pytest.mark.slow
def test_what_is_restored_stays_and_anomalies_go(tiny_sets: Sets) -> None:
    sets = tiny_sets(64)
    method = built(steps=180, width=16, stem=2, lr=3e-3)
    method.fit(sets.train, sets.none)
    images = torch.from_numpy(sets.test.pixels(slice(None))).permute(0, 3, 1, 2) / 255.0
    with torch.inference_mode():
        once = method.network(images)
        twice = method.network(once)
    replaced = (images - once).square().mean(dim=(1, 2, 3))
    moved = (twice - once).square().mean(dim=(1, 2, 3))
    anomalous = torch.from_numpy(sets.test.labels == 1)
    assert (moved[anomalous] < 0.1 * replaced[anomalous]).all(), "a projection: what it returns, it keeps"
    assert replaced[anomalous].min() > 10 * replaced[~anomalous].max()
    # What it puts in the blob's place looks like the grating: nearer to normal images than to the blob.
    blobs = (images.amin(dim=1) > 200 / 255)[:, None].expand_as(images) & anomalous[:, None, None, None]
    assert once[blobs].mean() < images[blobs].mean() - 0.15
