"""Numbers as they are read: exact where they are cut, honest at the ends."""

import pytest

from noisette.report.words import by, listed, number, percent, spent


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.04, "0.0 s"),
        (1.54, "1.5 s"),
        (9.96, "10 s"),
        (59.7, "1 min"),
        (61, "1 min 1 s"),
        (600, "10 min"),
        (3599.6, "1 h"),
        (3900, "1 h 5 min"),
        (7261, "2 h 1 min"),
    ],
)
def test_a_time(seconds, told):
    assert spent(seconds) == told


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (0.0, "0.0 %"),
        (0.0004, "< 0.1 %"),
        (0.0005, "0.1 %"),
        (0.5, "50.0 %"),
        (0.9994, "99.9 %"),
        (0.9996, "> 99.9 %"),
        (1.0, "100.0 %"),
    ],
)
def test_a_share_is_all_or_nothing_only_when_it_is(share, told):
    assert percent(share) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.0, "0"), (0.12345, "0.123"), (1.0, "1.00"), (-1.416, "−1.42"), (123.4, "123"), (12345.0, "12,345")],
)
def test_a_number_keeps_three_digits(value, told):
    assert number(value) == told


def test_a_spread_keeps_two():
    assert number(0.01387, 2) == "0.014"


def test_lists_and_sizes():
    assert listed([]) == ""
    assert listed([7]) == "7"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert by((28, 30)) == "28 × 30"
