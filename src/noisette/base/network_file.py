"""A network in one safetensors file: its tensors, and in the header as JSON what it is (spec) and a card for people."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from noisette.base.config import from_plain, require, to_plain
from noisette.base.errors import Refusal, one_line
from noisette.base.files import existing_file
from noisette.base.tensor_file import read_tensors, write_tensors

Spec = TypeVar("Spec")
Network = TypeVar("Network", bound=nn.Module)


def write_network(path: Path, file_format: str, spec: Any, card: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a network whole or not at all."""
    header = {"format": file_format, "spec": json.dumps(to_plain(spec)), "card": json.dumps(card)}
    write_tensors(path, tensors, header)


def read_stored(
    path: Path, kind: str, file_format: str, spec: type[Spec]
) -> tuple[Spec, dict[str, Any], dict[str, Tensor]]:
    """The specification in a file, its card, and its tensors in the types that they are stored in. `kind` is the word
    for messages ("model").

    Raises Refusal when the file is missing, damaged or of another format, or its header is not a `spec` and a card.
    """
    existing_file(path, kind)
    header, tensors = read_tensors(path, kind, file_format)
    try:
        plain, card = json.loads(header["spec"]), json.loads(header["card"])
    except (KeyError, ValueError) as error:
        raise Refusal(f"{path} is not a readable {kind}: {one_line(error)}") from error
    try:
        found = from_plain(spec, plain, "header")
    except Refusal as error:
        raise Refusal(f"{path}: {error}") from error
    require(isinstance(card, dict), f"{path}: card {card!r}", "a table")
    return found, card, tensors


def load_network(path: Path, make: Callable[[], Network], tensors: Mapping[str, Tensor]) -> Network:
    """The network that `make` gives with the tensors that were read: float32 on the CPU, in evaluation mode, without
    gradients. Raises Refusal for other tensors than it has."""
    with torch.device("meta"):  # without numbers: neither memory nor chance is spent on weights that may not fit
        network = make()
    try:
        values = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
        network.load_state_dict(values, strict=True, assign=True)
    except RuntimeError as error:
        raise Refusal(f"{path} holds weights of another network: {one_line(error)}") from error
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.requires_grad_(False).eval()
