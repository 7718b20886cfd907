"""Rewarding: what a judge asks for is drawn more often, as another sees; it ends before it goes too far."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console

from noisette.base.errors import Refusal
from noisette.base.progress import silent
from noisette.data.batches import Batches
from noisette.diffusion.objective import DiffusionConfig, Objective
from noisette.models.unet import UNet, UNetConfig
from noisette.training.config import TrainingConfig
from noisette.training.loop import Diverged, new_state, train
from noisette.weights.model_file import ModelFile, ModelSpec, SamplingConfig, load_model, save_model
from noisette.workflows.drawing import draw_pixels
from noisette.workflows.model import load
from noisette.workflows.rank import Candidate, Price
from noisette.workflows.reward import Reward, RewardRequest
from noisette.workflows.reward_shown import check_line, save_rewarded, show_rewarded
from noisette.workflows.studies.judge import Judge


@pytest.fixture(scope="session")
def half_taught(tmp_path_factory, blob_images):
    """The file of a model that learned the blobs for two seconds, half of them without a label: it draws spots, often
    in another place than was asked for."""
    folder, data = tmp_path_factory.mktemp("half taught"), blob_images(300, 0)
    network = UNetConfig(widths=(16,), blocks=1, embedding=16, norm="channel")
    diffusion = DiffusionConfig(data_std=0.5, noise_log_mean=0.0)
    spec = ModelSpec(network, diffusion, SamplingConfig("dpmpp-2m", steps=6), 1, 8, 10, data.classes)
    born = spec.new_network()
    born.initialise(torch.Generator().manual_seed(0))
    config = TrainingConfig(
        images=12_000, batch_size=50, learning_rate=4e-3, warmup_images=300, ema_halflife_images=500, label_drop=0.5
    )
    state = new_state(born, config)
    batches = Batches(data.images, data.labels, np.arange(len(data.labels)), 0)
    for _ in train(state, Objective(diffusion), config, batches.at, None):
        pass
    assert isinstance(state.average, UNet)
    save_model(folder / "model.safetensors", ModelFile(spec, state.average, {"data": "blobs"}))
    return folder / "model.safetensors"


@pytest.fixture
def model(half_taught):
    """It, loaded."""
    return load(str(half_taught), "cpu", "float32")


@pytest.fixture
def request_of(choice):
    """Makes a short request that rewards by a residual classifier, watched by a plain one."""

    def make(method="gradient", **changes):
        usual = {"images": 800, "batch_size": 40, "learning_rate": 3e-3, "check_every": 400, "check_images": 240}
        more = {"reward_weight": 1.0, "last_steps": 4, "per_class": 40, "candidates": 120}
        free = {"coverage_loss": 1.0, "distance_growth": 100.0}
        judges = {"reward": choice.by, "measure": choice.measure, "data": choice.data}
        return RewardRequest(method=method, **judges | usual | more | free | changes)

    return make


@pytest.fixture
def rewarding(model, request_of, tmp_path, blobs):
    """Makes the reward of a request, into the folder "out"."""

    def make(*method, **changes):
        return Reward(model, request_of(*method, **changes), tmp_path / "out", precision="float32")

    return make


@pytest.mark.parametrize("method", ["gradient", "filter"])
def test_what_is_asked_for_is_drawn_more_often_as_another_sees(rewarding, method, tmp_path):
    reward = rewarding(method)
    checks = list(reward.checks())
    record = reward.finish().record
    assert json.loads((tmp_path / "out" / "reward.json").read_text()) == record
    assert [check.images_seen for check in checks] == [0, 400, 800]
    before, after = record["before"], record["after"]
    assert before["label_accuracy"]["value"] < 0.85
    assert after["label_accuracy"]["value"] > before["label_accuracy"]["value"] + 0.1
    assert after["score"] > before["score"] + 0.1
    assert checks[0].measured["label_accuracy"]["value"] == pytest.approx(before["label_accuracy"]["value"], abs=0.1)
    assert record["stopped"] == "all images were seen"
    assert record["kept_at"] == [check.images_seen for check in checks if check.verdict == "kept"][-1]
    assert len(record["choosing"]) == (2 if method == "filter" else 0)


def test_without_a_reward_it_is_plain_training(rewarding, model, half_taught):
    """Which is what a reward has to be compared with."""
    reward = rewarding(reward_weight=0.0)
    list(reward.checks())
    config = reward.request.training()
    state = new_state(load_model(half_taught).network.requires_grad_(True), config)
    for _ in train(state, Objective(model.file.spec.diffusion), config, reward.real.at, None):
        pass
    for own, other in zip(reward.state.average.parameters(), state.average.parameters(), strict=True):
        assert torch.allclose(own, other, atol=1e-6)


def test_the_same_request_gives_the_same_weights(rewarding, tmp_path):
    found = []
    for _ in range(2):
        list(rewarding("filter", images=400).checks())
        found.append((tmp_path / "out" / "best.safetensors").read_bytes())
    assert found[0] == found[1]


def test_half_of_a_batch_are_drawings_that_were_kept(rewarding, blobs):
    reward = rewarding("filter")
    reward.kept = Batches(255 - blobs.data["test"].images, blobs.data["test"].labels, np.arange(300), 1)
    batch = reward._batch(80, 40)
    real, kept = reward.real.at(40, 20), reward.kept.at(40, 20)
    assert list(batch.position) == list(range(80, 120))
    assert torch.equal(batch.images[::2], real.images)
    assert torch.equal(batch.images[1::2], kept.images)
    assert batch.labels.tolist()[:4] == [real.labels[0], kept.labels[0], real.labels[1], kept.labels[1]]


def test_the_price_is_that_of_an_image_that_was_kept(rewarding, monkeypatch):
    """30 of the 120 that were asked for: the others were too alike."""
    reward = rewarding("filter")
    few = SimpleNamespace(kept=lambda: [Candidate(0, 0.5, np.zeros((8, 10, 1), np.uint8))] * 10)
    price = Price(evaluations=600.0, drawing_seconds=1.0, looks=300, scoring_seconds=1.0)
    monkeypatch.setattr("noisette.workflows.reward.draw_best", lambda *given: ([few] * 3, price))
    reward._choose(silent)
    assert reward.spent == [price.of(30)]


def told(monkeypatch, coverage, distance):
    """Makes the classifier that watches say this of one check after another."""
    sayings = iter(zip(coverage, distance, strict=True))
    true = Judge.metrics

    def say(self, images, labels):
        found = true(self, images, labels)
        given = dict(zip(("coverage", "frechet"), next(sayings, (0.9, 1.0)), strict=True))
        return found | {name: found[name] | {"value": value} for name, value in given.items()}

    monkeypatch.setattr(Judge, "metrics", say)


@pytest.mark.parametrize(
    ("coverage", "distance"),
    [((0.9, 0.89, 0.86), (1.0, 1.0, 1.0)), ((0.9, 0.9, 0.9), (1.0, 1.2, 1.3))],
)
def test_it_ends_before_it_goes_too_far_and_keeps_what_was_best(rewarding, monkeypatch, coverage, distance, tmp_path):
    told(monkeypatch, coverage, distance)
    reward = rewarding(coverage_loss=0.03, distance_growth=1.25, images=2000)
    seen = []
    for check in reward.checks():
        seen.append((check.images_seen, check.verdict))
        if check.images_seen == 400:
            kept = [weight.clone() for weight in reward.state.average.parameters()]
    assert seen == [(0, "kept"), (400, "kept"), (800, "too far")]
    record = reward.finish().record
    assert (record["kept_at"], record["stopped"]) == (400, "it went too far")
    best = load_model(tmp_path / "out" / "best.safetensors").network
    assert all(map(torch.equal, best.parameters(), kept))
    assert all(map(torch.equal, reward.best.parameters(), kept))
    assert not all(map(torch.equal, best.parameters(), reward.state.average.parameters()))


def test_checks_see_the_same_noise_and_the_last_measure_another(rewarding, monkeypatch):
    seeds = []

    def noting(model, labels, seed, *given):
        seeds.append(seed)
        return draw_pixels(model, labels, seed, *given)

    monkeypatch.setattr("noisette.workflows.reward.draw_pixels", noting)
    reward = rewarding()
    list(reward.checks())
    reward.finish()
    assert len(seeds) == 5
    assert len({*seeds[:3]}) == len({*seeds[3:]}) == 1
    assert seeds[0] != seeds[3]


@pytest.mark.parametrize(("last", "verdict"), [(0.79, "kept"), (0.7, "worse")])
def test_the_last_is_kept_that_scores_no_less_by_more_than_chance(rewarding, monkeypatch, last, verdict):
    reward = rewarding()
    means = iter((0.5, 0.8, last))
    true = reward.chooser.score
    spread = torch.tensor([-0.2, 0.2]).double().repeat(120)  # a standard error of 0.2 / sqrt(240) = 0.013

    def score(*given):
        return next(means, 0.1) + spread, true(*given)[1]

    monkeypatch.setattr(reward.chooser, "score", score)
    checks = list(reward.checks())
    assert [check.verdict for check in checks] == ["kept", "kept", verdict]
    assert checks[0].error == pytest.approx(0.2 / 240**0.5, rel=0.01)
    assert reward.finish().record["kept_at"] == {"kept": 800, "worse": 400}[verdict]


def test_what_diverges_leaves_what_was_best(rewarding, monkeypatch):
    def diverging(*given):
        for event in train(*given):
            yield event
            if event.images_seen >= 480:
                raise Diverged("training diverged at images 480 to 519")

    monkeypatch.setattr("noisette.workflows.reward.train", diverging)
    reward = rewarding()
    assert [check.images_seen for check in reward.checks()] == [0, 400]
    record = reward.finish().record
    assert record["stopped"] == "training diverged at images 480 to 519"
    assert record["kept_at"] in (0, 400)


def test_it_stops_when_asked_after_a_last_check(rewarding):
    reward = rewarding("filter")
    checks = list(reward.checks(stop=lambda: reward.state.progress.images_seen >= 80))
    assert [check.images_seen for check in checks] == [0, 80]
    record = reward.finish().record
    assert record["stopped"] == "it was asked to stop"
    assert len(record["choosing"]) == 1


def test_the_model_is_what_it_was_but_for_its_weights(rewarding, model, tmp_path):
    reward = rewarding(images=400)
    list(reward.checks())
    file = load_model(tmp_path / "out" / "best.safetensors")
    assert file.spec == model.file.spec
    told = file.card.pop("rewarded")
    assert file.card == model.file.card
    assert told["images"] == reward.finish().record["kept_at"]
    assert told["of"]["name"] == model.name
    assert load(tmp_path / "out", "cpu").sampling == model.sampling


def test_a_person_sees_the_checks_before_and_after(rewarding, tmp_path):
    reward = rewarding("filter", images=400)
    lines = [check_line(check) for check in reward.checks()]
    assert lines[0].startswith("0 images: score ")
    assert lines[0].endswith(": kept")
    rewarded = reward.finish()
    console = Console(record=True, width=120)
    show_rewarded(rewarded.record, console)
    text = console.export_text()
    assert "on the best 40 of 120 a class, 400 images in" in text
    assert "all images were seen" in text
    assert [path.name for path in save_rewarded(rewarded, tmp_path)] == ["course.png", "images.png", "measured.png"]


REFUSED = {
    "images": ({"images": 0}, "images 0: expected at least 1"),
    "an odd batch": ({"batch_size": 33}, "batch_size 33: expected an even number"),
    "a rate": ({"learning_rate": 0.0}, "learning_rate 0.0"),
    "a weight": ({"reward_weight": -1.0}, "reward_weight -1.0"),
    "steps": ({"last_steps": 7}, "last_steps 7: expected 1 to 6"),
    "coverage": ({"coverage_loss": -0.1}, "coverage_loss -0.1"),
    "distance": ({"distance_growth": 0.9}, "distance_growth 0.9: expected at least 1"),
    "few checked": ({"check_images": 60}, "check_images 60: expected at least 100"),
    "few candidates": ({"per_class": 40, "candidates": 30}, "30 images to choose 40 from"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_requests_are_refused(case, rewarding):
    changes, message = REFUSED[case]
    with pytest.raises(Refusal, match=message):
        rewarding(**changes)


def test_a_sampler_that_draws_noise_and_a_model_without_classes_are_refused(model, request_of, tmp_path, blobs):
    with pytest.raises(Refusal, match="a sampler that draws noise"):
        Reward(model, request_of(), tmp_path, SamplingConfig("ddpm", steps=6))
    Reward(model, request_of(), tmp_path, SamplingConfig("dpmpp-2m", steps=6, eta=0.5))  # the flow is led through
    Reward(model, request_of("filter"), tmp_path, SamplingConfig("ddpm", steps=6))
    spec = dataclasses.replace(model.file.spec, classes=())
    network = spec.new_network()
    classless = dataclasses.replace(model, file=ModelFile(spec, network, {}))
    with pytest.raises(Refusal, match="without classes: expected one that can be asked for a class"):
        Reward(classless, request_of(), tmp_path)
