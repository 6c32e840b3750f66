"""Request -> Plan: every cell with its identity, checked against the data before anything trains."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

from adbench.benchmark_suites.metrics import METRIC_VERSION
from adbench.datasets.base import Dataset, Modality
from adbench.datasets.errors import RequestError, unknown_name
from adbench.datasets.file_index import hash_path
from adbench.datasets.multi_class import trained_together
from adbench.datasets.parameters import validate
from adbench.datasets.protocol import Protocol, follow_protocol
from adbench.datasets.registry import dataset_class
from adbench.datasets.splits import Split, make_split
from adbench.methods.base import MethodConfig
from adbench.methods.registry import method_class, method_entry
from adbench.orchestrator.cell import Cell
from adbench.orchestrator.opening import OpenedData, open_data
from adbench.orchestrator.overrides import Overrides
from adbench.orchestrator.reproduce import reproduce_command
from adbench.orchestrator.request import DatasetSpec, MethodSpec, Request

_SHOWN_PROBLEMS = 20


@dataclass(frozen=True)
class Plan:
    """The cells of a request, those of one category together so that they meet its warm cache."""

    request: Request
    cells: tuple[Cell, ...]
    splits: Mapping[str, Split]
    """Each split by ``dataset-category-hash``, with all anomalies that may be labelled."""
    missing: tuple[str, ...] = ()
    """Datasets of the request that are not here and were left out, as asked for."""


class _Variant(NamedTuple):
    """A method with the parameters that suite and overrides give it, and those that they may.

    ``data`` is what it is for (None: all); ``of_data`` names parameters that the suite chose for just that.
    """

    method: str
    params: dict[str, Any]
    settable: set[str]
    data: tuple[str, ...] | None
    of_data: frozenset[str]

    def suits(self, dataset: str, category: str) -> bool:
        """Whether it is to run there."""
        return self.data is None or dataset in self.data or f"{dataset}/{category}" in self.data


class _Place(NamedTuple):
    """How a category is split: without a protocol, and under the request's; ``trained_on`` are the categories of the
    model if it is not trained on this one alone."""

    base: Split
    split: Split
    trained_on: tuple[str, ...] = ()


def make_plan(request: Request, overrides: Overrides, data: OpenedData | None = None) -> Plan:
    """Expand a request into cells, over its datasets as ``data`` holds them (None: all are opened here).

    Raises RequestError for an unknown name, a wrong parameter, and for all data that is missing or broken at once.
    """
    variants = [variant for spec in request.methods for variant in _variants(spec, overrides, request)]
    _refuse_fixed(overrides, variants)
    _refuse_unplaced("method", overrides.method_params, [variant.settable for variant in variants])
    data = data or open_data(request, overrides)
    known = [set(dataset_class(spec.name).config_class.model_fields) for spec in request.datasets]
    _refuse_unplaced("dataset", overrides.dataset_params, known)
    chosen = [(spec, dataset, _categories(spec, dataset)) for spec, dataset in data.datasets]
    together = {
        spec.name: categories for spec, _, categories in chosen if request.multi_class and len(categories) > 1
    }
    _refuse_contrary([dataset for spec, dataset, _ in chosen if spec.name in together])
    if overrides.categories is not None:
        chosen = _only(chosen, overrides.categories)
    _refuse_broken([(spec, dataset, together.get(spec.name, categories)) for spec, dataset, categories in chosen])
    splits: dict[str, Split] = {}
    cells: dict[str, Cell] = {}
    for spec, dataset, categories in chosen:
        trained_on = together.get(spec.name, ())
        places = {name: _place(dataset, name, request) for name in trained_on or categories}
        for category in categories:
            place = places[category]
            if trained_on:
                united = trained_together({name: places[name].split for name in trained_on}, category)
                place = place._replace(split=united, trained_on=trained_on)
            splits[f"{spec.name}-{category}-{place.split.hash}"] = place.split
            own = [variant for variant in variants if variant.suits(spec.name, category)]
            for cell in _cells_of(spec.name, dataset, category, place, request, own):
                cells.setdefault(cell.run_id, cell)
    if not cells:
        raise RequestError(
            f"no chosen method is for {', '.join(spec.name for spec, _, _ in chosen)}",
            remedy="choose among the suite's own datasets, or another suite",
        )
    _refuse_ambiguous_claims(request, tuple(cells.values()))
    return Plan(request, tuple(cells.values()), splits, data.missing)


def _cells_of(
    name: str,
    dataset: Dataset,
    category: str,
    place: _Place,
    request: Request,
    variants: list[_Variant],
) -> Iterator[Cell]:
    """The cells of one category, one seed after the other, so that methods can be compared early."""
    modality = dataset.modality(category)
    protocol = _in_effect(request.protocol, place)
    data = {
        "dataset": name,
        "dataset_params": dataset.config.model_dump(mode="json"),
        "category": category,
        "modality": modality,
        "fingerprint": dataset.fingerprint(category),
        "split_seed": request.split_seed,
        "split_hash": place.split.hash,
        "protocol": protocol,
        "base_split_hash": place.base.hash if protocol.asked() else None,
        "trained_on": {name: dataset.fingerprint(name) for name in sorted(place.trained_on)},
    }
    templates = [
        _template(data, dataset, request, variant, label)
        for variant, label in zip(variants, _labels(variants), strict=True)
    ]
    for seed, template in itertools.product(request.seeds, templates):
        yield Cell(**{**template, "seed": seed, "command": f"{template['command']} seed={seed}"})


def _place(dataset: Dataset, category: str, request: Request) -> _Place:
    base = make_split(dataset.samples(category), category, request.split_seed, dataset.split_rule())
    return _Place(base, follow_protocol(base, request.protocol, category, request.split_seed))


def _in_effect(protocol: Protocol, place: _Place) -> Protocol:
    """The protocol without what has no effect here, so that the cells are the same: the leave to take from test where
    nothing was taken, and one model for all of a single category."""
    return replace(
        protocol,
        noise_from_test=protocol.noise_from_test and place.split.test != place.base.test,
        multi_class=bool(place.trained_on),
    )


def _template(
    data: Mapping[str, Any], dataset: Dataset, request: Request, variant: _Variant, label: str
) -> dict[str, Any]:
    """What the cells of one category and variant share, all but their seed; asked for once, for it takes time."""
    method, category = variant.method, str(data["category"])
    suited_to = None if data["trained_on"] else category
    config = _method_config(method, variant.params, request, dataset, suited_to)
    return {
        **data,
        "suite": request.name,
        "method": method,
        "method_version": method_class(method).version,
        "params": config.model_dump(mode="json"),
        "preset": _preset(config, request, dataset, suited_to, variant.of_data),
        "budget": request.budget,
        "image_size": request.pixels(),
        "workers": request.workers_per_lane,
        "metric_version": METRIC_VERSION,
        "files": {key: hash_path(path) for key, path in config.input_files().items()},
        "command": reproduce_command(request, str(data["dataset"]), dataset, category, method, config, suited_to),
        "variant": label,
    }


def _variants(spec: MethodSpec, overrides: Overrides, request: Request) -> Iterator[_Variant]:
    """One for every combination of swept parameters that the method has."""
    entry = method_entry(spec.name)
    settable = set(method_class(spec.name).config_class.model_fields) - set(entry.fixed)
    for key in set(spec.params) & set(entry.fixed):
        raise RequestError(f"method '{spec.name}' fixes {key}={entry.fixed[key]}", remedy="drop it, or take another")
    for place in spec.data or ():
        dataset_class(place.partition("/")[0])  # RequestError for a name that no dataset has: it would fit nowhere.
    swept = {key: values for key, values in overrides.method_params.items() if key in settable}
    own = {key: value for key, value in spec.params.items() if key not in _lengths(spec.name, request)}
    for combination in itertools.product(*swept.values()):
        params = {**own, **dict(zip(swept, combination, strict=True))}
        of_data = frozenset(own if spec.data else ()) - set(swept)
        yield _Variant(spec.name, params, settable, spec.data, of_data)


def _lengths(method: str, request: Request) -> set[str]:
    """Names of the parameters that the budget sets over the suite, which says them for its own budget."""
    kind = method_class(method).config_class
    presets = [kind.preset(request.budget, modality) for modality in get_args(Modality) if request.shortened]
    return {name for preset in presets for name in preset}


def _labels(variants: list[_Variant]) -> list[str]:
    """For each variant, the parameters in which it differs from others of its method."""
    labels = []
    for method, params, *_ in variants:
        others = [other.params for other in variants if other.method == method]
        keys = dict.fromkeys(key for other in others for key in other)
        differ = [key for key in keys if any(other.get(key) != others[0].get(key) for other in others)]
        labels.append(", ".join(f"{key}={params.get(key, 'default')}" for key in differ))
    return labels


def _method_config(
    name: str, params: Mapping[str, Any], request: Request, dataset: Dataset, suited_to: str | None
) -> MethodConfig:
    kind = method_class(name).config_class
    merged = {**kind.suited(request.budget, dataset, suited_to), **params, **method_entry(name).fixed}
    config = validate(kind, merged, prefix="method.", owner=name)
    files = {
        key: str(path.expanduser().absolute())  # Workers change directory.
        for key, path in config.input_files().items()
        if path == Path(getattr(config, key))  # Another path: a name that the method knows, on every machine.
    }
    config = config.model_copy(update=files)
    config.check(request.pixels())
    return config


def _preset(
    config: MethodConfig, request: Request, dataset: Dataset, suited_to: str | None, of_data: frozenset[str]
) -> tuple[str, ...]:
    """Names of the parameters that follow the data: their value is the method's own choice, or the suite's for it."""
    expected = type(config)(**type(config).suited(request.budget, dataset, suited_to))
    chosen, own = config.model_dump(), expected.model_dump()
    return tuple(sorted(name for name in chosen if chosen[name] == own[name] or name in of_data))


def _refuse_fixed(overrides: Overrides, variants: list[_Variant]) -> None:
    """A parameter that every chosen method fixes cannot be set."""
    for key in overrides.method_params:
        fixed = {variant.method: method_entry(variant.method).fixed for variant in variants}
        if all(key in values for values in fixed.values()):
            name, values = next(iter(fixed.items()))
            raise RequestError(
                f"method.{key} cannot be set: method '{name}' fixes it at {values[key]}",
                remedy="choose another method",
            )


def _refuse_unplaced(room: str, given: Mapping[str, Any], known: list[set[str]]) -> None:
    """A parameter that none of the chosen has is a mistake; that only some have it is not."""
    for key in given:
        if not any(key in names for names in known):
            names = set().union(*known)
            raise unknown_name(f"parameter of the chosen {room}s", key, names, f"`adbench show {room} NAME` explains")


def _refuse_ambiguous_claims(request: Request, cells: tuple[Cell, ...]) -> None:
    """A side of a claim has one run in each place, or none where overrides left it out."""
    sides = [(claim.text, side) for claim in request.claims for side in (claim.better, claim.than)]
    for text, side in sides:
        places = Counter((c.dataset, c.category, c.seed) for c in cells if side.covers(c.method, c.params))
        if any(count > 1 for count in places.values()):
            raise RequestError(
                f"claim '{text}': several cells of {side.method} {side.params} in one category and seed",
                remedy="give the claim's side the parameters that tell them apart",
            )


def _categories(spec: DatasetSpec, dataset: Dataset) -> tuple[str, ...]:
    for name in spec.categories or ():
        if name not in dataset.categories():
            raise unknown_name(f"category of {spec.name}", name, dataset.categories())
    return dataset.categories() if spec.categories is None else spec.categories


def _only(
    chosen: list[tuple[DatasetSpec, Dataset, tuple[str, ...]]], names: list[str]
) -> list[tuple[DatasetSpec, Dataset, tuple[str, ...]]]:
    every = {category for _, dataset, _ in chosen for category in dataset.categories()}
    for name in names:
        if name not in every:
            raise unknown_name("category of the chosen datasets", name, every)
    kept = [
        (spec, dataset, tuple(name for name in names if name in dataset.categories())) for spec, dataset, _ in chosen
    ]
    return [item for item in kept if item[2]]


def _problems(dataset: Dataset, category: str) -> list[str]:
    """What is wrong with the category, even if that keeps it from being looked through."""
    try:
        return dataset.verify(category)
    except RequestError as error:
        return [f"{error.problem}; {error.remedy}" if error.remedy else error.problem]


def _refuse_contrary(trained_together: Iterable[Dataset]) -> None:
    for dataset in trained_together:
        if not dataset.normal_everywhere:
            raise RequestError(
                f"multi_class=true: in '{dataset.record.name}' what is normal in one category is anomalous in others",
                remedy="leave the dataset out, or train a model for each category (multi_class=false)",
            )


def _refuse_broken(chosen: list[tuple[DatasetSpec, Dataset, tuple[str, ...]]]) -> None:
    problems = [
        f"{spec.name}/{category}: {problem}"
        for spec, dataset, categories in chosen
        for category in categories
        for problem in _problems(dataset, category)
    ]
    if problems:
        shown = problems[:_SHOWN_PROBLEMS]
        more = [f"... and {len(problems) - len(shown)} more"] if len(problems) > len(shown) else []
        raise RequestError(
            "\n".join([f"{len(problems)} problem(s) in the data:", *(f"  {line}" for line in [*shown, *more])]),
            remedy="repair or remove these files, or, where images cannot be read, leave these out with "
            "dataset.broken=skip; nothing was trained",
        )
