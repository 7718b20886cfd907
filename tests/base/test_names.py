import pytest

from noisette.base.errors import Refusal, printable
from noisette.base.names import class_name, class_table


def test_classes_stand_in_the_order_that_a_person_expects():
    names = ["b10", "b2", "B1", "a", "10", "9", "b2", "Ä"]
    assert class_table(names, "it") == ("9", "10", "a", "B1", "b2", "b10", "Ä")


def test_one_name_spelt_in_two_ways_is_one_class():
    assert class_table(["caf\u00e9", "cafe\u0301"], "it") == ("caf\u00e9",)


def test_names_may_hold_anything_that_can_be_printed():
    for name in ("a b", "tench, Tinca tinca", "..", "a\u2215b", "\N{CAT FACE}", "n" * 200):
        assert class_name(name, "it") == name


@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[31mred", "a\udcffb", "a\u2028b", "n" * 201])
def test_what_cannot_be_printed_is_refused(name):
    with pytest.raises(Refusal, match=r"^it: class '.*: expected a name of 1 to 200 characters that can be printed"):
        class_name(name, "it")


def test_file_names_are_shown_without_what_a_terminal_obeys():
    assert printable("a\x1b[2Jb\n\udcff é.png") == r"a\x1b[2Jb\n\udcff é.png"
