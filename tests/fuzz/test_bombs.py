"""Files made to do harm, each by a trick of its own."""

import gzip
import io
import json
import os
import pickle
import struct
import threading
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from fuzz.guard import MEMORY, bounded, command, guarded
from fuzz.readers import (
    IMAGES,
    LABELS,
    READERS,
    RECORDS,
    fresh_state,
    header,
    idx,
    lines,
    network_file,
    npy,
    npz,
    with_header,
    zipped_member,
)
from noisette.base.errors import Refusal
from noisette.base.tensor_file import read_tensors
from noisette.base.text_file import DEEPEST, parse_json, read_json, read_text, read_toml
from noisette.perception.inception import load_inception
from noisette.training.checkpoint import load_state
from noisette.training.log import read_log
from noisette.workflows.recipes import read_run_config
from noisette.workflows.sources import open_samples


def refused(read, match):
    """Run it under guard; it must be refused, in these words."""
    told = []

    def tell():
        try:
            read()
        except Refusal as error:
            told.append(str(error))
            raise

    guarded(tell)
    assert told
    import re

    assert re.search(match, told[0]), told[0]


# The guard itself ---------------------------------------------------------------------------------


def test_the_guard_sees_memory():
    with pytest.raises(MemoryError), bounded(2**26):
        bytearray(2**28)


def test_the_guard_sees_a_hang(monkeypatch, tmp_path):
    monkeypatch.setattr("fuzz.guard.SECONDS", 1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BaseException, match="more than 1 s"):
        guarded(lambda: (tmp_path / "pipe").read_bytes())


def test_the_guard_sees_a_traceback():
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 / 0)


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
    (tmp_path / "a.npz").write_bytes(zipped_member(with_header_of(shape, bytes(600))))
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
        (tmp_path / "a.npz").write_bytes(zipped_member(content))
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
    contents = [pickled, npz(images=objects, labels=objects), npy(objects), reader.make()[:20] + pickled]
    (tmp_path / "in").mkdir()
    for content in contents:
        (tmp_path / "in" / reader.name).write_bytes(reader.wrap(content))
        assert guarded(lambda: reader.read(tmp_path / "in" / reader.name)) == "refused"
    assert not trace.exists()
    pickle.loads(pickled)  # it would have
    assert trace.exists()


# Headers of tensors -------------------------------------------------------------------------------


def tensor_file(entries: dict, content: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with any header, which may lie about its own length."""
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + content


F = {"dtype": "F32", "shape": [1]}
OFFSETS = {
    "overlap": [[0, 4], [2, 6]],
    "outside": [[0, 4], [4, 2**40]],
    "backwards": [[4, 0], [4, 8]],
    "a hole": [[0, 4], [8, 12]],
    "twice": [[0, 4], [0, 4]],
    "negative": [[-4, 0], [0, 4]],
    "beyond numbers": [[0, 4], [2**64 - 4, 2**64]],
}


@pytest.mark.parametrize("case", OFFSETS)
@pytest.mark.parametrize("kind", ["model", "state", "inception"])
def test_tensors_that_lie_where_they_cannot(tmp_path, case, kind):
    entries = {name: F | {"data_offsets": place} for name, place in zip("ab", OFFSETS[case], strict=True)}
    path = tmp_path / "file.safetensors"
    path.write_bytes(tensor_file({"__metadata__": {"format": f"noisette-{kind}-1"}} | entries, bytes(16)))
    read = {
        "model": lambda: command("info", path),
        "state": lambda: load_state(path, fresh_state()),
        "inception": lambda: load_inception(path, torch.device("cpu")),
    }
    refused(read[kind], "is not a readable")


@pytest.mark.parametrize("length", [2**30, 10**8, 2**63, 2**64 - 1])
@pytest.mark.parametrize("kind", ["model", "state"])
def test_a_header_that_announces_a_gigabyte(tmp_path, length, kind):
    path = tmp_path / "file.safetensors"
    with path.open("wb") as file:
        file.write(tensor_file({}, length=length))
        file.truncate(min(2 * 2**30, length + 8))  # it is as long as it says, and takes no room on the disk
    read = (lambda: command("info", path)) if kind == "model" else (lambda: load_state(path, fresh_state()))
    refused(read, f"is not a readable {kind}: a header of")


def test_a_tensor_of_a_gigabyte_that_no_network_has_is_not_read(tmp_path):
    path = tmp_path / "file.safetensors"
    whole = network_file("model")
    length = int.from_bytes(whole[:8], "little")
    entries = json.loads(whole[8 : 8 + length])
    end = len(whole) - 8 - length
    entries["more"] = {"dtype": "F32", "shape": [2**28], "data_offsets": [end, end + 2**30]}
    with path.open("wb") as file:
        file.write(tensor_file(entries, whole[8 + length :]))
        file.truncate(file.tell() + 2**30)
    refused(lambda: command("info", path), "holds weights of another network: an unknown tensor more")


HUGE = {
    "widths": {"network": {"widths": [10**6] * 1000}},
    "wide": {"network": {"widths": [100_000] * 10, "embedding": 100_000}},
    "blocks": {"network": {"widths": [4], "blocks": 10**6}},
    "embedding": {"network": {"embedding": 2**40}},
    "patch": {"network": {"patch": 2**30}},
    "channels": {"channels": 10**9},
    "sides": {"height": 10**9, "width": 10**9},
    "levels": {"diffusion": {"data_std": 0.5, "table_steps": 10**12}},
    "steps": {"sampling": {"steps": 10**12}},
    "classes": {"classes": ["a"] * 20_000},
    "infinite data": {"diffusion": {"data_std": float("inf")}},
    "rho": {"diffusion": {"data_std": 0.5, "levels": {"rho": 1e-300, "noise_level_max": 1e300}}},
}


@pytest.mark.parametrize("case", HUGE)
def test_a_network_that_no_machine_could_hold(tmp_path, case):
    path = tmp_path / "file.safetensors"
    spec = header("model", "spec")
    changed = {key: spec[key] | value if isinstance(value, dict) else value for key, value in HUGE[case].items()}
    path.write_bytes(with_header("model", "spec")(json.dumps(spec | changed).encode()))
    refused(lambda: command("info", path), "expected|holds weights of another network|beyond")


def test_large_images_of_a_small_network_take_no_memory_to_tell_of(tmp_path):
    path = tmp_path / "file.safetensors"
    spec = header("model", "spec") | {"height": 4096, "width": 4096}
    path.write_bytes(with_header("model", "spec")(json.dumps(spec).encode()))
    assert guarded(lambda: command("info", path)) == "accepted"


# Texts --------------------------------------------------------------------------------------------

DEEP = {
    "arrays in TOML": ("a = " + "[" * 30_000, read_toml),
    "tables in TOML": ("a = " + "{a=" * 15_000, read_toml),
    "a closed array in TOML": (f"a = {'[' * 90}{']' * 90}", read_toml),
    "a dotted key": (".".join("a" * 20_000) + " = 1", read_toml),
    "a long whole number": (f"a = {'9' * 5000}", read_toml),
    "a long hexadecimal": (f"a = 0x{'f' * 5000}", read_toml),
    "arrays in JSON": ("[" * 100_000, lambda path: read_json(path, "file")),
    "tables in JSON": ('{"a":' * 100_000, lambda path: read_json(path, "file")),
    "a closed array in JSON": ("[" * 500 + "]" * 500, lambda path: read_json(path, "file")),
    "a number in JSON": ("9" * 5000, lambda path: read_json(path, "file")),
    "half a character": ('"\\ud800"', lambda path: read_json(path, "file")),
    "a text beyond all bounds": (" " * (2**23 + 1), lambda path: read_json(path, "file")),
    "a configuration beyond all bounds": ("#" * 70_000, read_toml),
}


@pytest.mark.parametrize("case", DEEP)
def test_texts_that_choke_a_parser(tmp_path, case):
    text, read = DEEP[case]
    (tmp_path / "file").write_text(text)
    refused(lambda: read(tmp_path / "file"), "is not valid TOML|is not readable JSON|is longer than")


def test_values_may_be_as_deep_as_any_of_ours():
    assert parse_json("[" * DEEPEST + "]" * DEEPEST, "here")
    with pytest.raises(Refusal, match="values more than"):
        parse_json("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "here")


def test_a_line_of_a_hundred_megabytes(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with path.open("wb") as file:
        file.write(lines([RECORDS[0]]) + b'{"event": "')
        file.truncate(10**8)
        file.seek(10**8)
        file.write(b'"}\n' + lines([RECORDS[0]]))
    with bounded(2**24), pytest.raises(Refusal, match="line 2 is not a record"):
        read_log(path)


# What is no file ----------------------------------------------------------------------------------

PLACES = {
    "a model": lambda path: command("info", path),
    "samples": open_samples,
    "configuration": read_run_config,
    "log": read_log,
    "JSON": lambda path: read_json(path, "file"),
    "tensors": lambda path: read_tensors(path, "cache", "none"),
    "weights of Inception": lambda path: load_inception(path, torch.device("cpu")),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("what", ["pipe", "device", "folder", "socket", "loop", "long", "zero", "below a file"])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path, place, what):
    path = tmp_path / "here"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path = Path("/dev/zero")
    elif what == "folder":
        path.mkdir()
    elif what == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path)[-100:] if len(str(path)) < 100 else os.path.relpath(path))
    elif what == "loop":
        path.symlink_to(path)
    elif what == "long":
        path = tmp_path / ("x" * 1000)
    elif what == "zero":
        path = tmp_path / "a\0b"
    else:
        path.write_text("file")
        path = path / "below"
    refused(lambda: PLACES[place](path), "no .* at|no model|holds neither|expected a|too long")


@pytest.mark.parametrize("argv", ["info {}", "check mnist --data-dir {}", "report {}", "doctor {}", "train --out {}"])
def test_a_path_that_no_system_takes(argv):
    for path in ("x" * 5000, "y/" * 3000):
        refused(lambda path=path: command(*argv.format(path).split()), "noisette: ")


def test_a_file_that_shrinks_while_it_is_read(tmp_path, monkeypatch):
    """Mapped into memory it would end the process; here it is a damaged file."""
    import noisette.base.tensor_file as tensor_file

    path = tmp_path / "file.safetensors"
    path.write_bytes(network_file("model"))
    read = tensor_file.OpenTensors.read

    def shrunk(self):
        os.truncate(path, 1000)
        return read(self)

    monkeypatch.setattr(tensor_file.OpenTensors, "read", shrunk)
    refused(lambda: command("info", path), "is not a readable model")


def test_a_file_that_grows_without_end(tmp_path):
    """Not more is read than may be needed: a writer that never stops is not waited for."""
    path, stop = tmp_path / "run.json", threading.Event()
    path.write_bytes(b"[")

    def write():
        with path.open("ab") as file:
            while not stop.wait(0.001) and file.tell() < MEMORY:
                file.write(b" " * 2**20)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while path.stat().st_size < 2**24:
            pass
        refused(lambda: read_text(path, "run", 2**16), "is longer than")
    finally:
        stop.set()
        writer.join()
