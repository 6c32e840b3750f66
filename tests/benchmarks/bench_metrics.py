"""Pixel metrics: adbench and other libraries on the same arrays, in turn, and adbench on a GPU."""

import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench_arrays import Shape, draw, save
from bench_contenders import METRICS, OTHERS, OURS, OURS_GPU, OURS_ONE_THREAD, Contender, cores
from bench_tables import OthersLoad, megabytes, spread, table, times
from bench_worker import Run, Worker

SIZES: tuple[Shape, ...] = ((83, 256, 256), (500, 256, 256), (100, 1024, 1024))
ROUNDS = 5
TIME_LIMIT = 300.0  # seconds that one run of a step may take
ENOUGH = 30.0  # seconds after which a contender is not run again


@dataclass
class Record:
    """What was measured of a contender: runs of each step, or why there are none."""

    name: str
    runs: dict[str, list[Run]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> list[float]:
        """Of all steps together, for each round."""
        return [sum(run.seconds for run in runs) for runs in zip(*self.runs.values(), strict=False)]

    @property
    def peak_bytes(self) -> int | None:
        """The highest peak; steps follow each other, so theirs do not add up."""
        peaks = [run.peak_bytes for runs in self.runs.values() for run in runs if run.peak_bytes is not None]
        return max(peaks, default=None)

    @property
    def values(self) -> dict[str, float]:
        """The metrics' values, by name."""
        return {name: value for runs in self.runs.values() for name, value in runs[0].values.items()}

    @property
    def failure(self) -> str | None:
        """Why the whole was not measured, or None."""
        return "; ".join(dict.fromkeys(self.failures.values())) or None

    def off(self, ours: "Record") -> float | None:
        """Largest difference of a value from ours."""
        common = self.values.keys() & ours.values.keys()
        return max((abs(self.values[name] - ours.values[name]) for name in common), default=None)


def in_turn(contenders: Sequence[Contender], folder: Path, rounds: int = ROUNDS) -> list[Record]:
    """Measure all on the arrays in ``folder``, taking turns, so that a drifting machine drifts for all.

    A contender that is not installed, runs out of time or memory or fails has a record that says so. One that
    has run for long is not run again.
    """
    records = [Record(contender.name) for contender in contenders]
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for contender, record in zip(contenders, records, strict=True):
            if reason := contender.missing:
                record.failures["start"] = reason
                continue
            workers[record.name] = worker = Worker(contender, folder)
            stack.callback(worker.close)
            if worker.failure:
                record.failures["start"] = worker.failure
        for _ in range(rounds):
            for record in records:
                if record.name in workers and not _round(workers[record.name], record):
                    workers.pop(record.name).close()
    return records


def _round(worker: Worker, record: Record) -> bool:
    """Run every step once; whether another round is wanted."""
    for step in worker.steps:
        if step in record.failures:
            continue
        say(f"  {record.name}: {step} ...")
        outcome = worker.measure(step, TIME_LIMIT)
        if isinstance(outcome, Run):
            record.runs.setdefault(step, []).append(outcome)
            say(f" {outcome.seconds:.3g} s\n")
        else:
            record.failures[step] = outcome
            say(f" {outcome}\n")
    return not worker.failure and sum(record.seconds) < ENOUGH


def say(text: str) -> None:
    """Progress, apart from the tables."""
    sys.stderr.write(text)
    sys.stderr.flush()


@contextmanager
def drawn(shape: Shape, share: float = 0.02) -> Iterator[Path]:
    """A folder with arrays, for as long as they are measured."""
    with tempfile.TemporaryDirectory() as name:
        save(Path(name), *draw(shape, share))
        yield Path(name)


def metrics_report(sizes: Sequence[Shape] = SIZES, rounds: int = ROUNDS) -> str:
    """For each size, a table of libraries and one of single metrics."""
    parts, load = [], OthersLoad()
    for shape in sizes:
        say(f"{title(shape)}\n")
        with drawn(shape) as folder:
            records = in_turn([OURS, OURS_ONE_THREAD, *OTHERS], folder, rounds)
        with drawn(shape, share=0.5) as folder:
            (crowded,) = in_turn([OURS], folder, 1)
        crowded.name += ", 50 % anomalous"
        ours, one_thread, *others = records
        parts.append(f"### {title(shape)}\n")
        parts.append(_libraries(shape, ours, [ours, one_thread, _target(others), *others, crowded]))
        parts.append(_single_metrics(ours, others))
    return "\n".join([load.line(), *parts])


def title(shape: Shape) -> str:
    """A size as a heading."""
    return f"{shape[0]} maps of {shape[1]}x{shape[2]} ({megabytes(map_bytes(shape))})"


def map_bytes(shape: Shape) -> int:
    """Bytes of the maps, which are float32."""
    return 4 * shape[0] * shape[1] * shape[2]


def _target(others: Sequence[Record]) -> Record:
    """What adbench replaces: three metrics of scikit-learn and the AUPRO of anomalib."""
    scikit_learn, _, anomalib = others
    aupro = {"aupro": anomalib.runs["aupro"]} if "aupro" in anomalib.runs else {}
    failures = {step: reason for step, reason in anomalib.failures.items() if step in ("start", "aupro")}
    name = "scikit-learn's three + anomalib's AUPRO"
    return Record(name, scikit_learn.runs | aupro, scikit_learn.failures | failures)


def _libraries(shape: Shape, ours: Record, records: Sequence[Record]) -> str:
    rows = []
    for record in records:
        if record.failure:
            rows.append([record.name, record.failure, *["-"] * 5])
            continue
        peak, crowded = record.peak_bytes, record is records[-1]
        rows.append(
            [
                record.name,
                ", ".join(label for name, label in METRICS.items() if name in record.values),
                spread(record.seconds),
                "-" if crowded or ours.failure else times(_median(record) / _median(ours)),
                "unknown" if peak is None else megabytes(peak),
                "unknown" if peak is None else times(peak / map_bytes(shape)),
                "-" if crowded or record is ours else _off(record.off(ours)),
            ]
        )
    header = ["library", "metrics", "time", "against adbench", "peak memory", "of the maps", "values differ by"]
    return table(header, rows)


def _single_metrics(ours: Record, others: Sequence[Record]) -> str:
    def cell(name: str, record: Record) -> str:
        if reason := record.failures.get("start") or record.failures.get(name):
            return reason
        if name not in record.runs:
            return "has none"
        seconds = [run.seconds for run in record.runs[name]]
        difference = _off(abs(record.values[name] - ours.values[name])) if ours.values else "-"
        return f"{statistics.median(seconds):.3g} s, {difference}"

    rows = [
        [label, f"{ours.values[name]:.6f}" if ours.values else "-", *(cell(name, record) for record in others)]
        for name, label in METRICS.items()
    ]
    return table(["metric", "value", *(record.name for record in others)], rows)


def _median(record: Record) -> float:
    return statistics.median(record.seconds)


def _off(difference: float | None) -> str:
    return "-" if difference is None else f"{difference:.1e}" if difference else "0"


def gpu_report(sizes: Sequence[Shape] = SIZES, rounds: int = ROUNDS) -> str:
    """adbench on CUDA tensors against adbench on all cores."""
    header = ["maps", f"{cores()} cores", "GPU", "faster", "peak GPU memory", "of the maps", "values differ by"]
    if reason := OURS_GPU.missing:
        return table(header, ([title(shape), "-", reason, *["-"] * 4] for shape in sizes))
    import torch

    rows, load = [], OthersLoad()
    for shape in sizes:
        say(f"{title(shape)}\n")
        with drawn(shape) as folder:
            cpu, gpu = in_turn([OURS, OURS_GPU], folder, rounds)
        if failure := cpu.failure or gpu.failure:
            rows.append([title(shape), "-", failure, *["-"] * 4])
            continue
        peak = gpu.peak_bytes or 0
        rows.append(
            [
                title(shape),
                spread(cpu.seconds),
                spread(gpu.seconds),
                times(_median(cpu) / _median(gpu)),
                megabytes(peak),
                times(peak / map_bytes(shape)),
                _off(gpu.off(cpu)),
            ]
        )
    return f"{torch.cuda.get_device_name()}. {load.line()}\n{table(header, rows)}"
