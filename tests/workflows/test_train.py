"""A run folder: stopped anywhere and resumed by the same call it equals the unbroken run, bit for bit."""

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

import noisette.workflows.train as module
from noisette.base.errors import NoisetteError, Refusal
from noisette.base.processes import Processes
from noisette.base.seeds import generator
from noisette.data.augment import NONE, Augmentation
from noisette.data.batches import Batches
from noisette.data.datasets import load_data
from noisette.data.images import ImageData
from noisette.data.split import split
from noisette.diffusion.objective import DiffusionConfig, Objective
from noisette.models.unet import UNet, UNetConfig
from noisette.training.config import TrainingConfig
from noisette.training.log import read_log
from noisette.training.loop import Diverged, Finished, Stepped, Validated, new_state, train
from noisette.training.manifest import Checkpoints
from noisette.weights.model_file import SamplingConfig, load_model
from noisette.workflows.model import load
from noisette.workflows.recipes import (
    RECIPES,
    DataConfig,
    RunConfig,
    load_recipe,
    read_run_config,
    recipe_names,
    to_toml,
    without_horizon,
)
from noisette.workflows.train import Run, Stopped, preview

# Everything that has a memory is at work: dropout, label drop, warm-up, plateau drops (the rate is far too high, so
# that losses rise and fall), the ramp of the average, accumulation, momentum, weight decay, augmentation.
CONFIG = RunConfig(
    DataConfig("mnist-5k"),
    UNetConfig(widths=(8, 16), blocks=1, embedding=16, dropout=0.2),
    DiffusionConfig(),
    TrainingConfig(
        images=640,
        batch_size=32,
        accumulation=2,
        optimizer="muon",
        learning_rate=2.0,
        adamw_rate=0.4,
        weight_decay=0.01,
        rate="plateau",
        plateau_patience=1,
        warmup_images=200,
        ema_halflife_images=150,
        ema_ramp=0.2,
        label_drop=0.2,
        validate_every=64,
        validation_images=60,
    ),
    SamplingConfig(steps=2),
    Augmentation(shift=1, rotate=5.0),
)


def changed(**training: Any) -> RunConfig:
    return replace(CONFIG, training=replace(CONFIG.training, **training))


SMALL = changed(images=64, batch_size=16, accumulation=1, validate_every=32, validation_images=10, learning_rate=0.02)


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch) -> None:
    monkeypatch.setattr(module, "PREVIEW_IMAGES", 10)


def run(config: RunConfig, out: Path, stop: Callable[[int, Any], bool] | None = None) -> list[Any]:
    """Events of a run on the CPU; `stop` is asked with the number and the event."""
    events: list[Any] = []
    for event in Run(config, out, device="cpu").events(lambda: stop is not None and stop(len(events), events[-1])):
        events.append(event)
    return events


class StopAfter:
    """Stops a run after so many images, and so many validations of them."""

    def __init__(self, images: int, kind: type = Stepped) -> None:
        self.images, self.kind = images, kind

    def __call__(self, _: int, event: Any) -> bool:
        return isinstance(event, self.kind) and event.images_seen == self.images


def newest(folder: Path) -> Path:
    path = Checkpoints(folder / "checkpoints").newest
    assert path is not None
    return path


def tensors(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)


def progress(folder: Path) -> dict[str, Any]:
    with safe_open(newest(folder), framework="pt") as file:
        return {key: value for key, value in json.loads(file.metadata()["progress"]).items() if key != "seconds"}


def log(folder: Path) -> list[dict[str, Any]]:
    records = read_log(folder / "metrics.jsonl")
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records]


def card(path: Path) -> dict[str, Any]:
    told = load_model(path).card
    del told["training_seconds"], told["config"]["training"]["images"]
    return told


def assert_same_run(one: Path, two: Path) -> None:
    """Weights, average, optimisers, progress, best and last model, log and pictures; all but the seconds."""
    assert log(one) == log(two)
    assert progress(one) == progress(two)
    assert newest(one).name == newest(two).name
    for name in (f"checkpoints/{newest(one).name}", "best.safetensors", "last.safetensors"):
        left, right = tensors(one / name), tensors(two / name)
        assert left.keys() == right.keys()
        for key in left:
            assert torch.equal(left[key], right[key]), f"{name}: {key}"
    for name in ("best.safetensors", "last.safetensors"):  # of the card all but the seconds and the horizon
        assert card(one / name) == card(two / name)
    pictures = [sorted((folder / "samples").iterdir()) for folder in (one, two)]
    assert [path.name for path in pictures[0]] == [path.name for path in pictures[1]]
    assert [path.read_bytes() for path in pictures[0]] == [path.read_bytes() for path in pictures[1]]
    assert (one / "config.toml").read_text() == (two / "config.toml").read_text()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_batch_that_processes_cannot_share_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    class Three(Processes):
        count = 3

    monkeypatch.setattr(module, "join", lambda device: Three())
    with pytest.raises(Refusal, match="batch_size 32: expected a multiple of 6, which is accumulation times processes"):
        Run(CONFIG, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


# --- resumed bit for bit


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    """The run that is never interrupted."""
    out = tmp_path_factory.mktemp("unbroken") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PREVIEW_IMAGES", 10)
        assert isinstance(run(CONFIG, out)[-1], Finished)
    return out


RESUME = """
import sys
from pathlib import Path
import torch
from noisette.training.loop import Finished
from noisette.workflows import train
from noisette.workflows.recipes import read_run_config
train.PREVIEW_IMAGES = 10
for name in sys.argv[1:]:
    torch.set_num_threads(2)
    torch.manual_seed(len(name))
    torch.randn(7)
    first, *_, last = train.Run(read_run_config(Path(name) / "config.toml"), Path(name), device="cpu").events()
    assert isinstance(last, Finished), last
    print(type(first).__name__, first.images_seen)
"""


def resume_in_a_fresh_process(*folders: Path) -> list[str]:
    """Run each to its end; tells the first event of each."""
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RESUME, *map(str, folders)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def first_best_after(folder: Path, images: int) -> int:
    validations = [record for record in log(folder) if record["event"] == "validation"]
    return next(record["images_seen"] for record in validations if record["is_best"] and record["images_seen"] > images)


def interrupted_in_the_warm_up(out: Path, unbroken: Path) -> None:
    run(CONFIG, out, StopAfter(96))


def interrupted_at_a_multiple_before_its_validation(out: Path, unbroken: Path) -> None:
    run(CONFIG, out, StopAfter(192))


def interrupted_right_after_a_validation(out: Path, unbroken: Path) -> None:
    run(CONFIG, out, StopAfter(256, Validated))


def interrupted_twice_late(out: Path, unbroken: Path) -> None:
    run(CONFIG, out, StopAfter(160))
    run(CONFIG, out, StopAfter(544))


def killed_after_the_log_and_the_best_went_on(out: Path, unbroken: Path) -> None:
    """The last state that reached the disk is older than the log and the best model."""
    best = first_best_after(unbroken, 96)
    run(CONFIG, out, StopAfter(96))
    shutil.copytree(out / "checkpoints", out.parent / "old")
    before = (out / "best.safetensors").read_bytes()
    run(CONFIG, out, StopAfter(best + 32))
    assert (out / "best.safetensors").read_bytes() != before
    shutil.rmtree(out / "checkpoints")
    shutil.move(out.parent / "old", out / "checkpoints")


def killed_before_the_first_save(out: Path, unbroken: Path) -> None:
    run(CONFIG, out, StopAfter(128, Validated))
    shutil.rmtree(out / "checkpoints")
    (out / "last.safetensors").unlink()


def killed_while_it_wrote_a_line(out: Path, unbroken: Path) -> None:
    run(CONFIG, out, StopAfter(96))
    file = out / "metrics.jsonl"
    file.write_text(file.read_text() + '{"event": "step", "images_seen": 128, "lo')


def killed_right_after_its_configuration_was_written(out: Path, unbroken: Path) -> None:
    out.mkdir()
    (out / "config.toml").write_text(to_toml(CONFIG))


# Each with the first event after it is resumed: nothing that was saved is done again.
INTERRUPTIONS: dict[Callable[[Path, Path], None], str] = {
    interrupted_in_the_warm_up: "Stepped 128",
    interrupted_at_a_multiple_before_its_validation: "Validated 192",
    interrupted_right_after_a_validation: "Stepped 288",
    interrupted_twice_late: "Stepped 576",
    killed_after_the_log_and_the_best_went_on: "Stepped 128",
    killed_before_the_first_save: "Stepped 32",
    killed_while_it_wrote_a_line: "Stepped 128",
    killed_right_after_its_configuration_was_written: "Stepped 32",
}


@pytest.fixture(scope="module")
def resumed(tmp_path_factory, unbroken) -> dict[Callable[..., None], tuple[Path, str]]:
    """A folder for each interruption and its first event, resumed by one fresh process that begins with other threads
    and other chance."""
    folders = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PREVIEW_IMAGES", 10)
        for interrupt in INTERRUPTIONS:
            folders[interrupt] = tmp_path_factory.mktemp("run") / "run"
            interrupt(folders[interrupt], unbroken)
    # One thread is chosen and kept by a run; this last one had not chosen yet.
    shutil.copy(unbroken / "run.json", folders[killed_right_after_its_configuration_was_written])
    first = resume_in_a_fresh_process(*folders.values())
    return dict(zip(folders, zip(folders.values(), first, strict=True), strict=True))


@pytest.mark.parametrize("interrupt", INTERRUPTIONS, ids=lambda function: function.__name__)
def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(resumed, unbroken, interrupt):
    folder, first = resumed[interrupt]
    assert first == INTERRUPTIONS[interrupt]
    assert_same_run(folder, unbroken)


def test_all_that_has_a_memory_was_at_work(unbroken):
    records = log(unbroken)
    validations = [record for record in records if record["event"] == "validation"]
    steps = [record for record in records if record["event"] == "step"]
    assert len(steps) == 20
    assert [record["images_seen"] for record in validations] == list(range(64, 641, 64))
    drops = [record["images_seen"] for record in validations if record["rate_dropped"]]
    assert drops, "the losses fell every time: no plateau drop was tested"
    assert any(record["is_best"] for record in validations if record["images_seen"] > drops[0])
    assert progress(unbroken)["rate_drops"] == 0.5 ** len(drops)
    warm = [record["learning_rate"] for record in steps if record["images_seen"] <= 200]
    assert warm == sorted(warm)
    assert warm[0] < warm[-1]
    state = tensors(newest(unbroken))
    moments = [name for name in state if name.startswith("optimizer.")]
    assert {name.rsplit(".", 1)[1] for name in moments} == {"momentum", "exp_avg", "exp_avg_sq", "step"}
    assert all(state[name].any() for name in moments)
    for name in state:
        if name.startswith("network."):
            assert not torch.equal(state[name], state["average." + name.removeprefix("network.")])


def test_other_chance_makes_another_run(unbroken, tmp_path):
    """The comparison would see a difference: another seed, or no dropout."""
    for number, other in enumerate((changed(seed=1), replace(CONFIG, network=replace(CONFIG.network, dropout=0.0)))):
        out = tmp_path / str(number)
        run(other, out, StopAfter(64))
        assert log(out)[:2] != log(unbroken)[:2]


def test_the_seed_decides_the_order_and_the_weights_and_the_split_seed_what_is_held_out(tmp_path):
    one, other = (Run(changed(seed=seed), tmp_path / "run", device="cpu") for seed in (0, 1))
    assert not torch.equal(one.batches.at(0, 32).images, other.batches.at(0, 32).images)
    assert not torch.equal(one.state.network.stem.weight, other.state.network.stem.weight)
    assert one.held_out is not None
    assert other.held_out is not None
    assert torch.equal(one.held_out.images, other.held_out.images)
    split_otherwise = Run(replace(CONFIG, dataset=DataConfig(split_seed=1)), tmp_path / "run", device="cpu")
    assert split_otherwise.held_out is not None
    assert not torch.equal(one.held_out.images, split_otherwise.held_out.images)


# --- what a run leaves behind


def test_a_run_folder_holds_what_it_promises(unbroken):
    assert sorted(path.name for path in unbroken.iterdir()) == [
        "best.safetensors",
        "checkpoints",
        "config.toml",
        "last.safetensors",
        "metrics.jsonl",
        "run.json",
        "run.lock",
        "samples",
    ]
    assert sorted(path.name for path in (unbroken / "checkpoints").iterdir()) == [
        "000000576-validated.safetensors",
        "000000640-validated.safetensors",
        "manifest.json",
    ]
    assert read_run_config(unbroken / "config.toml") == CONFIG
    settled = json.loads((unbroken / "run.json").read_text())
    assert (settled["device"], settled["threads"], settled["precision"]) == ("cpu", 1, "float32")
    assert settled["data_digest"] == load_data("mnist-5k").digest
    assert [path.name for path in sorted((unbroken / "samples").iterdir())] == [
        f"{seen:09d}.png" for seen in range(64, 641, 64)
    ]
    with Image.open(unbroken / "samples" / "000000640.png") as picture:
        assert picture.size == ((10 * 30 + 2) * 2, (30 + 2) * 2)


def test_training_alone_is_augmented(tmp_path):
    altered, plain = (Run(replace(CONFIG, augmentation=ways), tmp_path) for ways in (CONFIG.augmentation, NONE))
    assert altered.held_out is not None
    assert plain.held_out is not None
    assert torch.equal(altered.held_out.images, plain.held_out.images)
    one, other = altered.batches.at(0, 8), plain.batches.at(0, 8)
    assert torch.equal(one.labels, other.labels)
    assert not torch.equal(one.images, other.images)
    assert altered.spec.diffusion.data_std == plain.spec.diffusion.data_std


def test_images_are_not_copied_and_their_deviation_is_that_of_the_check(tmp_path, monkeypatch):
    data = load_data("mnist-5k")
    monkeypatch.setattr(module, "load_data", lambda *given: data)
    new = Run(SMALL, tmp_path)
    assert new.batches.images is data.images
    assert len(new.batches) == 4000
    contents = new.plan.report.contents
    assert contents is not None
    assert new.spec.diffusion.data_std == contents.standard_deviation


def test_the_models_are_the_average_and_carry_their_card(unbroken):
    state = tensors(newest(unbroken))
    last = tensors(unbroken / "last.safetensors")
    assert {f"average.{name}" for name in last} == {name for name in state if name.startswith("average.")}
    assert all(torch.equal(last[name], state[f"average.{name}"]) for name in last)

    best_at = progress(unbroken)["best_images_seen"]
    for name, seen in (("best", best_at), ("last", 640)):
        told = load_model(unbroken / f"{name}.safetensors").card
        assert told["images_seen"] == seen
        assert told["data"] == "mnist-5k"
        assert told["data_digest"] == load_data("mnist-5k").digest
        assert told["training_images"] == 4000
        assert told["precision"] == "float32"
        assert told["config"]["training"]["images"] == 640
        assert told["config"]["augmentation"] == {"flip": False, "shift": 1, "rotate": 5.0}
        assert 0 < told["training_seconds"] < 600
    told = load_model(unbroken / "best.safetensors").card
    validations = {r["images_seen"]: r["loss"] for r in log(unbroken) if r["event"] == "validation"}
    assert told["validation_loss"] == validations[best_at] == min(validations.values())


def test_best_is_the_best_and_stays_so_when_worse_follows(tmp_path):
    config = replace(SMALL, training=replace(SMALL.training, images=64, validate_every=16))
    prepared, losses = Run(config, tmp_path, device="cpu"), iter([1.0, 0.5, 0.7, 0.5])

    class Scripted(Objective):
        def per_image_loss(self, network, clean, label, noise_level, noise):
            if network is prepared.state.average:
                return torch.full((len(clean),), next(losses))
            return super().per_image_loss(network, clean, label, noise_level, noise)

    prepared.objective = Scripted(prepared.spec.diffusion)
    averages = {}
    for event in prepared.events():
        averages[event.images_seen] = {k: v.clone() for k, v in prepared.state.average.state_dict().items()}
    best = tensors(tmp_path / "best.safetensors")
    assert all(torch.equal(best[name], averages[32][name]) for name in best)
    assert not torch.equal(best["output.weight"], averages[64]["output.weight"])
    told = load(tmp_path, device="cpu").file.card
    assert (told["images_seen"], told["validation_loss"]) == (32, 0.5)


def test_the_model_knows_its_data_and_samples(unbroken):
    model = load(unbroken, device="cpu")
    assert model.classes == tuple("0123456789")
    assert model.shape == (1, 28, 28)
    data = load_data("mnist-5k")
    train_rows, _ = split(data.labels, 0.2, 0)
    pixels = data.images[train_rows].astype(np.float64) / 127.5 - 1
    assert model.file.spec.diffusion.data_std == pytest.approx(pixels.std(), rel=1e-6)
    assert model.sample([7, 7, 3], steps=2).shape == (3, 1, 28, 28)


def test_no_image_is_both_trained_and_validated_on_and_every_class_is_validated(tmp_path):
    prepared = Run(changed(validation_images=60), tmp_path / "run", device="cpu")
    assert prepared.held_out is not None
    assert len(prepared.held_out.position) == 59  # every 17th of the 1,000 that are held out
    assert set(prepared.held_out.labels.tolist()) == set(range(10))
    trained = {image.numpy().tobytes() for image in prepared.batches.at(0, 4000).images}
    assert len(trained) == 4000
    assert not trained & {image.numpy().tobytes() for image in prepared.held_out.images}
    none = Run(changed(validation_images=0), tmp_path / "run", device="cpu")
    assert none.held_out is None


def test_seconds_in_the_log_rise_and_are_kept_over_an_interruption(tmp_path):
    run(SMALL, tmp_path / "run", StopAfter(32))
    run(SMALL, tmp_path / "run")
    seconds = [record["seconds"] for record in read_log(tmp_path / "run" / "metrics.jsonl")]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0
    assert len(seconds) == 7


# --- again, further, elsewhere


def test_a_finished_run_that_is_run_again_says_so_and_stays_as_it_was(unbroken, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(unbroken, out)
    (event,) = run(CONFIG, out)
    assert event == Finished(640, "horizon reached")
    assert_same_run(out, unbroken)


def test_a_longer_horizon_goes_on_where_the_run_ended(tmp_path):
    out = tmp_path / "run"
    run(SMALL, out)
    longer = replace(SMALL, training=replace(SMALL.training, images=96))
    events = run(longer, out)
    assert [event.images_seen for event in events] == [80, 96, 96, 96]
    once = tmp_path / "once"
    run(longer, once)
    assert_same_run(out, once)


def test_a_horizon_in_minutes_is_summed_over_interruptions(tmp_path):
    config = replace(SMALL, training=replace(SMALL.training, images=None, minutes=0.01))
    out = tmp_path / "run"
    stopped = run(config, out, lambda number, _: number == 1)
    assert isinstance(stopped[-1], Stopped)
    assert isinstance(run(config, out)[-1], Finished)
    records = read_log(out / "metrics.jsonl")
    assert [record["images_seen"] for record in records if record["event"] == "step"] == list(
        range(16, 16 * sum(record["event"] == "step" for record in records) + 1, 16)
    )
    assert 0.6 <= records[-1]["seconds"] < 60


def test_the_plan_tells_what_is_about_to_be_trained(tmp_path, unbroken):
    plan = Run(SMALL, tmp_path / "run", device="cpu").plan
    assert plan.parameters == sum(p.numel() for p in UNet(SMALL.network, 1, 10).parameters())
    assert (plan.device, plan.threads, plan.precision, plan.images_seen) == ("cpu", 1, "float32", 0)
    assert plan.rate > 0
    assert plan.seconds_left == pytest.approx(64 / plan.rate)
    assert plan.report.contents is not None
    assert not (tmp_path / "run").exists()
    assert Run(CONFIG, unbroken, device="cpu").plan.seconds_left == 0
    timed = replace(SMALL, training=replace(SMALL.training, images=None, minutes=2.0))
    assert Run(timed, tmp_path / "run", device="cpu").plan.seconds_left == 120


def test_auto_precision_is_measured_and_kept(tmp_path, monkeypatch):
    config = replace(SMALL, training=replace(SMALL.training, precision="auto"))
    rates = {"float32": 10.0, "bfloat16": 20.0}
    monkeypatch.setattr(Run, "_measured_rate", lambda self, precision: rates[precision])
    run(config, tmp_path / "run", StopAfter(32))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["precision"] == "bfloat16"
    rates["float32"] = 99.0
    again = Run(config, tmp_path / "run", device="cpu")
    assert again.plan.precision == "bfloat16"
    assert Run(config, tmp_path / "other", device="cpu").plan.precision == "float32"


# --- refused, and nothing written


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (changed(seed=1), "belongs to another run: training.seed is 1, not 0 as there; expected a new folder"),
        (changed(batch_size=64), "training.batch_size is 64, not 32 as there"),
        (replace(CONFIG, network=UNetConfig(widths=(8, 24))), "belongs to another run: network"),
        (replace(CONFIG, dataset=DataConfig(split_seed=3)), "dataset.split_seed is 3, not 0"),
        (replace(CONFIG, sampling=SamplingConfig(steps=3)), "sampling.steps is 3, not 2"),
        (replace(CONFIG, diffusion=replace(CONFIG.diffusion, data_std=0.5)), "diffusion.data_std is 0.5, not None"),
    ],
    ids=["seed", "batch size", "network", "split", "sampling", "an option that was left out"],
)
def test_the_folder_of_another_run_is_refused(unbroken, other, message):
    before = contents(unbroken)
    with pytest.raises(Refusal, match=message) as caught:
        Run(other, unbroken, device="cpu")
    assert "\n" not in str(caught.value)
    assert contents(unbroken) == before


def test_other_data_of_the_same_name_are_refused(unbroken, monkeypatch):
    data = load_data("mnist-5k")
    images = data.images.copy()
    images[17, 3, 3, 0] ^= 1
    other = ImageData(data.name, images, data.labels, data.classes, data.source)
    monkeypatch.setattr(module, "load_data", lambda *_: other)
    before = contents(unbroken)
    with pytest.raises(Refusal, match=f"was trained on other data: digest {data.digest[:12]}, not {other.digest[:12]}"):
        Run(CONFIG, unbroken, device="cpu")
    assert contents(unbroken) == before


def test_another_device_than_the_run_began_on_is_refused(unbroken, monkeypatch):
    monkeypatch.setattr(module, "choose_device", lambda name: torch.device("meta"))
    with pytest.raises(Refusal, match="began on device 'cpu'"):
        Run(CONFIG, unbroken, device="auto")


def test_a_folder_of_something_else_and_a_file_are_refused(tmp_path):
    (tmp_path / "thesis.md").write_text("precious")
    with pytest.raises(Refusal, match="is not empty and holds no run"):
        Run(SMALL, tmp_path, device="cpu")
    with pytest.raises(Refusal, match=r"thesis\.md is a file: expected a new folder"):
        Run(SMALL, tmp_path / "thesis.md", device="cpu")
    assert contents(tmp_path) == {"thesis.md": b"precious"}


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("config.toml", lambda text: text[:-20] + b"[[[", r"config\.toml is not valid TOML"),
        ("config.toml", lambda text: text.replace(b"batch_size", b"batch"), r"config\.toml.*unknown key 'batch'"),
        ("config.toml", lambda text: text.replace(b"steps = 2", b"steps = 0"), r"config\.toml.*steps 0"),
        ("run.json", lambda text: text[:-9], r"run\.json"),
        ("run.json", lambda text: text.replace(b"threads", b"thread"), r"run\.json"),
        ("run.json", lambda text: text.replace(b"float32", b"float12"), r"run\.json"),
        ("run.json", lambda text: b"[]", r"run\.json"),
        ("checkpoints/manifest.json", lambda text: text[:-9], r"manifest\.json is not a manifest"),
        ("checkpoints/manifest.json", lambda text: text.replace(b"-1", b"-2"), r"expected 'noisette-checkpoints-1'"),
        ("metrics.jsonl", lambda text: b"\0\n" + text, r"metrics\.jsonl line 1 is not a record"),
    ],
    ids=range(10),
)
def test_a_damaged_run_is_refused_by_the_name_of_the_file(unbroken, tmp_path, file, damage, message):
    out = tmp_path / "run"
    shutil.copytree(unbroken, out)
    (out / file).write_bytes(damage((out / file).read_bytes()))
    before = contents(out)
    with pytest.raises(Refusal, match=message) as caught:
        run(CONFIG, out)
    assert "\n" not in str(caught.value)
    assert contents(out) == before


BAD_INPUT: dict[str, tuple[RunConfig, dict[str, Any], str]] = {
    "no horizon": (without_horizon(SMALL), {}, "no horizon: expected --images or --minutes to train for"),
    "data set": (
        replace(SMALL, dataset=DataConfig("minst")),
        {},
        r"unknown data set 'minst': .*did you mean 'mnist'\?",
    ),
    "data folder": (replace(SMALL, dataset=DataConfig("mnist")), {"data_dir": Path("absent")}, "no folder absent"),
    "a folder it does not read": (SMALL, {"data_dir": Path()}, "mnist-5k travels with the package and reads no folder"),
    "device": (SMALL, {"device": "cpuu"}, r"unknown device 'cpuu': .*did you mean 'cpu'\?"),
    "steps of a chain": (
        replace(
            SMALL,
            diffusion=DiffusionConfig(schedule="linear", table_steps=10, training_levels="table"),
            sampling=SamplingConfig("ddpm", steps=11),
        ),
        {},
        "11 sampling steps: expected 1 to 10",
    ),
}


@pytest.mark.parametrize("tensorboard", [False, True], ids=["", "with tensorboard"])
@pytest.mark.parametrize(("config", "given", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_refused_before_anything_is_written(tmp_path, config, given, message, tensorboard):
    with pytest.raises(Refusal, match=message) as caught:
        Run(config, tmp_path / "run", **({"device": "cpu"} | given), tensorboard=tensorboard)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_bad_data_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    data = load_data("mnist-5k")
    wrong = ImageData(data.name, data.images, data.labels, data.classes[:9], data.source)
    monkeypatch.setattr(module, "load_data", lambda *_: wrong)
    with pytest.raises(Refusal, match="data set mnist-5k: labels lie in 0 to 9, expected 0 to 8"):
        Run(SMALL, tmp_path / "run", device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    events = Run(SMALL, tmp_path / "run", device="cpu").events(lambda: True)
    next(events)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoisetteError, match=r"cannot write .*\.safetensors: No space left on device"):
        next(events)


# --- what goes wrong on the way


def test_a_run_that_diverges_names_the_last_good_checkpoint(tmp_path, monkeypatch):
    out = tmp_path / "run"
    draw = Batches.at

    def spoiled(self: Batches, images_seen: int, count: int) -> Any:
        batch = draw(self, images_seen, count)
        if 50 in batch.position:
            batch.images[50 - images_seen, 0, 0, 0] = math.nan
        return batch

    monkeypatch.setattr(Batches, "at", spoiled)
    expected = (
        rf"images 48 to 63: loss nan.*last good checkpoint: .*{out.name}.*000000032-validated\.safetensors at 32 images"
    )
    with pytest.raises(Diverged, match=expected) as caught:
        run(SMALL, out)
    assert "\n" not in str(caught.value)
    assert [record["images_seen"] for record in log(out)] == [16, 32, 32, 48, 48]
    assert log(out)[-1]["event"] == "diverged"
    assert log(out)[-1]["reason"] in str(caught.value)
    assert all(torch.isfinite(value).all() for value in tensors(newest(out)).values())
    monkeypatch.setattr(Batches, "at", draw)
    assert run(SMALL, out)[-1] == Finished(64, "horizon reached")
    monkeypatch.setattr(Batches, "at", spoiled)
    rare = replace(SMALL, training=replace(SMALL.training, validate_every=1000))
    with pytest.raises(Diverged, match="last good checkpoint: none was saved yet"):
        run(rare, tmp_path / "other")


def test_states_are_saved_while_no_validation_comes(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SAVE_SECONDS", 0.0)
    config = replace(SMALL, training=replace(SMALL.training, validate_every=1000))
    events = Run(config, tmp_path / "run", device="cpu").events()
    for seen in (16, 32):
        assert next(events).images_seen == seen
        assert progress(tmp_path / "run")["images_seen"] == seen
    events.close()


def test_every_event_is_on_disk_before_it_is_told(tmp_path):
    out = tmp_path / "run"
    told = []
    for event in Run(SMALL, out, device="cpu").events():
        told.append(event.images_seen)
        assert [record["images_seen"] for record in log(out)] == told
        if isinstance(event, Validated):
            assert progress(out)["validated_at"] == event.images_seen
            assert (out / "samples" / f"{event.images_seen:09d}.png").exists()
            assert (out / "best.safetensors").exists() == (progress(out)["best_images_seen"] > 0)


def test_tensorboard_follows_and_a_resumed_run_goes_on(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for stop in (StopAfter(32), None):
        for event in (events := Run(SMALL, tmp_path / "run", device="cpu", tensorboard=True).events()):
            if stop and stop(0, event):
                events.close()
    found = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    found.Reload()
    assert {"loss/training", "loss/validation", "learning_rate", "gradient_norm"} <= set(found.Tags()["scalars"])
    logged = {r["images_seen"]: r["loss"] for r in log(tmp_path / "run") if r["event"] == "validation"}
    assert {e.step: e.value for e in found.Scalars("loss/validation")} == pytest.approx(logged)


@pytest.mark.parametrize(
    ("classes", "size"), [(0, (10, 1)), (1, (10, 1)), (3, (3, 3)), (10, (10, 1)), (30, (20, 1))], ids=str
)
def test_the_preview_shows_classes_in_columns(tmp_path, classes, size):
    prepared = Run(SMALL, tmp_path / "run", device="cpu")
    spec = replace(prepared.spec, classes=tuple(f"class {n}" for n in range(classes)), channels=3, height=5, width=4)
    network = spec.new_network()
    network.initialise(generator("preview"))
    picture = preview(spec, network.eval(), torch.device("cpu"))
    columns, rows = size
    assert picture.size == ((columns * 6 + 2) * 2, (rows * 7 + 2) * 2)


# --- recipes


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_whole_and_trains(name):
    config = load_recipe(name)
    assert config.training.images is not None or config.training.minutes is not None
    assert config.dataset.data in ("mnist", "mnist-5k")
    data_std = replace(config.diffusion, data_std=0.6)
    network = UNet(config.network, 1, 10)
    network.initialise(generator("recipe"))
    training = replace(config.training, images=2, minutes=None, batch_size=2, accumulation=1, precision="float32")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), dtype=np.uint8)
    batches = Batches(pixels, np.arange(4), np.arange(4), 0)
    state = new_state(network, training)
    before = network.output.weight.detach().clone()
    stepped, finished = train(state, Objective(data_std), training, batches.at, None)
    assert isinstance(stepped, Stepped)
    assert isinstance(finished, Finished)
    assert math.isfinite(stepped.loss)
    assert not torch.equal(network.output.weight, before)


def test_recipes_are_the_files_of_the_folder():
    files = {entry.name for entry in RECIPES.iterdir() if entry.name.endswith(".toml")}
    assert {f"{name}.toml" for name in recipe_names()} == files
    assert {"lab", "quick", "demo"} <= set(recipe_names())


def test_recipe_lab_keeps_every_figure_of_the_report():
    config = load_recipe("lab")
    assert config.dataset.validation_fraction == 0.2
    diffusion = config.diffusion
    assert (diffusion.schedule, diffusion.table_steps, diffusion.training_levels) == ("linear", 500, "table")
    assert (diffusion.levels.beta_start, diffusion.levels.beta_end) == (1e-4, 0.02)
    assert (diffusion.parameterisation, diffusion.loss_weight) == ("noise", "noise")
    training = config.training
    assert (training.learning_rate, training.rate, training.plateau_factor) == (2e-4, "plateau", 0.5)
    assert (training.patience, training.validate_every) == (10, 48_000)
    assert training.ema_halflife_images > 0
    assert (config.sampling.sampler, config.sampling.steps, config.sampling.grid) == ("ddpm", 500, "trained")


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(Refusal, match=r"unknown recipe 'quik': expected one of .*; did you mean 'quick'\?"):
        load_recipe("quik")


@pytest.mark.parametrize("config", [CONFIG, SMALL, RunConfig(), *map(load_recipe, recipe_names())])
def test_a_configuration_survives_its_toml(config, tmp_path):
    (tmp_path / "config.toml").write_text(to_toml(config))
    assert read_run_config(tmp_path / "config.toml") == config
