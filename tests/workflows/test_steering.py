"""Drawings that a judge leads: to the classes asked for, or to a prompt alone; and what cannot be led."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from noisette.base.errors import Refusal
from noisette.guidance.clamp import clamp
from noisette.guidance.free import free
from noisette.guidance.steer import steer
from noisette.perception.classifier import ClassifierConfig
from noisette.perception.classifier_file import ClassifierSpec, save_classifier
from noisette.perception.clip import load_clip
from noisette.weights.model_file import SamplingConfig, save_model
from noisette.workflows.model import Model, load
from noisette.workflows.perceive import load_perception
from noisette.workflows.sample import sample_to
from noisette.workflows.sample_folder import read_record
from noisette.workflows.sample_request import SampleRequest
from noisette.workflows.sources import open_folder
from noisette.workflows.steering import SteeringConfig, steered

LABELS = [7, 3, -1, 0]
PLAIN = SteeringConfig()


@pytest.fixture
def model(tiny_model):
    return Model("tiny", tiny_model(), torch.device("cpu"))


@pytest.fixture
def classifier(tmp_path):
    """The file of a classifier of digits, never trained, of the tiny model's images."""

    def make(classes=tuple("0123456789"), seed=2, size=(1, 8, 10)):
        spec = ClassifierSpec(ClassifierConfig(features=64), *size, tuple(classes))
        network = spec.new_network()
        network.initialise(torch.Generator().manual_seed(seed))
        save_classifier(tmp_path / "judge.safetensors", spec, network, {})
        return str(tmp_path / "judge.safetensors")

    return make


def images(model, steering=PLAIN, labels=LABELS, sampling=None):
    led, _ = steered(model, steering)
    *_, last = led.snapshots(labels, sampling=sampling or model.sampling)
    return last.denoised


def scores(judge, found, prompts):
    return load_clip(judge).scorer(prompts)(found.float())


# What it does -------------------------------------------------------------------------------------


def test_each_image_is_led_to_its_own_class_and_one_of_no_class_is_left_alone(model, tiny_clip):
    clip = str(tiny_clip())
    plain, led = images(model), images(model, SteeringConfig(clip, steer_scale=50.0, steer_limit=math.inf))
    prompts = [f"A handwritten number {name}" for name in model.classes]
    before, after = (scores(clip, found, prompts) for found in (plain, led))
    for row in (0, 1, 3):
        assert float(after[row, LABELS[row]]) > float(before[row, LABELS[row]]) + 0.01
    assert torch.equal(led[2], plain[2])


@pytest.mark.parametrize("classes", [tuple("0123456789"), ()], ids=["with classes", "without"])
def test_a_prompt_alone_leads_every_image(tiny_model, tiny_clip, classes):
    model, clip = Model("tiny", tiny_model(classes=classes), torch.device("cpu")), str(tiny_clip())
    asked = "A handwritten number seven"
    plain = images(model, labels=[-1] * 4)
    led = images(model, SteeringConfig(clip, asked, steer_scale=1.0), [-1] * 4)
    prompts = [f"A handwritten number {word}" for word in ("seven", "zero", "one", "two", "three", "four", "five")]
    prompts += [f"A handwritten number {word}" for word in ("six", "eight", "nine")]
    before, after = (scores(clip, found, prompts)[:, 0] for found in (plain, led))
    assert bool((after > before).all())


def test_what_else_an_image_could_be_may_be_said(model, tiny_clip):
    clip, asked = str(tiny_clip()), ["a clear number", "a blurry number", "7"]
    config = SteeringConfig(clip, asked[0], tuple(asked[1:]), steer_scale=50.0, steer_limit=math.inf)
    before, after = (scores(clip, found, asked)[:, 0] for found in (images(model), images(model, config)))
    assert bool((after > before + 0.01).all())


@pytest.mark.parametrize("prompt", [None, "A {word}", "7", "A handwritten number seven"])
def test_a_classifier_judges_by_its_classes(model, classifier, prompt):
    """For a prompt in whatever order."""
    classes = "9876543210" if prompt and "{" not in prompt else "0123456789"
    config = SteeringConfig(classifier(classes), prompt, steer_scale=5.0)
    led, digest = steered(model, config)
    assert len(digest) == 64
    towards = LABELS if config.by_class else [7] * 4

    def judge(found, labels):
        scores = network(found)[0].log_softmax(1)
        columns = [classes.index(str(asked)) for asked in towards if asked >= 0]
        return scores[[row for row, asked in enumerate(towards) if asked >= 0], columns]

    network = load_perception(config.steer).network
    sampling = dataclasses.replace(model.sampling, guidance_scale=2.0, clamp=True)
    noisy = torch.randn(4, 1, 8, 10, generator=torch.Generator().manual_seed(0))
    label = torch.tensor(LABELS)
    guided = free(model.file.spec.as_denoiser(model.file.network), 2.0)
    expected = clamp(steer(guided, judge, 5.0, (0.0, math.inf), config.steer_limit))(noisy, 0.7, label)
    torch.testing.assert_close(led.denoiser(sampling)(noisy, 0.7, label), expected)
    assert not torch.equal(led.denoiser(sampling)(noisy, 0.7, label), model.denoiser(sampling)(noisy, 0.7, label))


@pytest.mark.parametrize("sampler", ["ddpm", "heun", "dpmpp-2m"])
@pytest.mark.parametrize("left_out", [{"steer_scale": 0.0}, {"steer_from": 1e5}, {"steer": None, "prompt": None}])
def test_scale_0_or_another_level_is_bit_for_bit_no_steering(model, classifier, sampler, left_out):
    config = dataclasses.replace(SteeringConfig(classifier(), "a seven"), **left_out)
    sampling = SamplingConfig(sampler=sampler, steps=4, guidance_scale=2.0)
    assert torch.equal(images(model, config, sampling=sampling), images(model, sampling=sampling))
    whole = SteeringConfig(classifier(), "a seven", steer_scale=5.0)
    assert not torch.equal(images(model, whole, sampling=sampling), images(model, sampling=sampling))


def test_an_image_is_the_same_picture_at_any_batch_size(model, classifier, tmp_path, monkeypatch):
    request = SampleRequest(
        model.sampling, per_class=1, steering=SteeringConfig(classifier(), steer_scale=5.0), out=tmp_path / "images.npz"
    )
    found = []
    for batch in (100, 3):
        monkeypatch.setattr("noisette.workflows.model.BATCH", batch)
        sample_to(model, request)
        with np.load(request.out) as arrays:
            found.append(arrays["images"].astype(int))
    assert np.abs(found[0] - found[1]).max() <= 1


# The record ---------------------------------------------------------------------------------------


def test_a_folder_keeps_what_led_it_and_is_gone_on_with_by_the_same_alone(tiny_model, classifier, tmp_path):
    save_model(tmp_path / "model.safetensors", tiny_model())
    model, out = load(str(tmp_path / "model.safetensors"), "cpu"), tmp_path / "out"
    steering = SteeringConfig(classifier(), steer_scale=2.0)
    request = SampleRequest(model.sampling, per_class=10, steering=steering, out=out, files="npz")
    sample_to(model, request)
    record = read_record(out)
    assert (record.steering, len(record.judge_digest), record.finished) == (steering, 64, True)
    assert "steer_to" not in json.loads((out / "samples.json").read_text())["steering"]  # it is infinite
    source = open_folder(out).source
    assert source["steering"]["steer"] == steering.steer
    assert source["judge_digest"] == record.judge_digest
    assert sample_to(model, request).images == 0
    harder = dataclasses.replace(request, steering=dataclasses.replace(steering, steer_scale=3.0))
    with pytest.raises(Refusal, match=r"holds other samples: steering\.steer_scale is 3\.0, not 2\.0 as there"):
        sample_to(model, harder)
    classifier(seed=3)  # another judge in the same file
    with pytest.raises(Refusal, match="holds other samples: judge_digest is"):
        sample_to(model, request)


def test_records_of_before_there_was_steering_are_read(tiny_model, tmp_path):
    save_model(tmp_path / "model.safetensors", tiny_model())
    model, out = load(str(tmp_path / "model.safetensors"), "cpu"), tmp_path / "out"
    request = SampleRequest(model.sampling, per_class=1, out=out, files="npz")
    sample_to(model, request)
    found = json.loads((out / "samples.json").read_text())
    del found["steering"], found["judge_digest"]
    (out / "samples.json").write_text(json.dumps(found))
    assert sample_to(model, request).images == 0


# What cannot be led -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"steer": "clap"}, "no CLIP model 'clap': expected a folder, or owner/name"),
        ({"steer": "nothing.safetensors"}, "no classifier 'nothing.safetensors'"),
        ({"steer": "classifier"}, r"classifier mnist reads images \[1, 28, 28\].*: expected \[1, 8, 10\]"),
        ({"steer": "clip", "prompt": "A blurry number"}, "prompt 'A blurry number' names no class"),
        ({"steer": "clip", "prompt": "A {lable}"}, "unknown place in a template 'lable'.*did you mean 'label'"),
        ({"steer": "clip", "prompt": ""}, "prompt '' names no class"),
        ({"steer": "clip", "prompt": "a", "against": (" ",)}, "prompt ' ': expected a text"),
        ({"steer": "clip", "prompt": "a lion", "against": ("a zebra",)}, "'a lion' and 'a zebra' are the same to"),
        ({"steer": "judge", "prompt": "a clear number"}, "prompt 'a clear number' names no class: expected one of 0"),
        ({"steer": "judge", "prompt": "7", "against": ("8",)}, "against with a classifier: expected a CLIP model"),
    ],
)
def test_a_judge_or_a_prompt_that_cannot_lead_is_refused(model, tiny_clip, classifier, given, told):
    places = {"clip": str(tiny_clip()), "judge": classifier()}
    with pytest.raises(Refusal, match=told):
        steered(model, SteeringConfig(**given | {"steer": places.get(given["steer"], given["steer"])}))


def test_other_classes_than_the_judges_are_refused(tiny_model, classifier):
    model = Model("tiny", tiny_model(classes=("7", "cat")), torch.device("cpu"))
    with pytest.raises(Refusal, match=r"as 0, 1, 2, .*: expected .* and 7, cat"):
        steered(model, SteeringConfig(classifier()))
    steered(model, SteeringConfig(classifier(), "a 7"))


def test_a_model_without_classes_needs_a_prompt(tiny_model, classifier):
    model = Model("tiny", tiny_model(classes=()), torch.device("cpu"))
    with pytest.raises(Refusal, match="steering of tiny, a model without classes: expected --prompt"):
        steered(model, SteeringConfig(classifier()))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"prompt": "7"}, "prompt '7' without a judge"),
        ({"against": ("7",)}, "against without a judge"),
        ({"steer": "clip", "against": ("7",)}, "against without a prompt"),
        ({"steer": "clip", "prompt": "a {label}", "against": ("7",)}, "against beside a prompt for the class of each"),
        ({"steer_scale": -1.0}, "steer_scale -1.0"),
        ({"steer_scale": math.nan}, "steer_scale nan"),
        ({"steer_from": 2.0, "steer_to": 1.0}, "steer from 2.0 to 1.0"),
        ({"steer_limit": 0.0}, "steer_limit 0.0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(given, told):
    with pytest.raises(Refusal, match=told):
        SteeringConfig(**given)


def test_images_of_no_class_are_not_led_to_their_class():
    with pytest.raises(Refusal, match="count, images of no class, led to their class: expected --prompt"):
        SampleRequest(SamplingConfig(), count=3, steering=SteeringConfig("clip"))
    SampleRequest(SamplingConfig(), count=3, steering=SteeringConfig("clip", "7"))
