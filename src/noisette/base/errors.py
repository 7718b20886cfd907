"""Errors that a person can act on. Each prints as one line; none needs a traceback."""

import difflib
from collections.abc import Iterable, Sequence


class NoisetteError(Exception):
    """Work that had begun could not be finished (exit code 1): a diverged loss, a full disk."""

    exit_code = 1


class Refusal(NoisetteError):
    """Bad input, refused before any work (exit code 2): what was found, what was expected."""

    exit_code = 2


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that looks most like `word`, or None when none does."""
    by_lower_case = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(word.lower(), by_lower_case, n=1, cutoff=0.5)
    return by_lower_case[close[0]] if close else None


def shortened(names: Sequence[str], most: int = 10) -> str:
    """Names for one line, however many there are: `a, b, c and 90 more`."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def unknown(kind: str, found: object, choices: Iterable[str]) -> Refusal:
    """The refusal of a name that is not among `choices`: lists them and names the nearest."""
    choices = list(choices)
    guess = nearest(str(found), choices)
    hint = f"; did you mean {guess!r}?" if guess else ""
    listed = ", ".join(choices) if len(choices) <= 40 else f"{', '.join(choices[:40])}, ... ({len(choices)} in all)"
    return Refusal(f"unknown {kind} {shown(found)}: expected one of {listed}{hint}")


def shown(value: object) -> str:
    """A value from outside in at most about a hundred characters."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def one_line(error: BaseException) -> str:
    """The error's message, printable, with every run of white space folded to one blank, at most 1,000 characters: of a
    longer one the beginning and the end."""
    text = " ".join(str(error).split()) or type(error).__name__
    return printable(text if len(text) <= 1000 else f"{text[:600]}...{text[-397:]}")


def printable(text: object) -> str:
    """A text for people, such as a file's name, with what would steer a terminal escaped."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in str(text))
