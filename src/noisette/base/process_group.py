"""Many processes as one: accelerate brings them together, torch averages their gradients.

What is told is numbers: JSON as bytes, tensors. Nothing is pickled. Numbers on the CPU go over gloo, also where the
gradients are on GPUs and go over NCCL, so that telling them never waits for a GPU.
"""

import atexit
import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from torch import Tensor, distributed, nn

from noisette.base.errors import one_line
from noisette.base.processes import Lost, Processes

PATIENCE = timedelta(hours=2)
"""How long a process waits for another that has not ended: the first may have a data set to prepare."""
BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}


class ProcessGroup(Processes):
    """The processes that a launcher has started; this one has joined them."""

    def __init__(self, device: torch.device) -> None:
        self._wish = self._agreed = self._lost = False
        settings = InitProcessGroupKwargs(backend=BACKENDS[device.type], timeout=PATIENCE)
        with self._reaching():
            self._accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision="no", kwargs_handlers=[settings])
        self.rank, self.count = self._accelerator.process_index, self._accelerator.num_processes
        atexit.register(self._leave)

    def _leave(self) -> None:
        """End the library's threads in order: at the interpreter's end they may be torn down as they run, and abort it.

        Not where another process is lost: that could wait for it.
        """
        if distributed.is_initialized() and not self._lost:
            distributed.destroy_process_group()

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Around all that needs the others."""
        try:
            yield
        except RuntimeError as error:
            if not _is_about_processes(error):
                raise
            self._lost = True
            place_in_gloo = r"^\[\S+\] "
            reason = re.sub(place_in_gloo, "", one_line(error)).partition(". ")[0][:120]
            raise Lost(f"another process has ended, so this one ends too ({reason})") from error

    def by_first(self, work: Callable[[], Any]) -> Any:
        text = json.dumps(work()).encode() if self.is_first else b""
        with self._reaching():
            length = torch.tensor([len(text)])
            distributed.broadcast(length, 0)
            data = torch.zeros(int(length), dtype=torch.uint8)
            if self.is_first:
                data[:] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
            distributed.broadcast(data, 0)
        return json.loads(bytes(data.tolist()))

    def total(self, *numbers: float) -> tuple[float, ...]:
        told = torch.tensor([*numbers, self._wish], dtype=torch.float64)
        self.add(told)
        *sums, wishes = told.tolist()
        self._agreed = wishes > 0
        return tuple(sums)

    def add(self, values: Tensor) -> None:
        with self._reaching():
            distributed.all_reduce(values)

    def spread(self, tensors: Iterable[Tensor]) -> None:
        with self._reaching():
            for tensor in tensors:
                distributed.broadcast(tensor, 0)

    def agree(self, work: Callable[[], int]) -> bool:
        numbers = torch.zeros(self.count, dtype=torch.int64)
        numbers[self.rank] = work()
        self.add(numbers)
        return bool((numbers == numbers[0]).all())

    @contextlib.contextmanager
    def machine_by_machine(self) -> Iterator[None]:
        with self._reaching(), self._accelerator.local_main_process_first():
            yield

    def sharing(self, module: nn.Module) -> nn.Module:
        with self._reaching():
            shared: nn.Module = self._accelerator.prepare_model(module)
        if next(module.parameters()).dtype == torch.bfloat16:
            shared.register_comm_hook(self.count, _average_in_float32)  # type: ignore[operator]
        return shared

    @contextlib.contextmanager
    def backward(self, module: nn.Module, last: bool) -> Iterator[None]:
        with self._reaching(), contextlib.nullcontext() if last else self._accelerator.no_sync(module):
            yield

    def asked(self, wish: bool) -> bool:
        self._wish = self._wish or wish
        return self._agreed


def _average_in_float32(count: int, bucket: distributed.GradBucket) -> torch.futures.Future[Tensor]:
    """The average of a bucket of bfloat16 gradients over the processes, summed in float32 and rounded once."""
    gradients = bucket.buffer()
    work = distributed.all_reduce(gradients.float().div_(count), async_op=True)
    averaged: torch.futures.Future[Tensor] = work.get_future().then(lambda done: gradients.copy_(done.value()[0]))
    return averaged


def _is_about_processes(error: RuntimeError) -> bool:
    """Whether an error is that of a connection to another process: gloo's has no type of its own."""
    signs = ("gloo", "Connection closed by peer", "Connection reset by peer", "Timed out waiting")
    return isinstance(error, distributed.DistError) or any(sign in str(error) for sign in signs)
