"""What tests of benchmarks that start Ray need."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def fresh_process(tmp_path: Path) -> Callable[[str], str]:
    """What code prints in a process of its own in ``tmp_path``, which may start and end a Ray of its own."""

    def run(code: str) -> str:
        paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
