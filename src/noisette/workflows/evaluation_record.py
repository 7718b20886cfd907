"""The form of evaluation.json, checked before a page is made of it: anybody may have written the file."""

import math
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], bool]
"""Whether a plain value is of some form."""

MOST_PAIRS = 100
"""Nearest samples that are drawn again; a record has ten."""


def is_record(found: Any) -> bool:
    """Whether a JSON value has all that the page tells of an evaluation, each of its form."""
    if not _RECORD(found):
        return False
    classes, near = len(found["classes"]), found["nearest"]
    square = len(found["confusion"]) == classes and all(len(row) == classes for row in found["confusion"])
    pairs = len(near["samples"])
    return square and 0 < pairs <= MOST_PAIRS and pairs == len(near["training"]) == len(near["distances"])


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _anything(value: Any) -> bool:
    return True


def _maybe(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _list(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _table(optional: Mapping[str, Check] | None = None, **fields: Check) -> Check:
    """A table that has these fields, and perhaps the optional ones; others are free."""

    def has_all(value: Any) -> bool:
        if not isinstance(value, dict) or not fields.keys() <= value.keys():
            return False
        return all(check(value[name]) for name, check in {**fields, **(optional or {})}.items() if name in value)

    return has_all


def _tables(check: Check) -> Check:
    """A table whose values are all of one form."""
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


_METRIC = _table(
    {"real_spread": _maybe(_number), "floors": _maybe(_number)},
    **dict.fromkeys(("value", "low", "high", "real"), _number),
    better=lambda value: value in ("up", "down", "near"),
)
_IN_FLOORS = _table(value=_number, low=_number, high=_number, real=lambda value: _number(value) and value != 0)


def _metric(value: Any) -> bool:
    """Where a distance is told in floors, too, its numbers are divided by a real one."""
    return _METRIC(value) and (not value.get("floors") or _IN_FLOORS(value))


_RECORD = _table(
    source=_table(
        count=lambda value: _count(value) and value > 0,
        seed=lambda value: type(value) is int,
        seconds=_number,
        evaluations=_number,
        dtype=_text,
        sampling=_maybe(_table({"sampler": _text, "steps": _count, "guidance_scale": _number})),
    ),
    data=_table(name=_text, part=_text, priors=_text, reference_count=_count),
    classifier=_table(name=_text, digest=_text, features=_count, accuracy=_maybe(_number), trained_on=_anything),
    metrics=_tables(_metric),
    confusion=_list(_list(_count)),
    classes=_list(_text),
    nearest=_table(
        samples=_list(_count), training=_list(_count), distances=_list(_number), feature=_table(threshold=_number)
    ),
    timings=_tables(_number),
)
