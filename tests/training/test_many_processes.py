"""Two processes at half the batch each are one process, to rounding: in float64 on the CPU, over gloo."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import shared_training
import torch
from safetensors.torch import load_file

from noisette.training.checkpoint import state_tensors


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """What two processes were left with."""
    folder = tmp_path_factory.mktemp("shared")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", shared_training.__file__, str(folder)]
    started = [
        subprocess.Popen(
            command,
            env=os.environ | place | {"RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in "01"
    ]
    told = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], "\n".join(told)
    return folder


@pytest.mark.parametrize("name", shared_training.CASES)
def test_two_processes_are_one_to_rounding(shared, name):
    state, events = shared_training.learn(shared_training.CASES[name])
    one, two = state_tensors(state), load_file(shared / name)
    assert one.keys() == two.keys()
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=1e-11, atol=1e-12, msg=key)
    assert_told_alike(json.loads((shared / f"{name}.json").read_text()), [asdict(event) for event in events], 1e-11)


def test_two_processes_with_bfloat16_gradients_are_one_roughly(shared):
    config = shared_training.CASES["muon, accumulation 2"]
    _, events = shared_training.learn(config, dtype=torch.float32, precision=torch.bfloat16)
    assert_told_alike(json.loads((shared / "bfloat16.json").read_text()), [asdict(event) for event in events], 0.05)


def assert_told_alike(two: list[dict[str, object]], one: list[dict[str, object]], tolerance: float) -> None:
    assert len(two) == len(one) == 4 + 2 + 1
    for found, expected in zip(two, one, strict=True):
        assert found.keys() == expected.keys()
        for key in expected:
            told = found[key] if isinstance(found[key], (str, bool)) else pytest.approx(found[key], rel=tolerance)
            wanted = list(expected[key]) if isinstance(expected[key], tuple) else expected[key]
            assert wanted == told, key
