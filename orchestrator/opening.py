"""The datasets of a request, opened: those that are here, and those that are not. Imports nothing heavy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adbench.datasets.base import Dataset
from adbench.datasets.errors import MissingDataError, RequestError
from adbench.datasets.registry import dataset_class, open_dataset
from adbench.orchestrator.keys import dataset_root
from adbench.orchestrator.overrides import Overrides
from adbench.orchestrator.request import DatasetSpec, Request


@dataclass(frozen=True)
class OpenedData:
    """What a request's datasets come to; ``missing`` are those that are to be left out."""

    datasets: tuple[tuple[DatasetSpec, Dataset], ...]
    missing: tuple[str, ...] = ()


def open_data(request: Request, overrides: Overrides, skip_missing: bool = False) -> OpenedData:
    """Open every dataset of the request.

    Raises one RequestError that tells of all that cannot be opened; with ``skip_missing`` datasets that are not here
    are left out instead, unless none is.
    """
    opened: list[tuple[DatasetSpec, Dataset]] = []
    missing: dict[str, MissingDataError] = {}
    wrong: list[RequestError] = []
    for spec in request.datasets:
        try:
            opened.append((spec, _open(spec, request, overrides)))
        except MissingDataError as error:
            missing[spec.name] = error
        except RequestError as error:
            wrong.append(error)
    if wrong or (missing and not (skip_missing and opened)):
        raise _refusal([*wrong, *missing.values()], [spec.name for spec, _ in opened])
    return OpenedData(tuple(opened), tuple(missing))


def _open(spec: DatasetSpec, request: Request, overrides: Overrides) -> Dataset:
    fields = dataset_class(spec.name).config_class.model_fields
    placed = {key: value for key, value in overrides.dataset_params.items() if key in fields}
    params = {**spec.params, **placed}
    return open_dataset(spec.name, _with_absolute_root(params, "root" in fields, spec.name, request.data_root))


def _with_absolute_root(params: dict[str, Any], takes_root: bool, name: str, data_root: str | None) -> dict[str, Any]:
    """A dataset's root made absolute, for workers change directory; where nobody says it, where it is prepared."""
    if not takes_root:
        return params
    given = params.get("root")
    root = dataset_root(name, None if given is None else str(given), data_root)
    if given is None and data_root is None and not root.is_dir():
        return params  # The dataset itself tells what to do.
    return {**params, "root": str(root)}


def _refusal(problems: Sequence[RequestError], opened: Sequence[str]) -> RequestError:
    """All problems as one error, which also says how to do without what is missing."""
    only_missing = all(isinstance(problem, MissingDataError) for problem in problems)
    if len(problems) == 1 and not (only_missing and opened):
        return problems[0]
    blocks = ["\n".join(problem.lines()) for problem in problems]
    if only_missing and opened:
        blocks.append(f"what is here ({', '.join(opened)}) is run without the rest by --skip-missing")
    total = len(problems) + len(opened)
    return RequestError("\n\n".join([f"{len(problems)} of {total} dataset(s) cannot be used", *blocks]))
