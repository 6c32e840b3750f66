"""Every method on two processes learns what it learns on one. As a script: one of those processes."""

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from adbench.datasets.cache import Cache
from adbench.datasets.parameters import validate
from adbench.methods.base import Context
from adbench.methods.registry import method_class, method_entry, methods

SIZE = 64
NAMES = tuple(name for name, entry in methods().items() if entry.extra is None)


def learn(name: str, sets: Any) -> dict[str, Any]:
    """The losses of each step that a short training reports, and what it then predicts."""
    kind = method_class(name).config_class
    # Batches of four share out evenly.
    short = {key: value for key, value in {"epochs": 3, "batch_size": 4}.items() if key in kind.model_fields}
    params = {**kind.preset("smoke", "industrial"), **short, **method_entry(name).fixed}
    history: dict[int, dict[str, float]] = {}
    context = Context(
        seed=0,
        device=torch.device("cpu"),
        image_size=SIZE,
        cache=Cache(None),
        report=lambda step, values: history.update({step: dict(values)}),
    )
    method = method_class(name)(validate(kind, params), context)
    method.fit(sets.train, sets.labelled)
    return {"history": history, "maps": torch.from_numpy(method.predict(sets.test).maps)}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the loopback device has another name")
def test_two_processes_learn_as_one(
    tmp_path: Path,
    mvtec_folder: Callable[..., Path],
    tiny_sets_of: Callable[[Path, int], Any],
    two_processes: Callable[[str, Path], AbstractContextManager[None]],
) -> None:
    root = mvtec_folder(
        tmp_path / "grating", train=12, test=2, defects={"blob": 2}, labelled={"blob": 4}, size=(80, 80)
    )
    with two_processes(__file__, root):
        alone = {name: learn(name, tiny_sets_of(root, SIZE)) for name in NAMES}
    shared = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for name in NAMES:
        first, second = (found[name] for found in shared)
        assert first["history"] == second["history"], f"{name}: every process reports the mean of all"
        assert torch.equal(first["maps"], second["maps"]), f"{name}: every process has learned the same"
        assert first["history"].keys() == alone[name]["history"].keys()
        for step, values in alone[name]["history"].items():
            assert first["history"][step] == pytest.approx(values, rel=2e-3, abs=1e-4), f"{name}, step {step}"
        scale = float(np.ptp(alone[name]["maps"].numpy()))
        torch.testing.assert_close(first["maps"], alone[name]["maps"], atol=0.02 * scale, rtol=0.02, msg=name)


def one_of_two(root: Path, rank: int) -> None:
    """A process of a distributed run: trains every method."""
    from conftest import tiny_sets_of  # type: ignore[import-not-found] # beside this script, which runs alone

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{root.parent}/meeting", rank=rank, world_size=2)
    torch.save({name: learn(name, tiny_sets_of(root, SIZE)) for name in NAMES}, root.parent / f"{rank}.pt")
    dist.barrier()  # neither goes while the other needs it


if __name__ == "__main__":
    one_of_two(Path(sys.argv[1]), int(sys.argv[2]))
    os._exit(0)  # gloo's threads at times abort a usual exit
