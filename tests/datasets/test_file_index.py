"""The index of files: the content counts, not where it lies; what did not change is not read again."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adbench.datasets.errors import RequestError
from adbench.datasets.file_index import FileFacts, content_hash, index_files, kept_in

NAMES = ("a.png", "b/c.png", "b/d é.png")


@pytest.fixture(autouse=True)
def fresh_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "file-index"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 6 + number, 3), 10 * number, np.uint8)).save(path)
    return tmp_path / "images"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the files whose bytes were read."""
    seen: list[str] = []
    real: Callable[[Path], bytes] = Path.read_bytes

    def counting(path: Path) -> bytes:
        seen.append(path.name)
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", counting)
    yield seen


def hash_of(root: Path, names: tuple[str, ...] = NAMES) -> str:
    return content_hash(index_files(root, names), names)


def test_facts(root: Path) -> None:
    facts = index_files(root, NAMES)
    assert list(facts) == list(NAMES)
    assert [(fact.height, fact.width) for fact in facts.values()] == [(4, 6), (4, 7), (4, 8)]
    assert all(fact.error is None and len(fact.sha256) == 64 for fact in facts.values())
    assert index_files(root, ()) == {}


def test_neither_root_nor_order_counts(root: Path) -> None:
    before = hash_of(root)
    moved = root.rename(root.with_name("elsewhere"))
    assert hash_of(moved) == before
    assert hash_of(moved, NAMES[::-1]) == before


def test_a_changed_pixel_a_renamed_and_a_missing_file_count(root: Path) -> None:
    hashes = {hash_of(root), hash_of(root, NAMES[:2])}
    pixels = np.asarray(Image.open(root / "a.png")).copy()
    pixels[0, 0, 0] += 1
    Image.fromarray(pixels).save(root / "a.png")
    hashes.add(hash_of(root))
    (root / "a.png").rename(root / "e.png")
    hashes.add(hash_of(root, ("e.png", *NAMES[1:])))
    assert len(hashes) == 4


def test_unchanged_files_are_not_read_again(root: Path, reads: list[str]) -> None:
    first = index_files(root, NAMES)
    assert sorted(reads) == ["a.png", "c.png", "d é.png"]
    reads.clear()
    assert index_files(root, NAMES) == first and reads == []
    status = (root / "a.png").stat()
    os.utime(root / "a.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    index_files(root, NAMES)
    assert reads == ["a.png"]


def test_files_of_another_selection_are_kept_in_mind(root: Path, reads: list[str]) -> None:
    index_files(root, NAMES[:1])
    index_files(root, NAMES[1:])
    reads.clear()
    index_files(root, NAMES)
    assert reads == []


def test_broken_files_are_named_and_others_are_indexed(root: Path) -> None:
    (root / "half.png").write_bytes((root / "a.png").read_bytes()[:40])
    facts = index_files(root, (*NAMES, "half.png", "absent.png"))
    assert [name for name, fact in facts.items() if fact.error] == ["half.png", "absent.png"]
    for name in ("half.png", "absent.png"):
        fact = facts[name]
        assert fact.error is not None and str(root / name) in fact.error and (fact.height, fact.width) == (0, 0)


def test_a_broken_file_is_tried_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk error, a missing right or an older Pillow leaves neither size nor time of the file changed."""

    def failing(path: Path) -> np.ndarray:
        raise RequestError(f"cannot read image {path}: input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("adbench.datasets.file_index.read_facts", failing)
        assert index_files(root, NAMES)["a.png"].error
    assert index_files(root, NAMES)["a.png"].error is None


def test_a_repaired_file_is_well(root: Path) -> None:
    whole = (root / "a.png").read_bytes()
    (root / "a.png").write_bytes(whole[:40])
    assert index_files(root, NAMES)["a.png"].error
    (root / "a.png").write_bytes(whole)
    assert index_files(root, NAMES)["a.png"].error is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a.png": {"sha1": "0"}}', '{"a.png": 3}'])
def test_a_damaged_index_is_made_anew(root: Path, fresh_index: Path, content: str) -> None:
    before = index_files(root, NAMES)
    (index,) = fresh_index.iterdir()
    index.write_text(content)
    assert index_files(root, NAMES) == before
    assert FileFacts is type(index_files(root, NAMES)["a.png"])


def test_a_folder_that_cannot_be_written_costs_only_time(root: Path, fresh_index: Path, reads: list[str]) -> None:
    fresh_index.parent.mkdir(parents=True)
    fresh_index.write_text("a file where the folder should be")
    first = index_files(root, NAMES)
    assert index_files(root, NAMES) == first and len(reads) == 6


def test_the_index_can_be_kept_elsewhere_or_nowhere(
    root: Path, tmp_path: Path, fresh_index: Path, reads: list[str]
) -> None:
    for expected in (3, 0):
        reads.clear()
        with kept_in(tmp_path / "other"):
            index_files(root, NAMES)
        assert len(reads) == expected
    assert list((tmp_path / "other" / "file-index").iterdir()) != []
    for _ in range(2):
        reads.clear()
        with kept_in(None):
            index_files(root, NAMES)
        assert len(reads) == 3
    assert not fresh_index.exists()
    index_files(root, NAMES)
    assert fresh_index.is_dir()
