"""A registry refuses what it does not know and what it knows already, and says what there is."""

import pytest

from noisette.base.errors import NoisetteError, Refusal, nearest, one_line, unknown
from noisette.base.registry import Registry


def greek() -> Registry[int]:
    letters: Registry[int] = Registry("letter")
    letters.add("beta", 2)
    letters.add("alpha", 1)
    return letters


def test_choices_are_found_in_the_order_they_came():
    letters = greek()
    assert list(letters.items()) == [("beta", 2), ("alpha", 1)]
    assert len(letters) == 2
    assert "alpha" in letters
    assert "gamma" not in letters


def test_a_name_is_registered_once():
    letters = greek()
    with pytest.raises(ValueError, match="letter 'beta' is registered twice"):
        letters.add("beta", 3)
    assert letters["beta"] == 2


def test_the_decorator_registers_and_returns_its_function():
    functions: Registry[object] = Registry("function")

    @functions.register("double")
    def double(x: int) -> int:
        return 2 * x

    assert functions["double"] is double


def test_an_unknown_name_is_refused_with_the_choices_and_the_nearest():
    with pytest.raises(Refusal) as caught:
        greek()["Alhpa"]
    assert str(caught.value) == "unknown letter 'Alhpa': expected one of beta, alpha; did you mean 'alpha'?"


@pytest.mark.parametrize(
    ("word", "guess"), [("hein", "heun"), ("DDIM", "ddim"), ("dpm", "ddim"), ("zzz", None), ("", None)]
)
def test_the_nearest_name_is_a_likely_one_or_none(word, guess):
    assert nearest(word, ["heun", "ddim"]) == guess


def test_a_name_like_no_other_is_refused_without_a_guess():
    assert "did you mean" not in str(unknown("letter", "zzz", ["alpha", "beta"]))


def test_a_long_list_of_choices_is_cut():
    message = str(unknown("number", "x", map(str, range(100))))
    assert message.endswith("39, ... (100 in all)")


def test_refusals_and_failures_have_their_exit_codes():
    assert (Refusal.exit_code, NoisetteError.exit_code) == (2, 1)
    assert issubclass(Refusal, NoisetteError)


@pytest.mark.parametrize(
    ("message", "line"),
    [("two\n  lines\tand more ", "two lines and more"), ("", "ValueError"), (" \n", "ValueError")],
)
def test_an_error_prints_as_one_line(message, line):
    assert one_line(ValueError(message)) == line
