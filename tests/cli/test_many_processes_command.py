"""A command that many processes share: told once, and no worse off when one of them is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from torch.distributed import TCPStore

from noisette.cli import main
from noisette.training.log import read_log

LAUNCHER = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "noisette")
ENDLESS = 10**8


def losses_of(folder: Path) -> dict[tuple[str, int], float]:
    """The loss by event and images seen; each happens once."""
    records = [record for record in read_log(folder / "metrics.jsonl") if record["event"] != "finished"]
    losses = {(record["event"], record["images_seen"]): record["loss"] for record in records}
    assert len(losses) == len(records)
    return losses


def saved_at(folder: Path) -> int:
    """After how many images the newest checkpoint was saved."""
    newest = json.loads((folder / "checkpoints" / "manifest.json").read_text())["checkpoints"][0]["file"]
    return int(newest[:9])


@pytest.mark.skipif(os.name == "nt", reason="Windows kills otherwise")
def test_begun_on_one_killed_on_two_finished_on_one(tiny, tmp_path, capsys):
    out, flags = tmp_path / "run", ("--rate", "constant", "--validation-images", "51")
    assert main([*tiny, "256", "--out", str(out), *flags]) == 0

    shared = subprocess.Popen(
        [*LAUNCHER, *tiny, str(ENDLESS), "--out", str(out), *flags],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while saved_at(out) == 256:
        assert shared.poll() is None, shared.communicate()[0]
        time.sleep(0.01)
    for process in psutil.Process(shared.pid).children():
        if process.environ()["RANK"] == "1":
            process.send_signal(signal.SIGKILL)
    said = shared.communicate()[0]
    assert shared.returncode == 1
    assert "resumed  on 2, not 1, processes" in said
    ended = [line for line in said.splitlines() if line.startswith("noisette: another process has ended")]
    assert len(ended) == 1, said
    assert ended[0].endswith("the same command goes on from the last checkpoint")

    horizon = str(saved_at(out) + 64)
    capsys.readouterr()
    assert main([*tiny, horizon, "--out", str(out), *flags]) == 0
    assert "resumed  on 1, not 2, processes" in capsys.readouterr().out
    assert main([*tiny, horizon, "--out", str(tmp_path / "unbroken"), *flags]) == 0
    assert losses_of(out) == pytest.approx(losses_of(tmp_path / "unbroken"), rel=1e-3)
    assert json.loads((out / "run.json").read_text())["processes"] == 1


def test_a_refusal_is_told_once():
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # the launcher's
    place = {"WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "noisette", "check", "mnist-5k"],
            env=os.environ | place | {"RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in "012"
    ]
    said = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [2, 2, 2]
    assert len("".join(said).splitlines()) == 1
    assert "".join(said).startswith("noisette: `noisette check` on 3 processes: expected one")
