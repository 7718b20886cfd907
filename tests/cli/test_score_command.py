"""`noisette score`: flags reach the request, the record and the figures reach their folder, bad input is one line."""

import json
from pathlib import Path

import pytest

from noisette.cli.score import run
from noisette.data.form import Form
from noisette.workflows.score import Prompts, ScoreRequest, Scoring


@pytest.fixture
def folder(blobs, monkeypatch):
    monkeypatch.chdir(blobs.folder)
    data = blobs.draw(10, 7)
    blobs.write("given.npz", data.images, data.labels)
    return blobs.folder


FLAGS = ("--data", "blobs", "--by", "blobs.safetensors", "--device", "cpu")


def test_a_table_and_a_folder(folder, capsys):
    assert run(["given.npz", *FLAGS, "--out", "found"]) == 0
    out = capsys.readouterr().out
    assert "real blobs images" in out
    record = json.loads(Path("found/score.json").read_text())
    assert record["format"] == "noisette-score-1"
    assert len(record["images"]["score"]) == 30
    assert {path.name for path in Path("found").iterdir()} == {
        "score.json",
        *(
            f"{stem}.{suffix}"
            for stem in ("best_and_worst", "scores", "calibration", "confusion")
            for suffix in ("png", "svg")
        ),
    }


def test_without_a_folder_nothing_is_written(folder, capsys):
    before = sorted(folder.rglob("*"))
    assert run(["given.npz", *FLAGS]) == 0
    assert sorted(folder.rglob("*")) == before


def test_every_flag_arrives(folder, monkeypatch):
    seen = []

    def note(self, *given):
        seen.append(given)
        raise KeyboardInterrupt

    monkeypatch.setattr(Scoring, "__init__", note)
    flags = (
        *("--by", "some/clip", "--data", "photos", "--data-dir", "there", "--image-size", "8,10", "--device", "cpu"),
        *("--prompts", "a {label}", "the {label}\\, drawn", "--bad", "nothing"),
    )
    with pytest.raises(KeyboardInterrupt):
        run(["given.npz", *flags])
    prompts = Prompts(("a {label}", "the {label}, drawn"), ("nothing",))
    assert seen[0][:3] == (ScoreRequest("some/clip", prompts, "photos", Form((8, 10))), Path("there"), "cpu")


REFUSED = {
    "nothing": ([], "no samples: expected a folder or an .npz file first"),
    "a model": (["mnist"], "mnist: expected samples: an .npz file, or a folder that noisette sample wrote"),
    "missing samples": (["none.npz"], "no sample file at none.npz"),
    "a scorer": (["given.npz", "--data", "blobs", "--by", "clasifier"], "no CLIP model 'clasifier'"),
    "a classifier of others": (["given.npz", "--data", "blobs", "--by", "classifier"], "classifier mnist reads images"),
    "a flag": (["given.npz", "--prompt", "a {label}"], "unknown flag --prompt: did you mean --prompts"),
    "data": (["given.npz", "--data", "mnits"], "unknown data set 'mnits'"),
    "a place": (["given.npz", *FLAGS, "--out", "given.npz"], "cannot write given.npz"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_before_any_work(case, folder, refused, monkeypatch):
    monkeypatch.setattr("noisette.workflows.score.calibrate", lambda *more: pytest.fail("it began"))
    args, message = REFUSED[case]
    refused("score", run, args, message, folder)
