"""A tiny healthy run on made-up spots, and what the doctor sees of it."""

import shutil

import numpy as np
import pytest

from noisette.data.datasets import DATASETS
from noisette.data.images import ImageData
from noisette.diffusion.objective import DiffusionConfig
from noisette.models.unet import UNetConfig
from noisette.training.config import TrainingConfig
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.doctor import trials
from noisette.workflows.doctor.examine import examine
from noisette.workflows.recipes import DataConfig, RunConfig
from noisette.workflows.train import Run

CONFIG = RunConfig(
    DataConfig("spots"),
    UNetConfig(widths=(8,), blocks=1, patch=2, embedding=16, norm="channel"),
    DiffusionConfig(noise_log_mean=0.0),
    TrainingConfig(
        images=120 * 16, batch_size=16, warmup_images=160, learning_rate=4e-3, validate_every=480, validation_images=60
    ),
    SamplingConfig(sampler="dpmpp-2m", steps=8, guidance_scale=1.7, guidance_from=0.3, guidance_to=4.0),
)


def spots(count=600):
    """Bright spots, 8 x 8, in three places."""
    random = np.random.default_rng(0)
    labels = np.arange(count, dtype=np.int64) % 3
    y, x = np.mgrid[:8, :8]
    down, right = random.normal(4, 0.6, count), random.normal(1 + 2.5 * labels, 0.4)
    apart = (y - down[:, None, None]) ** 2 + (x - right[:, None, None]) ** 2
    pixels = (230 * np.exp(-apart / 3) + random.uniform(0, 20, apart.shape)).astype(np.uint8)
    return ImageData("spots", pixels[..., None], labels, ("left", "middle", "right"), "made up")


@pytest.fixture(autouse=True, scope="session")
def spots_are_a_data_set():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS._choices, "spots", lambda data_dir, part: spots())
        patch.setattr(trials, "OVERFIT_STEPS", 60)  # enough for spots
        yield


def trained(folder, config=CONFIG):
    for _ in Run(config, folder, device="cpu").events():
        pass
    return folder


@pytest.fixture(scope="session")
def healthy_run(spots_are_a_data_set, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("doctor") / "healthy")


@pytest.fixture
def run_copy(healthy_run, tmp_path):
    """A copy of the healthy run, to damage."""
    return shutil.copytree(healthy_run, tmp_path / "run")


@pytest.fixture(scope="session")
def healthy(healthy_run):
    """All that is to be seen of it, the one-batch test too."""
    return examine(str(healthy_run), device="cpu", overfit=True).evidence


@pytest.fixture(scope="session")
def data():
    return spots()


@pytest.fixture(scope="session")
def train_run():
    """Trains the healthy run's configuration, changed, into a folder."""
    return trained


@pytest.fixture(scope="session")
def config():
    return CONFIG
