"""Texts that choke a parser, and paths to what is no file."""

import os
import threading
from pathlib import Path

import pytest
import torch

from fuzz.files import RECORDS, lines, network_file
from fuzz.guard import MEMORY, bounded, command, refused
from noisette.base.errors import Refusal
from noisette.base.tensor_file import read_tensors
from noisette.base.text_file import DEEPEST, parse_json, read_json, read_text, read_toml
from noisette.perception.inception import load_inception
from noisette.training.log import read_log
from noisette.workflows.recipes import read_run_config
from noisette.workflows.sources import open_samples

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
