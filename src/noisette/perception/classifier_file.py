"""A classifier as one safetensors file: the weights, and in its header what they are as JSON."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from noisette.base.config import from_plain, require, to_plain
from noisette.base.errors import Refusal, one_line
from noisette.base.files import existing_file
from noisette.base.tensor_file import read_tensors, write_tensors
from noisette.perception.classifier import SMALLEST, Classifier, ClassifierConfig

FORMAT = "noisette-classifier-1"


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
            self.channels >= 1 and min(self.height, self.width) >= SMALLEST,
            f"images of {self.channels} x {self.height} x {self.width}",
            f"at least 1 channel and {SMALLEST} x {SMALLEST} pixels",
        )
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
    header = {"format": FORMAT, "spec": json.dumps(to_plain(spec)), "card": json.dumps(card)}
    # What batch norms have seen stays as it is: a variance may be beyond float16.
    tensors: dict[str, Tensor] = {name: tensor.to(dtype) for name, tensor in network.named_parameters()}
    write_tensors(path, tensors | dict(network.named_buffers()), header)


def load_classifier(path: Path) -> ClassifierFile:
    """Read a classifier; the weights become float32 on the CPU, in evaluation mode, without gradients.

    Raises Refusal when the file is missing, damaged, of another format or holds other tensors than its configuration
    asks for.
    """
    existing_file(path, "classifier")
    header, stored = read_tensors(path, "classifier", FORMAT)
    try:
        spec, card = _read_spec(path, header["spec"]), json.loads(header["card"])
    except (KeyError, ValueError) as error:
        raise Refusal(f"{path} is not a readable classifier: {one_line(error)}") from error
    require(isinstance(card, dict), f"{path}: card {card!r}", "a table")
    with torch.device("meta"):  # without numbers: neither memory nor chance is spent on weights that may not fit
        network = spec.new_network()
    try:
        tensors = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in stored.items()}
        network.load_state_dict(tensors, strict=True, assign=True)
    except RuntimeError as error:
        raise Refusal(f"{path} holds weights of another network: {one_line(error)}") from error
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return ClassifierFile(spec, network.requires_grad_(False).eval(), card, _digest(spec, stored))


def _digest(spec: ClassifierSpec, stored: dict[str, Tensor]) -> str:
    return hashlib.sha256(json.dumps(to_plain(spec)).encode() + b"\n" + save(stored)).hexdigest()


def _read_spec(path: Path, text: str) -> ClassifierSpec:
    """The specification in a header; what it refuses is told with the file's name."""
    try:
        return from_plain(ClassifierSpec, json.loads(text), "header")
    except Refusal as error:
        raise Refusal(f"{path}: {error}") from error
