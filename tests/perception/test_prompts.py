"""Templates filled with classes, and a prompt's rivals."""

import pytest

from noisette.base.errors import Refusal
from noisette.perception.prompts import DIGITS, WORDS, class_prompts, with_rivals

LETTERS = ("A", "B", "a b")


def test_every_template_is_filled_with_every_class():
    assert class_prompts(("7", "8")) == (("A handwritten number 7",), ("A handwritten number 8",))
    assert class_prompts(("7", "eight"), ("{label} is {word}", "a {digit}, {digit}")) == (
        ("7 is seven", "a 7, 7"),
        ("eight is eight", "a 8, 8"),
    )
    assert class_prompts(LETTERS, ("the letter {label}",))[2] == ("the letter a b",)


@pytest.mark.parametrize(
    ("classes", "templates", "told"),
    [
        ((), ("{label}",), "templates without classes"),
        (DIGITS, (), "no template"),
        (DIGITS, ("a number",), "template 'a number': expected a place for the class"),
        (DIGITS, ("a {lable}",), "unknown place in a template 'lable'.*did you mean 'label'"),
        (LETTERS, ("a {word}",), "template 'a {word}' for class 'A': expected a digit"),
    ],
)
def test_templates_that_cannot_be_filled_are_refused(classes, templates, told):
    with pytest.raises(Refusal, match=told):
        class_prompts(classes, templates)


@pytest.mark.parametrize(
    ("prompt", "asked", "last"),
    [("A handwritten number seven", 7, "A handwritten number nine"), ("4", 4, "9"), ("ONE thing", 1, "nine thing")],
)
def test_a_prompt_stands_beside_the_same_text_with_other_digits(prompt, asked, last):
    for classes in ((), DIGITS, WORDS):
        texts, number = with_rivals(prompt, classes)
        assert (texts[number].lower(), number, len(texts)) == (prompt.lower(), asked, 10)
        assert texts[-1] == last


def test_the_longest_name_is_meant():
    texts, asked = with_rivals("letter a b", ("b", "a", "a b"))
    assert (texts, asked) == (("letter b", "letter a", "letter a b"), 2)


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("A blurry number", "names no class: expected one of 0, 1, 2"),
        ("seventeen", "names no class"),
        ("a seven or a nine", "names more than one class"),
        ("", "names no class"),
    ],
)
def test_a_prompt_without_a_class_or_with_two_is_refused(prompt, told):
    with pytest.raises(Refusal, match=told):
        with_rivals(prompt)
