"""anomalib's models behind our contract: offline, on weights that are random but given."""

import importlib.metadata
import importlib.util
import socket
import subprocess
import sys
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from adbench.datasets.cache import Cache
from adbench.datasets.errors import RequestError
from adbench.datasets.parameters import validate
from adbench.methods.base import Context, Method, MethodConfig, to_unit_tensor
from adbench.methods.registry import method_class, methods
from adbench.methods.training import Batch, epoch_seed

NAMES = tuple(name for name, entry in methods().items() if entry.extra == "anomalib")
SMALL = tuple(name for name in NAMES if name != "anomalib_efficientad")
"""Those that take small images."""
Sets = Callable[[int], Any]
installed = pytest.mark.skipif(importlib.util.find_spec("anomalib") is None, reason="adbench-vision[anomalib]")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a connection fails."""

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise AssertionError(f"a connection was opened: {arguments[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with random weights of a ResNet18 and of EfficientAD's teacher, and with natural images of noise."""
    folder = tmp_path_factory.mktemp("files")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(timm.create_model("resnet18", pretrained=False).state_dict(), folder / "resnet18.safetensors")
        if importlib.util.find_spec("anomalib") is not None:
            from adbench.methods.anomalib_models import anomalib

            module = anomalib("models.image.efficient_ad.torch_model")
            torch.save(module.SmallPatchDescriptionNetwork(384).state_dict(), folder / "teacher.pth")
    (folder / "natural").mkdir()
    for index in range(3):
        noise = np.random.default_rng(index).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "natural" / f"{index}.png")
    return folder


def config_of(name: str, files: Path, **params: Any) -> MethodConfig:
    kind = method_class(name).config_class
    given: dict[str, dict[str, Any]] = {
        "anomalib_rd": {"backbone": "resnet18", "weights": str(files / "resnet18.safetensors")},
        "anomalib_efficientad": {
            "teacher_weights": str(files / "teacher.pth"),
            "imagenette": str(files / "natural"),
            "steps": 2,
        },
    }
    short = {key: value for key, value in {"epochs": 2, "batch_size": 4}.items() if key in kind.model_fields}
    return validate(kind, {**kind.preset("smoke", "industrial"), **short, **given.get(name, {}), **params})


def built(name: str, files: Path, size: int, seed: int = 0, **params: Any) -> Any:
    config = config_of(name, files, **params)
    config.check(size)
    return method_class(name)(config, Context(seed, torch.device("cpu"), size, Cache(None)))


def global_states() -> tuple[list[int], str]:
    """Of the random numbers that everyone draws from."""
    return torch.get_rng_state().tolist(), repr(np.random.get_state())  # noqa: NPY002


def check_saving(name: str, files: Path, method: Method, images: Any, path: Path) -> None:
    """What is saved and loaded into a fresh object predicts the same, and nothing that was given is saved."""
    before = method.predict(images)
    torch.save(method.state_dict(), path)
    fresh = built(name, files, images.size, seed=5)
    fresh.load_state_dict(torch.load(path, weights_only=True))
    after = fresh.predict(images)
    assert np.array_equal(before.scores, after.scores) and np.array_equal(before.maps, after.maps)
    assert not any(key.startswith(fresh.frozen) for key in method.state_dict())


def test_they_are_listed_without_being_imported() -> None:
    assert len(NAMES) == 6
    code = (
        "import sys; from adbench.methods.registry import method_entry, methods; "
        "assert method_entry('anomalib_padim').extra == 'anomalib' and method_entry('ckaad').extra is None; "
        "assert not {'torch', 'anomalib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", NAMES)
def test_without_anomalib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def missing(package: str) -> str:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    for module in ("anomalib_models", "anomalib_trained", "anomalib_efficientad"):
        monkeypatch.delitem(sys.modules, f"adbench.methods.{module}", raising=False)
    with pytest.raises(RequestError, match=f"method '{name}' needs a package that is not installed") as caught:
        method_class(name)
    assert caught.value.remedy == "install adbench-vision[anomalib]"


@installed
def test_knowing_a_method_does_not_import_anomalib() -> None:
    code = (
        "import sys; from adbench.methods.registry import method_class, methods; "
        f"found = [method_class(name) for name in {NAMES}]; "
        f"assert all('+anomalib{importlib.metadata.version('anomalib')}' in kind.version for kind in found); "
        "found[0].config_class().check(64); assert not {'anomalib', 'lightning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@installed
@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_fitted_offline_without_touching_global_random_numbers(
    name: str, files: Path, tiny_sets: Sets, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sets = tiny_sets(64)
    method = built(name, files, 64)
    states = global_states()
    method.fit(sets.train, sets.none)
    prediction = method.predict(sets.test)
    assert prediction.scores.shape == (16,) and prediction.maps.shape == (16, 64, 64)
    assert np.isfinite(prediction.scores).all() and np.isfinite(prediction.maps).all()
    assert global_states() == states
    twin = built(name, files, 64)
    twin.fit(sets.train, sets.none)
    assert np.array_equal(twin.predict(sets.test).maps, prediction.maps)
    check_saving(name, files, method, sets.test, tmp_path / "state.pt")
    assert capfd.readouterr() == ("", "")


@installed
def test_padim_is_anomalib_s_own(files: Path, tiny_sets: Sets) -> None:
    from anomalib.models.image.padim.torch_model import PadimModel
    from torchvision.transforms.v2 import Normalize

    sets = tiny_sets(64)
    weights = str(files / "resnet18.safetensors")
    ours = built("anomalib_padim", files, 64, seed=3, backbone="resnet18", weights=weights, n_features=40)
    ours.fit(sets.train, sets.none)
    found = ours.predict(sets.test)

    torch.manual_seed(epoch_seed(3, -1))
    theirs = PadimModel("resnet18", [1, 2, 3], pre_trained=False, n_features=40)
    stored = timm.create_model("resnet18", checkpoint_path=weights)
    left = theirs.feature_extractor.feature_extractor.load_state_dict(stored.state_dict(), strict=False)
    assert left.missing_keys == [] and all(key.startswith(("layer4", "fc")) for key in left.unexpected_keys)
    imagenet = Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])  # As anomalib prepares images.
    with torch.no_grad():
        theirs.train()(imagenet(to_unit_tensor(sets.train.pixels(slice(None)), torch.device("cpu"))))
        theirs.fit()
        expected = theirs.eval()(imagenet(to_unit_tensor(sets.test.pixels(slice(None)), torch.device("cpu"))))
    assert torch.equal(ours.model.idx, theirs.idx)
    np.testing.assert_allclose(found.scores, expected.pred_score[:, 0].numpy(), rtol=1e-4)
    np.testing.assert_allclose(found.maps, expected.anomaly_map[:, 0].numpy(), rtol=1e-3)


@installed
def test_the_bundled_weights_are_those_that_see_the_images(files: Path) -> None:
    method = built("anomalib_stfpm", files, 64)
    images = torch.rand(2, 3, 64, 64)
    taught = method.model.teacher_model(method.prepare(images))
    for found, expected in zip(taught.values(), method.backbone(images), strict=True):
        assert torch.equal(found, expected)
    student = dict(method.model.student_model.named_parameters())
    assert all(parameter.requires_grad for parameter in student.values())
    for name, parameter in method.model.teacher_model.named_parameters():
        if parameter.dim() == 4:
            assert not torch.equal(parameter, student[name])


@installed
def test_before_fit_a_memory_bank_says_so(files: Path) -> None:
    for name in ("anomalib_padim", "anomalib_patchcore"):
        with pytest.raises(RuntimeError, match="not fitted"):
            built(name, files, 64).predict_batch(torch.rand(2, 3, 64, 64))


@installed
def test_training_goes_on_from_its_state(files: Path, tiny_sets: Sets) -> None:
    method, other = built("anomalib_draem", files, 64), built("anomalib_draem", files, 64, seed=1)
    images = tiny_sets(64).train
    for trained in (method, other):
        trained._images, trained._rows, trained._total_steps = images, np.arange(12), 9
        trained.model.train()
    method.train_step(batch_of(4))
    other.load_train_state(method.train_state())
    losses = [trained.train_step(batch_of(4, seed=7))["loss"] for trained in (method, other)]
    assert losses[0] == losses[1]


def batch_of(count: int, seed: int = 0) -> Batch:
    return Batch(torch.arange(count), torch.arange(count) + 100 * seed, count, torch.Generator())


@installed
def test_draem_corrupts_half_of_the_images_each_by_its_own_seed(files: Path) -> None:
    method = built("anomalib_draem", files, 64)
    images, seeds = torch.rand(24, 3, 64, 64), torch.arange(24)
    corrupted, masks = method.corrupt(images, seeds)
    assert corrupted.shape == images.shape and masks.shape == (24, 1, 64, 64)
    assert torch.equal(masks, masks.round()) and 4 <= int(masks.amax((1, 2, 3)).sum()) <= 20
    untouched = (masks == 0).expand_as(images)
    assert torch.equal(corrupted[untouched], images[untouched])
    assert not torch.allclose(corrupted[~untouched], images[~untouched])
    assert corrupted.isfinite().all()
    some = torch.tensor([5, 17])
    again, again_masks = method.corrupt(images[some], seeds[some])
    assert torch.equal(again, corrupted[some]) and torch.equal(again_masks, masks[some])


@installed
def test_learning_rates_fall_as_in_anomalib(files: Path) -> None:
    method = built("anomalib_draem", files, 64)
    method._epoch_steps, method._total_steps = 5, 5 * 700
    for epoch, rate in {0: 1e-3, 399: 1e-3, 400: 1e-4, 599: 1e-4, 600: 1e-5, 699: 1e-5}.items():
        np.testing.assert_allclose(rates(method, epoch, 5), rate)


@installed
@pytest.mark.parametrize(("name", "size"), [("anomalib_draem", 64), ("anomalib_efficientad", 256)])
def test_learning_rates_fall_within_an_epoch_too_and_after_a_resume(name: str, size: int, files: Path) -> None:
    method = built(name, files, size)
    method._epoch_steps, method._total_steps = 20, 40
    relative = np.concatenate([rates(method, epoch, 20) for epoch in (0, 1)]) / method.config.lr
    shares = {"anomalib_draem": (4 / 7, 6 / 7), "anomalib_efficientad": (0.95,)}[name]
    steps = np.arange(40)
    np.testing.assert_allclose(relative, np.prod([np.where(steps >= 40 * share, 0.1, 1.0) for share in shares], 0))
    resumed = built(name, files, size)
    resumed._epoch_steps, resumed._total_steps = 20, 40
    np.testing.assert_array_equal(np.array(rates(resumed, 1, 20)) / method.config.lr, relative[20:])


def rates(method: Any, epoch: int, steps: int) -> list[float]:
    """The learning rate of each step of an epoch, whose losses are none."""
    method.loss_terms = lambda batch: {"loss": torch.zeros((), requires_grad=True)}
    method.start_epoch(epoch)
    found = []
    for _ in range(steps):
        method.train_step(batch_of(1))
        found.append(method.optimizer.param_groups[0]["lr"])
    return found


@installed
@pytest.mark.slow
def test_efficientad(files: Path, tiny_sets: Sets, tmp_path: Path) -> None:
    sets = tiny_sets(256)
    train = sets.train
    method = built("anomalib_efficientad", files, 256)
    steps: list[dict[str, float]] = []
    method.context.report = lambda step, values: steps.append(dict(values))
    # Three images of a set: one is held out.
    few = type(train)(train._dataset, "grating", train.samples[:3], 256, Cache(None))
    method.fit(few, sets.none)
    assert len(steps) == 1 and steps[0].keys() == {"loss", "student", "autoencoder", "both"}
    assert steps[0]["loss"] == pytest.approx(sum(value for key, value in steps[0].items() if key != "loss"))
    order = torch.randperm(3, generator=torch.Generator().manual_seed(epoch_seed(0, -2))).numpy()
    images = to_unit_tensor(few.pixels(np.sort(order[1:])), torch.device("cpu"))
    with torch.no_grad():
        taught = method.model.teacher(images).transpose(0, 1).flatten(1)
        maps = method.model.eval().get_maps(to_unit_tensor(few.pixels(order[:1]), torch.device("cpu")))
    torch.testing.assert_close(method.model.mean_std["mean"].flatten(), taught.mean(1), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        method.model.mean_std["std"].flatten(), taught.std(1, correction=0), rtol=1e-4, atol=1e-6
    )
    assert method.model.quantiles["qa_st"].item() == pytest.approx(maps[0].quantile(0.9).item(), rel=1e-4)
    assert method.model.quantiles["qb_ae"].item() == pytest.approx(maps[1].quantile(0.995).item(), rel=1e-4)
    few_test = type(train)(train._dataset, "grating", sets.test.samples[:1], 256, Cache(None))
    assert np.isfinite(method.predict(few_test).maps).all()
    check_saving("anomalib_efficientad", files, method, few_test, tmp_path / "state.pt")


@installed
def test_efficientad_s_natural_images_depend_on_the_seed_alone(files: Path) -> None:
    method = built("anomalib_efficientad", files, 256)
    both = method._penalty(torch.arange(20))
    assert both.shape == (20, 3, 256, 256) and both.min() >= 0 and both.max() <= 1
    assert torch.equal(method._penalty(torch.tensor([3])), both[3:4])
    grey = (both == both[:, :1]).flatten(1).all(dim=1)
    assert 1 <= int(grey.sum()) <= 12, "about three in ten"


@installed
def test_downloads_are_asked_for_and_kept_when_complete(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import anomalib.data.utils
    import anomalib.utils.path

    asked: list[str] = []

    def fetch(root: Path, info: Any) -> None:
        asked.append(info.url)
        inside = root / "efficientad_pretrained_weights" if info.url.endswith(".zip") else root / "imagenette2"
        inside.mkdir(parents=True)
        name = "pretrained_teacher_small.pth" if info.url.endswith(".zip") else "a.png"
        source = files / "teacher.pth" if info.url.endswith(".zip") else files / "natural" / "0.png"
        (inside / name).write_bytes(source.read_bytes())

    monkeypatch.setattr(anomalib.data.utils, "download_and_extract", fetch)
    monkeypatch.setattr(anomalib.utils.path, "get_pretrained_weights_dir", lambda: tmp_path / "pre_trained")
    monkeypatch.setattr(anomalib.utils.path, "get_datasets_dir", lambda: tmp_path / "datasets")
    params: dict[str, Any] = {"teacher_weights": None, "imagenette": None, "download": True}
    for _ in range(2):
        method = built("anomalib_efficientad", files, 256, **params)
    assert len(asked) == 2, "once each"
    assert len(method._penalties) == 1

    def broken(root: Path, info: Any) -> None:
        (root / "half").mkdir(parents=True)
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(anomalib.data.utils, "download_and_extract", broken)
    monkeypatch.setattr(anomalib.utils.path, "get_datasets_dir", lambda: tmp_path / "elsewhere")
    with pytest.raises(RequestError, match="cannot be downloaded"):
        built("anomalib_efficientad", files, 256, **params)
    assert not (tmp_path / "elsewhere" / "imagenette").exists()


@installed
@pytest.mark.parametrize(
    ("name", "size", "params", "expected"),
    [
        ("anomalib_efficientad", 128, {}, "image_size=128 is too small"),
        ("anomalib_efficientad", 256, {"teacher_weights": None}, "needs method.teacher_weights, and none is given"),
        ("anomalib_efficientad", 256, {"imagenette": "/nowhere"}, "method.imagenette=/nowhere is no folder"),
        ("anomalib_efficientad", 256, {"teacher_weights": "/nowhere"}, "method.teacher_weights=/nowhere is no file"),
        ("anomalib_draem", 97, {}, "image_size=97 cannot be halved five times"),
        ("anomalib_draem", 64, {"textures": "/nowhere"}, "no folder of textures"),
        ("anomalib_rd", 97, {}, "image_size=97 cannot be halved five times"),
        ("anomalib_rd", 64, {"weights": "/nowhere"}, "method.weights=/nowhere cannot be loaded"),
        ("anomalib_rd", 64, {"backbone": "efficientnet_lite0"}, "backbone=efficientnet_lite0 is not allowed"),
        ("anomalib_padim", 64, {"layers": (3, 2)}, "method.layers"),
    ],
)
def test_what_cannot_run_is_refused(name: str, size: int, params: dict[str, Any], expected: str, files: Path) -> None:
    with pytest.raises(RequestError, match=expected.replace(".", r"\.")):
        config_of(name, files, **params).check(size)


@installed
def test_files_and_folders_that_are_given_count_by_content(files: Path) -> None:
    draem, efficientad = (method_class(f"anomalib_{name}").config_class for name in ("draem", "efficientad"))
    assert draem().input_files() == {} and efficientad().input_files() == {}
    assert validate(draem, {"textures": str(files)}).input_files() == {"textures": files}
    assert validate(efficientad, {"imagenette": str(files)}).input_files() == {"imagenette": files}
    both = config_of("anomalib_efficientad", files).input_files()
    assert both == {"teacher_weights": files / "teacher.pth", "imagenette": files / "natural"}


@installed
def test_without_weights_reverse_distillation_is_not_offered_the_bundled_backbone(
    monkeypatch: pytest.MonkeyPatch, files: Path
) -> None:
    config = config_of("anomalib_rd", files, weights=None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(files / "no_cache"))
    with pytest.raises(RequestError, match="no ImageNet weights for backbone 'resnet18'") as caught:
        config.check(64)
    remedy = caught.value.remedy or ""
    assert remedy.endswith("method.weights=FILE.safetensors") and "bundled" not in remedy


@installed
def test_another_teacher_is_refused(files: Path) -> None:
    with pytest.raises(RequestError, match="cannot be loaded") as caught:
        built("anomalib_efficientad", files, 256, model_size="medium")
    assert caught.value.allowed is not None and "pretrained_teacher_medium.pth" in caught.value.allowed
