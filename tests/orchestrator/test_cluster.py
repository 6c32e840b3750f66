"""A cluster of several nodes on this machine: a lane starts on a node that joins; one that dies costs one cell."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adbench.reports.store import ResultStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CELLS = 60
"""More than one lane does until another node has joined, also on a busy machine."""

CLUSTER = """
import sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
nodes = []
print(cluster.address, flush=True)
for line in sys.stdin:
    if line == "add\\n":
        nodes.append(cluster.add_node(num_cpus=1))
    else:
        cluster.remove_node(nodes.pop(), allow_graceful=False)
    print("done", flush=True)
cluster.shutdown()
"""


class _Cluster:
    """In a process of its own, for it would disturb the Ray of this one. It starts with one node of one processor."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLUSTER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            text=True,
            env=environment,
            cwd=log.parent,
        )
        self._log = log
        self.address = self._answer()

    def tell(self, order: str) -> None:
        """``add`` a node, or ``kill`` the one added last; wait until that is done."""
        assert self._process.stdin is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        assert self._answer() == "done", self._log.read_text()

    def close(self) -> None:
        """End all nodes."""
        self._process.communicate(timeout=120)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture
def environment(faulty_methods: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Of the cluster and of who joins it: a folder of Ray's own, for address=auto elsewhere must not find it."""
    # Below /tmp, because the paths of sockets may have no more than about a hundred letters.
    with tempfile.TemporaryDirectory(prefix="adb-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        hurry = str(tmp_path / "hurry")
        yield {**os.environ, "RAY_TMPDIR": folder, "RAY_AUTH_MODE": "disabled", "ADBENCH_TEST_HURRY": hurry}


@pytest.fixture
def cluster(environment: dict[str, str], tmp_path: Path) -> Iterator[_Cluster]:
    cluster = _Cluster(environment, tmp_path / "cluster.txt")
    yield cluster
    cluster.close()


def _run(address: str, environment: dict[str, str], folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "adbench.orchestrator.cli", "run", "suite=smoke", "method=paced"]
    command += ["category=weave", f"seed=range(0,{CELLS})", "device=cpu", f"address={address}"]
    output = (folder / "output.txt").open("a")
    return subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, text=True, env=environment)


def _wait_for(condition: Callable[[], bool], what: str, folder: Path, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {seconds} s\n" + (folder / "output.txt").read_text()
        time.sleep(0.1)


def _text(log: Path) -> str:
    return log.read_text() if log.exists() else ""


def test_a_node_joins_and_dies(cluster: _Cluster, environment: dict[str, str], tmp_path: Path) -> None:
    logs = tmp_path / "adbench-results" / "logs"
    driver = _run(cluster.address, environment, tmp_path)
    _wait_for(lambda: " start " in _text(logs / "lane-0.log"), "cell on the first node", tmp_path)
    assert not (logs / "lane-1.log").exists()

    cluster.tell("add")
    second = logs / "lane-1.log"
    _wait_for(lambda: " ok " in _text(second), "finished cell on the second node", tmp_path)
    _wait_for(lambda: _text(second).count(" start ") > _text(second).count(" ok "), "cell under way there", tmp_path)
    nodes = [re.findall("node ([0-9a-f]+)", _text(logs / f"lane-{lane}.log"))[0] for lane in (0, 1)]
    assert nodes[0] != nodes[1]

    cluster.tell("kill")
    output = tmp_path / "output.txt"
    _wait_for(lambda: "room for 1 lane(s) now, 2 before" in output.read_text(), "notice of the death", tmp_path)
    (tmp_path / "hurry").touch()
    assert driver.wait(timeout=600) == 1
    assert "room for 2 lane(s) now, 1 before" in output.read_text()
    runs = ResultStore(str(tmp_path / "adbench-results")).runs()
    assert len(runs) == CELLS and runs["run_id"].is_unique
    (lost,) = runs.loc[runs["status"] == "failed", "error"]
    assert "worker process died" in lost

    assert _run(cluster.address, environment, tmp_path).wait(timeout=600) == 0, output.read_text()
    runs = ResultStore(str(tmp_path / "adbench-results")).runs()
    assert len(runs[runs["status"] == "ok"]) == CELLS and runs["run_id"].nunique() == CELLS
