"""The device that work runs on."""

import torch

from noisette.base.errors import Refusal, unknown

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str) -> torch.device:
    """`auto` is the fastest that is there. Raises Refusal for an unknown name or a device this machine lacks."""
    if name not in DEVICES:
        raise unknown("device", name, DEVICES)
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if present[kind]))
    if not present[name]:
        there = ", ".join(kind for kind, found in present.items() if found)
        raise Refusal(f"device {name!r} is not on this machine: expected one of {there}")
    return torch.device(name)
