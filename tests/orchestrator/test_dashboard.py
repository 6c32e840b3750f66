"""optuna-dashboard beside a sweep: started and ended with it, or its command named."""

import sys
import time
from pathlib import Path

import psutil
import pytest

from adbench.orchestrator.dashboard import open_dashboard
from adbench.orchestrator.study import journal_path


def test_without_it_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    with open_dashboard(str(tmp_path / "out"), said.append):
        pass
    (line,) = said
    assert "pip install optuna-dashboard" in line and str(journal_path(str(tmp_path / "out"))) in line


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")
def test_it_runs_for_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "optuna-dashboard"
    program.write_text(f'#!/bin/sh\necho $$ "$@" > {tmp_path}/called\nexec sleep 60\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    said: list[str] = []
    with open_dashboard(str(tmp_path / "out"), said.append):
        while not (tmp_path / "called").exists() or not (tmp_path / "called").read_text():
            time.sleep(0.05)
        pid, journal, *options = (tmp_path / "called").read_text().split()
        assert psutil.pid_exists(int(pid))
    assert journal == str(journal_path(str(tmp_path / "out"))) and Path(journal).parent.is_dir()
    assert options[:2] == ["--host", "127.0.0.1"]
    assert said[0].startswith(f"dashboard: http://127.0.0.1:{options[3]}")
    assert not psutil.pid_exists(int(pid))
