"""`noisette reward`: flags reach the request, model, record and figures reach their folder, bad input is one line."""

import json
import os
import signal
from pathlib import Path

import pytest

from noisette.base.errors import Refusal
from noisette.cli.reward import run
from noisette.data.form import Form
from noisette.weights.model_file import save_model
from noisette.workflows.model import load
from noisette.workflows.reward import Reward, RewardRequest
from noisette.workflows.score import Prompts


@pytest.fixture
def folder(blobs, monkeypatch, tiny_model, other_classifier):
    """The working folder, with a model, and a classifier beside that of the blobs."""
    monkeypatch.chdir(blobs.folder)
    save_model(blobs.folder / "model.safetensors", tiny_model(blobs.classes, sampler="ddim", eta=0.5, steps=3))
    (blobs.folder / "other.safetensors").symlink_to(other_classifier)
    return blobs.folder


FLAGS = ("--data", "blobs", "--reward", "other.safetensors", "--measure", "blobs.safetensors", "--device", "cpu")
SHORT = (*FLAGS, "--images", "64", "--batch-size", "32", "--check-images", "120", "--last-steps", "1", "--out", "new")


def test_a_folder_of_a_rewarded_model(folder, capsys):
    assert run(["model.safetensors", *SHORT]) == 0
    said = capsys.readouterr().out
    assert said.startswith("0 images: score ")
    assert "which took no part" in said
    record = json.loads(Path("new/reward.json").read_text())
    assert record["format"] == "noisette-reward-1"
    sampling = record["model"]["sampling"]
    assert (sampling["sampler"], sampling.get("eta"), sampling["guidance_scale"]) == ("ddim", None, 1.0)
    assert load("new", "cpu").sampling == load("model.safetensors", "cpu").sampling
    names = {f"{stem}.{suffix}" for stem in ("course", "images", "measured") for suffix in ("png", "svg")}
    assert {path.name for path in Path("new").iterdir()} == {"best.safetensors", "reward.json", *names}
    with pytest.raises(Refusal, match="--out new, which holds a model: expected a new folder"):
        run(["model.safetensors", *SHORT])


def test_ctrl_c_keeps_what_there_is(folder, monkeypatch, capsys):
    true = Reward._batch

    def batch(self, images_seen, count):
        if images_seen == 32:
            os.kill(os.getpid(), signal.SIGINT)
        return true(self, images_seen, count)

    monkeypatch.setattr(Reward, "_batch", batch)
    assert run(["model.safetensors", *SHORT, "--images", "640"]) == 130
    assert json.loads(Path("new/reward.json").read_text())["stopped"] == "it was asked to stop"
    assert load("new", "cpu").classes == load("model.safetensors", "cpu").classes


def test_every_flag_arrives(folder, monkeypatch):
    seen = []

    def note(self, *given):
        seen.append(given)
        raise KeyboardInterrupt

    monkeypatch.setattr(Reward, "__init__", note)
    flags = (
        "--reward a,b --prompts p --bad q --measure m --data d --image-size 8,10 --method filter --images 7 "
        "--batch-size 4 --learning-rate 0.5 --reward-weight 3 --last-steps 2 --per-class 5 --candidates 6 "
        "--check-every 8 --check-images 9 --coverage-loss 0.1 --distance-growth 2 --seed 4 --steps 5 "
        "--guidance-scale 2 --data-dir there --device cpu --precision bfloat16 --out new"
    )
    with pytest.raises(KeyboardInterrupt):
        run(["model.safetensors", *flags.split()])
    model, request, out, sampling, data_dir, precision, command = seen[0][:7]
    asked = ("a", "b"), Prompts(("p",), ("q",)), "m", "d", Form((8, 10))
    assert request == RewardRequest(*asked, "filter", 7, 4, 0.5, 3.0, 2, 5, 6, 8, 9, 0.1, 2.0, 4)
    assert (model.precision, sampling.steps, sampling.guidance_scale) == ("float32", 5, 2.0)
    assert (out, data_dir, precision) == (Path("new"), Path("there"), "bfloat16")
    assert command.startswith("noisette reward model.safetensors --reward a,b")


REFUSED = {
    "nothing": ([], "no model: expected its name"),
    "a model": (["mnits", "--out", "new"], "no model 'mnits'.*did you mean 'mnist'"),
    "no folder": (["model.safetensors", *FLAGS], "no --out"),
    "a method": (["model.safetensors", *FLAGS, "--out", "new", "--method", "filler"], "'filler'.*'gradient', 'filter'"),
    "last steps": (["model.safetensors", *FLAGS, "--out", "new", "--last-steps", "9"], "last_steps 9: expected 1 to 3"),
    "a rate": (["model.safetensors", *FLAGS, "--out", "new", "--learning-rate", "0"], "learning_rate 0"),
    "its own judge": (
        ["model.safetensors", *SHORT, "--reward", "blobs.safetensors"],
        "would measure its own choice",
    ),
    "other classes": (["mnist", *FLAGS, "--out", "new"], "reads images|draws the classes"),
    "a place": (["model.safetensors", *FLAGS, "--out", "blobs.safetensors"], "blobs.safetensors"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_before_any_work(case, folder, refused, monkeypatch):
    monkeypatch.setattr("noisette.workflows.choosing.calibrate", lambda *more: pytest.fail("it began"))
    args, message = REFUSED[case]
    refused("reward", run, args, message, folder)
