"""Names of classes and files, which come from anybody and go to terminals, pages and file names."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from noisette.base.errors import Refusal, shown

LONGEST = 200
"""Characters of a name."""


def require_names(classes: Sequence[str]) -> None:
    """Raise Refusal for a class whose name is empty, too long or holds what cannot be printed: line ends, control
    characters, halves of characters."""
    for name in classes:
        if not (0 < len(name) <= LONGEST and name.isprintable()):
            raise Refusal(f"class {shown(name)}: expected a name of 1 to {LONGEST} characters that can be printed")


def class_name(name: str, where: str) -> str:
    """The name of a class as every system spells it (NFC). Raises Refusal, beginning with `where`, as above."""
    name = unicodedata.normalize("NFC", name)
    try:
        require_names((name,))
    except Refusal as error:
        raise Refusal(f"{where}: {error}") from None
    return name


def class_table(names: Iterable[str], where: str) -> tuple[str, ...]:
    """Each class name once, in natural order. Raises Refusal, beginning with `where`, as above."""
    return tuple(sorted({class_name(name, where) for name in names}, key=natural))


def natural(name: str) -> tuple[tuple[str | int, ...], str]:
    """A key that sorts names as a person does: 2 before 10, a beside A."""
    parts = re.split(r"([0-9]+)", name)  # text and number in turns
    return tuple(int(part) if place % 2 else part.casefold() for place, part in enumerate(parts)), name
