"""optuna-dashboard beside a sweep: started where it is installed, else its command is named."""

import contextlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from adbench.orchestrator.study import journal_path, open_storage


def dashboard_command(out: str, port: int = 8080) -> list[str]:
    """The command that opens the studies of the results folder in a browser of this machine."""
    return ["optuna-dashboard", str(journal_path(out)), "--host", "127.0.0.1", "--port", str(port)]


@contextlib.contextmanager
def open_dashboard(out: str, say: Callable[[str], None]) -> Iterator[None]:
    """Run it for the block, and say where; without it, say how to get it."""
    open_storage(journal_path(out))  # It wants a file that exists.
    command = dashboard_command(out, _free_port())
    beside_python = Path(sys.executable).with_name(command[0])
    program = str(beside_python) if beside_python.exists() else shutil.which(command[0])
    if program is None:
        later = " ".join(dashboard_command(out))
        say(f"optuna-dashboard is not installed: pip install optuna-dashboard, then {later}")
        yield
        return
    process = subprocess.Popen([program, *command[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    say(f"dashboard: http://127.0.0.1:{command[-1]} (later: {' '.join(dashboard_command(out))})")
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
