"""Fixtures of the orchestrator's tests: tiny requests, a plug-in package with methods that misbehave, one Ray."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from adbench.orchestrator.compose import compose
from adbench.orchestrator.overrides import parse_overrides
from adbench.orchestrator.plan import Plan, make_plan
from plug_in import plugged_in

FAULTY_METHODS = '''
"""Methods that misbehave, registered by entry points as anyone's package would."""
import ctypes, os, signal, time
from typing import Annotated, ClassVar, Literal
import torch
import torch.distributed as dist
from pydantic import Field
from adbench.methods.base import Choice, Method, MethodConfig, Search
from adbench.methods.training import train


class _Base(Method):
    version, paper, config_class = "1", "none", MethodConfig

    def fit(self, train_images, labelled):
        raise NotImplementedError

    def predict_checked(self, images):
        return images.mean(dim=(1, 2, 3)), images.mean(dim=1)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class Raises(_Base):
    def fit(self, train_images, labelled):
        raise RuntimeError("deliberate failure")


class Dies(_Base):
    def fit(self, train_images, labelled):
        os.kill(os.getpid(), signal.SIGKILL)


class Slow(_Base):
    def fit(self, train_images, labelled):
        for epoch in range(1, 601):
            time.sleep(0.1)
            self.context.report(epoch, {"loss": 1.0})


class Paced(_Base):
    def fit(self, train_images, labelled):
        for epoch in range(1, 101):
            if os.path.exists(os.environ["ADBENCH_TEST_HURRY"]):
                break
            time.sleep(0.1)
            self.context.report(epoch, {"loss": 1.0})


class Hangs(_Base):
    def fit(self, train_images, labelled):
        ctypes.PyDLL(None).sleep(3600)  # Holds the interpreter's lock: no thread of the process goes on.


class Talks(_Base):
    def fit(self, train_images, labelled):
        print("a printed word")


class Brightness(_Base):
    def fit(self, train_images, labelled):
        self.context.report(1, {"loss": 0.5})


class _OnTwo(_Base):
    """A method whose second process fails while the first waits for it in a step."""
    def fit(self, train_images, labelled):
        self.context.report(1, {"loss": 0.5})
        if dist.get_rank() == 1:
            self.fail()
        dist.all_reduce(torch.ones(1))


class SecondRaises(_OnTwo):
    def fail(self):
        raise RuntimeError("deliberate failure of the second")


class SecondDies(_OnTwo):
    def fail(self):
        os.kill(os.getpid(), signal.SIGKILL)


class GuessConfig(MethodConfig):
    mix: Annotated[float, Search(0.0, 1.0)] = Field(default=0.5, ge=0.0, le=1.0)
    sign: Annotated[Literal["bright", "dark"], Choice(("bright", "dark"))] = "dark"
    grain: Annotated[int, Search(1, 4, only_if=("sign", ("bright",)))] = Field(default=2, ge=1, le=8)
    epochs: int = Field(default=9, ge=1)


class Guess(_Base):
    """Nothing to learn, nine epochs to pass: what it reaches depends on its parameters alone."""

    config_class = GuessConfig

    def fit(self, train_images, labelled):
        train(self, self.context, n_images=len(train_images), batch_size=64, epochs=self.config.epochs)

    def start_epoch(self, epoch):
        pass

    def train_step(self, batch):
        time.sleep(0.1)
        return {"loss": torch.ones(())}

    def train_state(self):
        return {}

    def load_train_state(self, state):
        pass

    def predict_checked(self, images):
        maps = images.mean(dim=1) if self.config.sign == "bright" else 1 - images.mean(dim=1)
        pooled = torch.nn.functional.avg_pool2d(maps[:, None], 2 ** self.config.grain)
        peak, level = pooled.amax(dim=(1, 2, 3)), maps.mean(dim=(1, 2))
        return self.config.mix * peak + (1 - self.config.mix) * level, maps
'''


@pytest.fixture(scope="module")  # no longer: other files ask which methods there are
def faulty_methods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A package on the path, also of child processes, with the methods above under their names in lower case."""
    folder = tmp_path_factory.mktemp("plugin")
    names = (
        *("Raises", "Dies", "Slow", "Paced", "Hangs", "Talks", "Brightness", "Guess"),
        *("SecondRaises", "SecondDies"),
    )
    with plugged_in(folder, "adbench_faulty", FAULTY_METHODS, {name.lower(): name for name in names}):
        yield folder


@pytest.fixture(scope="module")
def one_ray(faulty_methods: Path) -> Iterator[None]:
    """One Ray for all tests of a file that need not end it."""
    from adbench.orchestrator.ray_session import ray_session  # Ray takes seconds to import.

    with ray_session(None):
        yield


@pytest.fixture
def adbench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        from adbench.orchestrator.cli import main

        return CliRunner().invoke(main, list(arguments))

    return run


@pytest.fixture
def plan_of() -> Callable[..., Plan]:
    """A plan from overrides, as the command line makes it."""

    def plan(*overrides: str) -> Plan:
        parsed = parse_overrides(overrides)
        return make_plan(compose(parsed), parsed)

    return plan
