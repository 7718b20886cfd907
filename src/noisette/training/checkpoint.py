"""The state of a run as one safetensors file: every tensor by name, the progress in its header. Nothing is pickled."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisette.base.config import from_plain
from noisette.base.errors import Refusal, one_line
from noisette.base.processes import Processes
from noisette.base.tensor_file import read_tensors, write_tensors
from noisette.base.text_file import parse_json
from noisette.training.loop import Progress, TrainState

FORMAT = "noisette-state-1"


def save_state(path: Path, state: TrainState) -> None:
    """Write the state whole or not at all."""
    header = {"format": FORMAT, "progress": json.dumps(dataclasses.asdict(state.progress))}
    write_tensors(path, state_tensors(state), header)


def load_state(path: Path, state: TrainState) -> None:
    """Read a saved state into a fresh one of the same network and optimisers, in place.

    Raises Refusal when the file is damaged or of another network; `state` is then unchanged.
    """
    progress, saved = _read(path)
    own = state_tensors(state)
    if wrong := _first_difference(own, saved):
        raise Refusal(f"{path} belongs to another network or optimiser: {wrong}")
    state.progress = progress
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(saved[name])


def share_state(state: TrainState, processes: Processes) -> None:
    """Give the state of the first process to all, in place."""
    state.progress = from_plain(
        Progress, processes.by_first(lambda: dataclasses.asdict(state.progress)), "the first process"
    )
    with torch.no_grad():
        processes.spread(state_tensors(state).values())


def read_progress(path: Path) -> Progress:
    """How far a saved state has come. Raises Refusal as `load_state` does."""
    return _read(path)[0]


def _read(path: Path) -> tuple[Progress, dict[str, Tensor]]:
    header, tensors = read_tensors(path, "state", FORMAT)
    try:
        return from_plain(Progress, parse_json(header["progress"], "progress"), "progress"), tensors
    except (KeyError, Refusal) as error:
        raise Refusal(f"{path} is not a readable state: {one_line(error)}") from error


def state_tensors(state: TrainState) -> dict[str, Tensor]:
    """Every tensor of a state by a unique name; the tensors themselves, not copies."""
    tensors = {f"network.{name}": value.detach() for name, value in state.network.named_parameters()}
    tensors |= {f"average.{name}": value.detach() for name, value in state.average.named_parameters()}
    names = {id(parameter): name for name, parameter in state.network.named_parameters()}
    for number, optimizer in enumerate(state.optimizers):
        for parameter, values in optimizer.state.items():
            tensors |= {f"optimizer.{number}.{names[id(parameter)]}.{key}": v for key, v in values.items()}
    return tensors


def _first_difference(own: dict[str, Tensor], saved: dict[str, Tensor]) -> str | None:
    def kind(tensors: dict[str, Any], name: str) -> str:
        return f"{tensors[name].dtype} {list(tensors[name].shape)}" if name in tensors else "nothing"

    for name in [*own, *saved]:
        if kind(own, name) != kind(saved, name):
            return f"{name}: expected {kind(own, name)}, found {kind(saved, name)}"
    return None
