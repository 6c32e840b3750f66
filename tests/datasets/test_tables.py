"""Tables as people and publishers write them, and as they should not."""

from pathlib import Path

import numpy as np
import pytest

from adbench.datasets.base import Sample
from adbench.datasets.errors import RequestError
from adbench.datasets.tables import Row, checked, divided_groups, found_by, inside, read_csv, read_json
from drawn import draw, save


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder with a.png, sub/b.png, its mask b_mask.png and stray.png, inside a folder with outside.png."""
    rng = np.random.default_rng(0)
    for name in ("c/a.png", "c/sub/b.png", "c/sub/b_mask.png", "c/sub/stray.png", "outside.png"):
        save(tmp_path / name, draw(rng)[0])
    return tmp_path / "c"


def test_csv_of_many_programs(tmp_path: Path) -> None:
    for number, text in enumerate(
        (
            "path,label\na.png,0\nb.png,1\n",
            "\ufeffpath,label\r\na.png,0\r\nb.png,1\r\n",
            'path , label\n"a.png", 0\n\n b.png ,1\n,\n',
        )
    ):
        lines = read_csv(written(tmp_path / f"{number}.csv", text), ("path", "label"))
        assert [dict(line.cells) for line in lines] == [
            {"path": "a.png", "label": "0"},
            {"path": "b.png", "label": "1"},
        ]
    assert [line.place for line in lines] == [f"{tmp_path / '2.csv'} line 2", f"{tmp_path / '2.csv'} line 4"]


def test_csv_cells_with_commas_and_cells_left_out(tmp_path: Path) -> None:
    lines = read_csv(written(tmp_path / "t.csv", 'path,label,mask\n"a,b.png",1\nc.png,0,,\n'), ("path", "label"))
    assert [dict(line.cells) for line in lines] == [
        {"path": "a,b.png", "label": "1", "mask": ""},
        {"path": "c.png", "label": "0", "mask": ""},
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path;label\na.png;0\n", r"t\.csv has no column path, label; its first line is: path;label"),
        ("", r"t\.csv has no column path, label; its first line is: \(empty\)"),
        ("path,label,lable\n", r"unknown column of .*t\.csv 'lable'; did you mean 'label'\?"),
        ("path,label,path\n", r"t\.csv has the column 'path' twice"),
        ("path,label\n", r"t\.csv lists no images"),
        ("path,label\na.png,0\nb,c.png,1\n", r"t\.csv line 3 has 3 cells, the first line names 2 columns"),
        ('path,label\n"a.png,0\n', r"t\.csv line 2 cannot be read: unexpected end of data"),
        (b"path,label\n\xfc.png,0\n", r"t\.csv is not UTF-8"),
    ],
)
def test_csv_that_makes_no_sense_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        read_csv(written(tmp_path / "t.csv", text), ("path", "label"), ("mask",))
    assert caught.value.remedy


def test_json_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "t.json", '{"train": {"0": ["a.png"]}}')
    assert read_json(path) == {"train": {"0": ["a.png"]}}
    for text, message in {
        '{"train":\n [,]}': r"t\.json line 2 is not JSON",
        "[1, 2]": r"t\.json is \[1, 2\]",
    }.items():
        with pytest.raises(RequestError, match=message):
            read_json(written(path, text))
    with pytest.raises(RequestError, match=r"cannot read .*gone\.json: No such file"):
        read_json(tmp_path / "gone.json")
    with pytest.raises(RequestError, match=r"t\.json train\.0 is missing\n  allowed: a list"):
        checked(None, list, "t.json train.0")


def test_rows_become_samples(base: Path) -> None:
    table = written(base.parent / "t.csv", "-")
    rows = [
        Row("t line 2", "sub/b.png", "dent", "train", "p1", ("sub/b_mask.png",)),
        Row("t line 3", "a.png", role="train"),
    ]
    found = found_by(base, rows, [table], listed=["sub"])
    assert found.samples == (
        Sample("a.png", 0, role="train"),
        Sample("sub/b.png", 1, "dent", "structural", "labelled", "p1"),
    )
    assert found.masks == {"sub/b.png": ("sub/b_mask.png",)}
    assert found.left_over == ("sub/stray.png",) and found.tables == ("../t.csv",) and found.problems == ()


def test_rows_that_make_no_sense_are_left_out_and_named(base: Path) -> None:
    rows = [
        Row("t line 2", "a.png"),
        Row("t line 3", "gone.png"),
        Row("t line 4", "../outside.png"),
        Row("t line 5", str(base / "a.png")),
        Row("t line 6", "a.png", "dent"),
        Row("t line 7", ""),
        Row("t line 8", "sub/b.png", "dent", masks=("sub/gone_mask.png",)),
        Row("t line 9", "sub/b.png", problem="has the split 'x' (allowed: train, test)"),
        Row("t line 10", "sub"),
    ]
    found = found_by(base, rows, [], ["t says nothing of patients"], listed=["sub"])
    assert [sample.image_id for sample in found.samples] == ["a.png"]
    assert found.left_over == ("sub/b_mask.png", "sub/stray.png")
    assert found.problems == (
        "t says nothing of patients",
        f"t line 3 names {base / 'gone.png'}, which does not exist",
        f"t line 4 names ../outside.png, which is outside of {base}",
        f"t line 5 names {base / 'a.png'}, which is outside of {base}",
        "t line 6 lists a.png again, after t line 2",
        "t line 7 names no image",
        f"t line 8 names {base / 'sub' / 'gone_mask.png'}, which does not exist",
        "t line 9 has the split 'x' (allowed: train, test)",
        f"t line 10 names {base / 'sub'}, which does not exist",
    )


def test_paths_have_one_spelling() -> None:
    assert [inside(text) for text in ("a/b.png", "./a//b.png", "a\\b.png", "")] == ["a/b.png"] * 3 + [""]
    assert inside("a/../b.png") == "a/../b.png"


def test_groups_in_two_parts_are_named_once() -> None:
    rows = [
        Row("line 2", "a.png", role="train", group="p1"),
        Row("line 3", "b.png", "dent", role="labelled", group="p1"),
        Row("line 4", "c.png", role="test", group="p1"),
        Row("line 5", "d.png", role="test", group="p1"),
        Row("line 6", "e.png", role="val", group="p2"),
        Row("line 7", "f.png", role="test", group="p3"),
        Row("line 8", "g.png", group="p3"),
    ]
    assert divided_groups(rows) == ["line 4 puts 'p1' into test, line 2 puts it into train"]
