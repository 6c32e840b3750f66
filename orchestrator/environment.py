"""Facts about this machine and installation that every result row carries."""

import functools
import platform
import shutil
import socket
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def package_version(distribution: str) -> str | None:
    """Installed version of a distribution, or None."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def adbench_version() -> str:
    """Version of adbench."""
    return package_version("adbench-vision") or "unknown"


def python_version() -> str:
    """Version of the interpreter."""
    return platform.python_version()


@functools.cache
def host() -> str:
    """Name of this machine."""
    return socket.gethostname()


@functools.cache
def processor() -> str:
    """Model of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@functools.cache
def git_commit() -> str | None:
    """Commit of the checkout that adbench runs from, with '-dirty' if changed; None outside a checkout."""
    folder = Path(__file__).resolve().parent
    git = shutil.which("git")
    if git is None or not (folder.parent / ".git").exists():
        return None
    try:
        commit = _git(git, folder, "rev-parse", "HEAD")
        return f"{commit}-dirty" if _git(git, folder, "status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return None


def code_version() -> str:
    """Changes whenever the code that trains may have: a checkpoint of another one is not resumed."""
    return f"adbench {adbench_version()} {git_commit() or ''} torch {package_version('torch')}"


def _git(git: str, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [git, "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def installation() -> str:
    """Where this adbench and its Python live, for bug reports."""
    return f"adbench {adbench_version()} on Python {python_version()} ({sys.executable})"
