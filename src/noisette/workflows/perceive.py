"""`noisette perceive`: train a small classifier of a data set, whose features generated images are measured in."""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import noisette
from noisette.base.config import require, to_plain
from noisette.base.errors import Refusal, nearest
from noisette.base.files import names_in, require_writable
from noisette.base.progress import Progress, silent
from noisette.base.shapes import Images, Labels
from noisette.data.checks import check
from noisette.data.datasets import load_data
from noisette.data.form import AS_IT_IS, Form
from noisette.data.images import ImageData, NoTestPart, to_model
from noisette.data.split import Index, split
from noisette.perception.classifier import Classifier, ClassifierConfig
from noisette.perception.classifier_file import ClassifierFile, ClassifierSpec, load_classifier, save_classifier
from noisette.perception.fit import FitConfig, Fitted, fit
from noisette.perception.read import read
from noisette.workflows.device import choose_device, choose_precision

SHIPPED = resources.files("noisette.perception") / "shipped"
STORED = torch.float16
"""Type of the stored weights: the classifier is rounded to it before it is measured."""

AT_A_TIME = 1000
"""Images measured at a time."""


@dataclass(frozen=True, eq=False)
class Part:
    """Labelled images of one data set: some of them, or all."""

    name: str
    """For people: "test", or what was held out."""
    data: ImageData
    rows: Index

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Tensor) -> Images:
        """Some of them [n] as a classifier sees them: float32 [n, C, H, W] in [-1, 1]."""
        return to_model(self.data.images[self.rows[rows.numpy()]])

    @property
    def labels(self) -> Labels:
        """int64 [N]."""
        return torch.from_numpy(self.data.labels[self.rows])


def perceive(
    name: str,
    out: Path,
    config: ClassifierConfig,
    fitting: FitConfig,
    data_dir: Path | None = None,
    device: str = "auto",
    command: str = "",
    progress: Callable[[Fitted], None] = lambda fitted: None,
    form: Form = AS_IT_IS,
    reading: Progress = silent,
) -> ClassifierFile:
    """Train a classifier of the data set `name`, measure it on images it has not seen, and write it to `out`.

    It trains on the training part and is measured on the test part; where there is none, on a fifth of each class
    that training leaves out. progress is told after each epoch, reading while data are read that take long. The card
    says what was measured. Raises Refusal, before any work, for data that cannot be told apart and for a place that
    cannot be written.
    """
    require(out.suffix == ".safetensors", f"output {str(out)!r}", "a .safetensors file")
    require_writable(out)
    chosen = choose_device(device)
    train, test = labelled_parts(name, data_dir, form, reading)
    data = train.data
    height, width, channels = data.images.shape[1:]
    spec = ClassifierSpec(config, channels, height, width, data.classes)

    network = spec.new_network().to(chosen)
    begun = time.process_time()
    precision = choose_precision("auto", chosen)
    for fitted in fit(network, train, train.labels, fitting, precision):
        progress(fitted)
    card = training_facts(train, command, precision, chosen, fitted, time.process_time() - begun)
    card |= {"fitting": to_plain(fitting)}
    save_classifier(out, spec, network, card | _measure(_rounded(network), test), STORED)
    return load_classifier(out)


def training_facts(
    train: Part, command: str, precision: torch.dtype, device: torch.device, fitted: Fitted, cpu_seconds: float
) -> dict[str, Any]:
    """What a card says of how a network that looks at images was trained."""
    return {
        "data": train.data.name,
        "data_digest": train.data.digest,
        "data_source": train.data.source,
        "training_images": len(train),
        "command": command,
        "device": str(device),
        "precision": str(precision).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "training_seconds": round(fitted.seconds, 1),
        "training_cpu_seconds": round(cpu_seconds, 1),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "noisette": noisette.__version__,
    }


def labelled_parts(name: str, data_dir: Path | None, form: Form, reading: Progress) -> tuple[Part, Part]:
    """What to train on and what to measure on. Raises Refusal for what is not sound, or holds fewer than 2 classes."""
    data = load_data(name, data_dir, "train", form, reading)
    present = len(np.unique(data.labels[data.labels >= 0]))
    require(present >= 2, f"data set {name} with images of {present} classes", "at least 2 to tell apart")
    kept, held_out = split(data.labels)
    check(data, kept, held_out).require_sound()
    try:
        test = load_data(name, data_dir, "test", form.like(*data.images.shape[1:]), reading)
    except NoTestPart:
        require(len(held_out) > 0, f"data set {name} with one image a class", "more, to hold some out")
        return Part("training", data, kept), Part("held-out fifth of the training", data, held_out)
    everything, nothing = split(test.labels, 0)  # which also refuses labels of another kind
    check(test, everything, nothing).require_sound()
    found, expected = ((part.images.shape[1:], part.classes) for part in (test, data))
    require(found == expected, f"data set {name} with a test part of {found}", f"sizes and classes {expected}")
    return Part("training", data, split(data.labels, 0)[0]), Part("test", test, everything)


def _rounded(network: Classifier) -> Classifier:
    """The network as it will be when its file is read."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.to(STORED))
    return network


def _measure(network: Classifier, part: Part) -> dict[str, Any]:
    """What the card says of the network's accuracy."""
    batches = torch.split(torch.arange(len(part)), AT_A_TIME)
    right = read(network, (part[rows] for rows in batches)).guesses == part.labels
    return {
        "measured_on": part.name,
        "measured_digest": part.data.digest,
        "measured_images": len(right),
        "accuracy": right.double().mean().item(),
    }


# Classifiers by name ------------------------------------------------------------------------------


def shipped_perceptions() -> list[str]:
    """Names of the classifiers inside the package."""
    return names_in(SHIPPED, ".safetensors")


def load_perception(classifier: str | Path, device: str = "cpu") -> ClassifierFile:
    """Load a classifier: a name that ships ("mnist"), or a file that `noisette perceive` wrote.

    Raises Refusal, with the nearest name, when it is neither, and for a damaged file or an absent device.
    """
    chosen = choose_device(device)
    if str(classifier) in shipped_perceptions():
        with resources.as_file(SHIPPED / f"{classifier}.safetensors") as path:
            file = load_classifier(path)
    elif Path(classifier).is_file():
        file = load_classifier(Path(classifier))
    else:
        guess = nearest(str(classifier), shipped_perceptions())
        hint = f"; did you mean {guess!r}?" if guess else ""
        ships = ", ".join(shipped_perceptions())
        raise Refusal(
            f"no classifier {str(classifier)!r}: expected a .safetensors file or one that ships ({ships}){hint}"
        )
    file.network.to(chosen)
    return file
