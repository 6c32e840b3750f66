"""Measures a contender in a fresh process of its own: time, peak memory, and limits on both."""

import gc
import multiprocessing
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from bench_arrays import Maps, Masks, draw, load
from bench_contenders import Contender, Step
from bench_memory import GIB, GpuMemory, ProcessMemory, limit_memory

MEMORY_LIMIT = 24 * GIB  # beyond the arrays
START_LIMIT = 300.0  # seconds to import a library, warm up and load the arrays
TINY = (4, 16, 16)


@dataclass(frozen=True)
class Run:
    """One run of a step. The peak counts memory beyond that before the first run; None if unknown."""

    seconds: float
    peak_bytes: int | None
    values: dict[str, float]


class Worker:
    """A process that has imported a contender's library, warmed up on tiny arrays and loaded those of ``folder``.

    ``steps`` names what it can measure; ``failure`` says why it could not start, or has ended.
    """

    def __init__(self, contender: Contender, folder: Path, memory_limit: int = MEMORY_LIMIT) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, contender, folder, memory_limit), daemon=True)
        self._process.start()
        theirs.close()
        self.failure: str | None = None
        self.steps: tuple[str, ...] = ()
        answer = self._answer(START_LIMIT)
        if isinstance(answer, tuple):
            self.steps = answer
        else:
            self.failure = str(answer)

    def measure(self, step: str, time_limit: float) -> Run | str:
        """Run a step once, or say why that failed. A step over its time limit ends the process."""
        if self.failure:
            return self.failure
        self._connection.send(step)
        answer = self._answer(time_limit)
        return answer if isinstance(answer, Run) else str(answer)

    def close(self) -> None:
        """End the process and so free its memory."""
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _answer(self, time_limit: float) -> object:
        try:
            if self._connection.poll(time_limit):
                return self._connection.recv()
            self.failure = f"stopped after {time_limit:g} s"
            self._process.kill()
        except (EOFError, ConnectionResetError):
            self._process.join()
            self.failure = f"its process ended with code {self._process.exitcode} (-9: the system was out of memory)"
        return self.failure


def _serve(connection: Connection, contender: Contender, folder: Path, memory_limit: int) -> None:
    try:
        for step in contender.prepare(*draw(TINY, share=0.1)).values():
            step()
        arrays = load(folder)
        steps = contender.prepare(*arrays)
    except Exception as error:
        connection.send(_told(error))
        return
    connection.send(tuple(steps))
    try:
        _measure_on_request(connection, steps, arrays, memory_limit, contender.on_gpu)
    except EOFError:
        return  # nobody asks any more


def _measure_on_request(
    connection: Connection,
    steps: Mapping[str, Step],
    arrays: tuple[Maps, Masks],
    memory_limit: int,
    on_gpu: bool,
) -> None:
    gc.collect()
    memory = GpuMemory() if on_gpu else ProcessMemory()
    while True:
        step = steps[connection.recv()]
        for array in arrays:
            array.max()  # while others ran, these have left every cache
        gc.collect()
        # CUDA reserves far more addresses than it uses, so that a limit would mean nothing there.
        limit = memory_limit if on_gpu else limit_memory(memory_limit)
        memory.restart()
        try:
            began = time.perf_counter()
            values = step()
            seconds = time.perf_counter() - began
            connection.send(Run(seconds, memory.peak(), values))
        except Exception as error:
            out_of_memory = isinstance(error, MemoryError) or "can't allocate memory" in str(error)
            connection.send(f"out of memory: needs over {limit / GIB:.3g} GiB" if out_of_memory else _told(error))


def _told(error: Exception) -> str:
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[0]
