"""A short form of `make kills`, and that its comparison can see what it is there for."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("kills", ROOT / "tools" / "kills.py")
kills = importlib.util.module_from_spec(SPEC)
sys.modules["kills"] = kills  # dataclasses look their module up
SPEC.loader.exec_module(kills)


@pytest.mark.skipif(os.name == "nt", reason="Windows does not fork")
def test_a_run_that_is_killed_in_each_phase_and_resumed_is_the_unbroken_one():
    command = [sys.executable, str(ROOT / "tools" / "kills.py"), "5", "0"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {line[:20].strip(): line[20:].split() for line in done.stdout.splitlines()[2:]}
    assert all(int(rows[phase][0]) >= 1 for phase in kills.PHASES)
    assert rows["all"][0] == rows["all"][1]


def change_tensor(path: Path, name: str) -> None:
    header = {"format": "noisette-state-1", "progress": json.dumps({"images_seen": 512, "seconds": 1.0})}
    tensors = load_file(path)
    if name:
        tensors[name] = tensors[name] + torch.zeros_like(tensors[name]).flatten().index_fill(
            0, torch.tensor([0]), 1e-6
        ).reshape(tensors[name].shape)
    save_file(tensors, path, header)


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


STATE = "checkpoints/000000512-validated.safetensors"
CHANGES = {
    "nothing": (lambda run: None, None),
    "the seconds": (lambda run: rewrite(run / "metrics.jsonl", '"seconds": 0', '"seconds": 9'), None),
    "a tensor": (lambda run: change_tensor(run / STATE, "average.output.bias"), "tensor average.output.bias"),
    "the progress": (lambda run: change_tensor(run / STATE, ""), f"{STATE}: header progress"),
    "a line": (
        lambda run: rewrite(run / "metrics.jsonl", '"images_seen": 128', '"images_seen": 129'),
        "metrics.jsonl line 2: ",
    ),
    "a grid": (lambda run: (run / "samples" / "000000256.png").write_bytes(b"other"), "000000256.png: other bytes"),
    "a leftover": (lambda run: (run / ".unfinished-run-x.json").touch(), r".unfinished-run-x.json: only in one"),
    "a missing best": (lambda run: (run / "best.safetensors").unlink(), "best.safetensors: only in one"),
    "the manifest": (
        lambda run: rewrite(run / "checkpoints" / "manifest.json", '"sha256": "', '"sha256": "0'),
        "manifest",
    ),
}


@pytest.mark.parametrize(("change", "found"), CHANGES.values(), ids=CHANGES)
def test_the_comparison_names_the_first_difference(report_run, tmp_path, change, found):
    shutil.copytree(report_run, tmp_path / "run")
    change(tmp_path / "run")
    told = kills.difference(report_run, tmp_path / "run")
    assert told is None if found is None else found in str(told)


def test_the_phase_is_the_one_that_was_entered_and_not_left():
    def phase(*lines: str) -> str:
        return kills.phase_at([kills.Point(0, *line.split(" ", 1), 0.0) for line in lines])

    assert phase("enter start") == "start"
    assert phase("enter start", "exit start") == "between"
    assert phase("enter start", "exit start", "enter grid write", "before fsync") == "grid write"
