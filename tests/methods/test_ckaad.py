"""CKAAD against its equations: losses and energies by hand, and who learns from what in a step."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from adbench.datasets.cache import Cache
from adbench.datasets.errors import RequestError
from adbench.datasets.parameters import validate
from adbench.methods.base import Context
from adbench.methods.ckaad import CKAAD, CKAADConfig, discriminator_loss, reconstruction_loss, sum_over
from adbench.methods.ckaad_networks import FeatureAutoencoder, ImageDiscriminator, PatchDiscriminator
from adbench.methods.registry import method_entry
from adbench.methods.training import Batch

Sets = Callable[[int], Any]


def layer(*images: Sequence[float], size: int = 1) -> Tensor:
    """Images given by their channels, equal at all of size x size places: [N, C, size, size]."""
    return torch.tensor(images)[:, :, None, None].expand(-1, -1, size, size).clone()


def built(size: int = 64, seed: int = 0, **params: Any) -> CKAAD:
    context = Context(seed=seed, device=torch.device("cpu"), image_size=size, cache=Cache(None))
    return CKAAD(validate(CKAADConfig, {"epochs": 1, "batch_size": 4, **params}), context)


def random_features(shapes: Sequence[tuple[int, ...]], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def test_reconstruction_loss_by_hand() -> None:
    # Layer 1: cosines 24/25 and 1; layer 2: cosine 0 and -1.
    features = [layer((3.0, 4.0), (1.0, 2.0)), layer((1.0, 0.0), (0.0, 2.0))]
    rebuilt = [layer((4.0, 3.0), (2.0, 4.0)), layer((0.0, 5.0), (0.0, -1.0))]
    expected = (0.04 + 0.0) / 2 + (1.0 + 2.0) / 2
    assert reconstruction_loss(features, rebuilt).item() == pytest.approx(expected, abs=1e-6)


def test_reconstruction_loss_takes_the_cosine_of_whole_images() -> None:
    """Flattened, not per location: a place of large features weighs more."""
    features = torch.tensor([[[[10.0, 1.0]]]])
    rebuilt = torch.tensor([[[[10.0, -1.0]]]])
    assert reconstruction_loss([features], [rebuilt]).item() == pytest.approx(1 - 99 / 101, abs=1e-6)


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [(0.25, 2.0 + 0.75 * 0.5 + 0.25 * 4.0), (1.0, 2.0 + 4.0), (0.5, 2.0 + 0.25 + 2.0)],
)
def test_discriminator_loss_by_hand(gamma: float, expected: float) -> None:
    # mean E(normal) = 2; [5 - E(anomalous)]+ = 1, 0; [5 - E(rebuilt)]+ = 5, 3.
    normal, anomalous, rebuilt = torch.tensor([1.0, 3.0]), torch.tensor([4.0, 7.0]), torch.tensor([0.0, 2.0])
    assert discriminator_loss([normal], [anomalous], [rebuilt], gamma).item() == pytest.approx(expected)
    two_layers = discriminator_loss([normal] * 2, [anomalous] * 2, [rebuilt] * 2, gamma)
    assert two_layers.item() == pytest.approx(2 * expected)


def test_patch_energies_by_hand() -> None:
    judge = PatchDiscriminator([2])
    first, second, last = (module for module in judge.layers.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        first.weight.copy_(torch.eye(2)[:, :, None, None])
        second.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 1.0]])[:, :, None, None])
        last.weight.copy_(torch.tensor([[-1.0, 10.0]])[:, :, None, None])
    # (3, -4) -> normalised (.6, -.8) -> leaky (.6, -.08) -> (1.2, -.08) -> leaky (1.2, -.008) -> |-1.2 - .08|
    (energy,) = judge([layer((3.0, -4.0), (0.0, 2.0), size=3)])
    assert energy.shape == (2, 1, 3, 3)
    torch.testing.assert_close(energy[0], torch.full((1, 3, 3), 1.28))
    torch.testing.assert_close(energy[1], torch.full((1, 3, 3), 10.0))


def test_energies_do_not_depend_on_the_length_of_features() -> None:
    features = random_features([(2, 6, 8, 8), (2, 8, 4, 4)])
    for judge in (PatchDiscriminator([6, 8]), ImageDiscriminator([6, 8], [8, 4])):
        for energy, scaled in zip(judge(features), judge([7 * f for f in features]), strict=True):
            torch.testing.assert_close(energy, scaled)
            assert (energy >= 0).all() and energy.shape[:2] == (2, 1)
        assert all((energy == 0).all() for energy in judge([0 * f for f in features])), "no biases"


@pytest.mark.parametrize("size", [1, 2, 7, 16])
def test_the_image_discriminator_sees_a_whole_image_at_once(size: int) -> None:
    judge = ImageDiscriminator([6], [size])
    (energy,) = judge(random_features([(3, 6, size, size)]))
    assert energy.shape == (3, 1)
    assert len([module for module in judge.layers.modules() if isinstance(module, nn.Conv2d)]) == int(
        np.ceil(np.log2(size))
    )


@pytest.mark.parametrize("size", [64, 97, 100, 130])
@pytest.mark.parametrize("layers", [(3,), (2, 3), (1, 2, 3)])
def test_the_autoencoder_returns_every_scale(size: int, layers: tuple[int, ...]) -> None:
    strides = [2 ** (index + 1) for index in layers]
    channels = [4 * index for index in layers]
    features = random_features(
        [
            (2, channel, -(-size // stride), -(-size // stride))
            for channel, stride in zip(channels, strides, strict=True)
        ]
    )
    rebuilt = FeatureAutoencoder(channels, strides)(features)
    assert [r.shape for r in rebuilt] == [f.shape for f in features]
    assert all(r.isfinite().all() and (r < 0).any() for r in rebuilt), "features may be negative"


def test_the_autoencoder_follows_backbones_that_halve_downwards() -> None:
    features = random_features([(1, 4, 25, 25), (1, 8, 12, 12)])
    assert [r.shape for r in FeatureAutoencoder([4, 8], [4, 8])(features)] == [f.shape for f in features]


def test_the_autoencoder_has_a_bottleneck() -> None:
    """Every scale passes the bottleneck: no reconstruction is a copy of its input."""
    network = FeatureAutoencoder([4, 8], [4, 8])
    features = random_features([(1, 4, 16, 16), (1, 8, 8, 8)])
    for parameter in network.bottleneck.parameters():
        nn.init.zeros_(parameter)
    changed = [features[0] + 1, features[1] - 1]
    for r, other in zip(network(features), network(changed), strict=True):
        torch.testing.assert_close(r, other)


@pytest.mark.parametrize(
    ("key", "value"), [("gamma", 0.0), ("gamma", 1.01), ("level", "pixel"), ("anomaly_ratio", 0.6)]
)
def test_values_outside_the_equations_are_refused(key: str, value: Any) -> None:
    with pytest.raises(RequestError, match=f"{key}={value} is not allowed"):
        validate(CKAADConfig, {key: value})
    assert validate(CKAADConfig, {"gamma": 1.0}).gamma == 1.0


def test_layers_and_sizes_that_cannot_work_are_refused_before_training() -> None:
    CKAADConfig().check(64)
    with pytest.raises(RequestError, match=r"method\.layers=\[1, 3\] lie at strides \[4, 16\]"):
        CKAADConfig(layers=(1, 3)).check(256)
    with pytest.raises(RequestError, match="image_size=63 is too small"):
        CKAADConfig().check(63)
    with pytest.raises(RequestError, match="image_size=64 is too small for this method at stride 32") as caught:
        CKAADConfig(layers=(3, 4)).check(64)
    assert caught.value.allowed == "65 or more"


@pytest.mark.parametrize(("layers", "size"), [((3, 4), 65), ((1, 2, 3), 64)])
def test_the_smallest_allowed_size_trains(tiny_sets: Sets, layers: tuple[int, ...], size: int) -> None:
    CKAADConfig(layers=layers).check(size)
    sets = tiny_sets(size)
    method = built(size, layers=layers, level="both")
    method.fit(sets.train, sets.labelled)
    assert np.isfinite(method.predict(sets.test).maps).all()


def flat(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


class Steps:
    """Notes which networks move while each optimiser of a method steps, how far, and on which gradient."""

    def __init__(self, method: CKAAD, monkeypatch: pytest.MonkeyPatch) -> None:
        self.moved: list[tuple[str, bool, bool]] = []
        self.farthest: list[float] = []
        self.gradients: list[float] = []
        for name, optimizer in (("d", method._d_optimizer), ("ae", method._ae_optimizer)):
            monkeypatch.setattr(optimizer, "step", self._watched(name, method, optimizer.step))

    def _watched(self, name: str, method: CKAAD, step: Callable[[], Any]) -> Callable[[], None]:
        def watched() -> None:
            before = flat(method.discriminators), flat(method.autoencoder)
            network = method.discriminators if name == "d" else method.autoencoder
            old = flat(network)
            gradients = [parameter.grad.norm() for parameter in network.parameters() if parameter.grad is not None]
            self.gradients.append(torch.stack(gradients).norm().item())
            step()
            self.farthest.append((flat(network) - old).abs().max().item())
            self.moved.append(
                (
                    name,
                    not torch.equal(before[0], flat(method.discriminators)),
                    not torch.equal(before[1], flat(method.autoencoder)),
                )
            )

        return watched


@pytest.mark.parametrize("level", ["patch", "image", "both"])
def test_each_step_moves_its_own_network_and_the_losses_are_those_of_the_paper(
    tiny_sets: Sets, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    sets = tiny_sets(64)
    reference, method = built(level=level, gamma=0.3, w_adv=0.5), built(level=level, gamma=0.3, w_adv=0.5)
    assert len(method.discriminators) == (2 if level == "both" else 1)
    with torch.no_grad():  # Energies, and with them gradients, large enough to be clipped.
        for parameter in (*reference.discriminators.parameters(), *method.discriminators.parameters()):
            parameter.mul_(2)
    frozen = method.backbone.weights_hash
    steps, seen = Steps(method, monkeypatch), []
    take = method.train_step

    def watched(batch: Batch) -> dict[str, Tensor]:
        assert method._normals is not None and method._anomalies is not None
        normals = method._normals.batch(batch.indices, torch.device("cpu"))
        state = batch.generator.get_state()
        picked = torch.randint(len(method._anomalies), (4,), generator=batch.generator)
        batch.generator.set_state(state)
        anomalies = method._anomalies.batch(picked, torch.device("cpu"))
        losses = take(batch)
        seen.append((normals, anomalies, {name: value.item() for name, value in losses.items()}))
        raise KeyboardInterrupt  # one step is enough

    monkeypatch.setattr(method, "train_step", watched)
    with pytest.raises(KeyboardInterrupt):
        method.fit(sets.train, sets.labelled)
    assert steps.moved == [("d", True, False), ("ae", False, True)], "D steps first, each its own"
    # Adam's first step is its learning rate; beta 1 = 0.5 and beta 2 = 0.999 cancel out of it.
    assert steps.farthest == pytest.approx([1e-4, 1e-3], rel=0.02)
    assert steps.gradients[0] <= 1.0001, "the discriminators' gradient is clipped"
    betas = [optimizer.param_groups[0]["betas"] for optimizer in (method._d_optimizer, method._ae_optimizer)]
    assert betas == [(0.5, 0.999)] * 2
    del method.backbone.__dict__["weights_hash"]
    assert method.backbone.weights_hash == frozen

    # The same step by hand, with the networks as they were: equal seeds make equal networks.
    ((normals, anomalies, losses),) = seen
    with torch.no_grad():
        rebuilt = reference.autoencoder([torch.cat(pair) for pair in zip(normals, anomalies, strict=True)])
        d_loss = 0.0
        for judge in reference.discriminators:
            for n, a, r in zip(judge(normals), judge(anomalies), judge(rebuilt), strict=True):
                d_loss += (n.mean() + 0.7 * (5 - a).clamp(min=0).mean() + 0.3 * (5 - r).clamp(min=0).mean()).item()
        cosines = [
            torch.cosine_similarity(f.flatten(1), r[: len(f)].flatten(1))
            for f, r in zip(normals, rebuilt, strict=True)
        ]
        # The autoencoder answers to the discriminators after their step.
        energy = sum(e.mean().item() for judge in method.discriminators for e in judge(rebuilt))
    assert losses["discriminator"] == pytest.approx(d_loss, rel=1e-5)
    assert losses["reconstruction"] == pytest.approx(sum((1 - c).mean().item() for c in cosines), rel=1e-5)
    assert losses["energy"] == pytest.approx(energy, rel=1e-4)
    assert losses["loss"] == pytest.approx(losses["reconstruction"] + 0.5 * losses["energy"], rel=1e-6)


def test_without_anomalies_only_the_autoencoder_learns(tiny_sets: Sets, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = tiny_sets(64)
    method = built(anomaly_ratio=0.0, pseudo_anomalies="never")
    steps = Steps(method, monkeypatch)
    method.fit(sets.train, sets.none)
    assert steps.moved == [("ae", False, True)] * 3
    assert method.context.notes == []


@pytest.mark.parametrize("pseudo_anomalies", ["never", "auto"])
def test_ratio_0_is_recon_bit_for_bit(tiny_sets: Sets, pseudo_anomalies: str) -> None:
    sets = tiny_sets(64)
    r0 = built(anomaly_ratio=0.0, pseudo_anomalies=pseudo_anomalies, gamma=0.9, lr_d=1e-3)
    recon = built(**method_entry("recon").fixed)
    for method in (r0, recon):
        method.fit(sets.train, sets.none)
    first, second = r0.predict(sets.test), recon.predict(sets.test)
    assert np.array_equal(first.maps, second.maps) and np.array_equal(first.scores, second.scores)
    assert torch.equal(flat(r0.autoencoder), flat(recon.autoencoder))


@pytest.mark.parametrize(
    ("mode", "labelled", "elastic", "noted"),
    [
        ("auto", False, True, True),
        ("auto", True, False, False),
        ("always", True, True, False),
        ("never", True, False, False),
    ],
)
def test_which_anomalies_are_learned_from(
    tiny_sets: Sets, monkeypatch: pytest.MonkeyPatch, mode: str, labelled: bool, elastic: bool, noted: bool
) -> None:
    sets = tiny_sets(64)
    method = built(pseudo_anomalies=mode)
    counts = []
    take = method.train_step

    def counting(batch: Batch) -> dict[str, Tensor]:
        assert method._anomalies is not None
        counts.append(len(method._anomalies))
        return take(batch)

    monkeypatch.setattr(method, "train_step", counting)
    method.fit(sets.train, sets.labelled if labelled else sets.none)
    assert counts == [len(sets.train) if elastic else len(sets.labelled)] * 3
    assert any("elastic pseudo-anomalies" in note for note in method.context.notes) == noted


def test_anomalies_in_a_batch_keep_their_share(tiny_sets: Sets, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = tiny_sets(64)
    for batch_size, expected in ((12, 12), (6, 6), (2, 4)):  # elastic 1:1; at least four
        method = built(pseudo_anomalies="always", batch_size=batch_size)
        sizes: list[int] = []
        forward = method.autoencoder.forward

        def watched(features: Sequence[Tensor], forward: Any = forward, sizes: list[int] = sizes) -> list[Tensor]:
            sizes.append(len(features[0]))
            result: list[Tensor] = forward(features)
            return result

        monkeypatch.setattr(method.autoencoder, "forward", watched)
        method.fit(sets.train, sets.none)
        assert sizes == [batch_size + expected] * (12 // batch_size)


def test_the_adversary_changes_what_is_learned(tiny_sets: Sets) -> None:
    sets = tiny_sets(64)
    weights = []
    for params in ({"w_adv": 0.0}, {"w_adv": 1.0}, {"w_adv": 1.0, "gamma": 1.0}, {"w_adv": 1.0, "level": "image"}):
        method = built(**params)
        method.fit(sets.train, sets.labelled)
        weights.append(flat(method.autoencoder))
    for index, first in enumerate(weights):
        assert not any(torch.equal(first, other) for other in weights[index + 1 :])


def test_the_backbone_stays_frozen_and_is_not_stored(tiny_sets: Sets) -> None:
    sets = tiny_sets(64)
    method = built(level="both")
    before = method.backbone.weights_hash
    method.fit(sets.train, sets.labelled)
    method.backbone.train()
    del method.backbone.__dict__["weights_hash"]
    assert method.backbone.weights_hash == before
    assert not any(module.training for module in method.backbone.modules())
    assert not any(parameter.requires_grad for parameter in method.backbone.parameters())
    assert {name.split(".")[0] for name in method.state_dict()} == {"autoencoder", "discriminators"}


def test_the_map_is_the_cosine_distance_summed_over_layers(tiny_sets: Sets) -> None:
    sets = tiny_sets(64)
    method = built(smoothing=0.0, score="mean")
    images = torch.from_numpy(sets.test.pixels(slice(0, 3))).permute(0, 3, 1, 2) / 255.0
    with torch.inference_mode():
        scores, maps = method.predict_batch(images)
        features = method.backbone(images)
        rebuilt = method.autoencoder(features)
        expected = sum_over(
            nn.functional.interpolate(
                (1 - (f * r).sum(1) / (f.norm(dim=1) * r.norm(dim=1)))[:, None], (64, 64), mode="bilinear"
            )[:, 0]
            for f, r in zip(features, rebuilt, strict=True)
        )
    torch.testing.assert_close(maps, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(scores, expected.mean(dim=(1, 2)), atol=1e-5, rtol=1e-4)
    assert maps.min() >= 0 and maps.max() <= 4


@pytest.mark.parametrize(
    ("budget", "modality", "expected"),
    [
        ("full", "medical", {"epochs": 200, "lr": 1e-3}),
        ("full", "industrial", {"epochs": 200, "lr": 5e-3, "layers": (1, 2, 3)}),
    ],
)
def test_the_full_preset_is_the_paper_s(budget: str, modality: Any, expected: dict[str, Any]) -> None:
    assert CKAADConfig.preset(budget, modality) == expected
    config = validate(CKAADConfig, CKAADConfig.preset(budget, modality))
    assert (config.gamma, config.w_adv, config.lr_d, config.smoothing) == (0.5, 0.02, 1e-4, 4.0)
