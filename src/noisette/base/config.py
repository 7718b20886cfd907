"""Configurations are frozen dataclasses: the only source of names, defaults, types and help.

`from_plain` and `to_plain` are the two ways between them and plain values (TOML, JSON in a weight file). An unknown
key or a value of another type is refused with the nearest name.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from noisette.base.errors import Refusal, shown, unknown

C = TypeVar("C")


def from_plain(kind: type[C], values: Any, where: str, base: C | None = None) -> C:
    """Build the dataclass `kind` from plain values; keys left out keep the value of `base` (or the default).

    `where` names the source in messages. Raises Refusal for an unknown key, a missing one or a wrong type;
    what the dataclass's own checks refuse is passed on.
    """
    if not isinstance(values, Mapping):
        raise Refusal(f"{where}: expected a table of settings, found {shown(values)}")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    given: dict[str, Any] = {}
    for key, value in values.items():
        if key not in fields:
            raise Refusal(f"{where}: {unknown('key', key, fields)}")
        inner = getattr(base, key) if base is not None else None
        given[key] = _convert(hints[key], value, f"{where}: {key}", inner)
    if base is not None:
        return dataclasses.replace(base, **given)  # type: ignore[type-var]
    needed = {name for name, f in fields.items() if f.default is f.default_factory is dataclasses.MISSING}
    if missing := sorted(needed - given.keys()):
        raise Refusal(f"{where}: missing {', '.join(missing)}")
    return kind(**given)


def _convert(hint: Any, value: Any, where: str, base: Any) -> Any:
    """`value` as the annotated type; the few types that a configuration may have, and no coercion but int -> float."""
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast(type, hint), value, where, base)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        (hint,) = (argument for argument in arguments if argument is not type(None))
        return _convert(hint, value, where, base)
    if origin is typing.Literal:
        if value not in arguments:
            raise Refusal(f"{where}: {unknown('choice', value, map(str, arguments))}")
        return value
    if origin is tuple and isinstance(value, (list, tuple)):
        kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) != len(value):
            raise Refusal(f"{where}: expected {len(kinds)} values, found {len(value)}")
        return tuple(_convert(kind, item, where, None) for kind, item in zip(kinds, value, strict=True))
    if hint is float and type(value) is int:
        return float(value)
    if origin is None and type(value) is hint:
        return value
    name = getattr(hint, "__name__", None) if origin is None else str(hint)
    raise Refusal(f"{where}: expected {name or hint}, found {shown(value)}")


def to_plain(config: Any) -> dict[str, Any]:
    """The dataclass as plain values; None is left out (TOML has no word for it)."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return to_plain(value)
        return [plain(item) for item in value] if isinstance(value, tuple) else value

    pairs = ((field.name, getattr(config, field.name)) for field in dataclasses.fields(config))
    return {name: plain(value) for name, value in pairs if value is not None}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, their keys joined by dots."""
    pairs: dict[str, Any] = {}
    for key, value in values.items():
        pairs |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return pairs


def require(condition: bool, found: str, expected: str) -> None:
    """Raise Refusal unless `condition`: the checks of a configuration's `__post_init__`."""
    if not condition:
        raise Refusal(f"{found}: expected {expected}")


def require_storable(config: Any) -> None:
    """Raise Refusal for a whole number that no TOML or JSON file need hold, so that what is written can be read."""
    for key, value in flatten(to_plain(config)).items():
        for number in value if isinstance(value, list) else [value]:
            fits = not isinstance(number, int) or -(2**63) <= number < 2**63
            require(fits, f"{key.rpartition('.')[2]} {number}", "a number of at most 63 bits")
