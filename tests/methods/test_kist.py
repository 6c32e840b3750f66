"""KIST against its equations: losses and labels by hand, what each kind of knowledge labels, and its rounds."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from adbench.datasets.cache import Cache
from adbench.datasets.errors import RequestError
from adbench.datasets.folder import Folder, FolderConfig
from adbench.datasets.imageset import ImageSet
from adbench.datasets.parameters import validate
from adbench.datasets.phantom import Phantom, PhantomConfig
from adbench.methods import training
from adbench.methods.base import Context
from adbench.methods.fuzzy_rules import shipped_rules
from adbench.methods.kist import KIST, kist_loss, learning_rate_factor, simulated_anomalies
from adbench.methods.kist_config import KISTConfig
from adbench.methods.kist_networks import PixelAutoencoder, PixelSpace, even_contrast
from adbench.methods.training import Batch
from adbench.orchestrator.compose import compose
from adbench.orchestrator.overrides import parse_overrides
from adbench.orchestrator.plan import Plan, make_plan

Sets = Callable[[int], Any]

BRIGHT = """
terms:
  grey:
    bright: [0.5, 0.6, open, open]
rules:
  - {name: bright, if: grey is bright, why: blobs are bright and gratings are not}
"""


@pytest.fixture
def bright(tmp_path: Path) -> str:
    """The path of rules that call bright regions anomalous."""
    path = tmp_path / "bright.yaml"
    path.write_text(BRIGHT, encoding="utf-8")
    return str(path)


def built(size: int = 64, seed: int = 0, **params: Any) -> KIST:
    small = {"space": "pixels", "width": 4, "latent": 8, "epochs": 1, "rounds": 2, "round_epochs": 1, "batch_size": 4}
    context = Context(seed=seed, device=torch.device("cpu"), image_size=size, cache=Cache(None))
    return KIST(validate(KISTConfig, small | params), context)


def weights(method: KIST) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in method.network.parameters()])


def test_the_loss_by_hand() -> None:
    normals = torch.tensor([[[1.0, 3.0]], [[0.0, 2.0]]])  # means 2 and 1
    labelled = torch.tensor([[[4.0, 8.0]]])
    relative = torch.tensor([[[1.0, 9.0]]])
    first, second = torch.tensor([[[True, False]]]), torch.tensor([[[False, True]]])
    rebuilding, suppression = kist_loss(normals, labelled, relative, first, second, torch.tensor(5.0), (2, 1))
    assert rebuilding.item() == pytest.approx((2 + 1 + 8) / 3)
    assert suppression.item() == pytest.approx(5 - 1)
    # Beyond the margin nothing is gained, and an empty set costs nothing.
    rebuilding, suppression = kist_loss(
        normals, labelled, relative, second, first & second, torch.tensor(5.0), (2, 1)
    )
    assert rebuilding.item() == pytest.approx((2 + 1 + 0) / 3) and suppression.item() == 0


@pytest.mark.parametrize("total", [(8, 4), (7, 5)])
def test_shares_of_a_batch_average_to_its_loss(total: tuple[int, int]) -> None:
    """Even where one process has an image more than the other."""
    generator = torch.Generator().manual_seed(0)
    normals, labelled = (torch.rand((count, 6, 6), generator=generator) for count in total)
    anomalous = torch.rand(labelled.shape, generator=generator) > 0.7

    def loss(rows: slice, counts: tuple[float, float]) -> Tensor:
        own, marked = labelled[rows], anomalous[rows]
        return torch.stack(kist_loss(normals[rows], own, 3 * own, marked, ~marked, torch.tensor(2.0), counts))

    halves = [loss(slice(n, None, 2), (total[0] / 2, total[1] / 2)) for n in (0, 1)]
    torch.testing.assert_close(torch.stack(halves).mean(dim=0), loss(slice(None), total))


def test_suppression_raises_the_error_where_it_acts_and_stops_at_the_margin() -> None:
    error = torch.tensor([[[0.5, 0.5, 3.0]]], requires_grad=True)
    anomalous = torch.tensor([[[True, False, True]]])
    _, suppression = kist_loss(
        torch.zeros(1, 1, 3), error.detach(), error, anomalous, ~anomalous, torch.tensor(2.0), (1, 1)
    )
    suppression.backward()  # type: ignore[no-untyped-call]
    assert error.grad is not None
    assert error.grad.tolist() == [[[-0.5, 0.0, 0.0]]], "downhill is a larger error, there alone"


def labelled_by(
    method: KIST, errors: Tensor, pixels: np.ndarray[Any, np.dtype[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> KIST:
    """The method after it labelled ``pixels`` whose e are ``errors``, where q50 is 1 and q99.5 is 3."""

    def given(inputs: Any, rows: Tensor) -> Iterator[Tensor]:
        yield errors

    monkeypatch.setattr(method, "_errors_of", given)
    method._labelled, method._labelled_pixels = method.space.inputs_of(pixels, method.context.device), pixels
    method._quantiles = torch.tensor([1.0, 3.0, 4.0])
    method._relabel()
    return method


@pytest.mark.parametrize(
    ("knowledge", "expected"), [("rules", (True, False)), ("none", (True, True)), ("wrong", (False, True))]
)
def test_sets_of_pixels_by_hand(
    bright: str, monkeypatch: pytest.MonkeyPatch, knowledge: str, expected: tuple[bool, bool]
) -> None:
    """A bright and a dark region of s = 0.9; beside them s = 0.3 (ignored), 0.05 and 0 (normal)."""
    errors = torch.full((1, 64, 64), 1.0)
    errors[0, 10:20, 10:20] = errors[0, 40:50, 40:50] = 2.8
    errors[0, 0, :] = 1.6
    errors[0, 63, :] = 1.1
    errors[0, 62, :] = 0.2
    pixels = np.zeros((1, 64, 64, 3), np.uint8)
    pixels[0, 10:20, 10:20] = 255
    method = labelled_by(built(rules=bright, knowledge=knowledge), errors, pixels, monkeypatch)
    assert method._labels is not None
    anomalous, normal = method._labels.anomalous[0], method._labels.normal[0]
    assert (bool(anomalous[15, 15]), bool(anomalous[45, 45])) == expected
    assert anomalous.sum() == 100 * sum(expected)
    assert not normal[15, 15] and not normal[45, 45] and not normal[0].any() and not anomalous[0].any()
    assert normal[63].all() and normal[62].all() and normal.sum() == 64 * 63 - 200
    (kept,) = method.kept_maps()
    assert kept.maps[0, 15, 15] == pytest.approx(0.9 * expected[0], abs=1e-6)


def test_an_anomalous_image_has_an_anomalous_place_whatever_the_rules_say(
    bright: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = torch.full((2, 64, 64), 1.0)
    errors[0, 10:20, 10:20] = 2.8  # s = .9, but dark
    errors[1, 30:34, 30:34] = 1.4  # s = .2, below tau_c
    method = labelled_by(built(rules=bright), errors, np.zeros((2, 64, 64, 3), np.uint8), monkeypatch)
    assert method._labels is not None
    assert method._labels.anomalous.sum(dim=(1, 2)).tolist() == [100, 16]
    assert not (method._labels.anomalous & method._labels.normal).any()


def test_where_nothing_stands_out_nothing_is_anomalous(monkeypatch: pytest.MonkeyPatch) -> None:
    method = labelled_by(built(), torch.zeros(1, 64, 64), np.zeros((1, 64, 64, 3), np.uint8), monkeypatch)
    assert method._labels is not None
    assert not method._labels.anomalous.any() and method._labels.normal.all()


@pytest.mark.parametrize(("score", "found"), [(0.02, True), (0.002, True), (0.0004, False)])
def test_a_region_is_sought_in_ever_lower_scores(monkeypatch: pytest.MonkeyPatch, score: float, found: bool) -> None:
    """Even where three pixels, too few to be a region, score high."""
    errors = torch.full((1, 64, 64), 1.0)
    errors[0, 30:34, 30:34] = 1.0 + 2.0 * score
    errors[0, 5, 5:8] = 1.9
    method = labelled_by(built(), errors, np.zeros((1, 64, 64, 3), np.uint8), monkeypatch)
    assert method._labels is not None
    anomalous = method._labels.anomalous[0]
    assert anomalous.sum() == 16 * found and bool(anomalous[31, 31]) == found
    assert not (anomalous & method._labels.normal[0]).any()


@pytest.mark.parametrize("knowledge", ["none", "oracle"])
def test_labels_of_many_images_are_masks_and_the_first_are_kept(
    monkeypatch: pytest.MonkeyPatch, knowledge: str
) -> None:
    """Errors come in batches; each image keeps its own labels."""
    errors = torch.full((20, 64, 64), 1.0)
    for row in range(20):
        errors[row, row : row + 10, 10:20] = 2.8
    method = built(knowledge=knowledge)
    method._truth = (errors > 2).numpy() if knowledge == "oracle" else None
    method._labelled_pixels = np.zeros((20, 64, 64, 3), np.uint8)
    method._labelled = method.space.inputs_of(method._labelled_pixels, method.context.device)
    method._labelled_ids = tuple(map(str, range(20)))
    method._quantiles = torch.tensor([1.0, 3.0, 4.0])
    monkeypatch.setattr(method, "_errors_of", lambda inputs, rows: iter(errors.split(8)))  # type: ignore[no-untyped-call]
    method._relabel()
    assert method._labels is not None
    assert method._labels.anomalous.dtype == method._labels.normal.dtype == torch.bool
    assert torch.equal(method._labels.anomalous, errors > 2) and torch.equal(method._labels.normal, errors < 2)
    (kept,) = method.kept_maps()
    assert kept.maps.shape == (12, 64, 64) and kept.maps.dtype == np.float32 and len(kept.image_ids) == 12
    expected = (errors[:12] > 2).float() * (1.0 if knowledge == "oracle" else 0.9)
    np.testing.assert_allclose(kept.maps, expected.numpy(), atol=1e-6)


def test_rounds_begin_with_new_labels_and_end_with_kept_maps(
    tiny_sets: Sets, bright: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = tiny_sets(64)
    method = built(rules=bright, epochs=2, rounds=3, round_epochs=2)
    losses: list[set[str]] = []
    relabelled: list[int] = []
    method.context.report = lambda step, values: losses.append(set(values))
    relabel = method._relabel

    def watched() -> None:
        relabelled.append(len(losses))
        relabel()

    monkeypatch.setattr(method, "_relabel", watched)
    method.fit(sets.train, sets.labelled)
    assert relabelled == [2, 4, 6] and len(losses) == 8
    assert losses[:2] == [{"loss"}] * 2 and losses[2:] == [{"loss", "rebuilding", "suppression"}] * 6
    kept = method.kept_maps()
    assert [maps.name for maps in kept] == [f"pseudo-labels, round {n}" for n in (1, 2, 3)]
    for maps in kept:
        assert maps.image_ids == sets.labelled.ids and maps.maps.shape == (4, 64, 64)
        assert maps.maps.dtype == np.float32 and maps.maps.min() >= 0 and 0 < maps.maps.max() <= 1
    # The rules find the blobs: what is labelled is bright.
    grey = sets.labelled.pixels(slice(None)).mean(axis=3)
    assert grey[kept[-1].maps > 0.5].mean() > 1.3 * grey.mean()


def test_the_learning_rate_falls_from_step_to_step_of_each_round(
    tiny_sets: Sets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in rounds of a single epoch, and after a resume in the middle of one."""
    sets = tiny_sets(64)
    assert learning_rate_factor(0) == 1 and learning_rate_factor(0.5) == pytest.approx(0.55)
    for round_epochs in (1, 2):
        method = built(epochs=2, rounds=2, round_epochs=round_epochs, batch_size=3, lr=1e-2)
        rates: list[float] = []
        take = method.train_step

        def watched(batch: Batch, method: KIST = method, take: Any = take, rates: list[float] = rates) -> Any:
            losses = take(batch)
            rates.append(method._optimizer.param_groups[0]["lr"])
            return losses

        monkeypatch.setattr(method, "train_step", watched)
        method.fit(sets.train, sets.labelled)
        steps = method._steps_in_epoch
        lengths = [2 * steps, round_epochs * steps, round_epochs * steps]
        expected = [1e-2 * learning_rate_factor(step / length) for length in lengths for step in range(length)]
        assert steps > 1 and rates == pytest.approx(expected)
        assert rates[-1] < 5e-3, "low at the end of every round"
    assert method._step == method._steps_in_round
    method.start_epoch(1)  # As after a resume: the place is a function of the epoch alone.
    assert (method._step, method._steps_in_round) == (steps, 2 * steps)


@pytest.mark.parametrize("params", [{"rounds": 0}, {"anomaly_ratio": 0.0, "w_suppress": 5.0}])
def test_without_rounds_or_anomalies_it_is_a_plain_autoencoder(tiny_sets: Sets, params: dict[str, Any]) -> None:
    sets = tiny_sets(64)
    plain, method = built(rounds=0, w_suppress=0.0), built(**params)
    steps: list[int] = []
    method.context.report = lambda step, values: steps.append(step)
    plain.fit(sets.train, sets.none)
    method.fit(sets.train, sets.labelled if params.get("rounds") == 0 else sets.none)
    assert steps == [1] and torch.equal(weights(plain), weights(method)) and method.kept_maps() == []
    assert method.context.notes == []


def test_knowledge_changes_what_is_learned(tiny_sets: Sets, bright: str) -> None:
    sets = tiny_sets(64)
    learned = []
    for params in ({"knowledge": "none"}, {}, {"knowledge": "wrong"}, {"w_suppress": 0.0}):
        method = built(rules=bright, **params)
        method.fit(sets.train, sets.labelled)
        learned.append(weights(method))
    for index, first in enumerate(learned):
        assert not any(torch.equal(first, other) for other in learned[index + 1 :])


def test_no_rules_are_no_knowledge_and_noted(tiny_sets: Sets) -> None:
    sets = tiny_sets(64)
    without, none = built(), built(knowledge="none")
    for method in (without, none):
        method.fit(sets.train, sets.labelled)
    assert torch.equal(weights(without), weights(none))
    assert without.context.notes == ["no rules for this data: every region counts as anomalous (d = 1)"]
    assert none.context.notes == []


def test_without_labelled_images_simulated_ones_are_learned_from(tiny_sets: Sets, bright: str) -> None:
    sets = tiny_sets(64)
    method = built(rules=bright)
    method.fit(sets.train, sets.none)
    assert method.context.notes == ["no labelled anomalies: trained on simulated ones, whose place is known"]
    kept = method.kept_maps()[0]
    assert set(kept.image_ids) <= set(sets.train.ids) and set(np.unique(kept.maps)) == {0.0, 1.0}


def test_simulated_anomalies_differ_in_their_patches_alone(tiny_sets: Sets) -> None:
    images = tiny_sets(64).train.pixels(slice(0, 6))
    changed, patches = simulated_anomalies(images, 0)
    assert changed.dtype == np.uint8 and patches.dtype == np.bool_ and patches.shape == images.shape[:3]
    assert np.array_equal(changed[~patches], images[~patches])
    assert ((patches.mean(axis=(1, 2)) > 0.01) & (patches.mean(axis=(1, 2)) < 0.06)).all()
    assert (np.abs(changed.astype(int) - images)[patches].max(axis=1) > 3).mean() > 0.5
    assert np.array_equal(simulated_anomalies(images, 0)[0], changed)
    assert not np.array_equal(simulated_anomalies(images, 1)[0], changed)


def phantom_set(role: str) -> ImageSet:
    dataset = Phantom(PhantomConfig(size=64, n_train=6, n_labelled=3, n_val=0, n_val_anomalous=0, n_test=0))
    chosen = [sample for sample in dataset.samples("skin") if sample.role == role]
    return ImageSet(dataset, "skin", chosen, 64, Cache(None))


def test_the_oracle_labels_with_the_true_masks() -> None:
    labelled = phantom_set("labelled")
    method = built(knowledge="oracle")
    method.fit(phantom_set("train"), labelled)
    for kept in method.kept_maps():
        np.testing.assert_array_equal(kept.maps, labelled.masks(range(3)))


def test_the_oracle_refuses_data_without_masks(
    tiny_sets: Sets, mvtec_folder: Callable[..., Path], tmp_path: Path
) -> None:
    mvtec_folder(tmp_path / "grating", train=4, test=2, labelled={"blob": 2}, size=(64, 64))
    dataset = Folder(FolderConfig(root=str(tmp_path / "grating")))
    chosen = [sample for sample in dataset.samples("grating") if sample.role == "labelled"]
    with pytest.raises(RequestError, match="has no mask"):
        built(knowledge="oracle").fit(tiny_sets(64).train, ImageSet(dataset, "grating", chosen, 64, Cache(None)))


def test_what_calibrates_was_held_out() -> None:
    method = built(held_out=0.2)
    for count, held in ((10, 2), (1000, 200), (10_000, 256), (2, 1)):
        method._hold_out(count)
        rows, others = set(method._rows.tolist()), set(method._held_out.tolist())
        assert len(others) == held and not rows & others and rows | others == set(range(count))
    method._hold_out(1)
    assert method._rows.tolist() == method._held_out.tolist() == [0]


@pytest.mark.parametrize("levelling", [0.0, 0.5, 1.0])
def test_calibration_by_hand(monkeypatch: pytest.MonkeyPatch, levelling: float) -> None:
    """Where normal images err twice as much, an error counts less, by the power of two."""
    method = built(levelling=levelling)
    method._normals = method.space.inputs_of(np.zeros((2, 64, 64, 3), np.uint8), method.context.device)
    method._hold_out(2)
    errors = torch.ones(1, 64, 64)
    errors[:, :, 32:] = 2.0

    def given(inputs: Any, rows: Tensor) -> Iterator[Tensor]:
        yield errors

    monkeypatch.setattr(method, "_errors_of", given)
    method._calibrate()
    assert method._level[5, 60].item() == pytest.approx(1.5 * (2.0 / 1.5 + 0.5) ** levelling, rel=1e-3)
    assert method._level[5, 3].item() == pytest.approx(1.5 * (1.0 / 1.5 + 0.5) ** levelling, rel=1e-3)
    low, high, margin = method._quantiles.tolist()
    assert low <= high <= margin and high == pytest.approx(
        torch.quantile(errors / method._level, 0.995).item(), rel=1e-4
    )


def test_a_resumed_run_repeats_an_unbroken_one(
    tiny_sets: Sets, bright: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle of a round, when the labels of its start can no longer be found again."""
    sets = tiny_sets(64)
    params: dict[str, Any] = {"rules": bright, "rounds": 2, "round_epochs": 3}
    whole = built(**params)
    whole.fit(sets.train, sets.labelled)
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)

    class StoppedError(BaseException):
        pass

    def stop(step: int, values: Any) -> None:
        if step == 4:
            raise StoppedError

    broken = built(**params)
    broken.context.checkpoint_dir, broken.context.report = tmp_path / "state", stop
    with pytest.raises(StoppedError):
        broken.fit(sets.train, sets.labelled)
    resumed = built(**params)
    resumed.context.checkpoint_dir = tmp_path / "state"
    resumed.fit(sets.train, sets.labelled)
    assert torch.equal(weights(resumed), weights(whole)) and not resumed.context.notes
    for one, other in zip(resumed.kept_maps(), whole.kept_maps(), strict=True):
        assert one.name == other.name and np.array_equal(one.maps, other.maps)


@pytest.mark.parametrize("size", [64, 97, 130])
@pytest.mark.parametrize("depth", [2, 4])
def test_the_pixel_autoencoder_returns_the_size_and_has_a_bottleneck(size: int, depth: int) -> None:
    network = PixelAutoencoder(4, depth, 6)
    images = torch.rand((2, 3, size, size), generator=torch.Generator().manual_seed(0))
    assert network(images).shape == images.shape
    middle = network.encoder[-1]
    assert isinstance(middle, nn.Conv2d) and middle(torch.rand(1, middle.in_channels, 5, 5)).shape[1] == 6
    for parameter in middle.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(network(images), network(1 - images))


def test_an_image_s_reconstruction_does_not_depend_on_others() -> None:
    network = PixelAutoencoder(8, 3, 8)
    images = torch.rand((4, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(images)[:1], network(images[:1]), atol=1e-5, rtol=1e-4)


def test_even_contrast_forgets_light() -> None:
    images = torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    evened = even_contrast(images, 16.0)
    torch.testing.assert_close(even_contrast(images + 3.0, 16.0), evened, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        even_contrast(1000 * images, 16.0), even_contrast(2000 * images, 16.0), atol=1e-2, rtol=0
    )
    assert evened.mean().abs() < 0.02 and torch.equal(even_contrast(images, 0.0), images)
    assert even_contrast(torch.full((1, 3, 33, 33), 0.4), 64.0).abs().max() < 1e-5, "even areas stay even"


def test_the_map_is_the_error_over_its_level(tiny_sets: Sets) -> None:
    sets = tiny_sets(64)
    method = built(smoothing=0.0, score_pixels=65536)
    method.fit(sets.train, sets.labelled)
    images = torch.from_numpy(sets.test.pixels(slice(0, 3))).permute(0, 3, 1, 2) / 255.0
    with torch.inference_mode():
        scores, maps = method.predict_batch(images)
        assert isinstance(method.space, PixelSpace)
        evened = even_contrast(images, method.config.contrast_window)
        expected = (evened - method.network(evened)).square().mean(dim=1) / method._level
    torch.testing.assert_close(maps, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(scores, expected.mean(dim=(1, 2)), atol=1e-5, rtol=1e-4)


def test_features_are_rebuilt_too(tiny_sets: Sets, bright: str) -> None:
    sets = tiny_sets(97)
    method = built(97, space="features", rules=bright)
    method.fit(sets.train, sets.labelled)
    prediction = method.predict(sets.test)
    assert np.isfinite(prediction.maps).all() and prediction.maps.min() >= 0
    assert len(method.kept_maps()) == 2
    assert {name.split(".")[0] for name in method.state_dict()} == {"network", "level", "quantiles"}, "no backbone"


def test_values_that_cannot_work_are_refused_before_training() -> None:
    KISTConfig().check(64)
    with pytest.raises(RequestError, match="image_size=31 is too small"):
        KISTConfig(space="pixels", depth=4).check(31)
    with pytest.raises(RequestError, match=r"method\.layers=\[1, 3\] lie at strides \[4, 16\]"):
        KISTConfig(layers=(1, 3)).check(256)
    with pytest.raises(RequestError, match="unknown rule set 'elvp'; did you mean 'elpv'"):
        KISTConfig(rules="elvp").check(64)
    with pytest.raises(RequestError, match=r"method\.knowledge=wrong needs rules to be wrong about") as raised:
        validate(KISTConfig, {"knowledge": "wrong"}).check(64)
    assert raised.value.remedy == "method.rules=NAME or FILE.yaml"
    KISTConfig(knowledge="wrong", rules="elpv").check(64)


def test_weights_of_a_backbone_that_is_not_in_use_are_no_input() -> None:
    config = KISTConfig(space="pixels", weights="nowhere.safetensors")
    assert config.input_files() == {} and config.check(64) is None  # type: ignore[func-returns-value]
    assert config.model_copy(update={"space": "features"}).input_files() == {"weights": Path("nowhere.safetensors")}


def test_shipped_rules_are_those_of_their_data() -> None:
    for category in ("mono", "poly"):
        assert KISTConfig.for_data("elpv", category) == {"rules": "elpv"}
    assert KISTConfig.for_data("phantom", "weave") == {"rules": "phantom-weave"}
    assert KISTConfig.for_data("folder", "bottle") == {} == KISTConfig.for_data("phantom", "other")
    assert KISTConfig(rules="elpv").input_files() == {"rules": shipped_rules()["elpv"]}


def plan_of(*words: str) -> Plan:
    overrides = parse_overrides(
        ["suite=smoke", "budget=smoke", "method=kist", "dataset=phantom", "category=weave", "dataset.size=64", *words]
    )
    return make_plan(compose(overrides), overrides)


def test_a_cell_s_identity_holds_the_rules_content_and_not_their_place(bright: str, tmp_path: Path) -> None:
    (shipped,) = plan_of().cells
    assert shipped.params["rules"] == "phantom-weave", "a name, good on every machine"
    assert set(shipped.files) == {"rules"} and "method.rules" not in shipped.command
    (mine,) = plan_of(f"method.rules={bright}").cells
    copy = tmp_path / "copy.yaml"
    copy.write_text(BRIGHT, encoding="utf-8")
    (same,) = plan_of(f"method.rules={copy}").cells
    copy.with_name("other.yaml").write_text(BRIGHT.replace("0.6", "0.7"), encoding="utf-8")
    (other,) = plan_of(f"method.rules={copy.with_name('other.yaml')}").cells
    (none,) = plan_of("method.rules=none").cells
    assert mine.params["rules"] == bright and mine.run_id == same.run_id
    assert len({shipped.run_id, mine.run_id, other.run_id, none.run_id}) == 4 and none.files == {}
