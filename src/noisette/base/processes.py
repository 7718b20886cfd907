"""The processes that share one task: how many there are, which one this is, and the little that they tell each other.

A launcher such as torchrun starts them. `join` is how a training meets the others; until then nothing is imported that
one process alone does not need.
"""

import contextlib
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from noisette.base.errors import NoisetteError, Refusal

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class Lost(NoisetteError):
    """Another process has ended before its work was done, so this one cannot go on."""


def rank_and_count() -> tuple[int, int]:
    """Which process this is, from 0 on, and how many share the task: (0, 1) unless a launcher such as torchrun says so.

    It is read from the variables RANK and WORLD_SIZE. Raises Refusal when they say no such thing.
    """
    count = _number("WORLD_SIZE", 1)
    if count == 1:
        return 0, 1
    rank = _number("RANK", None)
    if not 0 <= rank < count:
        raise Refusal(
            f"the variables RANK {rank} and WORLD_SIZE {count} of the launcher: expected 0 <= RANK < WORLD_SIZE"
        )
    return rank, count


def local_rank() -> int:
    """Which process of this machine this is, from 0 on; read from the variable LOCAL_RANK."""
    return _number("LOCAL_RANK", None) if rank_and_count()[1] > 1 else 0


def _number(name: str, default: int | None) -> int:
    text = os.environ.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        raise Refusal(f"the variable {name} is {text!r}: expected a number, as a launcher such as torchrun sets it")
    return int(text)


class Processes:
    """One process, which has nobody to tell. `ProcessGroup` keeps the same promises among many.

    Every method but `asked` and `holding_back` is called by all of them, in the same order, and may raise Lost.
    """

    rank, count = 0, 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and speaks for all."""
        return self.rank == 0

    def by_first(self, work: Callable[[], Any]) -> Any:
        """What `work` returns in the first process, in all of them: plain values, such as JSON holds."""
        return work()

    def total(self, *numbers: float) -> tuple[float, ...]:
        """Each number summed over the processes, in float64; the same bits in all of them."""
        return numbers

    def add(self, values: "Tensor") -> None:
        """Sum a tensor on the CPU over the processes, in place."""

    def spread(self, tensors: "Iterable[Tensor]") -> None:
        """Give the tensors of the first process to all, in place."""

    def agree(self, work: Callable[[], int]) -> bool:
        """Whether `work` returns the same 63-bit number in every process."""
        return True

    def machine_by_machine(self) -> contextlib.AbstractContextManager[None]:
        """Within, the first process of each machine does its work before the others of that machine do theirs."""
        return contextlib.nullcontext()

    def sharing(self, module: "nn.Module") -> "nn.Module":
        """The module that computes as `module` does and averages its gradients over the processes in each backward."""
        return module

    def backward(self, module: "nn.Module", last: bool) -> contextlib.AbstractContextManager[None]:
        """Around the forward and backward of a part of a batch: gradients are averaged with the last part only."""
        return contextlib.nullcontext()

    def asked(self, wish: bool) -> bool:
        """Whether any process wishes to stop, the same answer in all of them: what was wished by the last `total`."""
        return wish


ALONE = Processes()


def join(device: "torch.device") -> Processes:
    """This process, and the others that the launcher has started for work on `device`.

    Raises Refusal where the launcher's variables make no sense or the device cannot be shared.
    """
    count = rank_and_count()[1]
    if count == 1:
        return ALONE
    local_rank()
    if device.type not in ("cpu", "cuda"):
        raise Refusal(f"{count} processes on device {device.type!r}: expected cpu or cuda, which processes can share")
    from noisette.base.process_group import ProcessGroup

    return ProcessGroup(device)
