"""A network in one safetensors file: its tensors, and in the header as JSON what it is (spec) and a card for people."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from noisette.base.config import from_plain, require, to_plain
from noisette.base.errors import Refusal, shown
from noisette.base.tensor_file import Form, open_format, write_tensors
from noisette.base.text_file import parse_json


@runtime_checkable
class NetworkSpec(Protocol):
    """All that a network is besides its weights: a frozen dataclass."""

    def new_network(self) -> nn.Module:
        """The network with its weights not yet born."""
        ...


Spec = TypeVar("Spec", bound=NetworkSpec)


def write_network(path: Path, file_format: str, spec: Any, card: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a network whole or not at all."""
    header = {"format": file_format, "spec": json.dumps(to_plain(spec)), "card": json.dumps(card)}
    write_tensors(path, tensors, header)


def read_network(
    path: Path, kind: str, file_format: str, spec: type[Spec]
) -> tuple[Spec, dict[str, Any], dict[str, Tensor], nn.Module]:
    """The specification in a file, its card, its tensors in the types that they are stored in, and the network: float32
    on the CPU, in evaluation mode, without gradients. `kind` is the word for messages ("model").

    Raises Refusal when the file is missing, damaged or of another format, its header is not a `spec` and a card, or its
    tensors are not those of the network that the `spec` asks for: all before memory is taken for them.
    """
    with open_format(path, kind, file_format) as file:
        found, card = _facts(path, kind, file.header, spec)
        with torch.device("meta"):  # without numbers: neither memory nor chance is spent on weights that may not fit
            network = found.new_network()
        if wrong := first_difference(network.state_dict(), file.forms):
            raise Refusal(f"{path} holds weights of another network: {wrong}")
        tensors = file.read()
    values = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    network.load_state_dict(values, strict=True, assign=True)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return found, card, tensors, network.requires_grad_(False).eval()


def _facts(path: Path, kind: str, header: Mapping[str, str], spec: type[Spec]) -> tuple[Spec, dict[str, Any]]:
    """The specification and the card in a header."""
    for name in ("spec", "card"):
        if name not in header:
            raise Refusal(f"{path} is not a readable {kind}: {name!r} is missing in its header")
    plain, card = (parse_json(header[name], f"{path}: {name}") for name in ("spec", "card"))
    try:
        found = from_plain(spec, plain, "header")
    except Refusal as error:
        raise Refusal(f"{path}: {error}") from error
    require(isinstance(card, dict), f"{path}: card {shown(card)}", "a table")
    return found, card


def first_difference(own: Mapping[str, Tensor], stored: Mapping[str, Form]) -> str | None:
    """The first tensor that is not as the network has it; of numbers with a point any type will do."""
    for name in [*own, *stored]:
        if name not in own or name not in stored:
            return f"{'no' if name in own else 'an unknown'} tensor {name}"
        dtype, shape = stored[name]
        if shape != tuple(own[name].shape) or dtype.is_floating_point != own[name].is_floating_point():
            return f"{name} is {dtype} {list(shape)}: expected {own[name].dtype} {list(own[name].shape)}"
    return None
