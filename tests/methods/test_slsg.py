"""SLSG against its equations: losses by hand, its two stages, and resumed runs."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from adbench.datasets.cache import Cache
from adbench.datasets.errors import RequestError
from adbench.datasets.parameters import validate
from adbench.methods import training
from adbench.methods.base import Context
from adbench.methods.slsg import SLSG, SLSGConfig, disordered, focal_loss, one_class_loss, segmentation_losses
from adbench.methods.slsg_networks import Output

Sets = Callable[[int], Any]
CPU = torch.device("cpu")


class StoppedError(BaseException):
    """What a caller's report raises."""


def built(size: int = 64, seed: int = 0, folder: Path | None = None, stop_at: int = 0, **params: Any) -> SLSG:
    def report(step: int, values: Any) -> None:
        if step == stop_at:
            raise StoppedError

    context = Context(seed, CPU, size, Cache(None), report, folder)
    return SLSG(validate(SLSGConfig, {"iterations": 6, "batch_size": 4, **params}), context)


def test_focal_loss_by_hand() -> None:
    # p(anomalous) = 0.2 on an anomaly, 0.1 on a normal pixel: -(.8^4) log .2 and -(.1^4) log .9.
    anomalous = torch.tensor([[[0.2, 0.1]]])
    log_probabilities = torch.stack([1 - anomalous, anomalous], dim=1).log()
    targets = torch.tensor([[[1.0, 0.0]]])
    expected = -(0.8**4 * math.log(0.2) + 0.1**4 * math.log(0.9)) / 2
    assert focal_loss(log_probabilities, targets, 4.0).item() == pytest.approx(expected, rel=1e-5)
    cross_entropy = -(math.log(0.2) + math.log(0.9)) / 2
    assert focal_loss(log_probabilities, targets, 0.0).item() == pytest.approx(cross_entropy, rel=1e-5)


def test_segmentation_losses_by_hand() -> None:
    # Logits (0, log 3) are p = 3/4, (0, 0) are 1/2, everywhere.
    logits = torch.tensor([0.0, math.log(3)]).view(1, 2, 1, 1).expand(1, 2, 2, 2)
    targets = torch.zeros(1, 4, 4)
    targets[0, 0] = 1.0  # A quarter of the pixels.
    focal, l1, auxiliary = segmentation_losses(Output(logits, 0 * logits[..., :1, :1], targets), targets)
    assert l1.item() == pytest.approx(0.25 * 0.25 + 0.75 * 0.75)
    assert auxiliary.item() == pytest.approx(0.5)
    expected = -0.25 * 0.25**4 * math.log(0.75) - 0.75 * 0.75**4 * math.log(0.25)
    assert focal.item() == pytest.approx(expected, rel=1e-5)


def test_confident_logits_keep_losses_and_gradients_finite() -> None:
    logits = torch.tensor([[-200.0, 200.0], [200.0, -200.0]]).view(2, 2, 1, 1).requires_grad_()
    for targets in (torch.zeros(2, 3, 3), torch.ones(2, 3, 3)):
        loss = sum(segmentation_losses(Output(logits, logits, logits), targets), torch.zeros(()))
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.isfinite() and gradient.isfinite().all()


def test_one_class_loss_by_hand() -> None:
    normal = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    simulated = torch.tensor([[0.6, 0.8], [0.0, 7.0], [0.0, 0.0]], requires_grad=True)
    loss = one_class_loss(normal, simulated, 2.0)
    assert loss.item() == pytest.approx((25 + 1) / 2 + (1 + 0 + 4) / 3, rel=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    assert simulated.grad is not None and simulated.grad.isfinite().all(), "also at the centre"


def test_disordered_images_show_tiles_in_other_places_and_grey_ones() -> None:
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    rolls = torch.rand(3, 192, generator=torch.Generator().manual_seed(1))
    found = disordered(images, rolls)
    tiles = [x.reshape(3, 3, 8, 4, 8, 4).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2) for x in (images, found)]
    for row in range(3):
        before, after = tiles[0][row], tiles[1][row]
        grey = (after == 0.5).all(dim=1)
        assert torch.equal(grey, rolls[row, 128:] < 0.2)
        stays = rolls[row, :64] >= 1 / 3
        assert torch.equal(after[stays & ~grey], before[stays & ~grey])
        source = (after[:, None] == before).all(dim=2).int().argmax(dim=1)[~grey]
        assert len(set(source.tolist())) == len(source), "no tile is shown twice"
        moved = (~stays & ~grey).nonzero().flatten()
        assert not stays[(after[moved, None] == before).all(dim=2).int().argmax(dim=1)].any()
        assert len(moved) > 5 and not torch.equal(after[moved], before[moved])
        assert torch.equal(disordered(images[row : row + 1], rolls[row : row + 1])[0], found[row])
    assert torch.equal(disordered(images, torch.ones(3, 192)), images)
    assert (disordered(images, 0.1 * torch.ones(3, 192)) == 0.5).all()


def flat(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def test_pre_training_moves_the_encoder_and_the_second_stage_leaves_it_alone(
    tiny_sets: Sets, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = tiny_sets(64)
    method = built(pretrain_iterations=6, iterations=9)
    seen: list[tuple[Tensor, Tensor, bool]] = []
    buffers = {name: value.clone() for name, value in method.encoder.named_buffers()}
    start = method.start_epoch

    def watched(epoch: int) -> None:
        start(epoch)
        trainable = {parameter.requires_grad for parameter in method.encoder.parameters()}
        seen.append((flat(method.encoder), flat(method.network), trainable == {True}))

    monkeypatch.setattr(method, "start_epoch", watched)
    method.fit(sets.train, sets.none)
    seen.append((flat(method.encoder), flat(method.network), False))
    encoders, networks, trainable = zip(*seen, strict=True)
    assert list(trainable[:-1]) == [True, True, False, False, False]
    moved = [not torch.equal(before, after) for before, after in itertools.pairwise(encoders)]
    assert moved == [True, True, False, False, False]
    moved = [not torch.equal(before, after) for before, after in itertools.pairwise(networks)]
    assert moved == [False, False, True, True, True]
    for name, value in method.encoder.named_buffers():
        assert torch.equal(value, buffers[name]), "batch statistics stay"


def test_without_pre_training_the_encoder_is_the_shared_one(tiny_sets: Sets) -> None:
    sets = tiny_sets(64)
    method = built()
    before = flat(method.encoder)
    method.fit(sets.train, sets.none)
    assert torch.equal(flat(method.encoder), before)
    assert not any(name.startswith("encoder.") for name in method.state_dict())


@pytest.mark.parametrize("stop_at", [1, 2, 4])
def test_a_run_that_was_stopped_in_either_stage_goes_on_bit_for_bit(
    tiny_sets: Sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    sets = tiny_sets(64)
    params: dict[str, Any] = {"pretrain_iterations": 6, "iterations": 9, "lambda_oc": 1.0}
    whole = built(**params)
    whole.fit(sets.train, sets.none)
    stopped = built(folder=tmp_path, stop_at=stop_at, **params)
    with pytest.raises(StoppedError):
        stopped.fit(sets.train, sets.none)
    resumed = built(folder=tmp_path, **params)
    resumed.fit(sets.train, sets.none)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_step_s_loss_is_the_weighted_sum(tiny_sets: Sets) -> None:
    sets = tiny_sets(64)
    history: list[dict[str, float]] = []
    method = built(w_focal=0.7, w_l1=0.2, w_aux=0.1, lambda_oc=0.3, iterations=3)
    method.context.report = lambda step, values: history.append(dict(values))
    method.fit(sets.train, sets.none)
    (losses,) = history
    weighted = 0.7 * losses["focal"] + 0.2 * losses["l1"] + 0.1 * losses["auxiliary"] + 0.3 * losses["one_class"]
    assert losses["loss"] == pytest.approx(weighted, rel=1e-5)


def test_the_centre_is_the_normals_before_training(tiny_sets: Sets) -> None:
    sets = tiny_sets(64)
    method = built(lambda_oc=0.1, iterations=1, norm="group")
    untrained = built(norm="group")
    method.fit(sets.train, sets.none)
    images = torch.from_numpy(sets.train.pixels(slice(None))).permute(0, 3, 1, 2) / 255.0
    with torch.no_grad():
        pooled = untrained.network(untrained.encoder(images)).pooled
    directions = pooled / pooled.norm(dim=1, keepdim=True)
    torch.testing.assert_close(method._centre, directions.mean(0), atol=1e-4, rtol=1e-3)
    distances = (directions - directions.mean(0)).norm(dim=1)
    torch.testing.assert_close(method._radius, distances.mean(), atol=1e-4, rtol=1e-3)
    assert method._radius > 0


def test_learning_rates_fall_along_a_cosine(tiny_sets: Sets, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = tiny_sets(64)
    method = built(iterations=6, pretrain_iterations=3, lr=0.02, pretrain_lr=1e-4)
    rates: list[tuple[str, list[float]]] = []
    for name, optimizer in (("pre", method._pretrain_optimizer), ("main", method._optimizer)):
        step = optimizer.step

        def watched(name: str = name, optimizer: Any = optimizer, step: Any = step) -> None:
            rates.append((name, [group["lr"] for group in optimizer.param_groups]))
            step()

        monkeypatch.setattr(optimizer, "step", watched)
    method.fit(sets.train, sets.none)
    assert [name for name, _ in rates] == ["pre"] * 3 + ["main"] * 6
    for turn, (_, rate) in enumerate(rates[:3]):
        share = (1 + math.cos(math.pi * turn / 3)) / 2
        assert rate == pytest.approx([1e-4 * share, 1e-3 * share])
    for turn, (_, rate) in enumerate(rates[3:]):
        assert rate == pytest.approx([0.02 * (1 + math.cos(math.pi * turn / 6)) / 2])
    group = method._optimizer.param_groups[0]
    assert (group["momentum"], group["weight_decay"]) == (0.9, 3e-5)


def test_the_map_is_the_probability_and_the_score_its_largest_hundred(tiny_sets: Sets) -> None:
    sets = tiny_sets(64)
    method = built()
    images = torch.from_numpy(sets.test.pixels(slice(0, 3))).permute(0, 3, 1, 2) / 255.0
    with torch.inference_mode():
        scores, maps = method.predict_batch(images)
        logits = method.network(method.encoder(images)).logits
        large = nn.functional.interpolate(logits, (64, 64), mode="bilinear")
    torch.testing.assert_close(maps, (large[:, 1] - large[:, 0]).sigmoid(), atol=1e-5, rtol=1e-4)
    count = round(100 / 16)  # A sixteenth of the pixels of 256 x 256.
    expected = maps.flatten(1).sort(dim=1, descending=True).values[:, :count].mean(1)
    torch.testing.assert_close(scores, expected)


def test_labelled_anomalies_are_not_used(tiny_sets: Sets) -> None:
    sets = tiny_sets(64)
    with_them, without = built(), built()
    with_them.fit(sets.train, sets.labelled)
    without.fit(sets.train, sets.none)
    assert np.array_equal(with_them.predict(sets.test).scores, without.predict(sets.test).scores)
    assert SLSGConfig().labelled_request() == (0.0, 0)


@pytest.mark.parametrize(
    "params", [{"graph": "off"}, {"graph": "dense"}, {"position": "near"}, {"lambda_oc": 0.5}, {"norm": "group"}]
)
def test_every_control_changes_what_is_learned(tiny_sets: Sets, params: dict[str, Any]) -> None:
    sets = tiny_sets(64)
    usual, other = built(iterations=3), built(iterations=3, **params)
    for method in (usual, other):
        method.fit(sets.train, sets.none)
    assert not np.array_equal(usual.predict(sets.test).maps, other.predict(sets.test).maps)


def test_the_full_preset_is_the_paper_s() -> None:
    config = validate(SLSGConfig, SLSGConfig.preset("full", "industrial"))
    assert (config.iterations, config.batch_size, config.lr) == (3500, 4, 0.04)
    assert (config.w_focal, config.w_l1, config.w_aux) == (0.4, 0.6, 0.3)
    assert (config.p_scar, config.texture_beta, config.scar_beta) == (0.58, 0.9, 0.25)
    assert (config.graph, config.position, config.neighbours) == ("both", "far", 9)
    assert config.pretrain_iterations > 0 and config.lambda_oc == 0
    with pytest.raises(RequestError, match="graph=nowhere is not allowed"):
        validate(SLSGConfig, {"graph": "nowhere"})


def test_what_cannot_work_is_refused_before_training(tmp_path: Path) -> None:
    SLSGConfig().check(32)
    with pytest.raises(RequestError, match="image_size=31 is too small for a graph at stride 16"):
        SLSGConfig().check(31)
    with pytest.raises(RequestError, match="no images in the folder of textures"):
        SLSGConfig(textures=str(tmp_path)).check(64)
    assert SLSGConfig(textures="dtd").input_files() == {"textures": Path("dtd")}


@pytest.mark.parametrize(("layers", "size"), [((3,), 33), ((0, 1, 2, 3), 48), ((1, 2, 3, 4), 97)])
def test_other_layers_and_sizes_train(tiny_sets: Sets, layers: tuple[int, ...], size: int) -> None:
    sets = tiny_sets(size)
    method = built(size, layers=layers, iterations=3, pretrain_iterations=3)
    method.fit(sets.train, sets.none)
    assert np.isfinite(method.predict(sets.test).maps).all()
