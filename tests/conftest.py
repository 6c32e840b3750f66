"""Fixtures that more than one room's tests use."""

import dataclasses
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from adbench.benchmark_suites.sampled_curve import FALSE_POSITIVE_RATES, CurveName
from adbench.datasets.mvtec_ad import MvtecAd
from adbench.reports.schema import (
    METRIC_COLUMNS,
    VAL_METRIC_COLUMNS,
    Gallery,
    GalleryCase,
    ImageScores,
    KeptCurve,
    RunRecord,
    RunResult,
)

settings.register_profile("adbench", deadline=None)  # a busy machine is no failure
settings.load_profile("adbench")


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the mark in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several processes that share the tests, one alone has those that may start Ray, which fills a machine."""
    for item in items:
        if item.path.parent.name in ("orchestrator", "benchmarks") and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.xdist_group("ray"))


SIZE = 16
CASES: tuple[Literal["best", "typical", "worst"], ...] = ("best", "typical", "worst")
START = datetime(2026, 1, 1, tzinfo=UTC)


def _image_scores(split: Literal["val", "test"], count: int, rng: np.random.Generator) -> ImageScores:
    labels = np.arange(count, dtype=np.int64) % 2
    return ImageScores(
        split=split,
        image_ids=tuple(f"{split}/{index:03d}.png" for index in range(count)),
        labels=labels,
        defect_types=tuple("crack" if label else "good" for label in labels),
        scores=(labels + rng.normal(size=count)).astype(np.float32),
    )


def _gallery(rng: np.random.Generator) -> Gallery:
    cases = [
        GalleryCase(
            case=case,
            image_id=f"test/{index:03d}.png",
            label=int(case != "typical"),
            defect_type="good" if case == "typical" else "crack",
            score=float(rng.normal()),
            image=rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8),
            mask=None if case == "typical" else rng.random((SIZE, SIZE)) > 0.9,
            anomaly_map=rng.random((SIZE, SIZE), dtype=np.float32),
        )
        for index, case in enumerate(CASES)
    ]
    return Gallery(low=0.0, high=1.0, cases=tuple(cases))


def _curve(name: CurveName, rng: np.random.Generator) -> KeptCurve:
    """Some curve of test that rises to 1."""
    power = rng.uniform(0.05, 0.9)
    x = FALSE_POSITIVE_RATES.tolist()
    return KeptCurve(split="test", name=name, x=tuple(x), y=tuple((FALSE_POSITIVE_RATES**power).tolist()))


def _make_result(**overrides: Any) -> RunResult:
    """A result with plausible random content that depends only on the overrides.

    ``overrides`` are fields of RunRecord, and ``images``, ``history``, ``gallery`` and ``curves`` of RunResult.
    Without ``run_id`` it is a hash of method, params, dataset, category, seed and budget. A failed
    result has an error, and no metrics, images, history, gallery or curves unless these are given.
    """
    identity: dict[str, Any] = {
        "method": "ckaad",
        "params": '{"gamma":0.3}',
        "dataset": "phantom",
        "category": "texture",
        "seed": 0,
        "budget": "smoke",
    }
    identity.update({name: overrides[name] for name in identity if name in overrides})
    digest = hashlib.sha256(repr(sorted(identity.items())).encode()).hexdigest()
    run_id = overrides.get("run_id", digest[:16])
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:8], "big"))
    ok = overrides.get("status", "ok") == "ok"
    began = overrides.get("started_at", START + timedelta(seconds=int(rng.integers(10**6))))
    fields: dict[str, Any] = {
        **identity,
        "run_id": run_id,
        "suite": "quickstart",
        "method_version": "1",
        "dataset_params": "{}",
        "modality": "industrial",
        "status": "ok",
        "error": None if ok else "Traceback (most recent call last):\nRuntimeError: CUDA out of memory",
        "metrics": {name: float(rng.uniform(0.4, 1)) for name in (*METRIC_COLUMNS, *VAL_METRIC_COLUMNS)}
        if ok
        else {},
        "metric_version": 1,
        "n_train": 40,
        "n_labelled": 4,
        "n_val": 4,
        "n_test": 8,
        "multi_class": False,
        "image_size": 64,
        "fit_seconds": float(rng.lognormal(2, 1)) if ok else None,
        "predict_ms_per_image": float(rng.lognormal(1, 1)) if ok else None,
        "peak_rss_mb": float(rng.uniform(300, 900)),
        "device": "cpu",
        "world_size": 1,
        "started_at": began,
        "finished_at": began + timedelta(seconds=12),
        "host": "workstation",
        "hardware": "8-core CPU",
        "adbench_version": "0.1.0",
        "torch_version": "2.9.0",
        "ray_version": "2.51.0",
        "python_version": "3.11.9",
        "dataset_fingerprint": "f" * 16,
        "split_hash": "5" * 16,
        "command": f"adbench run suite=quickstart seed={identity['seed']}",
    }
    parts: dict[str, Any] = {"images": (), "history": (), "gallery": None, "curves": ()}
    if ok:
        parts["images"] = (_image_scores("val", 4, rng), _image_scores("test", 8, rng))
        parts["history"] = tuple((step, "loss", float(rng.random() / (step + 1))) for step in range(3))
        parts["gallery"] = _gallery(rng)
        names: tuple[CurveName, ...] = ("pixel_roc", "pro", "spro")
        parts["curves"] = tuple(_curve(name, rng) for name in names)
    parts.update({name: overrides.pop(name) for name in parts if name in overrides})
    fields.update(overrides)
    return RunResult(record=RunRecord(**fields), **parts)


@pytest.fixture(scope="session")
def make_result() -> Callable[..., RunResult]:
    """The factory of results; see _make_result."""
    return _make_result


def _draw_square(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A noisy grating uint8 [H, W, 3], and a bright blob's mask bool [H, W] somewhere on it."""
    y, x = np.mgrid[:height, :width]
    grating = 90 + 30 * np.sin(2 * np.pi * x / 8 + rng.uniform(0, 2 * np.pi))
    image = grating[..., None] + rng.normal(0, 4, (height, width, 3))
    radius = min(height, width) / 5
    centre = rng.uniform(radius, height - radius), rng.uniform(radius, width - radius)
    blob = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2
    return np.clip(image, 0, 255).astype(np.uint8), blob


def _mvtec_folder(
    base: Path,
    *,
    train: int = 4,
    validation: int = 0,
    test: int = 2,
    defects: Mapping[str, int] | None = None,
    labelled: Mapping[str, int] | None = None,
    masks: bool = True,
    size: tuple[int, int] = (24, 32),
    seed: int = 0,
) -> Path:
    """Write one category in the MVTec AD layout at ``base`` and return it; equal arguments give equal pixels.

    Normal images ``{train,validation,test}/good/NNN.png`` are gratings of ``size`` (height, width). ``defects``
    counts the images of each ``test/DEFECT``, ``labelled`` those of each ``train/DEFECT``: both bear a bright blob,
    whose mask is ``ground_truth/DEFECT/NNN_mask.png`` for those of test.
    """
    rng = np.random.default_rng(seed)
    counts = {
        **{f"{part}/good": n for part, n in (("train", train), ("validation", validation), ("test", test)) if n},
        **{f"test/{name}": n for name, n in ({"blob": 2} if defects is None else defects).items()},
        **{f"train/{name}": n for name, n in (labelled or {}).items()},
    }
    for folder, count in counts.items():
        (base / folder).mkdir(parents=True, exist_ok=True)
        part, defect = folder.split("/")
        for index in range(count):
            image, blob = _draw_square(rng, *size)
            if defect != "good":
                image[blob] = 250
            Image.fromarray(image).save(base / folder / f"{index:03d}.png")
            if masks and defect != "good" and part == "test":
                truth = base / "ground_truth" / defect
                truth.mkdir(parents=True, exist_ok=True)
                Image.fromarray(blob).save(truth / f"{index:03d}_mask.png")
    return base


@pytest.fixture(scope="session")
def mvtec_folder() -> Callable[..., Path]:
    """The writer of miniature folders in the MVTec AD layout; see _mvtec_folder."""
    return _mvtec_folder


@pytest.fixture
def uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record of mvtec_ad says nothing of counts and archives: a miniature has not those of the whole dataset."""
    monkeypatch.setattr(MvtecAd, "record", dataclasses.replace(MvtecAd.record, counts={}, archives=()))


@pytest.fixture(scope="session", autouse=True)
def own_cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test reads or fills the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("adbench-cache")
        patch.setenv("ADBENCH_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def two_processes() -> Callable[[str, Path], AbstractContextManager[None]]:
    """The runner of a script as two processes that meet each other; see _two_processes."""
    return _two_processes


@contextmanager
def _two_processes(script: str, folder: Path) -> Iterator[None]:
    """``python script folder RANK`` for ranks 0 and 1 beside the block; both must have succeeded after it."""
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen([sys.executable, script, str(folder), str(rank)], env=environment) for rank in range(2)
    ]
    try:
        yield
        assert [worker.wait(500) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
