"""Files that inflate, and files that are pickled."""

import gzip
import io
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from fuzz.files import (
    IMAGES,
    LABELS,
    idx,
    npy,
    npz,
    zipped_images,
)
from fuzz.guard import ACCEPTED, REFUSED, command, guarded, refused
from fuzz.readers import READERS
from noisette.workflows.sources import open_samples

# What inflates ------------------------------------------------------------------------------------


def zeros(count: int) -> bytes:
    """So many zeros, deflated: a million of them again and again, which makes the same bytes each time."""
    deflate = zlib.compressobj(9, wbits=-15)
    block = deflate.compress(bytes(2**20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return block * (count >> 20)


@pytest.mark.parametrize("announced", [(10**6, 316, 316), (2**10, 2**10, 2**9), (2**32 - 1, 2**32 - 1, 2**32 - 1)])
def test_gzip_that_inflates_to_far_more_than_it_should(tmp_path, announced):
    deflate = zlib.compressobj(9, wbits=31)
    start = deflate.compress(bytes((0, 0, 8, 3)) + struct.pack(">3I", *announced))
    bomb = start + deflate.flush(zlib.Z_FULL_FLUSH) + zeros(2**28)
    assert len(bomb) < 300_000
    (tmp_path / f"{IMAGES}.gz").write_bytes(bomb)
    (tmp_path / LABELS).write_bytes(idx(20))
    refused(lambda: command("check", "mnist", "--data-dir", tmp_path), "announces")


def test_gzip_whose_trailer_lies(tmp_path):
    """The last four bytes of gzip say how much it holds; nobody may believe them."""
    whole = gzip.compress(idx(20, 3, 4))
    (tmp_path / f"{IMAGES}.gz").write_bytes(whole[:-4] + b"\xff\xff\xff\xff")
    (tmp_path / LABELS).write_bytes(idx(20))
    refused(lambda: command("check", "mnist", "--data-dir", tmp_path), "cannot be read")


def with_header_of(shape: tuple[int, ...], content: bytes = b"", dtype: str = "|u1") -> bytes:
    """An .npy file that announces what it likes."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + content


@pytest.mark.parametrize(
    "shape", [(10**12,), (10**6, 10**6, 1, 1), (-1, 2, 3, 1), (2**62, 2**62, 1, 1), (0, 10**9, 3, 1)]
)
def test_an_array_that_announces_far_more_than_follows(tmp_path, shape):
    (tmp_path / "a.npz").write_bytes(zipped_images(with_header_of(shape, bytes(600))))
    refused(lambda: open_samples(tmp_path / "a.npz"), "announces|not a readable")


def test_an_array_of_zeros_without_end(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("images.npy", "w", force_zip64=True) as member:
            member.write(with_header_of((256, 1024, 1024, 1)))
            for _ in range(256):
                member.write(bytes(2**20))
        archive.writestr("labels.npy", npy(np.zeros(256, np.int64)))
    (tmp_path / "a.npz").write_bytes(file.getvalue())
    assert len(file.getvalue()) < 300_000
    refused(lambda: open_samples(tmp_path / "a.npz"), "announces 268,437,760 bytes: expected at most 67,108,864")


def test_a_header_of_an_array_that_is_a_deep_expression(tmp_path):
    for expression in ("[" * 5000, "-" * 5000 + "1", "(" * 90 + ")" * 90, "{" * 5000, "1" * 5000):
        content = with_header_of((1,)).replace(b"(1,)", expression.encode())
        (tmp_path / "a.npz").write_bytes(zipped_images(content))
        refused(lambda: open_samples(tmp_path / "a.npz"), "not a readable sample file")


# What is pickled ----------------------------------------------------------------------------------


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", READERS)
def test_nothing_is_unpickled(tmp_path, name):
    """Not where a pickle is the whole file, nor within an array, nor behind a sound beginning."""
    reader, trace = READERS[name], tmp_path / "trace"
    payload = Payload(trace)
    objects = np.array([payload] * 100, dtype=object)
    pickled = pickle.dumps(payload)
    contents = [pickled, npz(images=objects, labels=objects), npy(objects), reader.make()[:10] + pickled]
    for number, content in enumerate(contents):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / reader.name).write_bytes(reader.wrap(content))
        outcome = guarded(lambda path=folder / reader.name: reader.read(path))
        assert outcome == (ACCEPTED if name == "cache entry" else REFUSED)  # that one is made again
    assert not trace.exists()
    pickle.loads(pickled)  # it would have
    assert trace.exists()
