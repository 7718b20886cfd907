"""A classifier as one safetensors file: the weights, and in its header what they are as JSON."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from noisette.base.config import require, to_plain
from noisette.base.names import require_names
from noisette.base.network_file import read_network, write_network
from noisette.perception.classifier import SMALLEST, Classifier, ClassifierConfig

FORMAT = "noisette-classifier-1"
MOST_CHANNELS = 64


@dataclass(frozen=True)
class ClassifierSpec:
    """All that a classifier is besides its weights. channels, height, width: of its images. classes: their names, in
    the order of the labels."""

    config: ClassifierConfig
    channels: int
    height: int
    width: int
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        require(
            1 <= self.channels <= MOST_CHANNELS and min(self.height, self.width) >= SMALLEST,
            f"images of {self.channels} x {self.height} x {self.width}",
            f"at least 1 channel and {SMALLEST} x {SMALLEST} pixels, at most {MOST_CHANNELS} channels",
        )
        require_names(self.classes)
        require(len(self.classes) >= 2, f"classes: {len(self.classes)}", "at least 2 to tell apart")

    def new_network(self) -> Classifier:
        """The network with its weights not yet born."""
        return Classifier(self.config, self.channels, self.height, self.width, len(self.classes))


@dataclass(frozen=True, eq=False)
class ClassifierFile:
    """A classifier read from a file. card: what a person should know of it, plain values under free keys."""

    spec: ClassifierSpec
    network: Classifier
    card: dict[str, Any]
    digest: str
    """SHA-256 (hex) of the specification and the stored tensors: what features depend on."""


def save_classifier(
    path: Path, spec: ClassifierSpec, network: Classifier, card: dict[str, Any], dtype: torch.dtype = torch.float32
) -> None:
    """Write a classifier whole or not at all; `dtype` is that of the stored weights (float16 halves the file)."""
    # What batch norms have seen stays as it is: a variance may be beyond float16.
    tensors: dict[str, Tensor] = {name: tensor.to(dtype) for name, tensor in network.named_parameters()}
    write_network(path, FORMAT, spec, card, tensors | dict(network.named_buffers()))


def load_classifier(path: Path) -> ClassifierFile:
    """Read a classifier; the weights become float32 on the CPU, in evaluation mode, without gradients.

    Raises Refusal when the file is missing, damaged, of another format or holds other tensors than its configuration
    asks for.
    """
    spec, card, tensors, network = read_network(path, "classifier", FORMAT, ClassifierSpec)
    assert isinstance(network, Classifier)
    return ClassifierFile(spec, network, card, _digest(spec, tensors))


def _digest(spec: ClassifierSpec, stored: dict[str, Tensor]) -> str:
    return hashlib.sha256(json.dumps(to_plain(spec)).encode() + b"\n" + save(stored)).hexdigest()
