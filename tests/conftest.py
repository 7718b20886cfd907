"""What holds for every test: shapes are checked, nothing is fetched, chance is fixed."""

import os

import jaxtyping
import pytest
from hypothesis import settings

# diffusers and huggingface_hub read these when they are imported; no test may need a network.
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", DISABLE_TELEMETRY="YES")

# Every annotated shape and type in noisette is checked at every call, in the tests only. It must run before
# the first import of noisette. As in the type checkers, an int may stand where a float is asked for.
jaxtyping.install_import_hook("noisette", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

settings.register_profile("noisette", derandomize=True, deadline=None)
settings.load_profile("noisette")


@pytest.fixture(autouse=True, scope="session")
def own_cache_folder(tmp_path_factory):
    """Whatever a test keeps in the user's cache goes elsewhere."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("NOISETTE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """The smallest of networks are fastest, and exactly repeatable, on one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny_model():
    """Makes the file of a small model that was never trained but heeds its input, the level and the class."""

    def make(classes=tuple("0123456789"), size=(1, 8, 10), widths=(8,), **sampling):
        import torch

        from noisette.diffusion.objective import DiffusionConfig
        from noisette.models.unet import UNetConfig
        from noisette.weights.model_file import ModelFile, ModelSpec, SamplingConfig

        network = UNetConfig(widths=widths, blocks=1, embedding=16, norm="channel")
        sampling = SamplingConfig(**{"sampler": "euler", "steps": 4} | sampling)
        spec = ModelSpec(network, DiffusionConfig(data_std=0.5), sampling, *size, tuple(classes))
        born = spec.new_network()
        born.initialise(torch.Generator().manual_seed(0))
        with torch.no_grad():
            for parameter in born.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)), alpha=0.2)
        return ModelFile(
            spec, born.requires_grad_(False).eval(), {"data": "made up", "config": {"training": {"seed": 0}}}
        )

    return make


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory):
    """Writes a tiny checkpoint of made-up weights in the hub's format, once of each form; do not change it."""
    made = {}

    def make(kind="clip", channels=3, side=16):
        from tiny_clip import write_tiny_clip

        if (kind, channels, side) not in made:
            made[kind, channels, side] = write_tiny_clip(tmp_path_factory.mktemp(kind), kind, channels, side)
        return made[kind, channels, side]

    return make


@pytest.fixture(scope="session")
def report_run(tmp_path_factory):
    """The folder of a tiny finished run on the digits that ship. Copy it before you change it."""
    from noisette.diffusion.objective import DiffusionConfig
    from noisette.models.unet import UNetConfig
    from noisette.training.config import TrainingConfig
    from noisette.weights.model_file import SamplingConfig
    from noisette.workflows.recipes import DataConfig, RunConfig
    from noisette.workflows.train import Run

    config = RunConfig(
        DataConfig("mnist-5k"),
        UNetConfig(widths=(4, 8), blocks=1, embedding=8),
        DiffusionConfig(),
        TrainingConfig(images=512, batch_size=64, validate_every=256, validation_images=50, warmup_images=0),
        SamplingConfig(sampler="dpmpp-2m", steps=3, guidance_scale=2.0, guidance_from=0.3, guidance_to=6.0),
    )
    folder = tmp_path_factory.mktemp("report") / "run"
    for _ in Run(config, folder, device="cpu", command="noisette train --the-way it-was").events():
        pass
    return folder


@pytest.fixture(scope="session")
def evaluated():
    """Puts the record of an evaluation, with made-up numbers, into a run folder; returns it."""
    import hashlib
    import json

    from noisette.workflows.perceive import load_perception

    def metric(value, real, better="up", **more):
        low, high = value - 0.01, value + 0.01
        return {"value": value, "low": low, "high": high, "real": real, "real_spread": 0.004, "better": better, **more}

    def make(folder, count=1000, classes=tuple("0123456789"), classifier="mnist"):
        confusion = [[count // len(classes) * (row == column) for column in classes] for row in classes]
        confusion[0][:2] = [confusion[0][0] - 7, 7]
        record = {
            "format": "noisette-evaluation-1",
            "source": {
                "model_digest": hashlib.sha256((folder / "best.safetensors").read_bytes()).hexdigest(),
                **{"name": str(folder), "kind": "model", "digest": "d", "count": count, "seed": 0},
                "sampling": {"sampler": "euler", "steps": 2, "guidance_scale": 2.0},
                **{"evaluations": 5.0, "seconds": 4.0, "dtype": "float32"},
            },
            "data": {
                **{"name": "mnist-5k", "part": "validation", "digest": "v", "train_digest": "t"},
                **{"reference_count": 1000, "priors": "equal"},
            },
            "classifier": {
                **{
                    "name": classifier,
                    "digest": load_perception(classifier).digest,
                    "features": 96,
                    "accuracy": 0.9964,
                    "trained_on": "mnist",
                },
            },
            "metrics": {
                "label_accuracy": metric(0.9937, 0.9964) | {"real_spread": None},
                "frechet": metric(0.471, 0.2355, "down", floors=2.0),
                "kernel": metric(-0.00014, -0.0003, "down", floors=None),
                "coverage": metric(0.912, 0.951),
                "memorised_pixel": metric(0.02, 0.01, "down") | {"real_spread": None},
            },
            "confusion": confusion,
            "histogram": [count // len(classes)] * len(classes),
            "chi_square_p": None,
            "classes": list(classes),
            "nearest": {
                **{"samples": [13, 4], "training": [7, 4999], "distances": [0.5, 0.75]},
                "feature": {"threshold": 0.625},
            },
            "timings": {"reading": 1.0, "distances": 2.5},
            "versions": {"python": "3", "torch": "2", "noisette": "0"},
        }
        (folder / "evaluation.json").write_text(json.dumps(record), encoding="utf-8")
        return record

    return make


class Blobs:
    """A data set "blobs" of bright spots, 8 x 10, in three places, and a folder with a classifier that tells them
    apart."""

    classes = ("left", "middle", "right")

    def __init__(self, folder):
        self.folder = folder
        self.classifier = str(folder / "blobs.safetensors")
        self.data = {"train": self.draw(300, 0), "test": self.draw(100, 1)}

    @staticmethod
    def draw(per_class, seed, bright=200):
        import numpy as np

        from noisette.data.images import ImageData

        random = np.random.default_rng(seed)
        labels = np.arange(3 * per_class, dtype=np.int64) % 3
        y, x = np.mgrid[:8, :10]
        down, right = random.normal(4, 0.6, len(labels)), random.normal(1.5 + 3 * labels, 0.5)
        wide = random.uniform(2, 4, len(labels))
        apart = (y - down[:, None, None]) ** 2 + (x - right[:, None, None]) ** 2
        spots = bright * np.exp(-apart / wide[:, None, None])
        pixels = (spots + random.uniform(0, 20, spots.shape)).astype(np.uint8)
        return ImageData("blobs", pixels[..., None], labels, Blobs.classes, "made up")

    def load(self, name, data_dir, part="train", *how):
        from noisette.data.datasets import load_data

        return self.data[part] if name == "blobs" else load_data(name, data_dir, part, *how)

    def write(self, name, images, labels):
        import numpy as np

        np.savez(self.folder / name, images=images, labels=labels)
        return self.folder / name


def _trained_on_blobs(path, **how):
    """The file of a classifier trained on the blobs for a second; how: its network and its seed."""
    import torch

    from noisette.data.images import to_model
    from noisette.perception.classifier import ClassifierConfig
    from noisette.perception.classifier_file import ClassifierSpec, save_classifier
    from noisette.perception.fit import FitConfig, fit

    blobs = Blobs(path.parent)
    spec = ClassifierSpec(ClassifierConfig(how.get("network", "plain"), features=64), 1, 8, 10, blobs.classes)
    network, train = spec.new_network(), blobs.data["train"]
    fitting = FitConfig(images=4500, batch_size=50, seed=how.get("seed", 0))
    for _ in fit(network, to_model(train.images), torch.from_numpy(train.labels), fitting):
        pass
    save_classifier(path, spec, network, {"data": "blobs"})
    return path


@pytest.fixture(scope="session")
def blob_images():
    """Makes a data set of blobs: how many of each class, and the seed."""
    return Blobs.draw


@pytest.fixture(scope="session")
def blob_classifier(tmp_path_factory):
    """The file of a classifier trained on the blobs for a second."""
    return _trained_on_blobs(tmp_path_factory.mktemp("blobs") / "blobs.safetensors")


@pytest.fixture(scope="session")
def other_classifier(tmp_path_factory):
    """One of another make."""
    return _trained_on_blobs(tmp_path_factory.mktemp("other") / "residual.safetensors", network="residual")


@pytest.fixture(scope="session")
def third_classifier(tmp_path_factory):
    """One of the first one's make, otherwise born."""
    return _trained_on_blobs(tmp_path_factory.mktemp("third") / "third.safetensors", seed=3)


@pytest.fixture
def blobs(blob_classifier, tmp_path, monkeypatch):
    """The blobs as a data set by name. What they score, in two draws, is kept from one test to the next."""
    import shutil

    found = Blobs(tmp_path)
    shutil.copy(blob_classifier, found.classifier)
    for reader in ("real_statistics", "perceive"):
        monkeypatch.setattr(f"noisette.workflows.{reader}.load_data", found.load)
    monkeypatch.setattr("noisette.workflows.real_statistics.DRAWS", 2)
    monkeypatch.setattr("noisette.evaluation.distances.GROUPS", 8)  # blocks of the kernel distance: most of the time
    monkeypatch.setenv("NOISETTE_CACHE", str(blob_classifier.parent / "cache"))
    return found
