"""The device that work runs on, and the precision that it samples in."""

from typing import Literal

import torch

from noisette.base.config import require
from noisette.base.errors import Refusal, unknown
from noisette.base.processes import local_rank

DEVICES = ("auto", "cpu", "cuda", "mps")
Precision = Literal["float32", "bfloat16"]
PRECISIONS: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_device(name: str) -> torch.device:
    """`auto` is the fastest that is there; of many processes on a machine each takes a GPU of its own.

    Raises Refusal for an unknown name or a device this machine lacks.
    """
    if name not in DEVICES:
        raise unknown("device", name, DEVICES)
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if present[kind])
    if not present[name]:
        there = ", ".join(kind for kind, found in present.items() if found)
        raise Refusal(f"device {name!r} is not on this machine: expected one of {there}")
    if name == "cuda" and (number := local_rank()) > 0:
        there_are = torch.cuda.device_count()
        require(number < there_are, f"process {number + 1} of this machine on {there_are} GPU(s)", "one GPU a process")
        torch.cuda.set_device(number)  # which is what "cuda" means from here on
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The type of the weights while sampling: `auto` is bfloat16 on processors that have instructions for it.

    It is asked of the processor and not timed, so that the same machine always draws the same pictures. Raises Refusal
    for an unknown name.
    """
    if name not in ("auto", *PRECISIONS):
        raise unknown("precision", name, ("auto", *PRECISIONS))
    for known, dtype in PRECISIONS.items():
        if name == known:
            return dtype
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    able = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else torch.float32
