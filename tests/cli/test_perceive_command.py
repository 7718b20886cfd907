"""`noisette perceive`: the flags arrive, the epochs are shown, the end is told."""

import dataclasses
import re
from pathlib import Path

import pytest

from noisette.base.errors import Refusal
from noisette.cli.perceive import run
from noisette.data.datasets import load_data
from noisette.data.form import Form
from noisette.perception.classifier import ClassifierConfig
from noisette.perception.classifier_file import load_classifier
from noisette.perception.contrast import ContrastConfig
from noisette.perception.fit import FitConfig


@pytest.fixture
def quick(monkeypatch):
    """A command that takes a second: few of the digits that ship, seen a few times."""

    def load(name, data_dir, part, *how):
        data = load_data(name, data_dir, part, *how)
        return dataclasses.replace(data, images=data.images[::20], labels=data.labels[::20])

    monkeypatch.setattr("noisette.workflows.perceive.load_data", load)
    return ["mnist-5k", "--images", "600", "--batch-size", "50", "--features", "64", "--device", "cpu"]


@pytest.fixture
def asked(monkeypatch):
    """What a command asks for, without doing it."""
    seen = []

    def note(*given):
        seen.append(given)
        raise KeyboardInterrupt

    monkeypatch.setattr("noisette.cli.perceive.perceive", note)

    def ask(*args):
        with pytest.raises(KeyboardInterrupt):
            run(list(args))
        return seen[-1]

    return ask


def test_the_epochs_and_the_end_are_told(quick, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("noisette.cli.perceive.LINE_SECONDS", 0.0)
    out = tmp_path / "digits.safetensors"
    assert run([*quick, "--out", str(out)]) == 0
    said = capsys.readouterr()
    file = load_classifier(out)
    first, last = said.out.splitlines()
    assert first.startswith(f"{file.card['accuracy']:.2%} right on 50 images (held-out fifth of the training part)")
    assert first.endswith(f"trained in {file.card['training_seconds']:.1f} s: {out}")
    assert last == f"digest {file.digest}"
    assert [line.partition("  loss ")[0] for line in said.err.splitlines()] == [f"epoch {n} of 3" for n in (1, 2, 3)]
    assert said.err.endswith("about 0 s left\n")
    assert file.card["command"].startswith("noisette perceive mnist-5k --images 600 ")


def test_lines_come_only_now_and_then(quick, tmp_path, capsys):
    assert run([*quick, "--out", str(tmp_path / "a.safetensors")]) == 0
    assert capsys.readouterr().err == ""


def test_what_is_left_out_is_the_default(asked):
    name, out, config, fitting, data_dir, device, command, _, form, _ = asked("mnist", "--out", "a b.safetensors")
    assert (name, out, config, fitting) == ("mnist", Path("a b.safetensors"), ClassifierConfig(), FitConfig())
    assert (data_dir, device, form) == (None, "auto", Form())
    assert command == "noisette perceive mnist --out 'a b.safetensors'"


def test_every_flag_arrives(asked):
    flags = (
        "--out x.safetensors --data-dir here --device cpu --network residual --features 128 --seed 3 --images 5 "
        "--batch-size 6 --learning-rate 0.7 --weight-decay 0.8 --smoothing 0.9 --rotation 10 --zoom 0.11 --shift 0.12"
    )
    _, _, config, fitting, data_dir, device, _, _, form, _ = asked("mnist", *flags.split(), "--image-size", "14")
    assert form == Form((14,))
    assert config == ClassifierConfig("residual", 128)
    assert dataclasses.astuple(fitting) == (3, 5, 6, 0.7, 0.8, 0.9, 10.0, 0.11, 0.12)
    assert (data_dir, device) == (Path("here"), "cpu")


@pytest.fixture
def asked_for_text(monkeypatch):
    """What a command asks for a CLIP model, without making it."""
    seen = []

    def note(*given):
        seen.append(given)
        raise KeyboardInterrupt

    monkeypatch.setattr("noisette.cli.perceive.perceive_text", note)

    def ask(*args):
        with pytest.raises(KeyboardInterrupt):
            run(list(args))
        return seen[-1]

    return ask


def test_with_text_a_clip_model_is_made_and_told(quick, tmp_path, capsys):
    out = tmp_path / "digits"
    flags = [
        "--width",
        "32",
        "--layers",
        "1",
        "--text-width",
        "32",
        "--images",
        "200",
        "--batch-size",
        "50",
        "--device",
        "cpu",
    ]
    assert run(["mnist-5k", "--text", *flags, "--device", "cpu", "--out", str(out)]) == 0
    right, clear, trained, digest = capsys.readouterr().out.splitlines()
    card = (out / "README.md").read_text(encoding="utf-8")
    assert re.fullmatch(
        r"\d+\.\d\d% right on 50 images \(held-out .* part\), in phrasings it never met \d+\.\d\d%", right
    )
    assert re.fullmatch(r"clear above spoilt in \S+% of the pairs, above pixelated, which it never met, in \S+%", clear)
    assert trained.endswith(f" s: {out}")
    assert digest.removeprefix("digest ") in card
    assert "- command: noisette perceive mnist-5k --text --width 32 " in card


def test_what_is_left_out_of_a_clip_model_is_the_default(asked_for_text):
    name, out, config, captions, data_dir, device, command, _, form, _ = asked_for_text("mnist", "--text", "--out", "a")
    assert (name, out, config, captions) == ("mnist", Path("a"), ContrastConfig(), ())
    assert (data_dir, device, form) == (None, "auto", Form())
    assert command == "noisette perceive mnist --text --out a"


def test_every_flag_of_a_clip_model_arrives(asked_for_text):
    flags = (
        "--text --out x --data-dir here --device cpu --width 128 --layers 3 --patches 8 --text-width 32 --seed 4 "
        "--images 5 --batch-size 6 --learning-rate 0.7 --weight-decay 0.8 --degraded 0.9 --left-out faded "
        "--rotation 10 --zoom 0.11 --shift 0.12 --image-size 14"
    )
    captions = ("a photo of a {label}", "my {label}")
    _, _, config, said, data_dir, device, _, _, form, _ = asked_for_text(
        "mnist", *flags.split(), "--caption", *captions
    )
    assert (said, data_dir, device, form) == (captions, Path("here"), "cpu", Form((14,)))
    assert dataclasses.astuple(config) == (128, 3, 8, 32, 4, 5, 6, 0.7, 0.8, 0.9, "faded", 10.0, 0.11, 0.12)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("--text --out a", "no data set: expected its name first, as in noisette perceive DATA --text --out FOLDER"),
        ("mnist-5k --text", "no --out: expected the folder"),
        ("mnist-5k --text --out a --features 64", "unknown flag --features"),
        ("mnist-5k --text --out a --captoin x", "unknown flag --captoin: did you mean --caption"),
        ("mnist-5k --text --out a --caption x", "caption 'x': expected {label} in it once"),
        ("mnist-5k --text --out a --left-out fadde", "unknown degradation 'fadde'.*did you mean 'faded'"),
        ("mnist-5k --text --out a --width 9", "width 9: expected a multiple of 32"),
        ("--out a.safetensors", "no data set: expected its name first, as in noisette perceive DATA --out FILE"),
        ("mnist-5k", "no --out: expected the .safetensors file"),
        ("mnits --out a.safetensors", "unknown data set 'mnits'.*did you mean 'mnist'"),
        ("mnist --out a.safetensors --data-dir nowhere", "no folder nowhere"),
        ("mnist-5k --out a.png", "output 'a.png': expected a .safetensors file"),
        ("mnist-5k --out a.safetensors --network plan", "unknown classifier network 'plan'.*did you mean 'plain'"),
        ("mnist-5k --out a.safetensors --features 9", "features 9: expected a multiple of 8"),
        ("mnist-5k --out a.safetensors --images 0", "images 0: expected at least 1"),
        ("mnist-5k --out a.safetensors --device tpu", "unknown device 'tpu'"),
        ("mnist-5k --out a.safetensors --netwrok residual", "unknown flag --netwrok: did you mean --network"),
    ],
)
def test_bad_input_is_refused_before_any_work(command, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("noisette.workflows.perceive.fit", lambda *_: pytest.fail("it trained"))
    monkeypatch.setattr("noisette.workflows.perceive_text.teach", lambda *_: pytest.fail("it trained"))
    with pytest.raises(Refusal, match=message):
        run(command.split())
    assert list(tmp_path.iterdir()) == []
