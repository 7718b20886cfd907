import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from noisette.base.errors import NoisetteError, Refusal
from noisette.data import mnist
from noisette.data.datasets import load_data
from noisette.data.download import fetch

CONTENT = b"the right bytes" * 1000
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


class Mirrors(BaseHTTPRequestHandler):
    """One server, several mirrors: the first folder of an address says how it behaves."""

    files: dict[str, bytes]
    asked: list[str]

    def do_GET(self) -> None:
        _, mirror, name = self.path.split("/")
        self.asked.append(mirror)
        if mirror == "missing":
            return self.send_error(404)
        content = self.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        sent = {"good": content, "wrong": content[::-1], "cut": content[: len(content) // 2]}
        self.wfile.write(sent[mirror])
        return None

    def log_message(self, *_: object) -> None:
        """Nothing: the tests' output stays readable."""


@pytest.fixture
def server(monkeypatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    Mirrors.files, Mirrors.asked = {"file": CONTENT}, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Mirrors) as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}/"
        found.shutdown()
        thread.join()


@pytest.fixture
def dead() -> Iterator[str]:
    """A mirror that nobody answers for: a port that is taken but not listened on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/"


@pytest.mark.parametrize("checksum", [SHA256, MD5], ids=["sha256", "md5"])
def test_the_first_good_mirror_serves(server, dead, tmp_path, checksum):
    mirrors = [dead, *(f"{server}{name}/" for name in ("missing", "wrong", "cut", "good", "missing"))]
    path = fetch("file", checksum, mirrors, tmp_path / "cache")
    assert path.read_bytes() == CONTENT
    assert Mirrors.asked == ["missing", "wrong", "cut", "good"]
    assert list((tmp_path / "cache").iterdir()) == [path]  # no half-written file beside it


def test_when_all_fail_each_fault_is_told_and_nothing_is_left(server, dead, tmp_path):
    mirrors = [dead, *(f"{server}{name}/" for name in ("missing", "wrong", "cut"))]
    with pytest.raises(NoisetteError) as caught:
        fetch("file", SHA256, mirrors, tmp_path / "cache")
    message = str(caught.value)
    for mirror, fault in zip(
        mirrors, ("no connection", "HTTP status 404", "wrong checksum", "connection cut"), strict=True
    ):
        assert f"{mirror} ({fault})" in message
    assert "--data-dir" in message
    assert "\n" not in message
    assert not isinstance(caught.value, Refusal)  # the input was not at fault
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_kept_copy_needs_no_mirror(server, dead, tmp_path):
    fetch("file", SHA256, [f"{server}good/"], tmp_path)
    assert fetch("file", SHA256, [dead], tmp_path).read_bytes() == CONTENT
    assert Mirrors.asked == ["good"]


def test_a_damaged_copy_is_fetched_again(server, tmp_path):
    (tmp_path / "file").write_bytes(CONTENT[:-1])
    assert fetch("file", SHA256, [f"{server}good/"], tmp_path).read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written_is_not_blamed_on_mirrors(server, tmp_path):
    (tmp_path / "cache").write_text("a file, no folder")
    with pytest.raises(NoisetteError, match="cannot keep file in"):
        fetch("file", SHA256, [f"{server}good/"], tmp_path / "cache")


@pytest.mark.parametrize("name", mnist.RELATIVES)
def test_a_relative_is_downloaded_file_by_file(server, dead, tmp_path, write_mnist, monkeypatch, name):
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28))
    write_mnist(tmp_path / "remote", images, [3, 1, 4])
    Mirrors.files = {path.name: path.read_bytes() for path in (tmp_path / "remote").iterdir()}
    make = hashlib.md5 if name == "fashion-mnist" else hashlib.sha256
    sums = {stem.removesuffix(".gz"): f"{make().name}:{make(file).hexdigest()}" for stem, file in Mirrors.files.items()}
    mirrors = (dead, *(f"{server}{mirror}/" for mirror in ("cut", "wrong", "good")))
    monkeypatch.setitem(mnist.RELATIVES, name, replace(mnist.RELATIVES[name], mirrors=mirrors, checksums=sums))
    monkeypatch.setenv("NOISETTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(mnist.FOLDER_VARIABLE, raising=False)
    data = load_data(name)
    np.testing.assert_array_equal(data.images[..., 0], images)
    assert data.labels.tolist() == [3, 1, 4]
    assert Mirrors.asked == ["cut", "wrong", "good"] * 2
    assert load_data(name).digest == data.digest
    assert len(Mirrors.asked) == 6  # the second time from the cache, which has a folder for each name
    assert {path.parent for path in tmp_path.glob("cache/*/*")} == {tmp_path / "cache" / name}
