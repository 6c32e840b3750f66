"""Methods of anyone's package for tests and benchmarks: registered by entry points, also in processes that start."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path


@contextlib.contextmanager
def plugged_in(folder: Path, module: str, source: str, methods: Mapping[str, str]) -> Iterator[None]:
    """A package in ``folder`` that is importable for the block: ``methods`` are classes of its one module by name."""
    information = folder / f"{module}-1.0.dist-info"
    information.mkdir()
    (folder / f"{module}.py").write_text(source)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.0\n")
    lines = [f"{name} = {module}:{kind}" for name, kind in methods.items()]
    (information / "entry_points.txt").write_text("[adbench.methods]\n" + "\n".join(lines) + "\n")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *([before] if before else [])])
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before
