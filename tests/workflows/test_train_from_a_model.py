"""A run that begins from a model: its weights, its diffusion, and resuming as any other run."""

import shutil
from dataclasses import replace

import pytest
import torch

import noisette.workflows.train as module
from noisette.base.errors import Refusal
from noisette.cli import main
from noisette.training.config import TrainingConfig
from noisette.weights.model_file import load_model, save_model
from noisette.workflows.recipes import DataConfig, RunConfig, read_run_config
from noisette.workflows.train import Run, Stopped

TRAINING = TrainingConfig(images=64, batch_size=16, validate_every=32, validation_images=10, warmup_images=0)


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch):
    monkeypatch.setattr(module, "PREVIEW_IMAGES", 10)


@pytest.fixture
def source(tiny_model, tmp_path):
    path = tmp_path / "source.safetensors"
    save_model(path, tiny_model(classes=("3", "7"), size=(1, 8, 8)))
    return path


def config_from(path):
    return RunConfig(DataConfig("mnist-5k"), training=TRAINING).beginning_from(str(path), load_model(path).spec)


def tensors(folder):
    return load_model(folder / "last.safetensors").network.state_dict()


def test_it_begins_with_the_model_s_weights_and_diffusion(source, tmp_path):
    run = Run(config_from(source), tmp_path / "run", device="cpu")
    model = load_model(source)
    assert run.spec.diffusion == model.spec.diffusion  # its data_std too: the weights were trained with it
    assert (run.spec.channels, run.spec.height, run.spec.width) == (1, 8, 8)  # unless asked for otherwise
    assert run.spec.classes == tuple("0123456789")
    stem = run.state.network.get_parameter("stem.weight")
    assert torch.equal(stem.detach(), model.network.stem.weight)
    assert torch.equal(run.state.average.get_parameter("stem.weight"), stem)
    rows = run.state.network.get_parameter("embed_class.weight")
    assert torch.equal(rows[7].detach(), model.network.embed_class.weight[1])  # "7" was known


def test_its_card_tells_what_the_weights_cost_that_it_began_from(source, tmp_path):
    runs = [tmp_path / "first", tmp_path / "second"]
    list(Run(config_from(source), runs[0], device="cpu", command="the first").events())
    list(Run(config_from(runs[0] / "last.safetensors"), runs[1], device="cpu").events())
    card = load_model(runs[1] / "last.safetensors").card
    assert card["begun_from"] == ["64 images, the first", "None images, None"]  # `source` tells nothing


def test_stopped_and_resumed_it_is_the_unbroken_run(source, tmp_path):
    config = config_from(source)
    list(Run(config, tmp_path / "whole", device="cpu").events())
    begun = Run(config, tmp_path / "broken", device="cpu")
    events = list(begun.events(lambda: begun.state.progress.images_seen == 16))
    assert events[-1] == Stopped(16)
    list(Run(config, tmp_path / "broken", device="cpu").events())
    whole, broken = tensors(tmp_path / "whole"), tensors(tmp_path / "broken")
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    assert not torch.equal(whole["stem.weight"], load_model(source).network.stem.weight)


def test_on_resume_other_weights_under_the_same_name_are_refused(source, tiny_model, tmp_path):
    config = config_from(source)
    list(Run(config, tmp_path / "run", device="cpu").events())
    other = tiny_model(classes=("3", "7"), size=(1, 8, 8))
    with torch.no_grad():
        other.network.stem.weight.add_(1)
    save_model(source, other)
    with pytest.raises(Refusal, match=r"of other weights: expected those this run began from"):
        Run(config, tmp_path / "run", device="cpu")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"parameterisation": "noise"}, r"--parameterisation noise: expected edm, as .*source.safetensors was trained"),
        ({"data_std": 0.3}, r"--data-std 0.3: expected 0.5, as .*source.safetensors was trained with"),
    ],
)
def test_a_diffusion_in_which_the_weights_mean_something_else_is_refused(source, tmp_path, changes, told):
    config = config_from(source)
    config = replace(config, diffusion=replace(config.diffusion, **changes))
    with pytest.raises(Refusal, match=told):
        Run(config, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_on_the_command_line(source, tmp_path, capsys):
    out = tmp_path / "run"
    flags = ["--images", "32", "--batch-size", "16", "--validation-images", "0", "--precision", "float32"]
    command = ["train", "--init", str(source), "--data", "mnist-5k", *flags, "--device", "cpu", "--out", str(out)]
    assert main(command) == 0
    found = read_run_config(out / "config.toml")
    assert found.init == str(source)
    assert found.network == load_model(source).spec.network
    assert found.training.warmup_images == 500  # of the recipe "few"
    assert load_model(out / "last.safetensors").card["config"]["init"] == str(source)
    shutil.rmtree(out)
    assert main([*command, "--widths", "16"]) == 2
    assert "the model to begin from has another network" in capsys.readouterr().err
    assert main(["train", "--init", "mnits", "--out", str(out)]) == 2
    assert "did you mean 'mnist'?" in capsys.readouterr().err
    assert not out.exists()
