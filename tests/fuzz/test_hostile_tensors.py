"""Headers of tensor files that lie, and networks that no machine could hold."""

import json
import struct

import pytest
import torch

from fuzz.files import fresh_state, header, network_file, with_header
from fuzz.guard import ACCEPTED, command, guarded, refused
from noisette.perception.inception import load_inception
from noisette.training.checkpoint import load_state


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
    assert guarded(lambda: command("info", path)) == ACCEPTED


def test_a_card_may_say_anything_but_steers_no_terminal(tmp_path):
    path = tmp_path / "file.safetensors"
    card = {"data": "\x1b[2J\x1b]0;owned\x07", "\x1b[31m": ["\x9b31m", None, {"a": "\u202e"}], "images_seen": "many"}
    path.write_bytes(with_header("model", "card")(json.dumps(card).encode()))
    assert guarded(lambda: command("info", path)) == ACCEPTED  # which looks for what it must not print
