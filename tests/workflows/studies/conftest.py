"""A laboratory so small that a study takes a second: 8 x 8 images of three classes, tiny networks, few images."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from noisette.base.seeds import generator
from noisette.data.datasets import DATASETS
from noisette.data.images import ImageData
from noisette.perception.classifier import ClassifierConfig
from noisette.perception.classifier_file import ClassifierSpec, save_classifier
from noisette.training.loop import Finished
from noisette.workflows.recipes import load_recipe
from noisette.workflows.studies import bench as module
from noisette.workflows.studies import finding
from noisette.workflows.studies.bench import Bench, Effort, StudyRequest

CLASSES = ("bar", "dot", "edge")
SIZE = 8


def made_up(name, per_class, seed):
    """Images of which each class is bright in rows of its own."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(CLASSES)), per_class)
    images = random.integers(0, 60, (len(labels), SIZE, SIZE, 1), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 2] += np.uint8(150)
    return ImageData(name, images, labels.astype(np.int64), CLASSES, "made up")


@pytest.fixture
def trains():
    """What follows a run to its end."""
    return lambda run: isinstance(list(run.events())[-1], Finished)


@pytest.fixture
def never_trains():
    """What refuses to follow any run: all is there already."""

    def refuse(run):
        raise AssertionError(f"{run.out} is trained again")

    return refuse


@pytest.fixture
def laboratory(tmp_path, monkeypatch):
    """The working folder, with a classifier in it; the studies' effort and networks are tiny."""
    parts = {"train": made_up("tiny", 60, 0), "test": made_up("tiny", 40, 1)}
    monkeypatch.setitem(DATASETS._choices, "tiny", lambda data_dir, part: parts[part])
    spec = ClassifierSpec(ClassifierConfig(features=64), 1, SIZE, SIZE, CLASSES)
    network = spec.new_network()
    network.initialise(generator(0, "weights"))
    save_classifier(tmp_path / "eye.safetensors", spec, network.eval(), {})

    def recipe(name):
        found = load_recipe(name)
        network = replace(found.network, widths=(8, 8), blocks=1, patch=2, attention_at=(), embedding=8, norm="channel")
        training = replace(found.training, precision="float32")
        return replace(found, network=network, training=training)

    monkeypatch.setattr(module, "load_recipe", recipe)
    monkeypatch.setattr(module, "SHORT", Effort("demo", 128, 160, 32, 60, 60, (1, 3), (0.5, 1.0)))
    monkeypatch.setattr(finding, "save_figure", lambda figure, stem: stem.with_suffix(".png").touch())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def request_for(laboratory):
    """Makes the request of a small study."""

    def make(name, **changes):
        request = StudyRequest(name, laboratory / name, short=True, data="tiny", classifier="eye.safetensors")
        return replace(request, **{"device": "cpu", "command": f"noisette study {name}"} | changes)

    return make


@pytest.fixture
def bench(request_for, trains):
    """A bench of a study that is about nothing."""
    return Bench(request_for("parts"), trains)


@pytest.fixture
def own_model(laboratory):
    """The file of a model of the tiny data: a chain of 12 levels, never trained."""
    from noisette.diffusion.objective import DiffusionConfig
    from noisette.models.unet import UNetConfig
    from noisette.weights.model_file import ModelFile, ModelSpec, SamplingConfig, save_model

    diffusion = DiffusionConfig("noise", "linear", 12, training_levels="table", loss_weight="noise", data_std=0.5)
    network = UNetConfig(widths=(8, 8), blocks=1, embedding=8, norm="channel")
    spec = ModelSpec(network, diffusion, SamplingConfig("ddpm", steps=12), 1, SIZE, SIZE, CLASSES)
    born = spec.new_network()
    born.initialise(torch.Generator().manual_seed(0))
    path = laboratory / "own.safetensors"
    save_model(path, ModelFile(spec, born, {}))
    return str(path)


@pytest.fixture
def metric():
    """Makes a metric: a value, how far its interval reaches, and what real images score."""

    def make(value, reach=0.01, real=1.0):
        return {"value": value, "low": value - reach, "high": value + reach, "real": real}

    return make


@pytest.fixture
def measured(metric):
    """Makes the numbers of a cell, from its distance in floors and its label accuracy."""

    def make(far, right=0.9, coverage=0.8, **more):
        numbers = {"frechet": metric(far, 0.1), "label_accuracy": metric(right), "coverage": metric(coverage)}
        return {**numbers, "evaluations": 10.0, **more}

    return make
