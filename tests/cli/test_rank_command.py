"""`noisette rank`: flags reach the request, images, record and figures reach their folder, bad input is one line."""

import json
from pathlib import Path

import numpy as np
import pytest

from noisette.cli.rank import run
from noisette.data.form import Form
from noisette.weights.model_file import save_model
from noisette.workflows.choosing import Choice
from noisette.workflows.rank import Rank, RankRequest
from noisette.workflows.score import Prompts
from noisette.workflows.sources import open_drawn


@pytest.fixture
def folder(blobs, monkeypatch, tiny_model, other_classifier):
    """The working folder, with a model, and a classifier beside that of the blobs."""
    monkeypatch.chdir(blobs.folder)
    save_model(blobs.folder / "model.safetensors", tiny_model(blobs.classes, steps=2))
    (blobs.folder / "other.safetensors").symlink_to(other_classifier)
    return blobs.folder


FLAGS = ("--data", "blobs", "--by", "other.safetensors", "--measure", "blobs.safetensors", "--device", "cpu")


def test_a_folder_of_what_was_kept(folder, capsys):
    """Of a model that was never trained nearly all may be alike: that is not what is looked at here."""
    assert run(["model.safetensors", *FLAGS, "--per-class", "35", "--from", "40", "--near", "0", "--out", "best"]) == 0
    out = capsys.readouterr().out
    assert "which took no part" in out
    record = json.loads(Path("best/rank.json").read_text())
    assert (record["format"], record["per_class"], record["candidates"]) == ("noisette-rank-1", 35, 40)
    samples = open_drawn("best/kept.npz")
    assert samples.labels.tolist() == [0] * 35 + [1] * 35 + [2] * 35
    with np.load("best/kept.npz") as arrays:
        assert arrays["index"].tolist() == record["images"]["index"]
    names = {f"{stem}.{suffix}" for stem in ("images", "measured") for suffix in ("png", "svg")}
    assert {path.name for path in Path("best").iterdir()} == {"kept.npz", "rank.json", *names}


def test_all_is_written_before_anything_is_said(folder, monkeypatch):
    """Whoever reads it may have gone, and a pager that was left ends the command."""

    def gone(*given):
        raise SystemExit(1)

    monkeypatch.setattr("noisette.cli.rank.show_ranked", gone)
    with pytest.raises(SystemExit):
        run(["model.safetensors", *FLAGS, "--per-class", "35", "--from", "40", "--near", "0", "--out", "best"])
    assert {"kept.npz", "rank.json", "images.png"} <= {path.name for path in Path("best").iterdir()}


def test_every_flag_arrives(folder, monkeypatch):
    seen = []

    def note(self, *given):
        seen.append(given)
        raise KeyboardInterrupt

    monkeypatch.setattr(Rank, "__init__", note)
    flags = (
        "--by both,c.safetensors --prompts a{label} --bad b --near 0.1 --space pixels --measure m --data d "
        "--image-size 8,10 --per-class 3 --from 9 --reject-below 0.5 --seed 4 --steps 7 --data-dir there "
        "--device cpu --out new"
    )
    with pytest.raises(KeyboardInterrupt):
        run(["model.safetensors", *flags.split()])
    choice = Choice(("both", "c.safetensors"), Prompts(("a{label}",), ("b",)), 0.1, "pixels", "m", "d", Form((8, 10)))
    assert choice.scorers == ("clip", "classifier", "c.safetensors")
    model, request, sampling, data_dir = seen[0][:4]
    assert request == RankRequest(choice, 3, 9, 0.5, 4)
    assert (model.name, sampling.steps, data_dir) == ("model.safetensors", 7, Path("there"))


REFUSED = {
    "nothing": ([], "no model: expected its name, run folder or file first"),
    "a model": (["mnits", "--out", "new"], "no model 'mnits'.*did you mean 'mnist'"),
    "no folder": (["model.safetensors"], "no --out"),
    "fewer": (["model.safetensors", *FLAGS, "--out", "new", "--from", "9"], "9 images to choose 100 from"),
    "its own choice": (
        ["model.safetensors", "--data", "blobs", "--by", "blobs.safetensors", "--measure", "blobs.safetensors"],
        "blobs.safetensors chooses and would measure its own choice: expected --measure",
    ),
    "the shipped by the shipped": (
        ["mnist", "--data", "mnist-5k", "--by", "classifier"],
        "mnist chooses and would measure its own choice",
    ),
    "a scorer": (["model.safetensors", "--data", "blobs", "--measure", "blobs.safetensors", "--by", "x"], "'x'"),
    "a flag": (["model.safetensors", "--form", "9"], "unknown flag --form: did you mean --from"),
    "a candidate": (["model.safetensors", "--candidates", "9"], "unknown flag --candidates"),
    "steps": (["model.safetensors", *FLAGS, "--out", "new", "--steps", "0"], "steps 0: expected at least 1"),
    "a place": (["model.safetensors", *FLAGS, "--out", "model.safetensors"], "cannot write model.safetensors"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_before_any_work(case, folder, refused, monkeypatch):
    monkeypatch.setattr("noisette.workflows.choosing.calibrate", lambda *more: pytest.fail("it began"))
    args, message = REFUSED[case]
    args = args if "--out" in args or case in ("nothing", "no folder") else [*args, "--out", "new"]
    refused("rank", run, args, message, folder)
