"""Texts, TOML and JSON from anybody: a regular file of bounded size, values of bounded depth and size, or refused."""

import json
import tomllib
from pathlib import Path
from typing import Any

from noisette.base.errors import Refusal, one_line
from noisette.base.files import existing_file

LARGEST_TOML, LARGEST_JSON = 2**16, 2**23
"""Bytes. A run's settings take two thousand; the record of an evaluation of a thousand classes six million."""
MOST_DOTS = 200
"""In a line of TOML: its parser takes the square of a dotted key's parts, in time and memory."""
DEEPEST = 32
"""Tables within tables within lists that a file may hold; ours hold four."""


def read_text(path: Path, what: str, largest: int) -> str:
    """The UTF-8 text of a file of at most `largest` bytes. `what` is the word for messages ("run").

    Raises Refusal for anything but a regular file (a pipe would be waited for, a device would never end), for one that
    is longer or cannot be read, and for other bytes than UTF-8.
    """
    path = existing_file(path, what)
    try:
        with path.open("rb") as file:
            content = file.read(largest + 1)
    except OSError as error:
        raise Refusal(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > largest:
        raise Refusal(f"{path} is longer than {largest:,} bytes: expected a {what}")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal(f"{path} is not UTF-8 text: {one_line(error)}") from error


def read_toml(path: Path, what: str = "file of settings") -> dict[str, Any]:
    """The tables of a TOML file; raises Refusal with the parser's line when it is malformed."""
    text = read_text(path, what, LARGEST_TOML)
    try:
        if any(line.count(".") > MOST_DOTS for line in text.splitlines()):
            raise ValueError(f"a line has more than {MOST_DOTS} dots")
        values = tomllib.loads(text)
        _require_plain(values)
    except (ValueError, RecursionError) as error:  # of numbers of thousands of digits, too
        raise Refusal(f"{path} is not valid TOML: {one_line(error)}") from None
    return values


def read_json(path: Path, what: str) -> Any:
    """The value in a JSON file. Raises Refusal as `read_text` and `parse_json` do."""
    return parse_json(read_text(path, what, LARGEST_JSON), str(path))


def parse_json(text: str, where: str) -> Any:
    """The value of a JSON text; `where` names it in messages.

    Raises Refusal when it is malformed, or holds what JSON allows and we have no use for: values more than DEEPEST
    deep, whole numbers beyond 64 bits, half characters.
    """
    try:
        value = json.loads(text)
        _require_plain(value)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{where} is not readable JSON: {one_line(error)}") from None
    return value


def _require_plain(value: Any, levels: int = DEEPEST) -> None:
    """Raise ValueError for a value that later work could choke on, wherever it stands."""
    if isinstance(value, str):
        value.encode("utf-8")  # UnicodeEncodeError, a ValueError, of a half character
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise ValueError("a whole number beyond 64 bits")
    elif isinstance(value, (dict, list)):
        if levels == 0:
            raise ValueError(f"values more than {DEEPEST} deep")
        for inner in value:
            _require_plain(inner, levels - 1)
        if isinstance(value, dict):
            for inner in value.values():
                _require_plain(inner, levels - 1)
