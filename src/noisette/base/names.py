"""Names of classes, which come from folders and files of anybody and go to terminals, pages and file names."""

from collections.abc import Sequence

from noisette.base.config import require
from noisette.base.errors import shown

LONGEST = 200
"""Characters of a name."""


def require_names(classes: Sequence[str]) -> None:
    """Raise Refusal for a class whose name is empty, too long or holds what cannot be printed: line ends, control
    characters, halves of characters."""
    for name in classes:
        require(
            0 < len(name) <= LONGEST and name.isprintable(),
            f"class {shown(name)}",
            f"a name of 1 to {LONGEST} characters that can be printed",
        )
