"""The processes that share one task: how many there are, and which one this is."""

import os

from noisette.base.errors import Refusal


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


def _number(name: str, default: int | None) -> int:
    text = os.environ.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        raise Refusal(f"the variable {name} is {text!r}: expected a number, as a launcher such as torchrun sets it")
    return int(text)
