"""The learning rate's course: warm-up first, then constant, down in steps, down along a line or a cosine."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from noisette.base.errors import Refusal
from noisette.training.rates import RATES, rate_share


def test_warm_up_is_a_straight_line_that_starts_above_zero_and_ends_at_the_peak():
    shares = [rate_share("constant", seen, 1000, 0.0, 1.0) for seen in range(0, 2000, 100)]
    assert shares[0] == pytest.approx(1 / 1000)
    assert shares[5] == pytest.approx(501 / 1000)
    assert shares[10:] == [1.0] * 10
    assert rate_share("constant", 999, 1000, 0.0, 1.0) == 1.0
    assert rate_share("constant", 0, 0, 0.0, 1.0) == 1.0


@pytest.mark.parametrize(("done", "share"), [(0.0, 1.0), (0.25, (1 + math.sqrt(0.5)) / 2), (0.5, 0.5), (1.0, 0.0)])
def test_cosine_falls_from_the_peak_to_nothing(done, share):
    assert rate_share("cosine", 10**6, 0, done, 1.0) == pytest.approx(share, abs=1e-12)


def test_linear_falls_from_the_peak_to_nothing():
    assert [rate_share("linear", 10**6, 0, done, 0.5) for done in (0.0, 0.25, 1.0)] == [1.0, 0.75, 0.0]


def test_only_the_plateau_rate_heeds_its_drops_and_only_cosine_and_linear_the_horizon():
    assert rate_share("plateau", 10**6, 0, 0.9, 0.125) == 0.125
    assert rate_share("constant", 10**6, 0, 0.9, 0.125) == 1.0
    assert rate_share("cosine", 10**6, 0, 0.5, 0.125) == pytest.approx(0.5)


def test_warm_up_multiplies_the_course():
    assert rate_share("plateau", 499, 1000, 0.0, 0.5) == pytest.approx(0.25)
    assert rate_share("cosine", 499, 1000, 0.5, 1.0) == pytest.approx(0.25)


@given(
    course=some.sampled_from(list(RATES)),
    seen=some.integers(0, 10**9),
    warmup=some.integers(0, 10**6),
    done=some.floats(0, 1),
    drops=some.floats(0, 1),
)
def test_a_share_is_between_nothing_and_the_peak(course, seen, warmup, done, drops):
    assert 0 <= rate_share(course, seen, warmup, done, drops) <= 1


def test_an_unknown_course_names_the_nearest():
    with pytest.raises(Refusal, match=r"unknown rate 'cosin': .*did you mean 'cosine'\?"):
        RATES["cosin"]
