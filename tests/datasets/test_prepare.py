"""Archives to a verified dataset, on a miniature of MVTec AD; whatever goes wrong leaves nothing behind."""

import dataclasses
import hashlib
import json
import os
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from filelock import FileLock
from PIL import Image

from adbench.datasets.base import Archive
from adbench.datasets.errors import RequestError
from adbench.datasets.mvtec_ad import MvtecAd
from adbench.datasets.prepare import PREPARED, Checked, prepare, verify
from adbench.datasets.registry import open_dataset
from miniatures import MINIATURES

pytestmark = pytest.mark.usefixtures("uncounted")

COUNTS = {"train normal": 12, "test normal": 4, "test anomalous": 6}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MINIATURES["mvtec_ad"](tmp_path_factory.mktemp("original"))


@pytest.fixture
def archive(original: Path, tmp_path: Path) -> Path:
    """The dataset in one archive, within a folder."""
    return zipped(original, tmp_path / "mvtec.zip", "mvtec_anomaly_detection/")


def zipped(folder: Path, target: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, prefix + path.relative_to(folder).as_posix())
    return target


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the record name archives and counts."""

    def publish(*archives: Archive, **counts: dict[str, int]) -> None:
        record = dataclasses.replace(MvtecAd.record, archives=archives, counts=counts)
        monkeypatch.setattr(MvtecAd, "record", record)

    return publish


def prepared(root: Path, *archives: Path, said: list[str] | None = None, **options: bool) -> Checked:
    say = silent if said is None else said.append
    return prepare("mvtec_ad", archives, root, {}, version="1.2.3", say=say, **options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def silent(_: str) -> None:
    """Listen to nothing."""


def test_an_archive_becomes_a_dataset(archive: Path, tmp_path: Path) -> None:
    said: list[str] = []
    root = tmp_path / "new" / "data"
    checked = prepared(root, archive, said=said)
    assert checked.problems == () and checked.root == root / "mvtec_ad"
    assert {category.name: dict(category.counts) for category in checked.categories} == {
        "bottle": COUNTS,
        "carpet": COUNTS,
    }
    assert names(root) == ["mvtec_ad"] and names(root / "mvtec_ad") == [PREPARED, "mvtec_anomaly_detection"]
    assert said[0].startswith("unpacked mvtec.zip: 56 files") and said[-1] == "checking mvtec_ad/carpet (2 of 2)"
    facts = json.loads((root / "mvtec_ad" / PREPARED).read_text())
    assert facts.pop("prepared").startswith("20")
    assert facts == {
        "dataset": "mvtec_ad",
        "adbench_version": "1.2.3",
        "params": {},
        "archives": [{"name": "mvtec.zip", "bytes": archive.stat().st_size, "md5": md5(archive)}],
        "fingerprints": {category.name: category.fingerprint for category in checked.categories},
    }
    assert verify("mvtec_ad", root / "mvtec_ad", {}, silent) == checked


def test_several_archives_each_into_its_folder(
    original: Path, tmp_path: Path, published: Callable[..., None]
) -> None:
    paths = [zipped(original / name, tmp_path / f"{name}.zip") for name in ("bottle", "carpet")]
    published(*(Archive(path.name, md5=md5(path), into=path.stem) for path in paths))
    renamed = paths[1].rename(tmp_path / "carpet (1).zip")  # as browsers do: known by its content
    said: list[str] = []
    checked = prepared(tmp_path / "data", paths[0], renamed, paths[0], said=said)
    assert [category.name for category in checked.categories] == ["bottle", "carpet"] and not checked.problems
    assert not [line for line in said if line.startswith("note")]
    part = prepared(tmp_path / "other", paths[0], said=said)
    assert [category.name for category in part.categories] == ["bottle"]
    assert "note: not given, so not unpacked: carpet.zip" in said


@pytest.mark.parametrize("name", MINIATURES)
def test_every_dataset_is_prepared_from_archives_like_the_published(name: str, tmp_path: Path) -> None:
    root = MINIATURES[name](tmp_path / "original")
    apart = {"isic2018": [root], "real_iad": [root, root / "realiad_1024"]}  # an archive for each folder of these
    within = apart.get(name, [])
    folders = {path for folder in within for path in folder.iterdir() if path.is_dir()} - {*within}
    archives = [zipped(path, tmp_path / f"{path.name}.zip", f"{path.name}/") for path in folders]
    archives = [*archives, *root.glob("*.csv")] or [zipped(root, tmp_path / "all.zip", "published/")]
    checked = prepare(name, archives, tmp_path / "data", {}, version="1", say=silent)
    counts = {category.name: dict(category.counts) for category in checked.categories}
    prints = {category.name: category.fingerprint for category in checked.categories}
    original = verify(name, root, {}, silent)
    assert prints == {category.name: category.fingerprint for category in original.categories} and None not in prints
    assert counts == {category.name: dict(category.counts) for category in original.categories}


def test_what_a_split_leaves_out_is_counted(tmp_path: Path) -> None:
    (category,) = verify("oct2017", MINIATURES["oct2017"](tmp_path / "oct"), {}, silent).categories
    dataset = open_dataset("oct2017", {"root": str(tmp_path / "oct")})
    used = [sample for sample in dataset.samples("oct2017") if sample.role == "train" and not sample.label]
    lying = [*(tmp_path / "oct" / "train" / "NORMAL").iterdir()]
    assert category.counts["train normal"] == len(lying) > len(used)


def test_an_unknown_archive_is_noted_and_a_changed_one_refused(
    archive: Path, tmp_path: Path, published: Callable[..., None]
) -> None:
    published(Archive("all.tar.xz", md5="0" * 32))
    said: list[str] = []
    assert not prepared(tmp_path / "data", archive, said=said).problems
    assert said[0].startswith("note: mvtec.zip is none of the published archives, all.tar.xz;")
    published(Archive("mvtec.zip", md5="0" * 32))
    with pytest.raises(RequestError, match=rf"mvtec\.zip is not the published file: its md5 is {md5(archive)}"):
        prepared(tmp_path / "other", archive)
    assert names(tmp_path / "other") == []


def test_every_problem_is_told(original: Path, tmp_path: Path, published: Callable[..., None]) -> None:
    published(bottle={"train normal": 209, "test normal": 4}, carpet=COUNTS)
    broken = shutil.copytree(original, tmp_path / "broken")
    (broken / "bottle" / "train" / "good" / "003.png").write_bytes(b"no image")
    (broken / "carpet" / "ground_truth" / "broken" / "001_mask.png").unlink()
    checked = prepared(tmp_path / "data", zipped(broken, tmp_path / "a.zip"))
    assert len(checked.problems) == 3
    for problem, texts in zip(
        checked.problems,
        (("bottle/train/good/003.png",), ("12 images are train normal, 209",), ("broken/001.png", "without a mask")),
        strict=True,
    ):
        assert all(text in problem for text in texts), problem
    assert verify("mvtec_ad", tmp_path / "data" / "mvtec_ad", {}, silent).problems == checked.problems


def test_what_cannot_be_prepared_leaves_nothing(original: Path, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    cut = tmp_path / "cut.zip"
    cut.write_bytes(archive.read_bytes()[:20_000])
    with zipfile.ZipFile(evil := shutil.copy(archive, tmp_path / "evil.zip"), "a") as opened:
        opened.writestr("../../evil", "")
    other = zipped(tmp_path / "inner", tmp_path / "other.zip")
    with zipfile.ZipFile(other, "a") as opened:
        opened.writestr("pictures/cat.png", b"")
    root = tmp_path / "data"
    for paths, text in (
        ([cut], r"cut\.zip.*cannot be read"),
        ([archive, evil], r"evil\.zip.*leads out of the folder"),
        ([other], r"other\.zip: this is not dataset 'mvtec_ad', or not all of it; unpacked, it holds pictures"),
        ([tmp_path / "absent.zip"], r"absent\.zip does not exist"),
        ([original], "is a folder, not an archive"),
        ([], "no archive of dataset 'mvtec_ad' was given"),
    ):
        with pytest.raises(RequestError, match=text) as error:
            prepared(root, *map(Path, paths))
        assert error.value.remedy
        assert not root.exists() or names(root) == []
    assert not (tmp_path / "evil").exists()


def test_nothing_prepared_is_overwritten_unless_forced(original: Path, archive: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    before = prepared(root, archive)
    with pytest.raises(RequestError, match="is prepared already") as error:
        prepared(root, archive)
    assert "--force" in str(error.value.remedy)
    less = zipped(original / "carpet", tmp_path / "less.zip", "carpet/")
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK\x03\x04")
    with pytest.raises(RequestError, match=r"broken\.zip"):
        prepared(root, less, broken, force=True)
    assert verify("mvtec_ad", root / "mvtec_ad", {}, silent) == before  # A failure costs nothing.
    after = prepared(root, less, force=True)
    assert [category.name for category in after.categories] == ["carpet"]
    assert names(root) == ["mvtec_ad"] and names(root / "mvtec_ad") == [PREPARED, "carpet"]


def test_a_folder_of_the_user_s_own_is_never_replaced(archive: Path, tmp_path: Path) -> None:
    own = tmp_path / "data" / "mvtec_ad"
    (own / "precious").mkdir(parents=True)
    for force in (False, True):
        with pytest.raises(RequestError, match="was not made by `adbench data prepare`"):
            prepared(tmp_path / "data", archive, force=force)
    assert names(own) == ["precious"]
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "mvtec_ad").symlink_to(own)
    with pytest.raises(RequestError, match="was not made by"):
        prepared(tmp_path / "linked", archive, force=True)
    (own / "precious").rmdir()
    assert not prepared(tmp_path / "data", archive).problems  # An empty folder is nobody's.


def test_what_a_killed_process_left(archive: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    before = prepared(root, archive)
    (root / ".mvtec_ad.unpacking" / "half").mkdir(parents=True)
    (root / "mvtec_ad").rename(root / ".mvtec_ad.replaced")  # between the two steps of an exchange
    with pytest.raises(RequestError, match="is prepared already"):
        prepared(root, archive)
    assert verify("mvtec_ad", root / "mvtec_ad", {}, silent) == before
    prepared(root, archive, force=True)
    assert names(root) == ["mvtec_ad"]


def test_two_at_a_time(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with (
        FileLock(tmp_path / "data" / ".mvtec_ad.lock"),
        pytest.raises(RequestError, match="another `adbench data prepare` is at work"),
    ):
        prepared(tmp_path / "data", archive)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_without_permission(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o500)
    with pytest.raises(RequestError, match="cannot write to"):
        prepared(tmp_path / "data", archive)


def test_a_data_root_that_is_a_file(archive: Path) -> None:
    with pytest.raises(RequestError, match="cannot write to"):
        prepared(archive, archive)


def test_datasets_without_a_folder(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="'phantom' needs no preparation"):
        prepare("phantom", [archive], tmp_path, {}, version="1", say=silent)
    with pytest.raises(RequestError, match="'phantom' has no folder"):
        verify("phantom", tmp_path, {}, silent)
    assert verify("phantom", None, {}, silent).problems == ()


def test_changes_since_preparation(archive: Path, tmp_path: Path) -> None:
    root = tmp_path / "data" / "mvtec_ad"
    prepared(tmp_path / "data", archive)
    bottle = root / "mvtec_anomaly_detection" / "bottle"
    image = next((bottle / "train" / "good").iterdir())
    Image.open(image).rotate(180).save(image)
    shutil.rmtree(root / "mvtec_anomaly_detection" / "carpet")
    shutil.copytree(bottle, root / "mvtec_anomaly_detection" / "wood")
    changes = verify("mvtec_ad", root, {}, silent).problems
    assert [change.split("'")[1] for change in changes] == ["bottle", "carpet", "wood"]
    assert "is no longer what was prepared on 20" in changes[0] and "by adbench 1.2.3" in changes[0]
    assert "is no longer there" in changes[1] and "is not among those" in changes[2]
    (root / PREPARED).write_text("{")
    (problem,) = verify("mvtec_ad", root, {}, silent).problems
    assert f"{root / PREPARED} cannot be read" in problem
    (root / PREPARED).unlink()
    assert verify("mvtec_ad", root, {}, silent).problems == ()


def test_verifying_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"dataset 'mvtec_ad' is not here: .*nowhere does not exist"):
        verify("mvtec_ad", tmp_path / "nowhere", {}, silent)


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server of the files in tmp_path; it knows no ranges."""
    for name in ("http_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path)) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()
        thread.join()


def test_download(archive: Path, tmp_path: Path, address: str, published: Callable[..., None]) -> None:
    published(Archive("mvtec.zip", url=f"{address}/mvtec.zip", md5=md5(archive)))
    said: list[str] = []
    assert not prepared(tmp_path / "data", said=said, fetch=True).problems
    assert MvtecAd.record.licence in said[0] and said[1] == f"downloading {address}/mvtec.zip"
    assert names(tmp_path / "data") == ["downloads", "mvtec_ad"]
    kept = tmp_path / "data" / "downloads" / "mvtec_ad" / "mvtec.zip"
    assert kept.read_bytes() == archive.read_bytes()
    archive.unlink()  # It is not asked for again.
    assert not prepared(tmp_path / "data", said=said, fetch=True, force=True).problems
    assert f"already there: {kept} (remove it to have it fetched anew)" in said


def test_a_download_that_fails_says_how_to_do_without(
    tmp_path: Path, address: str, published: Callable[..., None]
) -> None:
    published(Archive("gone.zip", url=f"{address}/gone.zip"))
    with pytest.raises(RequestError, match=f"cannot download {address}/gone.zip: the server says 404") as error:
        prepared(tmp_path / "data", fetch=True)
    assert f"fetch {address}/gone.zip by hand" in str(error.value.remedy)
    assert "adbench data prepare mvtec_ad gone.zip" in str(error.value.remedy)


def test_what_has_no_public_address_is_explained(
    archive: Path, tmp_path: Path, address: str, published: Callable[..., None]
) -> None:
    published(Archive("mvtec.zip"), Archive("more.zip", url=f"{address}/more.zip"))
    with pytest.raises(RequestError, match="has no plain public address") as error:
        prepared(tmp_path / "data", fetch=True)
    assert error.value.allowed == "mvtec.zip"
    for text in (MvtecAd.record.home, MvtecAd.record.licence, "adbench data prepare mvtec_ad mvtec.zip"):
        assert text in str(error.value.remedy)
    (tmp_path / "more.zip").write_bytes(archive.read_bytes())
    checked = prepared(tmp_path / "data", archive, fetch=True)  # What cannot be fetched was given.
    assert len(checked.categories) == 2 and not checked.problems
    published()
    with pytest.raises(RequestError, match="has no plain public address"):
        prepared(tmp_path / "none", fetch=True)
