"""Named choices: a new schedule, sampler or data set is one function and one line of registration."""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from noisette.base.errors import unknown

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """A read-only mapping from name to choice that refuses duplicates and unknown names.

    `kind` is the word used in messages ("sampler"). Iteration follows the order of registration.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._choices: dict[str, T] = {}

    def add(self, name: str, choice: T) -> T:
        """Register `choice`; raises ValueError when the name is taken."""
        if name in self._choices:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._choices[name] = choice
        return choice

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator form of `add`."""
        return lambda choice: self.add(name, choice)

    def __getitem__(self, name: str) -> T:
        """The choice called `name`; raises Refusal with the list and the nearest name otherwise."""
        try:
            return self._choices[name]
        except KeyError:
            raise unknown(self.kind, name, self._choices) from None

    def __contains__(self, name: object) -> bool:
        return name in self._choices

    def __iter__(self) -> Iterator[str]:
        return iter(self._choices)

    def __len__(self) -> int:
        return len(self._choices)
