"""The few plain ``key=value`` arguments of the commands that take no suite."""

from collections.abc import Sequence
from pathlib import Path

from adbench.datasets.errors import RequestError, unknown_name

DEFAULT_OUT = "adbench-results"
DEFAULT_DATA_ROOT = "adbench-data"


def plain_keys(arguments: Sequence[str], *known: str) -> dict[str, str]:
    """``key=value`` arguments as a mapping; RequestError for anything but the known keys."""
    found = {}
    for argument in arguments:
        key, separator, value = argument.partition("=")
        if not separator:
            raise RequestError(f"'{argument}' is not key=value", allowed=", ".join(f"{name}=..." for name in known))
        if key not in known:
            raise unknown_name("key", key, known)
        found[key] = value
    return found


def dataset_root(name: str, root: str | None, data_root: str | None) -> Path:
    """Where a dataset lies, absolute: its ``root`` (default: its name) within ``data_root``.

    Without data_root, a root that is given is relative to the working directory; with neither, the dataset lies where
    `adbench data prepare` puts it by default.
    """
    within = data_root or (DEFAULT_DATA_ROOT if root is None else "")
    return (Path(within).expanduser() / Path(root or name).expanduser()).absolute()


def results_folder(keys: dict[str, str]) -> str:
    """out=, or the default; RequestError if a local folder holds no results yet."""
    out = keys.get("out", DEFAULT_OUT)
    if "://" not in out and not (Path(out) / "runs").is_dir():
        raise RequestError(
            f"no results in {Path(out).absolute()}",
            remedy="run a suite first (adbench run suite=quickstart), or give its folder with out=",
        )
    return out
