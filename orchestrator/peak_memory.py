"""How much memory a cell takes."""

import threading

import psutil
import torch


class PeakMemory:
    """Peak memory of this process while the block runs; sampled, because a warm process's own peak never falls."""

    _SECONDS = 0.05

    def __init__(self, device: str) -> None:
        self.rss_mb: float | None = None
        self.vram_mb: float | None = None
        self._cuda = device == "cuda" and torch.cuda.is_available()
        self._stop = threading.Event()
        self._process = psutil.Process()

    def __enter__(self) -> None:
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.look()

    def look(self) -> None:
        """Take into account what is in use now, and has been on the GPU."""
        self.at_least(self._process.memory_info().rss / 2**20)
        if self._cuda:
            self.at_least(vram_mb=torch.cuda.max_memory_allocated() / 2**20)

    def at_least(self, rss_mb: float | None = None, vram_mb: float | None = None) -> None:
        """Take into account what something else took that this block stands on."""
        self.rss_mb = max(self.rss_mb or 0.0, rss_mb) if rss_mb is not None else self.rss_mb
        self.vram_mb = max(self.vram_mb or 0.0, vram_mb) if vram_mb is not None else self.vram_mb

    def _sample(self) -> None:
        while not self._stop.wait(self._SECONDS):
            self.at_least(self._process.memory_info().rss / 2**20)
