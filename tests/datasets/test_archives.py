"""Archives of every kind and attack, written here: each unpacks exactly, or is refused and leaves nothing outside."""

import bz2
import gzip
import io
import lzma
import random
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from adbench.datasets import archives
from adbench.datasets.archives import Limits, unpack
from adbench.datasets.errors import RequestError

FILES = {"cat/train/good/000.png": b"\x89PNG" + bytes(range(256)) * 9, "cat/readme.txt": b"-", "Ärmel/a b.txt": b""}


def zip_bytes(files: Mapping[str, bytes], **info: int) -> bytes:
    with zipfile.ZipFile(stream := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            for key, value in info.items():
                setattr(member, key, value)
            archive.writestr(member, content)
    return stream.getvalue()


def tar_bytes(files: Mapping[str, bytes], encoding: str = "utf-8") -> bytes:
    form = tarfile.PAX_FORMAT if encoding == "utf-8" else tarfile.GNU_FORMAT
    with tarfile.open(fileobj=(stream := io.BytesIO()), mode="w", encoding=encoding, format=form) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o400
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def special_tar(name: str, kind: bytes, link: str = "") -> bytes:
    with tarfile.open(fileobj=(stream := io.BytesIO()), mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        archive.addfile(info)
    return stream.getvalue()


FORMATS: dict[str, Callable[[Mapping[str, bytes]], bytes]] = {
    "zip": zip_bytes,
    "tar": tar_bytes,
    "tar.gz": lambda files: gzip.compress(tar_bytes(files)),
    "tar.xz": lambda files: lzma.compress(tar_bytes(files)),
    "tar.bz2": lambda files: bz2.compress(tar_bytes(files)),
}


def held(folder: Path) -> dict[str, bytes]:
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(tmp_path: Path, content: bytes, *expected: str, limits: Limits | None = None) -> None:
    """One error that names the archive, and not a byte outside the folder."""
    archive = tmp_path / "some.archive"
    archive.write_bytes(content)
    shutil.rmtree(tmp_path / "into", ignore_errors=True)  # of an earlier call
    outside = {*tmp_path.parent.glob("*"), *tmp_path.glob("*")} | {tmp_path / "into"}
    with pytest.raises(RequestError) as error:
        unpack(archive, tmp_path / "into", limits)
    for text in (str(archive), *expected):
        assert text in error.value.problem
    assert error.value.remedy
    assert {*tmp_path.parent.glob("*"), *tmp_path.glob("*")} <= outside


@pytest.mark.parametrize("suffix", [*FORMATS, "wrong"])
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_told_by_its_content(tmp_path: Path, kind: str, suffix: str) -> None:
    archive = tmp_path / f"data.{suffix}"
    archive.write_bytes(FORMATS[kind](FILES))
    assert unpack(archive, tmp_path / "into") == len(FILES)
    assert held(tmp_path / "into") == FILES
    assert (tmp_path / "into" / "cat" / "readme.txt").stat().st_mode & 0o600 == 0o600  # Not the archive's own.


@pytest.mark.parametrize(("suffix", "packed"), [("gz", gzip.compress), ("xz", lzma.compress), ("bz2", bz2.compress)])
def test_a_single_compressed_file(tmp_path: Path, suffix: str, packed: Callable[[bytes], bytes]) -> None:
    archive = tmp_path / f"labels.csv.{suffix}"
    archive.write_bytes(packed(b"a,b\n" * 5000))
    assert unpack(archive, tmp_path / "into") == 1
    assert held(tmp_path / "into") == {"labels.csv": b"a,b\n" * 5000}


def test_what_archivers_leave_is_tidied(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(
        zip_bytes({"./cat//a.png": b"1", "cat\\b.png": b"2", "__MACOSX/cat/._a.png": b"3", "d/": b""})
    )
    unpack(archive, tmp_path / "into")
    assert held(tmp_path / "into") == {"cat/a.png": b"1", "cat/b.png": b"2"}
    assert (tmp_path / "into" / "d").is_dir()


@pytest.mark.parametrize("packed", [zip_bytes, tar_bytes])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../evil", "leads out"),
        ("a/../../evil", "leads out"),
        ("a\\..\\..\\evil", "leads out"),
        ("/tmp/evil-adbench", "absolute"),
        ("\\\\server\\share", "absolute"),
        ("C:\\evil", "absolute"),
        ("c:evil", "absolute"),
        ("a/b\nc", "control characters"),
        ("a/" * 600 + "b", "more than 1000 bytes"),
        ("n" * 300, "cannot be written"),
    ],
)
def test_dangerous_names(
    tmp_path: Path, packed: Callable[[Mapping[str, bytes]], bytes], name: str, reason: str
) -> None:
    refused(tmp_path, packed({"a.txt": b"fine", name: b"evil"}), repr(name), reason)


@pytest.mark.parametrize("packed", [zip_bytes, tar_bytes])
@pytest.mark.parametrize("again", ["Cat/A.png", "CAT/b.png", "cat/ä.png"])
def test_names_that_differ_in_case_or_composition_alone(
    tmp_path: Path, packed: Callable[[Mapping[str, bytes]], bytes], again: str
) -> None:
    refused(tmp_path, packed({"cat/a.png": b"1", "cat/a\u0308.png": b"2", again: b"3"}), repr(again), "in case alone")


def test_a_name_twice(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(stream := io.BytesIO(), "w") as archive:
        archive.writestr("a.png", b"1")
        archive.writestr("a.png", b"1")
    refused(tmp_path, stream.getvalue(), "'a.png' is in it twice")
    refused(tmp_path, tar_bytes({"a/b": b"1", "./a//b": b"1"}), "'./a//b' is in it twice")
    refused(tmp_path, tar_bytes({"a": b"1", "a/b": b"1"}), "'a/b' cannot be written")
    refused(tmp_path, tar_bytes({"a/b": b"1", "a": b"1"}), "'a'")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
@pytest.mark.parametrize("link", ["/etc/passwd", "inside"])
def test_links_and_devices_in_a_tar(tmp_path: Path, kind: bytes, link: str) -> None:
    refused(tmp_path, special_tar("cat/x", kind, link), "'cat/x' is a link or no plain file")


@pytest.mark.parametrize("mode", [0o120777, 0o060666, 0o010666])
def test_links_and_devices_in_a_zip(tmp_path: Path, mode: int) -> None:
    refused(tmp_path, zip_bytes({"cat/x": b"/etc"}, external_attr=mode << 16), "'cat/x' is a link or no plain file")


def test_names_of_legacy_code_pages(tmp_path: Path) -> None:
    as_utf8 = zip_bytes({"xx.png": b"1"}).replace(b"xx.png", "ä.png".encode())  # No flag: so macOS writes it.
    (tmp_path / "mac.zip").write_bytes(as_utf8)
    unpack(tmp_path / "mac.zip", tmp_path / "mac")
    assert held(tmp_path / "mac") == {"ä.png": b"1"}
    refused(tmp_path, zip_bytes({"x.png": b"1"}).replace(b"x.png", b"\x84.png"), "ä.png", "not UTF-8")
    refused(tmp_path, tar_bytes({"ä.png": b"1"}, "latin-1"), r"'\udce4.png'", "not UTF-8")
    broken = zip_bytes({"äx.png": b"1"}).replace("äx".encode(), b"\xff\xfex")
    refused(tmp_path, broken, "cannot be read")


def test_encrypted_and_unknown_compression(tmp_path: Path) -> None:
    encrypted = bytearray(zip_bytes({"secret.png": b"1"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[encrypted.index(signature) + offset] |= 1
    refused(tmp_path, bytes(encrypted), "'secret.png' is encrypted")
    deflate64 = bytearray(zip_bytes({"big.png": b"1"}))
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        struct.pack_into("<H", deflate64, deflate64.index(signature) + offset, 9)
    refused(tmp_path, bytes(deflate64), "'big.png'", "cannot be read")


@pytest.mark.parametrize("kind", FORMATS)
def test_bombs(tmp_path: Path, kind: str) -> None:
    bomb = FORMATS[kind]({"fine.txt": b"x", "zeros": bytes(4_000_000)})
    small = Limits(ratio=0.5 if kind == "tar" else 100, always_allowed=1000)
    refused(tmp_path, bomb, "too much for an archive", limits=small)
    many = FORMATS[kind]({f"{number}.txt": b"" for number in range(30)})
    refused(tmp_path, many, "beyond the 29 members", limits=Limits(members=29))
    refused(tmp_path, bomb, "bytes that the disk has left", limits=Limits(spare=10**18))
    (tmp_path / "a").write_bytes(bomb)
    assert unpack(tmp_path / "a", tmp_path / "allowed") == 2  # The limits for real are wider.


def test_bombs_that_lie_about_their_size(tmp_path: Path) -> None:
    small = Limits(always_allowed=1000)
    refused(tmp_path, gzip.compress(bytes(4_000_000)), "too much for an archive", limits=small)
    trailing = gzip.compress(tar_bytes({"a": b"1"}) + bytes(4_000_000))
    refused(tmp_path, trailing, "'(its end)'", "too much", limits=small)
    honest = zip_bytes({"zeros": bytes(4_000_000)})
    lie = honest.replace(struct.pack("<I", 4_000_000), struct.pack("<I", 10))
    refused(tmp_path, lie, "'zeros'", "cannot be read", limits=small)
    with tarfile.open(fileobj=(stream := io.BytesIO()), mode="w") as archive:
        info = tarfile.TarInfo("huge")
        info.size = 2**62
        archive.addfile(info, None)
    refused(tmp_path, stream.getvalue(), "'huge'", "too much")


@pytest.mark.parametrize("kind", FORMATS)
def test_truncated_anywhere(tmp_path: Path, kind: str) -> None:
    whole = FORMATS[kind](FILES)
    # Zeros that fill up a tar's last record are no content: what matters are the end mark's first blocks.
    needed = len(tar_bytes(FILES).rstrip(b"\0")) if kind == "tar" else len(whole)
    for length in range(0, needed, max(1, needed // 40)):
        archive, into = tmp_path / f"{length}.bin", tmp_path / f"into-{length}"
        archive.write_bytes(whole[:length])
        with pytest.raises(RequestError, match=rf"{length}\.bin"):
            unpack(archive, into)


def test_a_zip_whose_list_hides_members(tmp_path: Path) -> None:
    whole = bytearray(zip_bytes(FILES))
    comment = whole.index(b"PK\x01\x02") + 32
    whole[comment + 1] = 4  # A comment of 1024 bytes, which swallows the other entries.
    refused(tmp_path, bytes(whole), "its list has 1 members of 3")


@pytest.mark.slow
def test_a_zip_of_many_members_and_a_comment(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.comment = b"c" * 65_535
        for number in range(65_600):
            archive.writestr(f"{number % 16}/{number}" + "/" * (number > 20), b"")
    assert unpack(tmp_path / "a.zip", tmp_path / "into") == 21


def test_other_files_are_no_archives(tmp_path: Path) -> None:
    for content in (
        b"",
        b"<html>login</html>",
        bytes(2000),
        b"Rar!\x1a\x07",
        b"7z\xbc\xaf\x27\x1c",
        bytes(range(256)) * 9,
    ):
        refused(tmp_path, content, "is not an archive that adbench can unpack")
    refused(tmp_path, zip_bytes({}), "holds no files")
    refused(tmp_path, special_tar("only/", tarfile.DIRTYPE), "holds no files")


def test_a_file_that_two_archives_bring(tmp_path: Path) -> None:
    for name, text in (("a", b"same"), ("b", b"same"), ("c", b"other"), ("d", b"same!")):
        (tmp_path / name).write_bytes(zip_bytes({"LICENCE": text, f"{name}.png": b""}))
    for name in "ab":
        unpack(tmp_path / name, tmp_path / "into")
    assert held(tmp_path / "into") == {"LICENCE": b"same", "a.png": b"", "b.png": b""}
    for name in "cd":
        with pytest.raises(RequestError, match="'LICENCE' is in an earlier archive too, with other content"):
            unpack(tmp_path / name, tmp_path / "into")


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives, "_chunks", full)
    refused(tmp_path, zip_bytes(FILES), "No space left on device", "cannot be written")


@pytest.mark.parametrize("kind", FORMATS)
def test_mutated_archives_are_refused_or_unpacked_right(tmp_path: Path, kind: str) -> None:
    """Flipped, cut, doubled and overwritten: 60 of each format."""
    rng = random.Random(kind)
    whole = FORMATS[kind](FILES)
    ends = {"refused": 0, "unpacked": 0}
    for number in range(60):
        box = tmp_path / str(number)
        box.mkdir()
        archive, into = box / "a.bin", box / "deep" / "into"
        archive.write_bytes(mutated(whole, rng))
        try:
            unpack(archive, into, Limits(always_allowed=10**7))
        except RequestError as error:
            assert str(archive) in error.problem
            ends["refused"] += 1
        else:
            ends["unpacked"] += 1
            assert set(held(into)) == set(FILES)
            if kind != "tar":  # Which has no checksum of its content, only of its headers.
                assert held(into) == FILES
        assert {path.name for path in box.iterdir()} <= {"a.bin", "deep"}
        assert [path.name for path in box.glob("deep/*")] in ([], ["into"])
        held(box)
    assert ends["refused"] >= 20


def mutated(whole: bytes, rng: random.Random) -> bytes:
    content = bytearray(whole)
    kind = rng.randrange(5)
    if kind == 0:
        return bytes(content[: rng.randrange(len(content))])
    if kind == 1:
        start = rng.randrange(len(content))
        length = rng.randrange(1, 64)
        return bytes(content[:start] + content[start : start + length] * 2 + content[start + length :])
    if kind == 2:
        for position in rng.sample(range(len(content)), min(8, len(content))):
            content[position] = rng.choice((0, 255, 0x2F, 0x2E, rng.randrange(256)))
        return bytes(content)
    for _ in range(1 if kind == 3 else 4):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)
