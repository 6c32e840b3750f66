"""What every registered method must keep, whatever it computes."""

import copy
import importlib.util
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from adbench.datasets.base import Modality
from adbench.datasets.cache import Cache
from adbench.datasets.errors import RequestError
from adbench.datasets.imageset import ImageSet
from adbench.datasets.parameters import validate
from adbench.methods.base import Choice, Context, Method, MethodConfig, Search
from adbench.methods.registry import method_class, method_entry, methods

OWN_TESTS = {"anomalib_rd", "anomalib_efficientad", "anomalib_draem"}
"""They need files of weights or long trainings: test_anomalib_models.py holds them to the same."""
NAMES = tuple(
    name
    for name, entry in methods().items()
    if name not in OWN_TESTS and (entry.extra is None or importlib.util.find_spec(entry.extra))
)
BUDGETS = ("smoke", "quick", "full")
MODALITIES: tuple[Modality, ...] = ("industrial", "medical")
Sets = Callable[[int], Any]
SHORT = {"epochs": 4, "batch_size": 4}
"""More than the smoke preset, so that there is something to learn."""


def config_of(name: str, **params: Any) -> MethodConfig:
    """The smoke preset at a few epochs more."""
    kind = method_class(name).config_class
    short = {key: value for key, value in SHORT.items() if key in kind.model_fields}
    given = {**kind.preset("smoke", "industrial"), **short, **method_entry(name).fixed, **params}
    return validate(kind, given, prefix="method.", owner=name)


def built(name: str, size: int, seed: int = 0, cache: Cache | None = None, device: str = "cpu") -> Method:
    config = config_of(name)
    config.check(size)
    context = Context(seed=seed, device=torch.device(device), image_size=size, cache=cache or Cache(None))
    return method_class(name)(config, context)


def fitted(name: str, sets: Any, size: int, seed: int = 0, cache: Cache | None = None) -> Method:
    method = built(name, size, seed, cache)
    ratio, _ = method.config.labelled_request()
    method.fit(sets.train, sets.labelled if ratio else sets.none)
    return method


class OwnRows:
    """The decoded images of a category, of which only those of one split may be read, and not all at once."""

    def __init__(self, pixels: Any, allowed: Iterable[int]) -> None:
        self._pixels, self._allowed = pixels, set(allowed)

    def __getitem__(self, rows: Any) -> Any:
        asked = set(np.atleast_1d(rows).tolist())
        assert asked <= self._allowed, f"images {sorted(asked - self._allowed)} are not of this split"
        return self._pixels[rows]

    def __array__(self) -> Any:
        raise AssertionError("all images of the category were asked for")


def guarded(images: ImageSet) -> ImageSet:
    """The same images in a set that raises when an image of another split, or any mask, is touched."""
    guard = copy.copy(images)
    guard._pixels = OwnRows(images._pixels, images._rows.tolist())  # type: ignore[assignment]
    return guard


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 97])
@pytest.mark.parametrize("name", NAMES)
def test_fit_predict_save_load(name: str, size: int, tiny_sets: Sets, tmp_path: Any) -> None:
    sets = tiny_sets(size)
    method = fitted(name, sets, size, cache=Cache(tmp_path))
    prediction = method.predict(sets.test)
    assert prediction.scores.shape == (16,) and prediction.maps.shape == (16, size, size)
    for values in (prediction.scores, prediction.maps):
        assert values.dtype == np.float32 and np.isfinite(values).all()
    assert len(np.unique(prediction.scores)) == 16, "scores that rank"
    assert prediction.seconds > 0

    # It learns: a large bright blob on a grating stands out, in the score and at its place.
    assert roc_auc_score(sets.test.labels, prediction.scores) > 0.7
    pixels = sets.test.pixels(slice(None))[sets.test.labels == 1]
    blobs = pixels.min(axis=3) > 200
    assert roc_auc_score(blobs.ravel(), prediction.maps[sets.test.labels == 1].ravel()) > 0.7

    # Predicting again, or in another order, changes nothing of note; other data leaves no trace.
    again = method.predict(sets.test)
    assert np.array_equal(again.scores, prediction.scores) and np.array_equal(again.maps, prediction.maps)

    # Fitted twice, without the cached features of the first: equal bit for bit.
    twin = fitted(name, sets, size).predict(sets.test)
    assert np.array_equal(twin.scores, prediction.scores) and np.array_equal(twin.maps, prediction.maps)

    # Saved and loaded into a fresh object, or into one that learned otherwise.
    torch.save(method.state_dict(), tmp_path / "state.pt")
    fresh = built(name, size, seed=99)
    if size == 64:
        fresh.fit(sets.backwards, sets.none)
        assert not np.array_equal(fresh.predict(sets.test).scores, prediction.scores)
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    loaded = fresh.predict(sets.test)
    assert np.array_equal(loaded.scores, prediction.scores) and np.array_equal(loaded.maps, prediction.maps)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_reports_stop_requests_seeds_and_empty_sets(name: str, tiny_sets: Sets) -> None:
    sets = tiny_sets(64)
    first, other = fitted(name, sets, 64), fitted(name, sets, 64, seed=1)
    assert not np.array_equal(first.predict(sets.test).scores, other.predict(sets.test).scores)
    nothing = first.predict(sets.none)
    assert nothing.scores.shape == (0,) and nothing.maps.shape == (0, 64, 64)

    steps: list[int] = []

    class StoppedError(BaseException):
        pass

    def stop(step: int, values: Any) -> None:
        assert values and all(isinstance(value, float) for value in values.values())
        steps.append(step)
        if step == 2:
            raise StoppedError

    method = method_class(name)(config_of(name), Context(0, torch.device("cpu"), 64, Cache(None), stop))
    with pytest.raises(StoppedError):
        method.fit(guarded(sets.train), guarded(sets.labelled))
    assert steps == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_fit_sees_its_own_images_only(name: str, tiny_sets: Sets) -> None:
    sets = tiny_sets(64)
    with pytest.raises(AssertionError, match="not of this split"):  # the guard works
        guarded(sets.train)._pixels[sets.test._rows[0]]
    method = built(name, 64)
    method.fit(guarded(sets.train), guarded(sets.labelled))
    shown = {*sets.train.ids, *sets.labelled.ids}
    for kept in method.kept_maps():
        assert set(kept.image_ids) <= shown and kept.name
        assert kept.maps.shape == (len(kept.image_ids), 64, 64) and kept.maps.dtype == np.float32
        assert kept.maps.min() >= 0 and kept.maps.max() <= 1
        assert 0 < len(kept.images) <= len(kept.image_ids) and kept.images.shape[1:] == (64, 64, 3)
        rows = [sets.labelled.ids.index(one) for one in kept.image_ids[: len(kept.images)]]
        np.testing.assert_array_equal(kept.images, sets.labelled.pixels(rows))
    # And prediction sees one set: its images, in any order and split of its own.
    whole, parts = method.predict(guarded(sets.test)), [method.predict(sets.backwards), method.predict(sets.train)]
    np.testing.assert_allclose(parts[0].scores[::-1], parts[1].scores, atol=1e-4, rtol=1e-3)
    assert len(whole.scores) == 16


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_image_s_prediction_does_not_depend_on_its_batch(name: str, tiny_sets: Sets) -> None:
    sets = tiny_sets(64)
    method = fitted(name, sets, 64)
    images = torch.from_numpy(sets.test.pixels(slice(None))).permute(0, 3, 1, 2) / 255.0
    with torch.inference_mode():
        scores, maps = method.predict_batch(images)
        alone = [method.predict_batch(images[n : n + 1]) for n in range(4)]
    torch.testing.assert_close(torch.cat([score for score, _ in alone]), scores[:4], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(torch.cat([found for _, found in alone]), maps[:4], atol=1e-4, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_judged_is_refused(name: str, tiny_sets: Sets) -> None:
    sets = tiny_sets(64)
    method = fitted(name, sets, 64)
    images = torch.from_numpy(sets.test.pixels([0, 8])).permute(0, 3, 1, 2) / 255.0
    for value in (float("nan"), float("inf")):
        broken = images.clone()
        broken[1, 0, 5, 5] = value
        with pytest.raises(ValueError, match="NaN or infinite"):
            method.predict_batch(broken)
    for shape in ((2, 3, 65, 64), (2, 2, 64, 64), (3, 64, 64)):
        with pytest.raises(ValueError, match="can be judged"):
            method.predict_batch(torch.zeros(shape))
    grey = images.mean(dim=1, keepdim=True)
    one, three = method.predict_batch(grey), method.predict_batch(grey.expand(-1, 3, -1, -1))
    assert torch.equal(one[0], three[0]) and torch.equal(one[1], three[1])


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", NAMES)
def test_processor_and_gpu_agree(name: str, tiny_sets: Sets) -> None:
    sets = tiny_sets(64)
    method, on_gpu = fitted(name, sets, 64), built(name, 64, seed=99, device="cuda")
    on_gpu.load_state_dict({key: value.cuda() for key, value in method.state_dict().items()})
    first, second = method.predict(sets.test), on_gpu.predict(sets.test)
    # bfloat16 has eight bits: the images are ranked alike, but not equal.
    assert np.corrcoef(first.scores, second.scores)[0, 1] > 0.99
    assert np.corrcoef(first.maps.ravel(), second.maps.ravel())[0, 1] > 0.98
    trained = built(name, 64, device="cuda")
    trained.fit(sets.train, sets.labelled)
    assert roc_auc_score(sets.test.labels, trained.predict(sets.test).scores) > 0.7


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_documented_and_searched_within_their_bounds(name: str) -> None:
    kind = method_class(name)
    assert issubclass(kind, Method) and kind.version and kind.paper and method_entry(name).summary
    config = kind.config_class()
    for parameter, field in kind.config_class.model_fields.items():
        assert field.description and field.description.strip(), f"{name}: {parameter} has no description"
        for search in field.metadata:
            values: tuple[Any, ...] = ()
            if isinstance(search, Search):
                assert search.low < search.high and (search.low > 0 or not search.log)
                assert search.low <= getattr(config, parameter) <= search.high, (
                    f"{parameter}: default is not searched"
                )
                values = (search.low, search.high)
            elif isinstance(search, Choice):
                assert len(search.values) > 1 and getattr(config, parameter) in search.values
                values = search.values
            for value in values:
                validate(kind.config_class, {parameter: value})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("modality", MODALITIES)
def test_presets_are_valid_at_every_budget(name: str, modality: Modality) -> None:
    kind, fixed = method_class(name).config_class, method_entry(name).fixed
    for budget in BUDGETS:
        config = validate(kind, {**kind.preset(budget, modality), **fixed})
        config.check(256)
        assert {key: getattr(config, key) for key in fixed} == fixed
    ratio, classes = validate(kind, fixed).labelled_request()
    assert 0 <= ratio < 1 and classes >= 0


def test_an_unknown_method_is_refused_with_the_nearest() -> None:
    for call in (method_entry, method_class):
        with pytest.raises(RequestError, match="unknown method 'ckad'; did you mean 'ckaad'"):
            call("ckad")
