"""Names that come from outside: classes, in their order, and files, as they are shown."""

import re
import unicodedata
from collections.abc import Iterable

from noisette.base.errors import Refusal


def natural(name: str) -> tuple[tuple[str | int, ...], str]:
    """A key that sorts names as a person does: 2 before 10, a beside A."""
    parts = re.split(r"([0-9]+)", name)  # text and number in turns
    return tuple(int(part) if place % 2 else part.casefold() for place, part in enumerate(parts)), name


def class_table(names: Iterable[str], where: str) -> tuple[str, ...]:
    """Each class name once, in natural order. Raises Refusal, beginning with `where`, as `class_name` does."""
    return tuple(sorted({class_name(name, where) for name in names}, key=natural))


def class_name(name: str, where: str) -> str:
    """The name as every system spells it (NFC). Raises Refusal for an empty one, or one that is no line of text."""
    odd = any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name)
    if odd or not name.strip():
        raise Refusal(f"{where}: class name {name!r}: expected a line of text")
    return unicodedata.normalize("NFC", name)


def shown(name: object) -> str:
    """A file's name for a message: what is no printable letter of any script is replaced."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(name))
