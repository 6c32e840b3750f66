"""Where suites are found and how their YAML is read."""

from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).parent


class UnknownSuiteError(LookupError):
    """No shipped suite has this name, and no file this path."""


class SuiteSyntaxError(ValueError):
    """A suite file is not a YAML mapping."""


def suite_names() -> tuple[str, ...]:
    """Names of the shipped suites, sorted; those in a folder begin with its name (reproduce/ckaad)."""
    return tuple(sorted(path.relative_to(_FOLDER).with_suffix("").as_posix() for path in _FOLDER.rglob("*.yaml")))


def read_suite(name: str) -> dict[str, Any]:
    """The mapping in a suite's YAML; ``name`` is a shipped suite's name or a path ending in .yaml or .yml.

    The key ``name`` is the suite's name: what the file says, else ``name`` or the stem of a path. Raises
    UnknownSuiteError or SuiteSyntaxError.
    """
    path = Path(name).expanduser()
    known_as = path.stem
    if path.suffix not in (".yaml", ".yml"):
        path, known_as = _FOLDER / f"{name}.yaml", name
        if name not in suite_names():
            raise UnknownSuiteError(name)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnknownSuiteError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SuiteSyntaxError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise SuiteSyntaxError(f"{path} must hold a mapping with the keys methods and datasets")
    return {"name": known_as, **content}
