"""How to make a run again: the command that the report tells has the very configuration of the run."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from noisette.cli import main
from noisette.diffusion.noise import LevelRange
from noisette.diffusion.objective import DiffusionConfig
from noisette.models.unet import UNetConfig
from noisette.training.config import TrainingConfig
from noisette.weights.model_file import SamplingConfig, load_model
from noisette.workflows.model import locate
from noisette.workflows.recipes import DataConfig, RunConfig, load_recipe, recipe_names
from noisette.workflows.report_again import timings, train_command
from noisette.workflows.run_folder import RunFolder

SHIPPED = load_model(locate("mnist")).spec


def begun(**changes):
    """The run of recipe `few` that begins from the weights that ship."""
    return replace(load_recipe("few").beginning_from("mnist", SHIPPED), **changes)


CONFIGS = {
    **{name: load_recipe(name) for name in recipe_names()},
    "minutes for images": replace(
        load_recipe("lab"), training=replace(load_recipe("lab").training, images=None, minutes=0.1)
    ),
    "both horizons": replace(load_recipe("demo"), training=replace(load_recipe("demo").training, images=1000)),
    "no attention": replace(load_recipe("best"), network=replace(load_recipe("best").network, attention_at=())),
    "from a model": begun(sampling=replace(SHIPPED.sampling, guidance_scale=1.7, perturb_attention=False)),
    "from a model that has gone": replace(begun(), init="runs/gone"),
    "everything else": RunConfig(
        DataConfig("mnist", 0.0, -3),
        UNetConfig((8, 16, 24), 1, 1, (1, 2), 16, 0.123456789, "channel"),
        DiffusionConfig("velocity", "sigmoid", 77, LevelRange(1e-5, 0.03), "log-snr", -1.5, data_std=0.5),
        TrainingConfig(images=12_345, learning_rate=1e-6, seed=-1, patience=2),
        SamplingConfig("ddim", 0.25, 7, "karras", 1.5, 0.1, math.inf, True, True, 0.99),
    ),
}


@pytest.mark.parametrize("case", [case for case in CONFIGS if case != "from a model that has gone"])
def test_the_command_has_the_configuration_of_the_run(case, monkeypatch, tmp_path):
    trained = []
    monkeypatch.setattr("noisette.cli.train.Run", lambda config, out, **given: trained.append((config, out)))
    monkeypatch.setattr("noisette.cli.train.follow", lambda run: 0)
    program, *command = train_command(CONFIGS[case], tmp_path / "with a blank")
    assert program == "noisette"
    assert main(command) == 0
    assert trained == [(CONFIGS[case], tmp_path / "with a blank")]


def test_the_command_of_a_run_whose_first_model_has_gone_still_names_it():
    command = train_command(CONFIGS["from a model that has gone"], Path("x"))
    assert command[command.index("--init") + 1] == "runs/gone"


def test_a_recipe_is_told_by_its_name():
    lab = train_command(CONFIGS["lab"], Path("runs/lab"))
    assert lab == ["noisette", "train", "--recipe", "lab", "--images", "4800000", "--out", "runs/lab"]
    changed = replace(CONFIGS["lab"], dataset=DataConfig("mnist-5k"))
    assert train_command(changed, Path("x"))[2:6] == ["--recipe", "lab", "--data", "mnist-5k"]


def test_the_time_of_validations_is_not_training_speed(tmp_path):
    from noisette.workflows.recipes import to_toml

    step = {"loss": 1.0, "learning_rate": 1e-3, "gradient_norm": 1.0}
    validation = {
        **{"loss": 1.0, "bucket_losses": [1.0], "bucket_edges": [1.0, 2.0]},
        **{"is_best": True, "rate_dropped": False},
    }
    records = [
        {"event": "step", "images_seen": 100, **step, "seconds": 1.0},
        {"event": "validation", "images_seen": 100, **validation, "seconds": 5.0},
        {"event": "step", "images_seen": 200, **step, "seconds": 6.0},
        {"event": "finished", "images_seen": 200, "reason": "horizon reached", "seconds": 6.0},
    ]
    (tmp_path / "config.toml").write_text(to_toml(CONFIGS["demo"]))
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    facts = dict(timings(RunFolder(tmp_path), None, 2.0).facts)
    assert facts["training"] == "6.0 s, of which 4.0 s to validate"
    assert facts["its speed"] == "100 images/s without validations"
    assert facts["a validation"] == "4.0 s"
