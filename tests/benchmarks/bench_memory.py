"""Peak memory of a process and of a GPU, and a limit beyond which allocations fail instead of the machine."""

import resource
import sys
from pathlib import Path

import psutil

GIB = 1 << 30

_STATUS, _CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class ProcessMemory:
    """Resident memory beyond that held at creation, by the kernel's own record of the peak (Linux alone has one)."""

    def __init__(self) -> None:
        self._before = _status("VmRSS")

    def restart(self) -> None:
        """Forget earlier peaks."""
        if _CLEAR_REFS.exists():
            _CLEAR_REFS.write_text("5")

    def peak(self) -> int | None:
        """Bytes at the peak since the restart; None where the system does not tell."""
        return max(0, _status("VmHWM") - self._before) if _CLEAR_REFS.exists() else None


class GpuMemory:
    """GPU memory that torch has handed out, beyond that at creation."""

    def __init__(self) -> None:
        import torch

        self._cuda = torch.cuda
        self._before = self._cuda.memory_allocated()

    def restart(self) -> None:
        """Forget earlier peaks."""
        self._cuda.reset_peak_memory_stats()

    def peak(self) -> int | None:
        """Bytes at the peak since the restart."""
        return int(self._cuda.max_memory_allocated()) - self._before


def limit_memory(beyond: int) -> int:
    """Let allocations fail beyond this many bytes more than the process has, or than are free; return the limit.

    Only Linux counts what a process has allocated; elsewhere nothing is limited.
    """
    beyond = min(beyond, int(0.9 * psutil.virtual_memory().available))
    if sys.platform == "linux":
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (_status("VmData") + beyond, most))
    return beyond


def _status(field: str) -> int:
    """A size in bytes from Linux's record of this process; 0 elsewhere."""
    if not _STATUS.exists():
        return 0
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
