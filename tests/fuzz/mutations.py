"""What is done to files: to their bytes, and to the values in those that hold plain values."""

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

import tomli_w
from hypothesis import strategies as st

Change = Callable[[bytes], bytes]

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 2**15 - 1, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
TOKENS = (
    *(b"\0", b"\n", b'"', b"[", b"{", b",", b"NaN", b"9" * 30, b"-1", b"1e999"),
    *(b"\xff\xfe", b"\xed\xa0\x80", b"../", b"\\ud800", b"\x1b[31m"),
)


def _place(data: bytes, share: float) -> int:
    return int(share * len(data))


def _flip(data: bytes, at: float, mask: int) -> bytes:
    place = min(_place(data, at), len(data) - 1)
    return data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :] if data else data


def _extreme(data: bytes, at: float, number: int, width: int, order: Any) -> bytes:
    place = _place(data, at)
    return data[:place] + (number % 2 ** (8 * width)).to_bytes(width, order) + data[place + width :]


def _slice(data: bytes, at: float, length: int, do: str) -> bytes:
    place = _place(data, at)
    piece = data[place : place + length]
    made = {"drop": b"", "double": 2 * piece, "zero": bytes(len(piece))}[do]
    return data[:place] + made + data[place + length :]


def _swap(data: bytes, one: float, two: float, length: int) -> bytes:
    first, second = sorted((_place(data, one), _place(data, two)))
    second = max(second, first + length)
    a, b = data[first : first + length], data[second : second + length]
    return data[:first] + b + data[first + length : second] + a + data[second + length :]


def byte_changes(others: Sequence[bytes]) -> st.SearchStrategy[list[Change]]:
    """One to four changes of bytes; `others` are files of other kinds to be spliced in."""
    at = st.one_of(st.floats(0, 1), st.floats(0, 0.05))  # half of all changes where the headers are
    length, width, mask = st.integers(1, 64), st.sampled_from((1, 2, 4, 8)), st.integers(1, 255)
    number, token, other = st.sampled_from(EXTREMES), st.sampled_from(TOKENS), st.sampled_from(others)
    order, do = st.sampled_from(("little", "big")), st.sampled_from(("drop", "double", "zero"))
    more = st.binary(min_size=1, max_size=20)
    kinds: list[st.SearchStrategy[Change]] = [
        st.builds(lambda a, m: lambda data: _flip(data, a, m), at, mask),
        st.builds(lambda *given: lambda data: _extreme(data, *given), at, number, width, order),
        st.builds(lambda *given: lambda data: _slice(data, *given), at, length, do),
        st.builds(lambda *given: lambda data: _swap(data, *given), at, at, length),
        st.builds(lambda a, t: lambda data: data[: _place(data, a)] + t + data[_place(data, a) :], at, token),
        st.builds(lambda a: lambda data: data[: _place(data, a)], at),
        st.builds(lambda a, b, o: lambda data: data[: _place(data, a)] + o[_place(o, b) :], at, at, other),
        st.builds(lambda m: lambda data: data + m, more),
    ]
    return st.lists(st.one_of(kinds), min_size=1, max_size=4)


def changed(data: bytes, changes: Sequence[Change]) -> bytes:
    """The file with all changes made."""
    for change in changes:
        data = change(data)
    return data


# Plain values -------------------------------------------------------------------------------------


class Raw(str):
    """Stands in the file as it is, where a value is expected."""


_NUMBERS = (
    *(True, -1, 0, 1, 3, 2**31, 2**63, 10**30),
    *(0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"), float("-inf")),
)
_TEXTS = (
    *("", "none", "0", "é", "[red]", "\0", "\n", "\x1b[31m", "\u202e", "x" * 10_000),
    *("../../x", "/etc/passwd", "CON", "a. "),
)
_RAW = (
    *("9" * 5000, "0x" + "f" * 5000, "1e999", "1_0", "null", "nan", '"\\ud800"', "@"),
    *("[" * 100_000, "[" * 60 + "]" * 60, '{"a":' * 100_000),
)
VALUES = st.one_of(
    st.sampled_from(_NUMBERS),
    st.sampled_from(_TEXTS),
    st.sampled_from(_RAW).map(Raw),
    st.sampled_from(([], [[]], {}, [{}], {"a": 1}, [None], [1] * 50, ["a"] * 50, [0.5, "a"], list(range(3000)))),
    st.text(max_size=8),
    st.integers(),
    st.floats(),
)
"""Of a wrong type, an extreme or a trap, wherever they come to stand."""


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all values within a value; the shortest is itself."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in inner for found in places(item, (*path, key)))]


def value_changes(value: Any) -> st.SearchStrategy[Any]:
    """The value with one to three of its parts replaced, taken out, doubled or renamed."""
    change = st.tuples(st.sampled_from(places(value)), st.sampled_from(("put", "put", "put", "drop", "rename")), VALUES)
    return st.lists(change, min_size=1, max_size=3).map(lambda changes: _altered(value, changes))


def _altered(value: Any, changes: Sequence[tuple[tuple[Any, ...], str, Any]]) -> Any:
    value = copy.deepcopy(value)
    for path, do, new in changes:
        if not path:
            if do == "put":
                value = copy.deepcopy(new)
            continue
        outer = value
        try:
            for key in path[:-1]:
                outer = outer[key]
            if do == "put":
                outer[path[-1]] = copy.deepcopy(new)
            elif do == "drop":
                del outer[path[-1]]
            else:
                outer[f"{path[-1]}s"] = outer[path[-1]]
        except (TypeError, KeyError, IndexError):
            pass  # an earlier change has taken the place away
    return value


def as_json(value: Any) -> bytes:
    """JSON text, Raw values as they are."""
    return _with_raw(value, json.dumps)


def as_toml(value: Any) -> bytes:
    """TOML text, Raw values as they are; what TOML has no word for becomes a text."""
    if not isinstance(value, dict):
        value = {"value": value}
    return _with_raw(_sayable(value), tomli_w.dumps)


def _sayable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _sayable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_sayable(item) for item in value]
    return "" if value is None else value


def _with_raw(value: Any, dump: Callable[[Any], str]) -> bytes:
    raws: list[str] = []

    def marked(part: Any) -> Any:
        if isinstance(part, Raw):
            raws.append(part)
            return f"@@{len(raws) - 1}@@"
        if isinstance(part, dict):
            return {key: marked(item) for key, item in part.items()}
        return [marked(item) for item in part] if isinstance(part, list) else part

    text = dump(marked(value))
    for number, raw in enumerate(raws):
        text = text.replace(f'"@@{number}@@"', raw)
    return text.encode("utf-8", errors="surrogatepass")
