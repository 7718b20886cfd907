"""Flags from dataclasses, and what is wrong with them told in one line."""

import contextlib
import dataclasses
import io
import re
import sys
import typing
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from noisette.base.errors import Refusal, nearest

T = TypeVar("T")


def parse(kind: type[T], args: Sequence[str], prog: str, default: T | None = None) -> T:
    """The flags `args` as the dataclass `kind`, its nested dataclasses flat; what is left out is `default`'s.

    `--help` prints and raises SystemExit(0). Raises Refusal for an unknown flag or a bad value.
    """
    known = ["--help", *_flags(kind)]
    for arg in args:
        flag = arg.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in known:
            guess = nearest(flag, known)
            raise Refusal(f"unknown flag {flag}: " + (f"did you mean {guess}?" if guess else f"see {prog} --help"))
    values: T = _tyro(kind, args, prog, {} if default is None else {"default": default})
    return values


def parse_known(kind: type[T], args: Sequence[str], prog: str) -> T:
    """The flags of `kind` that stand among `args`; all others, and --help, are passed over."""
    values: T = _tyro(kind, args, prog, {"return_unknown_args": True, "add_help": False})[0]
    return values


def subject(args: Sequence[str]) -> tuple[str | None, list[str]]:
    """What the command is about, which stands before its flags (None: nothing does), and the flags."""
    named = bool(args) and not args[0].startswith("-")
    return (args[0], list(args[1:])) if named else (None, list(args))


def subjects(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """All that the command is about, which stand before its flags, and the flags."""
    first = next((place for place, arg in enumerate(args) if arg.startswith("-")), len(args))
    return list(args[:first]), list(args[first:])


def _flags(kind: type) -> Iterator[str]:
    """Every flag that tyro makes of a dataclass."""
    hints, annotated = typing.get_type_hints(kind), typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        given = [each.name for each in getattr(annotated[field.name], "__metadata__", ()) if each.name]
        hint, name = hints[field.name], (given or [field.name.replace("_", "-")])[0]
        if dataclasses.is_dataclass(hint):
            yield from _flags(typing.cast(type, hint))
        else:
            yield f"--{name}"
            if hint is bool:
                yield f"--no-{name}"


def _tyro(kind: type, args: Sequence[str], prog: str, options: dict[str, Any]) -> Any:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            values = tyro.cli(
                kind, args=args, prog=prog, config=(tyro.conf.OmitArgPrefixes,), registry=_RULES, **options
            )
    except SystemExit as ended:
        if ended.code:
            raise Refusal(_unframed(said.getvalue())) from None
        raise
    sys.stderr.write(said.getvalue())
    return values


def _unframed(text: str) -> str:
    """tyro's message less its title, frame, colours and pointer to the help."""
    rows = [re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", "", row).strip() for row in text.splitlines()]
    message = " ".join(row for row in rows[1:] if row.strip("-"))
    return message.partition("For full helptext")[0].replace(" Argument helptext:", "; expected").strip()


_RULES = ConstructorRegistry()


@_RULES.primitive_rule
def _list(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[tuple[Any, ...]] | None:
    """tuple[X, ...] is a list with commas or blanks: `--labels 7,7,3` or `--widths 32 64`; a comma within a name has a
    backslash before it."""
    kinds = typing.get_args(info.type)
    if info.type_origin is not tuple or kinds[-1] is not Ellipsis:
        return None
    convert = int if kinds[0] is int else str
    name = "NUMBER" if convert is int else "NAME"
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"{name},{name},...",
        instance_from_str=lambda args: tuple(
            convert(part.replace("\\,", ",")) for part in re.split(r"(?<!\\),", ",".join(args)) if part
        ),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [",".join(str(part).replace(",", "\\,") for part in value)],
    )


@_RULES.primitive_rule
def _choice_that_may_be_left_out(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[str | None] | None:
    """Literal[...] | None takes its choices, told in their order; tyro would tell None among them in any order."""
    kinds = typing.get_args(info.type)
    if len(kinds) != 2 or kinds[1] is not type(None) or typing.get_origin(kinds[0]) is not typing.Literal:
        return None
    choices = typing.get_args(kinds[0])
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="{" + ",".join(choices) + "}",
        instance_from_str=lambda args: args[0],
        is_instance=lambda value: value is None or value in choices,
        str_from_instance=lambda value: [str(value)],
        choices=choices,
    )
