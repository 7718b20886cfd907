"""Training from the command line: what is shown, and how it is stopped and goes on."""

import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from noisette.cli import main
from noisette.cli.flags import parse
from noisette.cli.progress import duration, stopped_by_signals
from noisette.cli.train import PROG, Options
from noisette.data.augment import NONE, Augmentation
from noisette.training.log import read_log
from noisette.workflows.recipes import load_recipe, read_run_config, recipe_names


def steps_of(folder):
    return [record["images_seen"] for record in read_log(folder / "metrics.jsonl") if record["event"] == "step"]


def test_the_plan_is_told_before_and_the_end_after(tiny, tmp_path, capsys):
    out = tmp_path / "run"
    assert main([*tiny, "512", "--out", str(out)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("data     mnist-5k: 4,000 images of 10 classes to train on, 1,000 to validate on; sound")
    assert " parameters, " in said[1]
    assert " million multiply-adds an image" in said[1]
    assert "cpu, threads: " in said[2]
    assert "float32; " in said[2]
    assert "images/s when timed" in said[2]
    assert said[3].startswith("time     about 0:00:")
    assert said[-1].startswith("finished, horizon reached: 512 images; best validation loss ")
    assert steps_of(out) == list(range(64, 513, 64))
    with Image.open(out / "curves.png") as curves:
        assert curves.width > 500


def test_a_finished_run_says_so(tiny, run_folder, capsys):
    (state,) = run_folder.glob("checkpoints/000000512*.safetensors")
    before = state.read_bytes()
    assert main([*tiny, "512", "--out", str(run_folder)]) == 0
    assert "finished, horizon reached: 512 images" in capsys.readouterr().out
    assert state.read_bytes() == before


def test_a_later_horizon_goes_on(tiny, run_folder, capsys):
    assert main([*tiny, "640", "--out", str(run_folder)]) == 0
    said = capsys.readouterr().out
    assert "time     from image 512 on" in said
    assert "finished, horizon reached: 640 images" in said
    assert steps_of(run_folder) == list(range(64, 641, 64))


def test_augmentation_is_asked_for_by_flags():
    asked = parse(Options, ["--flip", "--shift", "2", "--rotate", "10"], PROG, Options(load_recipe("demo")))
    assert asked.config.augmentation == Augmentation(flip=True, shift=2, rotate=10.0)
    assert asked.config.dataset == load_recipe("demo").dataset
    assert all(load_recipe(name).augmentation == NONE for name in recipe_names())


def test_flags_change_the_recipe(tiny, run_folder):
    config = read_run_config(run_folder / "config.toml")
    recipe = load_recipe("demo")
    assert config.training.images == 512
    assert recipe.training.minutes is not None
    assert config.training.minutes is None  # one horizon alone replaces the recipe's
    assert config.network.widths == (4,)
    assert config.diffusion == recipe.diffusion
    assert config.training.learning_rate == recipe.training.learning_rate


@pytest.mark.parametrize(
    ("flags", "images", "minutes"),
    [
        ([], None, 2.0),
        (["--images", "99"], 99, None),
        (["--images=99", "--minutes", "3"], 99, 3.0),
        (["--minutes", "3"], None, 3.0),
    ],
)
def test_horizons(monkeypatch, tmp_path, flags, images, minutes):
    seen = []
    monkeypatch.setattr("noisette.cli.train.Run", lambda config, *_, **__: seen.append(config.training))
    monkeypatch.setattr("noisette.cli.train.follow", lambda _: 0)
    assert main(["train", "--recipe", "demo", "--out", str(tmp_path), *flags]) == 0
    assert (seen[0].images, seen[0].minutes) == (images, minutes)


@pytest.mark.parametrize("widths", [["8", "16"], ["8,16"]])
def test_lists_have_commas_or_blanks(monkeypatch, tmp_path, widths):
    seen = []
    monkeypatch.setattr("noisette.cli.train.Run", lambda config, *_, **__: seen.append(config.network.widths))
    monkeypatch.setattr("noisette.cli.train.follow", lambda _: 0)
    assert main(["train", "--out", str(tmp_path), "--widths", *widths, "--noise-log-mean", "-0.5", "--clamp"]) == 0
    assert seen == [(8, 16)]


def test_without_a_terminal_a_line_is_printed_now_and_then(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("noisette.cli.progress.LINE_SECONDS", 0.0)
    assert main([*tiny, "512", "--out", str(tmp_path / "run")]) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    for part in ("512 images", "/s", "loss ", "learning rate ", "validation ", "0:00:00 left"):
        assert part in last


def test_a_second_signal_does_what_it_always_does(capfd):
    found = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stopped_by_signals() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    signal.signal(signal.SIGINT, found)
    assert "once more to stop at once" in capfd.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no such signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_the_same_command_goes_on(tiny, tmp_path, number, code, capsys):
    out = tmp_path / "my run"
    argv = [*tiny, "25600", "--validate-every", "12800", "--out", str(out)]
    started = subprocess.Popen(
        [sys.executable, "-m", "noisette", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    log = out / "metrics.jsonl"
    patience = time.monotonic() + 60
    while not (log.exists() and log.stat().st_size) and started.poll() is None and time.monotonic() < patience:
        time.sleep(0.01)
    started.send_signal(number)
    said, complained = started.communicate(timeout=60)
    assert started.returncode == code, complained
    assert "Traceback" not in complained
    last = said.splitlines()[-1]
    assert last.startswith("stopped at ")
    assert last.endswith(f"to go on: noisette {' '.join(argv[:-1])} '{out}'")
    stopped_at = steps_of(out)[-1]
    assert 0 < stopped_at < 25600
    assert (out / "curves.png").exists()

    assert main(argv) == 0
    said = capsys.readouterr().out
    assert f"from image {stopped_at:,} on" in said
    assert "finished, horizon reached: 25,600 images" in said
    assert steps_of(out) == list(range(64, 25601, 64))  # nothing twice, nothing left out


def test_durations():
    assert duration(0.4) == "0:00:00"
    assert duration(3725.2) == "1:02:05"
    assert duration(1e300).endswith("23:59:59")
