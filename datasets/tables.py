"""Tables that say what the images are (CSV or JSON): read with errors that name the place, made into samples."""

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from adbench.datasets.base import Role, Sample
from adbench.datasets.errors import RequestError, unknown_name
from adbench.datasets.layout import Found, Listing

Kind = TypeVar("Kind")

_KINDS: Mapping[type, str] = {dict: "an object", list: "a list", str: "a text"}


@dataclass(frozen=True)
class Row:
    """What a table says of one image; paths are relative to the category's folder.

    ``place`` names the table and the line or field, for messages. ``defect`` is "good" for a normal image. An
    anomalous image of ``role`` train becomes a labelled one. ``problem`` continues the place to a sentence where the
    table makes no sense.
    """

    place: str
    image: str
    defect: str = "good"
    role: Role | None = None
    group: str | None = None
    masks: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class Line:
    """A line of a CSV file: its ``place`` for messages, and its cells by column, without blanks around them."""

    place: str
    cells: Mapping[str, str]


def read_csv(path: Path, columns: Sequence[str], optional: Sequence[str] | None = None) -> list[Line]:
    """The lines below the header of a UTF-8 file separated by commas; cells missing at a line's end are empty.

    ``columns`` must be there; others must be among ``optional``, unless that is None. Raises RequestError for a file
    that cannot be read, a column missing, unknown or named twice, a line with too many cells, and an empty table.
    """
    text = _read_text(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        _check_header(path, header, columns, optional)
        lines = [_line(path, reader.line_num, header, cells) for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        raise RequestError(
            f"{path} line {reader.line_num} cannot be read: {error}", remedy="save it as CSV with commas"
        ) from None
    if not lines:
        raise RequestError(f"{path} lists no images", remedy="add a line for each image")
    return lines


def read_list(path: Path) -> list[tuple[str, str]]:
    """The lines of a UTF-8 file that hold anything, each after its place for messages. Raises RequestError for a file
    that cannot be read and an empty one."""
    lines = [(f"{path} line {number}", line.strip()) for number, line in enumerate(_read_text(path).split("\n"), 1)]
    if not any(text for _, text in lines):
        raise RequestError(f"{path} lists no images", remedy="add a line for each image")
    return [(place, text) for place, text in lines if text]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises RequestError, with the line, for a file that is none."""
    try:
        value = json.loads(_read_text(path))
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # Half a character, escaped: no message, table or page can hold it.
        raise RequestError(f"{path} holds text that is not Unicode", remedy="get the file again") from None
    except json.JSONDecodeError as error:
        raise RequestError(
            f"{path} line {error.lineno} is not JSON: {error.msg}", remedy="get the file again"
        ) from None
    except RecursionError:
        raise RequestError(f"{path} is nested too deeply", remedy="get the file again") from None
    return checked(value, dict, str(path))


def checked(value: Any, kind: type[Kind], place: str) -> Kind:
    """A value of a JSON file that must be of ``kind`` (dict, list or str); RequestError names its place."""
    if isinstance(value, kind):
        return value
    seen = "missing" if value is None else f"{value!r:.60}"
    raise RequestError(f"{place} is {seen}", allowed=_KINDS[kind], remedy="get the file again")


def inside(text: str) -> str:
    """A path of a table in one spelling: '/' between its parts, no empty ones and no '.'."""
    return PurePosixPath(text.replace("\\", "/")).as_posix() if text else ""


def found_by(
    base: Path,
    rows: Iterable[Row],
    tables: Sequence[Path],
    problems: Iterable[str] = (),
    listed: Sequence[str] = (),
) -> Found:
    """What the rows say that the folder ``base`` holds; ``tables`` are the files that they come from.

    A row that has a problem, names no file, a missing one, one outside ``base`` or an image that an earlier row has
    is left out and becomes a problem, after the ``problems`` given. Images in the folders ``listed`` that no row
    names are left over.
    """
    kept: dict[str, Row] = {}
    named: set[str] = set()
    wrong = [*problems]
    for row in rows:
        named |= {row.image, *row.masks}
        if problem := _problem(base, row, kept):
            wrong.append(f"{row.place} {problem}")
        else:
            kept[row.image] = row
    there = [f"{folder}/{path}" for folder in listed if (base / folder).is_dir() for path in _images(base / folder)]
    return Found(
        samples=tuple(_sample(kept[image]) for image in sorted(kept)),
        masks={image: row.masks for image, row in sorted(kept.items()) if row.masks},
        left_over=tuple(path for path in there if path not in named),
        tables=tuple(PurePosixPath(os.path.relpath(table, base)).as_posix() for table in tables),
        problems=tuple(wrong),
    )


def unknown_value(column: str, value: str, allowed: Iterable[str]) -> str:
    """The problem of a row whose ``column`` holds none of the ``allowed`` values."""
    return f"has the {column} '{value}' (allowed: {', '.join(allowed)})"


def divided_groups(rows: Iterable[Row]) -> list[str]:
    """A sentence for each group whose images the table puts into more than one of train, val and test."""
    first: dict[str, Row] = {}
    told: dict[str, str] = {}
    for row in rows:
        if row.group is None or row.role is None:
            continue
        earlier = first.setdefault(row.group, row)
        if _side(earlier) != _side(row):
            told.setdefault(
                row.group,
                f"{row.place} puts '{row.group}' into {_side(row)}, {earlier.place} puts it into {_side(earlier)}",
            )
    return [*told.values()]


def _side(row: Row) -> str:
    """Labelled anomalies are trained on."""
    return "train" if row.role == "labelled" else str(row.role)


def _problem(base: Path, row: Row, kept: Mapping[str, Row]) -> str | None:
    if row.problem or not row.image:
        return row.problem or "names no image"
    for path in (row.image, *row.masks):
        if Path(path).is_absolute() or ".." in path.split("/"):
            return f"names {path}, which is outside of {base}"
        if not _is_file(base / path):
            return f"names {base / path}, which does not exist"
    if row.image in kept:
        return f"lists {row.image} again, after {kept[row.image].place}"
    return None


def _is_file(path: Path) -> bool:
    """False too for a name that no file can have, such as a far too long one."""
    try:
        return path.is_file()
    except OSError:
        return False


def _sample(row: Row) -> Sample:
    anomalous = row.defect != "good"
    return Sample(
        image_id=row.image,
        label=int(anomalous),
        defect_type=row.defect,
        kind="structural" if anomalous else "good",
        role="labelled" if anomalous and row.role == "train" else row.role,
        group=row.group,
    )


def _images(folder: Path) -> tuple[str, ...]:
    return Listing(folder).paths


def _check_header(path: Path, header: list[str], columns: Sequence[str], optional: Sequence[str] | None) -> None:
    if missing := [name for name in columns if name not in header]:
        raise RequestError(
            f"{path} has no column {', '.join(missing)}; its first line is: {','.join(header) or '(empty)'}",
            allowed=", ".join([*columns, *(f"{name} (optional)" for name in optional or ())]),
            remedy="name the columns so in the first line, separated by commas",
        )
    for name in header:
        if header.count(name) > 1:
            raise RequestError(f"{path} has the column '{name}' twice", remedy="remove one of them")
        if optional is not None and name not in (*columns, *optional):
            raise unknown_name(f"column of {path}", name, [*columns, *optional], remedy="rename or remove it")


def _line(path: Path, number: int, header: list[str], cells: list[str]) -> Line:
    if any(cell.strip() for cell in cells[len(header) :]):
        raise RequestError(
            f"{path} line {number} has {len(cells)} cells, the first line names {len(header)} columns",
            remedy='put a cell that holds a comma into quotes ("a,b")',
        )
    padded = [*cells, *[""] * (len(header) - len(cells))]
    return Line(f"{path} line {number}", {name: cell.strip() for name, cell in zip(header, padded, strict=False)})


def _read_text(path: Path) -> str:
    if path.exists() and not path.is_file():  # A pipe would be waited for.
        raise RequestError(f"cannot read {path}: it is not a file", remedy="put the file there")
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror}", remedy="put the file there") from None
    except UnicodeDecodeError:
        raise RequestError(f"{path} is not UTF-8", remedy="save it as UTF-8") from None
