"""Backbones: the bundled weights, weights from a file, and clear refusals."""

import time
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from adbench.datasets.errors import RequestError
from adbench.methods import backbone_weights
from adbench.methods.backbone import BUNDLED, Backbone, check_backbone


@pytest.fixture(scope="module")
def bundled() -> Backbone:
    return Backbone(BUNDLED, (1, 2, 3))


@pytest.mark.parametrize(("size", "sides"), [(64, (16, 8, 4)), (97, (25, 13, 7)), (100, (25, 13, 7))])
def test_layers_of_the_bundled_backbone(bundled: Backbone, size: int, sides: tuple[int, ...]) -> None:
    assert bundled.channels == [24, 40, 112] and bundled.strides == [4, 8, 16]
    features = bundled(torch.rand((2, 3, size, size)))
    assert [tuple(layer.shape) for layer in features] == [
        (2, channels, side, side) for channels, side in zip((24, 40, 112), sides, strict=True)
    ]
    assert all(layer.dtype == torch.float32 and layer.isfinite().all() for layer in features)


def test_choosing_layers_does_not_change_them(bundled: Backbone) -> None:
    images = torch.rand((1, 3, 64, 64))
    deep = Backbone(BUNDLED, (2, 3))
    for chosen, among_all in zip(deep(images), bundled(images)[1:], strict=True):
        assert torch.equal(chosen, among_all)


def test_bundled_weights_know_images(bundled: Backbone) -> None:
    """Trained features, unlike random ones, tell structure from noise of the same mean."""
    grating = (torch.arange(64) % 16 < 8).float().expand(1, 3, 64, 64)
    flat = torch.full((1, 3, 64, 64), 0.5)
    random = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=(3,)).eval()
    (untrained,) = random((grating - 0.5) / 0.5)
    trained = bundled(grating)[2]
    assert not torch.allclose(trained, untrained, atol=1e-2)
    assert (trained - bundled(flat)[2]).abs().mean() > 0.1


def test_inputs_are_normalised_as_in_training(bundled: Backbone) -> None:
    images = torch.rand((1, 3, 64, 64))
    expected = bundled.network(images * 2 - 1)
    for layer, raw in zip(bundled(images), expected, strict=True):
        torch.testing.assert_close(layer, raw)


def test_frozen_for_good(bundled: Backbone) -> None:
    bundled.train()
    assert not any(module.training for module in bundled.modules())
    assert not any(parameter.requires_grad for parameter in bundled.parameters())
    before = bundled.weights_hash
    bundled(torch.rand((4, 3, 64, 64)))
    del bundled.__dict__["weights_hash"]
    assert bundled.weights_hash == before


def test_the_hash_tells_weights_and_layers_apart(bundled: Backbone) -> None:
    same = Backbone(BUNDLED, (1, 2, 3))
    changed = Backbone(BUNDLED, (1, 2, 3))
    next(changed.network.parameters()).data.view(-1)[0] += 1e-3
    hashes = [bundled.weights_hash, changed.weights_hash, Backbone(BUNDLED, (2, 3)).weights_hash]
    assert len(set(hashes)) == 3 and same.weights_hash == bundled.weights_hash


def whole_model(name: str, path: Path) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    weights: dict[str, torch.Tensor] = timm.create_model(name, pretrained=False).state_dict()
    save_file(weights, path)
    return weights


@pytest.mark.parametrize(
    ("name", "layers"),
    [("resnet18", (2, 3)), ("convnext_atto", (1, 2)), ("efficientformer_l1", (1, 2))],
)
@pytest.mark.slow
def test_weights_from_a_file_whatever_timm_calls_the_tensors(
    tmp_path: Path, name: str, layers: tuple[int, ...]
) -> None:
    path = tmp_path / "weights.safetensors"
    weights = whole_model(name, path)
    backbone = Backbone(name, layers, str(path))
    reference = timm.create_model(
        name, features_only=True, out_indices=layers, pretrained=True, pretrained_cfg_overlay={"state_dict": weights}
    ).eval()
    images = torch.rand((1, 3, 97, 97))
    for layer, expected in zip(backbone(images), reference((images - backbone.mean) / backbone.std), strict=True):
        torch.testing.assert_close(layer, expected)
    assert check_backbone(name, layers, str(path)) == tuple(backbone.strides)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    whole_model("mobilenetv3_small_050", path)
    for file in (path, tmp_path / "absent.safetensors"):
        with pytest.raises(RequestError, match=r"method\.weights=.* cannot be loaded into 'resnet18'"):
            check_backbone("resnet18", (2, 3), str(file))
    path.write_bytes(b"no safetensors")
    with pytest.raises(RequestError, match="cannot be loaded"):
        check_backbone(BUNDLED, (2, 3), str(path))


@pytest.mark.parametrize("layers", [(), (3, 2), (2, 2), (-1, 2), (2, 9)])
def test_layers_that_do_not_exist_are_refused(layers: tuple[int, ...]) -> None:
    with pytest.raises(RequestError, match=r"method\.layers=") as caught:
        check_backbone(BUNDLED, layers, None)
    assert caught.value.allowed == "rising indices from 0 to 4"


def test_an_unknown_backbone_is_refused_with_near_names() -> None:
    with pytest.raises(RequestError, match="unknown backbone 'resnet81'") as caught:
        check_backbone("resnet81", (2, 3), None)
    assert caught.value.allowed is not None and "resnet18" in caught.value.allowed


def test_without_network_both_ways_to_weights_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def offline(*args: Any, pretrained: bool, **options: Any) -> Any:
        if pretrained:
            raise OSError("We couldn't connect to the hub\nand more lines")
        return create(*args, pretrained=pretrained, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(RequestError, match="no ImageNet weights for backbone 'resnet18'") as caught:
        check_backbone("resnet18", (2, 3), None)
    remedy = caught.value.remedy or ""
    assert "online" in remedy and "method.weights=FILE.safetensors" in remedy and BUNDLED in remedy


def test_a_hub_that_cannot_be_reached_is_asked_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its client would retry, with growing pauses, for most of a minute."""
    asked: list[str] = []

    class Unreachable:
        def head(self, url: str, timeout: float) -> None:
            asked.append(url)
            raise ConnectionError("no route")

    def never(seconds: float) -> None:
        raise AssertionError("waited to ask again")

    monkeypatch.setattr(backbone_weights, "get_session", Unreachable)
    monkeypatch.setattr(time, "sleep", never)
    # timm takes the cache's folder from the environment or from the hub's constants.
    monkeypatch.delenv("TIMM_CACHE_DIR", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    before = constants.HF_HUB_OFFLINE
    with pytest.raises(RequestError, match=r"none fetched before, and https?://.* cannot be reached"):
        check_backbone("resnet18", (2, 3), None)
    assert len(asked) == 1 and before == constants.HF_HUB_OFFLINE


def test_checking_gives_the_strides() -> None:
    assert check_backbone(BUNDLED, (1, 2, 3), None) == (4, 8, 16)
