"""A RunResult and a SuitePlan as the bytes that the store writes, and back from what it reads."""

import dataclasses
import io
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar, get_origin

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from adbench.reports.schema import (
    CURVES_SCHEMA,
    EVAL_SPLITS,
    HISTORY_SCHEMA,
    IMAGES_SCHEMA,
    METRIC_COLUMNS,
    RUNS_SCHEMA,
    VAL_METRIC_COLUMNS,
    Card,
    EvalSplit,
    Gallery,
    GalleryCase,
    ImageScores,
    KeptCurve,
    MissingDataset,
    PlannedCell,
    PublishedValue,
    RunRecord,
    RunResult,
    SearchRecord,
    SplitMaps,
    SuitePlan,
    TrainingMaps,
)

_NO_PICTURES = np.zeros((0, 1, 1, 3), np.uint8)

_Kind = TypeVar("_Kind", PlannedCell, PublishedValue, MissingDataset, SuitePlan, SearchRecord)


def runs_bytes(record: RunRecord) -> bytes:
    """The Parquet file of one row of the runs table; an undefined (None or NaN) metric becomes null.

    Raises ValueError for a metric that has no column and for a time without time zone.
    """
    row = {entry.name: getattr(record, entry.name) for entry in dataclasses.fields(record)}
    metrics = row.pop("metrics")
    if unknown := sorted(set(metrics) - {*METRIC_COLUMNS, *VAL_METRIC_COLUMNS}):
        raise ValueError(f"The runs table has no column for the metrics {unknown}.")
    row.update({name: _defined(value) for name, value in metrics.items()})
    for name, value in row.items():
        if isinstance(value, str):
            row[name] = _text(value)
        if isinstance(value, datetime) and value.tzinfo is None:
            raise ValueError(f"{name}={value} has no time zone.")
    return _parquet(pa.Table.from_pylist([row], RUNS_SCHEMA))


def load_record(row: Mapping[Any, Any]) -> RunRecord:
    """The record of a row (column: value) of ``ResultStore.runs()``; runs_bytes of it is that row again."""
    values: dict[str, Any] = {name: None if pd.isna(value) else value for name, value in row.items()}
    for name, value in values.items():
        if isinstance(value, pd.Timestamp):
            values[name] = value.to_pydatetime()
    columns = {entry.name for entry in dataclasses.fields(RunRecord)} - {"metrics"}
    return RunRecord(
        **{name: values[name] for name in columns},
        metrics={name: values[name] for name in (*METRIC_COLUMNS, *VAL_METRIC_COLUMNS)},
    )


def images_bytes(result: RunResult) -> bytes | None:
    """The Parquet file of the run's rows of the images table, None if there are none."""
    tables = [
        _table(
            IMAGES_SCHEMA,
            run_id=[result.record.run_id] * len(scores.image_ids),
            split=[scores.split] * len(scores.image_ids),
            image_id=map(_text, scores.image_ids),
            label=scores.labels,
            defect_type=map(_text, scores.defect_types),
            score=scores.scores,
        )
        for scores in result.images
    ]
    table = pa.concat_tables(tables) if tables else IMAGES_SCHEMA.empty_table()
    return _parquet(table) if table.num_rows else None


def load_scores(rows: pa.Table) -> dict[EvalSplit, ImageScores]:
    """Both splits of a run, either perhaps empty, from its rows of the images table."""

    def of(split: EvalSplit) -> ImageScores:
        own = rows.filter(pc.equal(rows["split"], split))
        return ImageScores(
            split=split,
            image_ids=tuple(own["image_id"].to_pylist()),
            labels=own["label"].to_numpy().astype(np.int64),
            defect_types=tuple(own["defect_type"].to_pylist()),
            scores=own["score"].to_numpy(),
        )

    return {split: of(split) for split in EVAL_SPLITS}


def history_bytes(result: RunResult) -> bytes | None:
    """The Parquet file of the run's rows of the history table, None if there are none."""
    if not result.history:
        return None
    steps, names, values = zip(*result.history, strict=True)
    run_ids = [result.record.run_id] * len(steps)
    return _parquet(_table(HISTORY_SCHEMA, run_id=run_ids, step=steps, name=map(_text, names), value=values))


def curves_bytes(run_id: str, curves: Sequence[KeptCurve]) -> bytes | None:
    """The Parquet file of a run's rows of the curves table, None if there are none."""
    if not curves:
        return None
    columns = {name: [getattr(curve, name) for curve in curves] for name in ("split", "name", "x", "y")}
    return _parquet(_table(CURVES_SCHEMA, run_id=[run_id] * len(curves), **columns))


def renamed_bytes(rows: pa.Table, run_id: str) -> bytes | None:
    """The Parquet file of a run's rows of a table other than runs under another run_id; None without rows."""
    if not rows.num_rows:
        return None
    return _parquet(rows.set_column(0, rows.schema.field("run_id"), pa.array([run_id] * rows.num_rows)))


def gallery_bytes(gallery: Gallery | None) -> bytes | None:
    """The .npz file of a gallery: the arrays of each case, and all else as JSON in ``metadata``."""
    if gallery is None:
        return None
    arrays: dict[str, Any] = {}
    cases = []
    for index, case in enumerate(gallery.cases):
        arrays[f"image_{index}"] = case.image
        arrays[f"anomaly_map_{index}"] = case.anomaly_map
        if case.mask is not None:
            arrays[f"mask_{index}"] = case.mask
        cases.append(
            {
                "case": case.case,
                "image_id": _text(case.image_id),
                "label": int(case.label),
                "defect_type": _text(case.defect_type),
                "score": float(case.score),
            }
        )
    metadata = json.dumps({"low": float(gallery.low), "high": float(gallery.high), "cases": cases})
    buffer = io.BytesIO()
    np.savez_compressed(buffer, metadata=np.array(metadata), **arrays)
    return buffer.getvalue()


def load_gallery(data: bytes) -> Gallery:
    """The gallery that gallery_bytes wrote. Unpickles nothing."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        metadata = json.loads(str(arrays["metadata"]))
        cases = [
            GalleryCase(
                **case,
                image=arrays[f"image_{index}"],
                mask=arrays.get(f"mask_{index}"),
                anomaly_map=arrays[f"anomaly_map_{index}"],
            )
            for index, case in enumerate(metadata["cases"])
        ]
    return Gallery(low=metadata["low"], high=metadata["high"], cases=tuple(cases))


def maps_bytes(kept: SplitMaps) -> bytes:
    """The .npz file of all maps of a split."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, image_ids=np.array([_text(name) for name in kept.image_ids]), maps=kept.maps)
    return buffer.getvalue()


def load_maps(data: bytes, split: EvalSplit) -> SplitMaps:
    """The maps that maps_bytes wrote. Unpickles nothing."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return SplitMaps(split=split, image_ids=tuple(map(str, arrays["image_ids"])), maps=arrays["maps"])


def training_maps_bytes(kept: Sequence[TrainingMaps]) -> bytes | None:
    """The .npz file of maps over training images, None if there are none."""
    if not kept:
        return None
    arrays: dict[str, Any] = {"names": np.array([_text(maps.name) for maps in kept])}
    pictures = {name: image for maps in kept for name, image in zip(maps.image_ids, maps.images, strict=False)}
    arrays["pictured"] = np.array([_text(name) for name in pictures], dtype=np.str_)
    arrays["pictures"] = np.stack([*pictures.values()]) if pictures else _NO_PICTURES
    for index, maps in enumerate(kept):
        arrays[f"image_ids_{index}"] = np.array([_text(name) for name in maps.image_ids], dtype=np.str_)
        arrays[f"maps_{index}"] = np.rint(np.clip(maps.maps, 0, 1) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def load_training_maps(data: bytes) -> tuple[TrainingMaps, ...]:
    """The maps that training_maps_bytes wrote. Unpickles nothing."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        known = arrays.get("pictures", _NO_PICTURES)
        row_of = {str(name): row for row, name in enumerate(arrays["pictured"])} if len(known) else {}
        found = []
        for index, name in enumerate(arrays["names"]):
            ids = tuple(map(str, arrays[f"image_ids_{index}"]))
            rows = [row_of[one] for one in itertools.takewhile(row_of.__contains__, ids)]
            maps = arrays[f"maps_{index}"].astype(np.float32) / 255
            found.append(TrainingMaps(name=str(name), image_ids=ids, maps=maps, images=known[rows]))
    return tuple(found)


def plan_bytes(plan: SuitePlan) -> bytes:
    """The JSON file of a suite's plan."""
    return json.dumps(dataclasses.asdict(plan), indent=1).encode()


def load_plan(data: bytes) -> SuitePlan:
    """The plan that plan_bytes wrote. Raises ValueError for anything else."""
    parsed = json.loads(data)
    if not isinstance(parsed, dict) or not isinstance(parsed.get("cells"), list):
        raise ValueError("This is no plan of a suite.")
    lists = {
        "cells": _each(PlannedCell, parsed["cells"]),
        "published": _each(PublishedValue, parsed.get("published", [])),  # plans of earlier versions have none
        "missing": _each(MissingDataset, parsed.get("missing", [])),
        "cards": tuple(map(_card, parsed.get("cards", []))),
    }
    return _checked(SuitePlan, {**parsed, **lists})


def _card(found: Any) -> Card:
    """A card, if it is one: only texts, and every row as long as the table is wide."""
    try:
        own: dict[str, Any] = {
            **{name: _words([found[name]])[0] for name in ("kind", "name", "text")},
            "facts": tuple(_words(fact, 2) for fact in found["facts"]),
            "head": _words(found["head"]),
            "rows": tuple(_words(row, len(found["head"])) for row in found["rows"]),
        }
    except (TypeError, KeyError) as error:
        raise ValueError("This is no card.") from error
    return Card(**own)


def _words(found: Any, count: int | None = None) -> tuple[str, ...]:
    if (
        not isinstance(found, list)
        or not all(isinstance(one, str) for one in found)
        or count not in (None, len(found))
    ):
        raise ValueError(f"{found!r} is no list of {count or 'some'} texts.")
    return tuple(map(_text, found))


def search_bytes(search: SearchRecord) -> bytes:
    """The JSON file of a search."""
    return json.dumps(dataclasses.asdict(search), indent=1).encode()


def load_search(data: bytes) -> SearchRecord:
    """The search that search_bytes wrote. Raises ValueError for anything else."""
    parsed = json.loads(data)
    if not isinstance(parsed, dict):
        raise ValueError("This is no search.")
    listed = {key: tuple(value) if isinstance(value, list) else value for key, value in parsed.items()}
    missing = _each(MissingDataset, parsed.get("missing", []))  # searches of earlier versions have none
    return _checked(SearchRecord, {**listed, "missing": missing})


def _each(kind: type[_Kind], found: Any) -> tuple[_Kind, ...]:
    if not isinstance(found, list):
        raise ValueError(f"{found!r} is no list of {kind.__name__}.")
    return tuple(_checked(kind, values) for values in found)


def _checked(kind: type[_Kind], values: Any) -> _Kind:
    """``values`` as a ``kind``, if it has just its fields and they have the right types."""
    types = {entry.name: get_origin(entry.type) or entry.type for entry in dataclasses.fields(kind)}
    if not isinstance(values, dict) or values.keys() != types.keys():
        raise ValueError(f"A {kind.__name__} has the fields {list(types)}.")
    for name, expected in types.items():
        if type(values[name]) is not expected:
            raise ValueError(f"{name}={values[name]!r} of a {kind.__name__} has the wrong type.")
    texts: dict[str, Any] = {name: _text(value) for name, value in values.items() if isinstance(value, str)}
    return kind(**{**values, **texts})


def _text(value: str) -> str:
    """``value`` in valid Unicode: names of files on disk can hold bytes that Arrow refuses."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _defined(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _table(schema: pa.Schema, **columns: Iterable[Any]) -> pa.Table:
    arrays = [pa.array(columns[column.name], column.type) for column in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    # Of one row with a hundred columns, dictionaries, statistics and a second copy of the schema are most.
    small = table.num_rows < 100
    pq.write_table(
        table,
        sink,
        compression="zstd",
        use_dictionary=not small,
        write_statistics=not small,
        store_schema=False,
    )
    return bytes(sink.getvalue().to_pybytes())
