"""Runs in any state and data sets are examined; faults that are trained, not made up, are found."""

import json
import math
import shutil
from dataclasses import replace

import pytest

from noisette.base.errors import Refusal
from noisette.data.form import Form
from noisette.training.checkpoint import load_state
from noisette.training.loop import Diverged, new_state
from noisette.training.manifest import Checkpoints
from noisette.weights.model_file import load_model
from noisette.workflows.doctor.examine import examine, lines
from noisette.workflows.recipes import to_toml
from noisette.workflows.train import CHECKPOINTS


def look(folder, **more):
    return examine(str(folder), device="cpu", **more)


def test_a_healthy_run_and_its_data_have_nothing(healthy_run):
    said = []
    found = look(healthy_run, say=said.append)
    assert list(lines(found)) == [
        f"run {healthy_run}: 1,920 images of spots, horizon reached",
        "looked at: data spots (480 + 120 images), log (120 steps, 4 validations), weights (120 held-out images)",
        "",
        "nothing found",
    ]
    assert "data" in said
    of_data = look("spots")
    assert list(lines(of_data)) == ["data set spots", "looked at: data spots (480 + 120 images)", "", "nothing found"]


def test_what_is_found_is_told_with_evidence_and_advice(run_copy, config):
    strong = replace(config, sampling=replace(config.sampling, guidance_scale=12.0, steps=2))
    (run_copy / "config.toml").write_text(to_toml(strong), encoding="utf-8")
    told = list(lines(look(run_copy)))
    at = told.index("1. found: guidance too strong")
    assert told[at + 1].startswith("   - guidance scale 12 at noise levels 0.3 to 4")
    assert told[at + 2].startswith("   try first: --guidance-scale 2")
    assert told[at + 3] == "2. suspected: too few sampling steps"


def with_rate(config, rate):
    return replace(config, training=replace(config.training, learning_rate=rate, warmup_images=0, gradient_clip=0.0))


def test_a_rate_that_is_absurd_is_found(tmp_path, config, train_run):
    found = look(train_run(tmp_path / "run", with_rate(config, 50.0))).diagnoses
    assert list(found) == ["learning rate too high"]
    assert found["learning rate too high"].advice == "--learning-rate 0.001"


def test_a_run_that_diverged_says_where(tmp_path, config, train_run):
    with pytest.raises(Diverged) as caught:
        train_run(tmp_path / "run", with_rate(config, 1e30))
    record = json.loads((tmp_path / "run/metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert record["event"] == "diverged"
    assert str(caught.value).startswith(record["reason"])
    found = look(tmp_path / "run")
    assert list(found.diagnoses) == ["learning rate too high"]
    assert record["reason"] in found.diagnoses["learning rate too high"].evidence
    assert found.about.endswith("images of spots, diverged")


def test_an_average_that_remembers_the_first_weights_is_found(tmp_path, config, train_run):
    slow = replace(config, training=replace(config.training, ema_halflife_images=10**6, ema_ramp=1e6))
    found = look(train_run(tmp_path / "run", slow)).diagnoses
    assert list(found) == ["average not warmed up"]
    assert found["average not warmed up"].advice == "--ema-halflife-images 96"


def alter_weights(run, config, change):
    """Save the run's state anew with `change` made to its network and to the average."""
    folder = run / CHECKPOINTS
    newest = Checkpoints(folder).newest
    state = new_state(load_model(run / "last.safetensors").spec.new_network(), config.training)
    load_state(newest, state)
    for network in (state.network, state.average):
        change(network)
    shutil.rmtree(folder)
    Checkpoints(folder).save(state)


def test_weights_that_bfloat16_does_not_bear_are_found(run_copy, config):
    """A constant that the last normalisation takes away: nothing in float32, most of the signal in bfloat16."""
    alter_weights(run_copy, config, lambda network: network.bottleneck[0].conv2.bias.data.add_(3000.0))
    assert list(look(run_copy).diagnoses) == ["precision"]


def test_weights_that_are_not_finite_are_named(run_copy, config):
    alter_weights(run_copy, config, lambda network: network.output.bias.data.fill_(math.nan))
    found = look(run_copy).diagnoses
    assert list(found) == ["weights that are not finite"]
    assert "output.bias" in found["weights that are not finite"].evidence[0]


@pytest.mark.parametrize(
    ("lost", "left"),
    [
        ("run.json", 0.5),
        ("metrics.jsonl", 0.0),
        ("checkpoints/manifest.json", 0.5),
        ("best.safetensors", 0.5),
        ("last.safetensors", None),
    ],
)
def test_a_damaged_run_is_examined_as_far_as_it_goes(lost, left, run_copy):
    path = run_copy / lost
    whole = path.read_bytes()
    path.unlink()
    if left is not None:
        path.write_bytes(whole[: int(left * len(whole))] + b"\x00rubbish\n")
    found = look(run_copy)
    assert not found.diagnoses
    assert "data" in found.looked_at[0]


def test_the_checkpoint_before_a_damaged_one_is_taken(run_copy):
    newest = Checkpoints(run_copy / CHECKPOINTS).newest
    newest.write_bytes(newest.read_bytes()[:-1])
    found = look(run_copy)
    assert newest.name in found.missing[0]
    assert found.evidence.measured.raw is not None


def test_a_run_that_has_only_begun(run_copy):
    shutil.rmtree(run_copy / CHECKPOINTS)
    for name in ("best.safetensors", "last.safetensors", "metrics.jsonl"):
        (run_copy / name).unlink()
    found = look(run_copy, overfit=True)
    assert not found.diagnoses
    assert "checkpoint: none is saved yet" in found.missing[0]
    assert found.evidence.overfit.last < found.evidence.overfit.first / 5


def test_records_that_lack_a_number_are_told(run_copy):
    log = run_copy / "metrics.jsonl"
    log.write_text('{"event": "step", "images_seen": 16}\n' * 3, encoding="utf-8")
    assert any("line 1 is not a record of a run" in line for line in look(run_copy).missing)


def test_a_set_up_that_cannot_learn_is_found(run_copy, config):
    frozen = replace(config, training=replace(config.training, learning_rate=1e-9))
    (run_copy / "config.toml").write_text(to_toml(frozen), encoding="utf-8")
    (run_copy / "metrics.jsonl").unlink()
    found = look(run_copy, overfit=True).diagnoses
    assert list(found) == ["cannot learn one batch"]
    assert "60 steps on the same 8 images" in found["cannot learn one batch"].evidence[0]


def test_the_overfit_test_of_a_set_up_that_diverges(run_copy, config):
    wild = replace(config, training=replace(config.training, learning_rate=1e30, gradient_clip=0.0))
    (run_copy / "config.toml").write_text(to_toml(wild), encoding="utf-8")
    (run_copy / "metrics.jsonl").unlink()
    assert "cannot learn one batch" in look(run_copy, overfit=True).diagnoses


def test_the_examination_leaves_the_run_as_it_was(run_copy):
    before = {path: path.read_bytes() for path in run_copy.rglob("*") if path.is_file()}
    look(run_copy, overfit=True)
    assert {path: path.read_bytes() for path in run_copy.rglob("*") if path.is_file()} == before


def test_the_overfit_test_needs_a_run():
    assert look("spots", overfit=True).missing == ("the one-batch overfit test: it needs a run",)


def test_a_run_keeps_the_form_of_its_images(healthy_run):
    with pytest.raises(Refusal, match="keeps the one it was trained in"):
        look(healthy_run, form=Form(image_size=(4,)))


def test_what_is_neither_a_run_nor_a_data_set_is_refused(tmp_path):
    with pytest.raises(Refusal, match=r"'sopts'.*did you mean 'spots'"):
        look("sopts")
    (tmp_path / "metrics.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(Refusal, match=r"config\.toml"):
        look(tmp_path)
    with pytest.raises(Refusal, match="device"):
        examine("spots", device="gpu")
