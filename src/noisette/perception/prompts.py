"""Prompts: what a text model is asked about images, made from the names of classes."""

import re
from collections.abc import Sequence

from noisette.base.config import require
from noisette.base.errors import Refusal, shortened, shown, unknown

TEMPLATE = "A handwritten number {label}"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGITS = tuple("0123456789")
PLACES = ("label", "word", "digit")
"""What may stand in braces in a template: the name of a class as it is; of one that is a digit, as word or digit."""


def class_prompts(classes: Sequence[str], templates: Sequence[str] = (TEMPLATE,)) -> tuple[tuple[str, ...], ...]:
    """The texts that ask for each class: every template with the class in its place.

    Raises Refusal for no classes, for no template, for one without a place or with an unknown one, and for `{word}` or
    `{digit}` of a class that is no digit.
    """
    require(len(classes) > 0, "templates without classes", "the names that they are filled with")
    require(len(templates) > 0, "no template", f"at least one, such as {TEMPLATE!r}")
    return tuple(tuple(_filled(template, name) for template in templates) for name in classes)


def is_template(text: str) -> bool:
    """Whether there is a place for a class in it, or something that looks like one."""
    return "{" in text


def with_rivals(prompt: str, classes: Sequence[str] = ()) -> tuple[tuple[str, ...], int]:
    """A prompt that names a class, beside the same text with each of the other classes in its place, and which of them
    it is itself: "A seven" is number 7 of "A zero" to "A nine".

    Without classes they are the ten digits; a digit may be named by its word. Raises Refusal for a prompt that names no
    class, or two.
    """
    classes = classes or DIGITS
    ways = [classes, *((_as_words(classes), _as_digits(classes)) if _are_digits(classes) else ())]
    found = {
        (place.start(), place.end(), number, tuple(way))
        for way in ways
        for number, name in enumerate(way)
        for place in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", prompt, re.IGNORECASE)
    }
    longest = [a for a in found if not any(b[0] <= a[0] and a[1] <= b[1] and a[:2] != b[:2] for b in found)]
    if len({place[:3] for place in longest}) != 1:
        said = "names no class" if not longest else "names more than one class"
        raise Refusal(f"prompt {shown(prompt)} {said}: expected one of {shortened(list(classes))}")
    start, end, asked, way = longest[0]
    return tuple(prompt[:start] + name + prompt[end:] for name in way), asked


def _filled(template: str, name: str) -> str:
    places = re.findall(r"\{(.*?)\}", template)
    require(len(places) > 0, f"template {shown(template)}", "a place for the class in it: {label}, {word} or {digit}")
    for place in places:
        if place not in PLACES:
            raise unknown("place in a template", place, PLACES)
    if set(places) - {"label"} and not _are_digits((name,)):
        raise Refusal(f"template {shown(template)} for class {shown(name)}: expected a digit, or the place {{label}}")
    values = {"label": name}
    if _are_digits((name,)):
        values |= {"word": _as_words((name,))[0], "digit": _as_digits((name,))[0]}
    return re.sub(r"\{(.*?)\}", lambda place: values[place[1]], template)


def _are_digits(classes: Sequence[str]) -> bool:
    return all(name.lower() in (*WORDS, *DIGITS) for name in classes)


def _as_words(classes: Sequence[str]) -> tuple[str, ...]:
    return tuple(WORDS[DIGITS.index(name)] if name in DIGITS else name.lower() for name in classes)


def _as_digits(classes: Sequence[str]) -> tuple[str, ...]:
    return tuple(name if name in DIGITS else DIGITS[WORDS.index(name.lower())] for name in classes)
