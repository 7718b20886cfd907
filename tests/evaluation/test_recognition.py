import pytest

from noisette.base.errors import Refusal
from noisette.evaluation.recognition import recognised_at


def test_a_straight_line_crosses_where_it_must():
    steps = [n / 10 for n in range(11)]
    assert recognised_at(steps, steps) == pytest.approx(0.9)
    assert recognised_at(steps, [0.5 * step for step in steps]) == pytest.approx(0.9)  # of the final accuracy, not of 1
    assert recognised_at(steps, steps, enough=0.25) == pytest.approx(0.25)


def test_between_two_steps_the_curve_is_straight():
    assert recognised_at([0.0, 0.5, 0.7, 1.0], [0.1, 0.6, 1.0, 1.0]) == pytest.approx(0.5 + 0.2 * 0.3 / 0.4)


def test_it_counts_where_the_curve_arrives_for_good():
    """All noise is taken for an 8, say: an 8 is 'recognised' at once, then lost."""
    assert recognised_at([0.0, 0.25, 0.5, 0.75, 1.0], [1.0, 0.0, 0.0, 1.0, 1.0]) == pytest.approx(0.5 + 0.25 * 0.9)


def test_what_is_always_recognised_is_so_from_the_start():
    assert recognised_at([0.1, 0.5, 1.0], [0.95, 0.97, 1.0]) == 0.1
    assert recognised_at([0.1, 0.5, 1.0], [0.0, 0.0, 0.0]) == 0.1


@pytest.mark.parametrize(("done", "accuracy"), [([0.0, 1.0], [1.0]), ([1.0], [1.0]), ([0.0, 0.0], [0.0, 1.0])])
def test_refusals(done, accuracy):
    with pytest.raises(Refusal, match="as many of both, two or more, the steps rising"):
        recognised_at(done, accuracy)
