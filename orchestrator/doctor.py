"""`adbench doctor`: what works here, what does not, and what to do about it."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from adbench.datasets.cache import Cache, default_cache_dir
from adbench.datasets.errors import MissingDataError, RequestError
from adbench.datasets.registry import dataset_class, dataset_names, open_dataset
from adbench.orchestrator import environment
from adbench.orchestrator.keys import DEFAULT_OUT, dataset_root, plain_keys

_DISTRIBUTIONS = (
    "torch",
    "torchvision",
    "timm",
    "ray",
    "optuna",
    "pandas",
    "pyarrow",
    "plotly",
    "hydra-core",
)
_LOW_DISK = 5 * 2**30
_TIMED_SORT = """
import time, numpy as np
scores = np.random.default_rng(0).normal(size=2_000_000).astype(np.float32)
began = time.perf_counter(); scores.sort(); print(time.perf_counter() - began)
"""
_WITHOUT_AVX512 = {"NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_SKX"}  # its name since NumPy 2.4, and before


@dataclass(frozen=True)
class Finding:
    """``ok`` True: works; False: does not; None: works, with something to know."""

    ok: bool | None
    what: str
    seen: str
    remedy: str = ""

    def line(self) -> str:
        """As it is printed."""
        mark = {True: "ok  ", False: "FAIL", None: "note"}[self.ok]
        return f"{mark}  {self.what}: {self.seen}" + (f"\n        to do: {self.remedy}" if self.remedy else "")


def examine(arguments: Sequence[str]) -> Iterator[Finding]:
    """Every finding, cheap ones first."""
    keys = plain_keys(arguments, "out", "cache_dir", "data_root")
    yield Finding(True, "adbench", environment.installation())
    for name in _DISTRIBUTIONS:
        version = environment.package_version(name)
        yield Finding(version is not None, name, version or "not installed", "" if version else f"pip install {name}")
    memory = psutil.virtual_memory()
    yield Finding(
        True,
        "machine",
        f"{environment.processor()}, {len(os.sched_getaffinity(0))} cores, "
        f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB memory free",
    )
    cache = Path(keys.get("cache_dir") or default_cache_dir())
    yield _disk("results", Path(keys.get("out", DEFAULT_OUT)))
    yield _disk("cache", cache)
    used = sum(entry.bytes for entry in Cache(cache).entries())
    yield Finding(True, "cache content", f"{used / 2**20:.1f} MiB in {cache} (`adbench cache clear` empties it)")
    yield from _datasets(keys.get("data_root"))
    yield _try("sorting", _sorting)
    yield _try("GPU", _gpu)
    yield _try("bundled backbone", _backbone)
    yield _try("Ray", _ray)


def _disk(what: str, folder: Path) -> Finding:
    existing = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        return Finding(False, f"{what} folder", f"{folder} cannot be written", "choose another folder")
    free = shutil.disk_usage(existing).free
    seen = f"{folder}, {free / 2**30:.1f} GiB free"
    return Finding(True if free > _LOW_DISK else None, f"{what} folder", seen)


def _datasets(data_root: str | None) -> Iterator[Finding]:
    missing = []
    for name in dataset_names():
        root = dataset_root(name, None, data_root)
        takes_root = "root" in dataset_class(name).config_class.model_fields
        try:
            categories = open_dataset(name, {"root": str(root)} if takes_root and root.is_dir() else {}).categories()
            yield Finding(True, f"dataset {name}", f"{len(categories)} categories")
        except MissingDataError:
            missing.append(name)
        except RequestError as error:
            yield Finding(None, f"dataset {name}", error.problem, error.remedy or "")
    if missing:
        where = dataset_root("", None, data_root)
        yield Finding(
            None,
            f"datasets not in {where}",
            ", ".join(missing),
            "`adbench show dataset NAME` says how to get one, if you want it",
        )


def _try(what: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:  # A doctor must not die of what it looks for.
        return Finding(False, what, f"{type(error).__name__}: {error}")


def _sorting() -> Finding:
    """Metrics sort every pixel; on AMD's Zen 4, NumPy's AVX-512 sort is several times slower than its AVX2 sort."""
    as_it_is, without = (_seconds_to_sort(extra) for extra in ({}, _WITHOUT_AVX512))
    seen = f"{2 / as_it_is:.0f} million scores a second"
    if as_it_is < 2 * without:
        return Finding(True, "sorting", seen)
    setting = " ".join(f"{name}='{value}'" for name, value in _WITHOUT_AVX512.items())
    return Finding(None, "sorting", f"{seen}, {2 / without:.0f} without AVX-512", f"export {setting}")


def _seconds_to_sort(variables: dict[str, str]) -> float:
    command = [sys.executable, "-c", _TIMED_SORT]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return Finding(True, "GPU", ", ".join(names))
    built = torch.version.cuda
    return Finding(None, "GPU", f"none seen by torch (built for CUDA {built}); cells run on the CPU")


def _backbone() -> Finding:
    import torch

    from adbench.methods.backbone import BUNDLED, Backbone

    with torch.inference_mode():
        shapes = [tuple(layer.shape[1:]) for layer in Backbone(BUNDLED, (2, 3))(torch.zeros(1, 3, 64, 64))]
    return Finding(True, "bundled backbone", f"{BUNDLED} gives {shapes} for 64 px, no download needed")


def _ray() -> Finding:
    from adbench.orchestrator.ray_session import local_ray_works

    began = time.monotonic()
    resources = local_ray_works()
    seconds = time.monotonic() - began
    return Finding(True, "Ray", f"a local Ray started in {seconds:.1f} s with {resources.get('CPU', 0):g} CPU")
