"""How long work tells how far it has come: to a function that is handed down, since only a face prints."""

from collections.abc import Callable

Progress = Callable[[str, float, float], None]
"""Told what is being done, how much of it is done, of how much."""


def silent(what: str, done: float, total: float) -> None:
    """A Progress that tells nobody."""
