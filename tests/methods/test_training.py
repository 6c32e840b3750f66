"""The shared loop: resumed runs, divergence, stopping, and two processes. As a script: one of those processes."""

import contextlib
import itertools
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from adbench.datasets.cache import Cache
from adbench.methods import training
from adbench.methods.base import Context
from adbench.methods.training import Batch, TrainingDivergedError, epoch_seed, optimise, train


class StoppedError(BaseException):
    """What a caller's report raises."""


class Regression:
    """A small network with momentum, and with randomness in every step."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(5)
        self.inputs = torch.randn((24, 3), generator=generator)
        self.targets = self.inputs.sum(dim=1, keepdim=True).sin()
        torch.manual_seed(7)
        self.network = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=0.01)
        self.batches: list[list[int]] = []
        self.epochs: list[int] = []

    def start_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        self.batches.append(batch.indices.tolist())
        noise = batch.draw(torch.device("cpu"), lambda generator: torch.randn(3, generator=generator))
        shift = 0.1 * batch.share(torch.randn((batch.total, 1), generator=batch.generator))
        inputs = self.inputs[batch.indices] + 0.1 * noise + shift
        loss = (self.network(inputs) - self.targets[batch.indices]).square().mean()
        optimise(loss, self.optimizer, self.network.parameters(), clip_norm=1.0)
        return {"loss": loss, "twice": 2 * loss}

    def train_state(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_train_state(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])

    @property
    def weights(self) -> Tensor:
        return torch.cat([parameter.detach().flatten() for parameter in self.network.parameters()])


History = dict[int, dict[str, float]]


def context(history: History, folder: Path | None = None, seed: int = 0, stop_at: int | None = None) -> Context:
    def report(step: int, values: Mapping[str, float]) -> None:
        history[step] = dict(values)
        if step == stop_at:
            raise StoppedError

    return Context(seed, torch.device("cpu"), 64, Cache(None), report, folder)


def trained(folder: Path | None = None, **options: Any) -> tuple[Regression, History]:
    method = Regression()
    history: History = {}
    train(method, context(history, folder, **options), n_images=24, batch_size=7, epochs=6)
    return method, history


def test_every_epoch_shows_every_image_once_in_a_new_order() -> None:
    method, history = trained()
    assert [len(batch) for batch in method.batches] == [7, 7, 7, 3] * 6
    epochs = [list(itertools.chain(*method.batches[start : start + 4])) for start in range(0, 24, 4)]
    assert all(sorted(epoch) == list(range(24)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6
    assert list(history) == [1, 2, 3, 4, 5, 6]
    assert all(values["twice"] == pytest.approx(2 * values["loss"]) for values in history.values())
    assert history[6]["loss"] < history[1]["loss"]


def test_reported_losses_are_means_over_the_steps() -> None:
    class Counter(Regression):
        def train_step(self, batch: Batch) -> dict[str, Tensor]:
            return {"loss": torch.tensor(float(len(batch.indices)))}

    history: History = {}
    train(Counter(), context(history), n_images=24, batch_size=7, epochs=1)
    assert history == {1: {"loss": 6.0}}


def test_equal_seeds_train_equally_and_others_do_not() -> None:
    (first, history), (second, again), (other, _) = trained(), trained(), trained(seed=1)
    assert torch.equal(first.weights, second.weights) and history == again
    assert not torch.equal(first.weights, other.weights)


@pytest.fixture
def checkpoint_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)


@pytest.mark.usefixtures("checkpoint_every_epoch")
@pytest.mark.parametrize("stop_at", [1, 2, 3, 5])
def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path: Path, stop_at: int) -> None:
    whole, whole_history = trained()
    with pytest.raises(StoppedError):
        trained(tmp_path / "new", stop_at=stop_at)
    resumed, history = trained(tmp_path / "new")
    # The epoch whose report stopped the run is repeated; those before it are only reported again.
    assert len(resumed.batches) == 4 * (7 - stop_at)
    assert whole.epochs == [0, 1, 2, 3, 4, 5] and resumed.epochs == whole.epochs[stop_at - 1 :]
    assert torch.equal(resumed.weights, whole.weights)
    assert history == whole_history


@pytest.mark.usefixtures("checkpoint_every_epoch")
def test_an_interruption_within_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = Regression()
    step = method.train_step

    def dying(batch: Batch) -> dict[str, Tensor]:
        if len(method.batches) == 14:
            raise KeyboardInterrupt
        return step(batch)

    monkeypatch.setattr(method, "train_step", dying)
    with pytest.raises(KeyboardInterrupt):
        train(method, context({}, tmp_path), n_images=24, batch_size=7, epochs=6)
    resumed, history = trained(tmp_path)
    assert len(resumed.batches) == 4 * 3
    assert torch.equal(resumed.weights, trained()[0].weights) and history == trained()[1]


@pytest.mark.usefixtures("checkpoint_every_epoch")
def test_a_damaged_checkpoint_costs_time_and_nothing_else(tmp_path: Path) -> None:
    trained(tmp_path)
    whole = (tmp_path / "last.pt").read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"no checkpoint"):
        (tmp_path / "last.pt").write_bytes(content)
        method, history = Regression(), context({}, tmp_path)
        train(method, history, n_images=24, batch_size=7, epochs=6)
        assert len(method.batches) == 4 * 6 and torch.equal(method.weights, trained()[0].weights)
        assert any("unreadable checkpoint" in note for note in history.notes)


@pytest.mark.usefixtures("checkpoint_every_epoch")
def test_a_checkpoint_of_other_code_is_not_gone_on_from(tmp_path: Path) -> None:
    trained(tmp_path)
    newer = context({}, tmp_path)
    newer.code_version = "another"
    method = Regression()
    train(method, newer, n_images=24, batch_size=7, epochs=6)
    assert len(method.batches) == 4 * 6
    assert any("another version of the code" in note for note in newer.notes)


@pytest.mark.usefixtures("checkpoint_every_epoch")
def test_time_spent_before_an_interruption_counts(tmp_path: Path) -> None:
    seconds = []
    for stop_at in (3, 5, None):
        surroundings = context({}, tmp_path, stop_at=stop_at)
        with contextlib.suppress(StoppedError):
            train(Regression(), surroundings, n_images=24, batch_size=7, epochs=6)
        seconds.append(surroundings.resumed_seconds)
    assert seconds[0] == 0 < seconds[1] < seconds[2] < 60


def test_short_runs_write_no_checkpoint(tmp_path: Path) -> None:
    trained(tmp_path / "scratch")
    assert not (tmp_path / "scratch").exists()


@pytest.mark.usefixtures("checkpoint_every_epoch")
def test_a_checkpoint_is_one_file_and_no_code(tmp_path: Path) -> None:
    """A pickle could run anything; the checkpoint must load with weights only."""
    trained(None)
    trained(tmp_path / "scratch")
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["last.pt"]
    assert len(torch.load(tmp_path / "scratch" / "last.pt", weights_only=True)["history"]) == 5


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run(value: float) -> None:
    class Diverging(Regression):
        def train_step(self, batch: Batch) -> dict[str, Tensor]:
            losses = super().train_step(batch)
            return {**losses, "energy": torch.tensor(value if len(self.batches) == 6 else 1.0)}

    history: History = {}
    with pytest.raises(TrainingDivergedError, match=rf"energy is {value} in epoch 2"):
        train(Diverging(), context(history), n_images=24, batch_size=7, epochs=6)
    assert list(history) == [1]


@given(
    first=st.tuples(st.integers(0, 2**31), st.integers(-2, 10**6)),
    second=st.tuples(st.integers(0, 2**31), st.integers(-2, 10**6)),
)
def test_seeds_of_epochs_do_not_meet(first: tuple[int, int], second: tuple[int, int]) -> None:
    assert (epoch_seed(*first) == epoch_seed(*second)) == (first == second)
    torch.Generator().manual_seed(epoch_seed(*first))  # in the range that torch takes


def test_gradient_norms_are_clipped_where_asked() -> None:
    parameter = nn.Parameter(torch.zeros(4))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    optimise((100 * parameter).sum(), optimizer, [parameter], clip_norm=1.0)
    assert parameter.norm().item() == pytest.approx(1.0, rel=1e-4)
    optimise((100 * parameter).sum(), optimizer, [parameter])
    assert parameter.norm().item() == pytest.approx(201.0, rel=1e-4)


def one_of_two(folder: Path, rank: int) -> None:
    """A process of a distributed run: trains once, then again with a loss of which only process 1 sees the NaN."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    history: History = {}
    method = Regression()
    train(method, context(history), n_images=24, batch_size=8, epochs=4)

    class Diverging(Regression):
        def train_step(self, batch: Batch) -> dict[str, Tensor]:
            losses = super().train_step(batch)
            ends = rank == 1 and len(self.batches) == 3
            return {**losses, "odd": torch.tensor(float("nan") if ends else 1.0)}

    diverged = False
    try:
        train(Diverging(), context({}), n_images=24, batch_size=8, epochs=4)
    except TrainingDivergedError:
        diverged = True
    result = {"history": history, "weights": method.weights, "batches": method.batches, "diverged": diverged}
    torch.save(result, folder / f"{rank}.pt")
    dist.barrier()  # neither goes while the other needs it


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the loopback device has another name")
def test_two_processes_train_as_one_and_see_a_divergence_together(
    tmp_path: Path, two_processes: Callable[[str, Path], AbstractContextManager[None]]
) -> None:
    with two_processes(__file__, tmp_path):
        pass
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    alone = Regression()
    history: History = {}
    train(alone, context(history), n_images=24, batch_size=8, epochs=4)
    shared = [sorted(a + b) for a, b in zip(first["batches"], second["batches"], strict=True)]
    assert shared == [sorted(batch) for batch in alone.batches], "each takes its share of every batch"
    assert first["history"] == second["history"], "every process reports the mean of all"
    assert torch.equal(first["weights"], second["weights"])
    torch.testing.assert_close(first["weights"], alone.weights, atol=1e-5, rtol=0)
    for step, values in history.items():
        assert first["history"][step]["loss"] == pytest.approx(values["loss"], abs=1e-5)
    # Otherwise the process that saw nothing would wait for the other's gradients for ever.
    assert first["diverged"] and second["diverged"]


if __name__ == "__main__":
    one_of_two(Path(sys.argv[1]), int(sys.argv[2]))
    os._exit(0)  # gloo's threads at times abort a usual exit
