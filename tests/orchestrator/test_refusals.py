"""A wrong request ends before anything trains: one clear message, no traceback, exit code 2, nothing written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image

Adbench = Callable[..., Result]


def _refused(result: Result, *expected: str) -> None:
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    for text in expected:
        assert text in result.output
    assert not Path("adbench-results").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["suite=quikstart"], ["quikstart", "did you mean 'quickstart'"]),
        (["suite=missing.yaml"], ["missing.yaml", "No such file"]),
        ([], ["no suite given"]),
        (["suite=smoke", "method=ckad"], ["'ckad'", "did you mean 'ckaad'"]),
        (["suite=smoke", "dataset=phantm"], ["'phantm'", "did you mean 'phantom'"]),
        (["suite=smoke", "category=weav"], ["'weav'", "did you mean 'weave'"]),
        (["suite=smoke", "imagesize=64"], ["'imagesize'", "did you mean 'image_size'"]),
        (["suite=smoke", "+imagesize=64"], ["'imagesize'", "did you mean 'image_size'"]),
        (["suite=smoke", "~image_sise"], ["image_sise"]),
        (["suite=smoke", "method.gama=1"], ["'gama'", "did you mean 'gamma'"]),
        (["suite=smoke", "dataset.contrst=1"], ["'contrst'", "did you mean 'contrast'"]),
        (["suite=smoke", "method.gamma=0"], ["method.gamma=0 ", "above 0, at most 1"]),
        (["suite=smoke", "method.gamma=soft"], ["method.gamma=soft", "a number"]),
        (["suite=smoke", "method.epochs=2.5"], ["method.epochs=2.5", "a whole number"]),
        (["suite=smoke", "method.level=pixel"], ["method.level=pixel", "patch or image or both"]),
        (["suite=smoke", "method=recon", "method.gamma=0.3"], ["method 'recon' fixes it"]),
        (["suite=smoke", "method.layers=[1,3]"], ["strides"]),
        (["suite=smoke", "method.backbone=resnet1"], ["unknown backbone 'resnet1'"]),
        (["suite=smoke", "method.weights=nowhere.safetensors"], ["nowhere.safetensors"]),
        (["suite=smoke", "image_size=7"], ["image_size=7", "at least 32"]),
        (["suite=smoke", "image_size=48"], ["image_size=48", "64 or more"]),
        (["suite=smoke", "seed=-1"], ["from 0 to 4294967295"]),
        (["suite=smoke", "seed=5000000000"], ["from 0 to 4294967295"]),
        (["suite=smoke", "seed=true"], ["not true or false"]),
        (["suite=smoke", "methods=[ckaad]"], ["choose with method=NAME"]),
        (["suite=smoke", "out="], ["out="]),
        (["suite=smoke", "cache_dir=/proc/nope"], ["cache_dir=/proc/nope", "--no-cache"]),
        (["suite=smoke", "budget=fast"], ["budget=fast", "smoke or quick or full"]),
        (["suite=smoke", "rank_by=accuracy"], ["rank_by=accuracy", "image_auroc"]),
        (["suite=smoke", "lanes=0"], ["lanes=0"]),
        (["suite=smoke", "workers_per_lane=0"], ["workers_per_lane=0", "at least 1"]),
        (
            ["suite=smoke", "launcher=inprocess", "workers_per_lane=2"],
            ["workers_per_lane=2", "1 with launcher=inproc"],
        ),
        (["suite=smoke", "workers_per_lane=2", "gpus_per_lane=0.5"], ["gpus_per_lane=0.5", "workers_per_lane=1"]),
        (["suite=smoke", "n_normal=0"], ["n_normal=0", "at least 1"]),
        (["suite=smoke", "noise=0.5"], ["noise=0.5", "below 0.5"]),
        (["suite=smoke", "noise=-0.1"], ["noise=-0.1", "at least 0"]),
        (["suite=smoke", "noise_from_test=true"], ["noise_from_test=true", "false with noise=0"]),
        (
            ["suite=smoke", "noise=0.1", "dataset.n_labelled=0"],
            ["'weave' has no anomalies to hide (noise=0.1)", "noise_from_test=true takes them from test"],
        ),
        (["suite=smoke", "cell_timeout=-3"], ["cell_timeout=-3", "above 0"]),
        (["suite=smoke", "dataset=folder"], ["dataset.root=PATH"]),
        (["suite=smoke", "dataset=folder", "dataset.root=nowhere"], ["nowhere does not exist", "train/good"]),
        (["suite=smoke", "nonsense"], ["'nonsense' is not an override", "key=value"]),
        (["suite=smoke", "--limit=-1"], ["-1"]),
        (["suite=smoke", "--unknown"], ["--unknown"]),
    ],
)
def test_wrong_words(arguments: list[str], expected: list[str], adbench: Adbench) -> None:
    _refused(adbench("run", *arguments), *expected)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_cuda(adbench: Adbench) -> None:
    _refused(adbench("run", "suite=smoke", "device=cuda"), "device=cuda", "device=cpu")


def _image(path: Path, height: int = 70, width: int = 80, grey: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (height, width) if grey else (height, width, 3)
    Image.fromarray(np.random.default_rng(len(str(path))).integers(0, 255, shape, dtype=np.uint8)).save(path)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """A sound category in the MVTec layout."""
    root = tmp_path / "images" / "part"
    for index in range(4):
        _image(root / "train" / "good" / f"{index}.png")
    _image(root / "test" / "good" / "0.png")
    _image(root / "test" / "dent" / "0.png")
    _image(root / "ground_truth" / "dent" / "0_mask.png", grey=True)
    return root


def test_sound_folder_is_accepted(adbench: Adbench, part: Path) -> None:
    result = adbench("run", "suite=smoke", "dataset=folder", f"dataset.root={part.parent}", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "folder/part" in result.output


def test_empty_folder(adbench: Adbench, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    _refused(adbench("run", "suite=smoke", "dataset=folder", "dataset.root=empty"), "empty", "train/good")
    (tmp_path / "hollow" / "train" / "good").mkdir(parents=True)
    _refused(adbench("run", "suite=smoke", "dataset=folder", "dataset.root=hollow"), "holds no images")


def test_mask_of_another_size(adbench: Adbench, part: Path) -> None:
    _image(part / "ground_truth" / "dent" / "0_mask.png", 30, 30, grey=True)
    result = adbench("run", "suite=smoke", "dataset=folder", f"dataset.root={part}")
    _refused(result, "0_mask.png is 30x30", "is 80x70")


def test_unreadable_images_are_all_named(adbench: Adbench, part: Path) -> None:
    (part / "train" / "good" / "1.png").write_bytes(b"no image")
    whole = (part / "test" / "dent" / "0.png").read_bytes()
    (part / "test" / "dent" / "0.png").write_bytes(whole[: len(whole) // 2])
    result = adbench("run", "suite=smoke", "dataset=folder", f"dataset.root={part}")
    _refused(result, "2 problem(s)", str(part / "train/good/1.png"), str(part / "test/dent/0.png"))


def test_output_that_cannot_be_written(adbench: Adbench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    _refused(adbench("run", "suite=smoke", "out=file/results"), "file/results")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["ls", "methodz"], "methods"),
        (["show", "method", "ckad"], "did you mean 'ckaad'"),
        (["show", "dataset", "elpw"], "did you mean 'elpv'"),
        (["show", "suite", "smok"], "did you mean 'smoke'"),
        (["report", "out=nowhere"], "no results in"),
        (["report", "suit=x"], "did you mean 'suite'"),
        (["ls", "runs"], "no results in"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_other_commands(arguments: list[str], expected: str, adbench: Adbench) -> None:
    _refused(adbench(*arguments), expected)


@pytest.mark.parametrize("arguments", [["--debug", "run", "suite=quikstart"], ["run", "suite=quikstart", "--debug"]])
def test_debug_adds_the_traceback(arguments: list[str], adbench: Adbench) -> None:
    result = adbench(*arguments)
    assert result.exit_code == 2
    assert "Traceback" in result.output


def test_a_suite_that_is_not_text(adbench: Adbench, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    _refused(adbench("run", "suite=mine.yaml"), "not valid YAML")


def test_a_method_that_cannot_be_imported(adbench: Adbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[adbench.methods]\nbroken = no_such_module:Method\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    _refused(adbench("run", "suite=smoke", "method=broken"), "method 'broken' cannot be imported", "no_such_module")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_is_checked_in_a_dry_run_too(adbench: Adbench) -> None:
    _refused(adbench("run", "suite=smoke", "device=cuda", "--dry-run"), "device=cuda")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("methods: [{name: ckaad, parms: {}}]\ndatasets: [elpv]", "did you mean 'params'"),
        ("methods: [ckaad]\ndatasets: [{name: phantom, catgories: [weave]}]", "did you mean 'categories'"),
        ("methods: [ckaad]", "no list 'datasets'"),
        ("methods: []\ndatasets: [elpv]", "no list 'methods'"),
        ("- a list", "must hold a mapping"),
        ("", "must hold a mapping"),
        ("methods: [ckaad", "not valid YAML"),
        ("methods: [3]\ndatasets: [elpv]", "3"),
        ("methods: [ckaad]\ndatasets: [elpv]\nsedes: [0]", "did you mean 'seeds'"),
    ],
)
def test_wrong_suites(text: str, expected: str, adbench: Adbench, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    _refused(adbench("run", "suite=mine.yaml"), expected)
