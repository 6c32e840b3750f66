"""Downloads from a real server on this machine, which is as unreliable as it is told to be."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from adbench.datasets.download import download
from adbench.datasets.errors import RequestError

CONTENT = bytes(range(256)) * 3000
MD5 = hashlib.md5(CONTENT).hexdigest()


@dataclass
class Server:
    """What the server holds and how it behaves; ``ranges`` are those it was asked for, "" for the whole file."""

    url: str = ""
    content: bytes = CONTENT
    cut_after: list[int] = field(default_factory=list)
    """Bytes after which the connections break, one entry for each."""
    statuses: list[int] = field(default_factory=list)
    """Answered first, one for each request."""
    knows_ranges: bool = True
    tag: str | None = '"1"'
    sends_length: bool = True
    kind: str = "application/zip"
    ranges: list[str] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            state.ranges.append(wanted)
            if state.statuses:
                self.send_error(state.statuses.pop(0))
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-") or 0)
            if not state.knows_ranges or self.headers.get("If-Range", state.tag) != state.tag:
                start = 0
            if start and start >= len(state.content):
                self.send_error(416)
                return
            body = state.content[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}")
            self.send_header("Content-Type", state.kind)
            if state.sends_length:
                self.send_header("Content-Length", str(len(body)))
            if state.tag:
                self.send_header("ETag", state.tag)
            self.end_headers()
            self.wfile.write(body[: state.cut_after.pop(0)] if state.cut_after else body)

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        state.url = f"http://127.0.0.1:{served.server_address[1]}/data.zip"
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        yield state
        served.shutdown()
        thread.join()


def fetch(server: Server, target: Path, md5: str | None = MD5) -> None:
    download(server.url, target, md5=md5, remedy="by hand", pause=0.01)
    assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("md5", [MD5, None])
@pytest.mark.parametrize("sends_length", [True, False])
def test_a_file_arrives(server: Server, tmp_path: Path, md5: str | None, sends_length: bool) -> None:
    server.sends_length = sends_length
    fetch(server, tmp_path / "new" / "data.zip", md5)
    assert (tmp_path / "new" / "data.zip").read_bytes() == CONTENT
    assert server.ranges == [""]


def test_a_broken_connection_is_taken_up_again(server: Server, tmp_path: Path) -> None:
    server.cut_after = [100_000, 50_000]
    fetch(server, tmp_path / "data.zip")
    assert (tmp_path / "data.zip").read_bytes() == CONTENT
    assert server.ranges == ["", "bytes=100000-", "bytes=150000-"]


def test_a_later_download_goes_on_with_the_part(server: Server, tmp_path: Path) -> None:
    server.cut_after = [100_000] + [0] * 3
    with pytest.raises(RequestError, match=r"data\.zip: the connection ended after 100,000 of 768,000 bytes"):
        fetch(server, tmp_path / "data.zip")
    assert (tmp_path / "data.zip.part").read_bytes() == CONTENT[:100_000]
    assert not (tmp_path / "data.zip").exists()
    server.ranges.clear()
    fetch(server, tmp_path / "data.zip")
    assert (tmp_path / "data.zip").read_bytes() == CONTENT
    assert server.ranges == ["bytes=100000-"]


def part(server: Server, folder: Path, content: bytes, **origin: object) -> None:
    (folder / "data.zip.part").write_bytes(content)
    known = {"url": server.url, "size": len(CONTENT), "validator": '"1"', **origin}
    (folder / "data.zip.part.json").write_text(json.dumps(known))


def test_a_complete_part_needs_no_request(server: Server, tmp_path: Path) -> None:
    part(server, tmp_path, CONTENT)
    fetch(server, tmp_path / "data.zip")
    assert server.ranges == [] and (tmp_path / "data.zip").read_bytes() == CONTENT


def test_a_server_that_ignores_ranges(server: Server, tmp_path: Path) -> None:
    server.knows_ranges, server.cut_after = False, [100_000]
    fetch(server, tmp_path / "data.zip")
    assert (tmp_path / "data.zip").read_bytes() == CONTENT
    assert server.ranges == ["", "bytes=100000-"]


@pytest.mark.parametrize("tag", ['"2"', None])
@pytest.mark.parametrize("grown", [b"more", b""])
def test_a_file_that_changed_on_the_server_is_begun_anew(
    server: Server, tmp_path: Path, tag: str | None, grown: bytes
) -> None:
    """Told by its tag, its size or, in the end, its checksum; one that shrank answers 416."""
    server.content, server.tag = b"new" + CONTENT[3:] + grown, tag
    part(server, tmp_path, CONTENT[:1000], validator='"1"' if tag else None)
    fetch(server, tmp_path / "data.zip", hashlib.md5(server.content).hexdigest())
    assert (tmp_path / "data.zip").read_bytes() == server.content


def test_a_file_that_shrank(server: Server, tmp_path: Path) -> None:
    part(server, tmp_path, CONTENT[:5000])
    server.content = b"short"
    fetch(server, tmp_path / "data.zip", hashlib.md5(b"short").hexdigest())
    assert server.ranges == ["bytes=5000-", ""]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "data.zip.part.json").write_text("{"),
        lambda folder: (folder / "data.zip.part.json").unlink(),
        lambda folder: (folder / "data.zip.part").write_bytes(CONTENT + b"too long"),
        lambda folder: (folder / "data.zip.part.json").write_text(
            json.dumps({"url": "http://other/", "size": len(CONTENT), "validator": None})
        ),
    ],
)
def test_a_part_of_unknown_origin_is_not_gone_on_with(
    server: Server, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    part(server, tmp_path, b"x" * 1000)
    spoil(tmp_path)
    fetch(server, tmp_path / "data.zip")
    assert server.ranges == [""] and (tmp_path / "data.zip").read_bytes() == CONTENT


def test_a_wrong_checksum(server: Server, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=f"the md5 {MD5}, {'0' * 32} is published") as error:
        fetch(server, tmp_path / "data.zip", "0" * 32)
    assert error.value.remedy == "by hand" and server.url in error.value.problem
    assert list(tmp_path.iterdir()) == [] and server.ranges == [""]
    part(server, tmp_path, b"x" * 1000)  # Only what was pieced together is fetched once more.
    fetch(server, tmp_path / "data.zip")
    assert server.ranges[1:] == ["bytes=1000-", ""] and (tmp_path / "data.zip").read_bytes() == CONTENT


def test_statuses_that_may_pass_and_others(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    fetch(server, tmp_path / "data.zip")
    assert len(server.ranges) == 3
    for status, requests in ((404, 1), (403, 1), (500, 4)):
        server.ranges.clear()
        server.statuses = [status] * requests
        with pytest.raises(RequestError, match=f"the server says {status}"):
            fetch(server, tmp_path / "other.zip")
        assert len(server.ranges) == requests


def test_a_web_page_is_no_archive(server: Server, tmp_path: Path) -> None:
    part(server, tmp_path, CONTENT[:1000])
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(RequestError, match="the server sent a web page instead"):
        fetch(server, tmp_path / "data.zip", None)
    server.kind = "application/zip"
    fetch(server, tmp_path / "data.zip")  # What was there before is not lost.
    assert server.ranges[-1] == "bytes=1000-"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/data.zip", "http://nowhere.invalid/data.zip"])
def test_without_a_network(url: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError) as error:
        download(url, tmp_path / "data.zip", md5=None, remedy=f"fetch {url} by hand", pause=0.01)
    assert url in error.value.problem and error.value.remedy == f"fetch {url} by hand"
    assert list(tmp_path.iterdir()) == []


def test_only_http(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="file:///etc/passwd"):
        download("file:///etc/passwd", tmp_path / "data.zip", md5=None, remedy="-")


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.zip.part").mkdir()
    with pytest.raises(RequestError, match="cannot write"):
        download(server.url, tmp_path / "data.zip", md5=None, remedy="-", pause=0.01)


def test_proxies_are_those_of_the_environment(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/data.zip"))
    download("http://elsewhere.invalid/data.zip", tmp_path / "data.zip", md5=MD5, remedy="-", pause=0.01)
    assert (tmp_path / "data.zip").read_bytes() == CONTENT
