"""`make bench`: speed and memory, as ratios within one run. Times alone say more about the machine.

    python tests/benchmarks/bench.py [PART ...] [--write]

Prints Markdown tables; ``--write`` also puts them into docs/performance.md, where text between the tables stays.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"


def _metrics() -> str:
    from bench_metrics import metrics_report

    return metrics_report()


def _gpu() -> str:
    from bench_metrics import gpu_report

    return gpu_report()


def _streaming() -> str:
    from bench_streaming import streaming_report

    return streaming_report()


def _bootstrap() -> str:
    from bench_pipeline import bootstrap_report

    return bootstrap_report()


def _pipeline() -> str:
    from bench_pipeline import pipeline_report

    with tempfile.TemporaryDirectory() as folder:
        return pipeline_report(Path(folder))


def _reading() -> str:
    from bench_reading import reading_report

    with tempfile.TemporaryDirectory() as folder:
        return reading_report(Path(folder))


def _methods() -> str:
    from bench_methods import methods_report

    with tempfile.TemporaryDirectory() as folder:
        return methods_report(Path(folder))


def _lanes() -> str:
    from bench_lanes import lanes_report

    return lanes_report()


def _idle() -> str:
    from bench_idle import idle_report

    return idle_report()


def _queue() -> str:
    from bench_queue import queue_report

    return queue_report()


def _page() -> str:
    from bench_page import page_report

    with tempfile.TemporaryDirectory() as folder:
        return page_report(Path(folder))


PARTS: Mapping[str, Callable[[], str]] = {
    "metrics": _metrics,
    "gpu": _gpu,
    "streaming": _streaming,
    "bootstrap": _bootstrap,
    "pipeline": _pipeline,
    "reading": _reading,
    "methods": _methods,
    "lanes": _lanes,
    "idle": _idle,
    "queue": _queue,
    "page": _page,
}


def with_part(page: str, name: str, report: str) -> str:
    """The page with the report between the two marks of that part; ValueError where they are missing."""
    begin, end = f"<!-- bench {name} -->\n", f"<!-- end of bench {name} -->\n"
    marked = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not marked.search(page):
        raise ValueError(f"the page has no place for {name}: it needs the lines {begin!r} and {end!r}")
    return marked.sub(lambda _: f"{begin}{report}{end}", page, count=1)


def main() -> None:
    """Measure the parts asked for."""
    parser = argparse.ArgumentParser(description="Measure the speed and memory of adbench.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (standard: all)")
    parser.add_argument("--write", action="store_true", help=f"also write the tables to docs/{PAGE.name}")
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    from bench_tables import setting

    for name in chosen.parts or PARTS:
        report = f"{setting()}\n{PARTS[name]()}"
        sys.stdout.write(f"## {name}\n\n{report}\n")
        sys.stdout.flush()
        if chosen.write:
            PAGE.write_text(with_part(PAGE.read_text(), name, report))


if __name__ == "__main__":
    main()
