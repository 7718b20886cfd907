"""Sampling from the command line: the flags reach the request, the defaults are the model's."""

import dataclasses
import json
import os
import re
import signal

import numpy as np
import pytest

from noisette.cli import main
from noisette.weights.model_file import save_model
from noisette.workflows.model import load
from noisette.workflows.sample_files import WRITERS, write_arrays
from noisette.workflows.steering import SteeringConfig


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny_model):
    """The working folder, with a model in it."""
    monkeypatch.chdir(tmp_path)
    file = tiny_model(classes=("zero", "one", "two"), sampler="ddim", eta=1.0, steps=3, guidance_scale=2.0)
    save_model(tmp_path / "model.safetensors", file)
    return tmp_path


def asked(monkeypatch, *flags):
    """The request that a command makes, without drawing it."""
    seen = []

    def note(model, request, progress, stop):
        seen.append(request)
        raise KeyboardInterrupt

    monkeypatch.setattr("noisette.cli.sample.sample_to", note)
    assert main(["sample", "model.safetensors", *flags]) == 130
    return seen[0]


def test_the_last_line_says_what_was_done(folder, capsys):
    assert (
        main(["sample", "model.safetensors", "--per-class", "2", "--precision", "bfloat16", "--film", "film.gif"]) == 0
    )
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("6 images in ")
    assert (
        " images/s, 6 network evaluations an image, bfloat16: samples.png and film.gif" in last
    )  # 3 steps, both halves
    assert (folder / "samples.png").exists()
    assert (folder / "film.gif").exists()


def test_a_prompt_leads_a_drawing(folder, capsys, tiny_clip):
    flags = ["--steer", str(tiny_clip()), "--prompt", "A handwritten number two", "--count", "4", "--out", "led.npz"]
    assert main(["sample", "model.safetensors", *flags]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("4 images in ")
    with np.load("led.npz") as arrays:
        assert arrays["labels"].tolist() == [-1] * 4


FOLDER = ["sample", "model.safetensors", "--per-class", "50", "--out", "many", "--files", "npz"]


@pytest.fixture
def signalled(monkeypatch):
    """Sends this process a signal when the first of its shards, of 100 images, is written."""
    monkeypatch.setattr("noisette.workflows.sample_folder.SHARD_IMAGES", 100)

    def send(number):
        def write(path, shard):
            write_arrays(path, shard)
            os.kill(os.getpid(), number)

        monkeypatch.setitem(WRITERS, "npz", write)

    yield send
    monkeypatch.undo()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_folder_that_the_same_command_goes_on_with(folder, capsys, signalled, number):
    signalled(number)
    assert main(FOLDER) == 128 + number
    assert capsys.readouterr().out == f"stopped, 50 images are left to draw; to go on: noisette {' '.join(FOLDER)}\n"
    assert [path.name for path in sorted((folder / "many").iterdir())] == ["00000-of-00002.npz", "samples.json"]
    signalled(0)  # which is none
    assert main(FOLDER) == 0
    assert re.match(r"50 images after 100 that were there in .*: many\n", capsys.readouterr().out)
    assert main(FOLDER) == 0
    assert capsys.readouterr().out == "nothing left to draw, 150 images are there: many\n"


def test_processes_draw_their_shares_and_the_first_speaks(folder, capsys, monkeypatch):
    monkeypatch.setattr("noisette.workflows.sample_folder.SHARD_IMAGES", 100)
    monkeypatch.setenv("WORLD_SIZE", "2")
    said = []
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        assert main(FOLDER) == 0
        said.append(capsys.readouterr())
    assert re.match("100 images by the first of 2 processes in .* 50 are left to the others: many", said[0].out)
    assert said[1] == ("", "")
    assert json.loads((folder / "many" / "samples.json").read_text())["finished"]
    assert main([*FOLDER[:-4], "--out", "a.npz"]) == 2
    assert "2 processes for the one file a.npz: expected a folder" in capsys.readouterr().err


def test_it_draws_what_the_library_draws(folder):
    argv = ["sample", "model.safetensors", "--labels", "two,two,0,none", "--seed", "4", "--out", "a.npz"]
    assert main([*argv, "--index", "3,1"]) == 0
    with np.load("a.npz") as arrays:
        assert arrays["labels"].tolist() == [-1, 2]
        assert arrays["index"].tolist() == [3, 1]
        images = load("model.safetensors").sample(["none", "two"], seed=4, index=[3, 1])
        np.testing.assert_allclose(arrays["images"][..., 0], ((images[:, 0] + 1) * 127.5).numpy(), atol=1)


def test_what_is_left_out_is_the_models(folder, monkeypatch):
    default = load("model.safetensors").sampling
    assert asked(monkeypatch, "--count", "3").sampling == default
    steps = asked(monkeypatch, "--count", "3", "--steps", "7").sampling
    assert steps == dataclasses.replace(default, steps=7)


def test_the_models_eta_belongs_to_its_sampler(folder, monkeypatch):
    assert asked(monkeypatch, "--count", "3", "--sampler", "heun").sampling.eta is None
    assert asked(monkeypatch, "--count", "3", "--sampler", "ddim").sampling.eta == 1.0
    assert asked(monkeypatch, "--count", "3", "--sampler", "ddim", "--eta", "0.5").sampling.eta == 0.5


@pytest.mark.parametrize("labels", [["--labels", "0,1,2"], ["--labels", "0", "1", "2"], ["--labels=0,1,2"]])
def test_labels_have_commas_or_blanks(folder, monkeypatch, labels):
    assert asked(monkeypatch, *labels).labels == ("0", "1", "2")


def test_every_flag_arrives(folder, monkeypatch):
    flags = (
        "--count 9 --index 3,4 --seed -2 --out a.npz --eta 0.5 --steps 4 --grid flow "
        "--guidance-scale 3 --guidance-from 0.5 --guidance-to 2 --perturb-attention --clamp --clamp-quantile 0.9 "
        "--steer clip --prompt two --against one,zero --steer-scale 4 --steer-from 0.2 --steer-to 9 --steer-limit 0.5"
    )
    request = asked(monkeypatch, *flags.split())
    assert (request.count, request.index, request.seed, str(request.out)) == (9, (3, 4), -2, "a.npz")
    assert request.steering == SteeringConfig("clip", "two", ("one", "zero"), 4.0, 0.2, 9.0, 0.5)
    found = dataclasses.asdict(request.sampling)
    assert found == {
        "sampler": "ddim",
        "eta": 0.5,
        "steps": 4,
        "grid": "flow",
        "guidance_scale": 3.0,
        "guidance_from": 0.5,
        "guidance_to": 2.0,
        "perturb_attention": True,
        "clamp": True,
        "clamp_quantile": 0.9,
    }


def test_help_shows_the_models_defaults(folder, capsys):
    assert main(["sample", "model.safetensors", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "(default: ddim)" in text
    assert "Of the grid of noise levels. (default: 3)" in text


def test_a_grid_outside_the_trained_range_is_warned_of_once(folder, capsys, recwarn):
    assert main(["sample", "model.safetensors", "--count", "150", "--grid", "cosine", "--steps", "20"]) == 0
    said = capsys.readouterr().err
    assert said.startswith("noisette: warning: the grid runs from ")
    assert said.count("\n") == 1


def test_info_and_check_print_their_tables(folder, capsys):
    assert main(["info", "model.safetensors"]) == 0
    assert "zero, one, two" in capsys.readouterr().out
    assert main(["info"]) == 0
    assert "mnist-5k" in capsys.readouterr().out
    assert main(["check", "mnist-5k", "--validation-fraction", "0.1"]) == 0
    assert "verdict: sound" in capsys.readouterr().out
