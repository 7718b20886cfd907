"""`noisette refine`: flags reach the request, images, record and figures reach their folder, bad input is one line."""

import json
from pathlib import Path

import pytest

from noisette.cli.refine import run
from noisette.data.form import Form
from noisette.weights.model_file import save_model
from noisette.workflows.choosing import Choice
from noisette.workflows.refine import Refine, RefineRequest
from noisette.workflows.sources import open_drawn


@pytest.fixture
def folder(blobs, monkeypatch, tiny_model, other_classifier):
    """The working folder, with a model, samples, and a classifier beside that of the blobs."""
    monkeypatch.chdir(blobs.folder)
    save_model(blobs.folder / "model.safetensors", tiny_model(blobs.classes, steps=3))
    (blobs.folder / "other.safetensors").symlink_to(other_classifier)
    data = blobs.draw(40, 7)
    blobs.write("given.npz", data.images, data.labels)
    return blobs.folder


FLAGS = ("--data", "blobs", "--by", "other.safetensors", "--measure", "blobs.safetensors", "--device", "cpu")


def test_a_folder_of_refined_samples(folder, capsys):
    assert run(["given.npz", "--model", "model.safetensors", *FLAGS, "--tries", "1", "--out", "new"]) == 0
    assert "which took no part" in capsys.readouterr().out
    record = json.loads(Path("new/refine.json").read_text())
    assert (record["format"], record["source"]["name"]) == ("noisette-refine-1", "given.npz")
    assert open_drawn("new/refined.npz").labels.tolist() == [0] * 40 + [1] * 40 + [2] * 40
    names = {f"{stem}.{suffix}" for stem in ("images", "measured") for suffix in ("png", "svg")}
    assert {path.name for path in Path("new").iterdir()} == {"refined.npz", "refine.json", *names}


def test_every_flag_arrives(folder, monkeypatch):
    seen = []

    def note(self, *given):
        seen.append(given)
        raise KeyboardInterrupt

    monkeypatch.setattr(Refine, "__init__", note)
    flags = (
        "--by a,b --near 0.1 --space pixels --measure m --data d --image-size 8,10 --take best --share 0.5 "
        "--noise-level 2 --tries 3 --per-class 7 --seed 4 --steps 5 --data-dir there --device cpu --out new"
    )
    choice = Choice(("a", "b"), near=0.1, space="pixels", measure="m", data="d", form=Form((8, 10)))
    for subject, samples in ((["model.safetensors"], False), (["given.npz", "--model", "model.safetensors"], True)):
        with pytest.raises(KeyboardInterrupt):
            run([*subject, *flags.split()])
        model, request, given, sampling, data_dir = seen.pop()[:5]
        assert request == RefineRequest(choice, "best", 0.5, 2.0, 3, 7, 4)
        assert (model.name, sampling.steps, data_dir) == ("model.safetensors", 5, Path("there"))
        assert (given is not None) == samples


REFUSED = {
    "nothing": ([], "no samples and no model: expected one first"),
    "no model": (["given.npz", *FLAGS, "--out", "new"], "samples given.npz without --model: expected the model"),
    "two models": (["mnist", "--model", "mnist", "--out", "new"], "--model mnist beside the model mnist"),
    "a model": (["mnits", "--out", "new"], "no model 'mnits'.*did you mean 'mnist'"),
    "no folder": (["model.safetensors", *FLAGS], "no --out"),
    "a level": (["model.safetensors", *FLAGS, "--out", "new", "--noise-level", "1e-9"], "noise_level 1e-09"),
    "a choice": (["model.safetensors", *FLAGS, "--out", "new", "--take", "wurst"], "'wurst'.*'rejected', 'best'"),
    "its own choice": (
        ["model.safetensors", *FLAGS[:2], "--by", FLAGS[-3], "--measure", FLAGS[-3], "--out", "new"],
        "would measure its own choice",
    ),
    "another size": (["given.npz", "--model", "mnist", *FLAGS, "--out", "new"], "mnist draws the classes 0, 1"),
    "a place": (["model.safetensors", *FLAGS, "--out", "given.npz"], "cannot write given.npz"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_before_any_work(case, folder, refused, monkeypatch):
    monkeypatch.setattr("noisette.workflows.choosing.calibrate", lambda *more: pytest.fail("it began"))
    args, message = REFUSED[case]
    refused("refine", run, args, message, folder)
