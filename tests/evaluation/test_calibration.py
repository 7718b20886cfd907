"""Calibration: the error of made-up answers by hand, and a temperature that is known."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from noisette.base.errors import Refusal
from noisette.base.seeds import generator
from noisette.evaluation.calibration import COLDEST, HOTTEST, fit_temperature, reliability, tempered


def answers(*sure):
    """Log-probabilities [N, 2] of answers that are all class 0, so sure of it."""
    return torch.tensor([[each, 1 - each] for each in sure], dtype=torch.float64).log()


def drawn(count, temperature, seed=0):
    """Log-probabilities [N, 5], and labels that are drawn from them at that temperature."""
    logits = 2 * torch.randn(count, 5, generator=generator(seed, "logits"), dtype=torch.float64)
    labels = (logits / temperature).softmax(1).multinomial(1, generator=generator(seed, "labels"))[:, 0]
    return logits.log_softmax(1), labels


def likelihood(log_probabilities, labels, temperature):
    return tempered(log_probabilities, temperature).gather(1, labels[:, None]).mean().item()


def test_the_error_is_the_one_worked_out_by_hand():
    found = reliability(answers(0.9, 0.9, 0.9, 0.9, 0.65, 0.65), torch.tensor([0, 0, 1, 1, 0, 0]), bins=10)
    assert found.count == (2, 4)
    assert found.confidence == pytest.approx((0.65, 0.9))
    assert found.accuracy == (1.0, 0.5)
    assert found.error == pytest.approx((2 * 0.35 + 4 * 0.4) / 6)


def test_a_bin_holds_its_upper_end():
    found = reliability(answers(0.75, 0.76, 0.99), torch.tensor([0, 0, 0]), bins=4)
    assert found.count == (1, 2)
    certain = torch.tensor([[0.0, -math.inf]])
    assert reliability(certain, torch.tensor([0])).error == 0
    assert reliability(certain, torch.tensor([1])).error == 1


def test_labels_drawn_from_the_probabilities_leave_next_to_no_error():
    assert reliability(*drawn(20_000, 1.0)).error < 0.01
    assert reliability(*drawn(20_000, 3.0)).error > 0.2  # surer than they are right


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7, 4.0])
def test_the_temperature_that_labels_were_drawn_at_is_found(temperature):
    found = fit_temperature(*drawn(40_000, temperature))
    assert found == pytest.approx(temperature, rel=0.04)


@given(st.integers(0, 1000), st.floats(0.3, 5.0))
def test_no_other_temperature_makes_the_labels_likelier(seed, temperature):
    told, labels = drawn(200, temperature, seed)
    found = fit_temperature(told, labels)
    best = likelihood(told, labels, found)
    assert all(likelihood(told, labels, found * factor) <= best for factor in (0.5, 0.99, 1.01, 2))


def test_the_error_falls_and_no_answer_changes():
    told, labels = drawn(20_000, 3.0)
    mended = tempered(told, fit_temperature(told, labels))
    assert reliability(mended, labels).error < 0.01 < 0.2 < reliability(told, labels).error
    assert torch.equal(mended.argmax(1), told.argmax(1))
    torch.testing.assert_close(mended.exp().sum(1), torch.ones(len(told), dtype=torch.float64))


def test_what_has_no_temperature_gets_the_end_of_the_range():
    told = answers(0.9, 0.8, 0.7)
    assert fit_temperature(told, torch.tensor([0, 0, 0])) == pytest.approx(COLDEST)
    assert fit_temperature(told, torch.tensor([1, 1, 1])) == pytest.approx(HOTTEST)


def test_refuses_nothing():
    nothing = torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)
    with pytest.raises(Refusal, match="no answers: expected at least one"):
        reliability(*nothing)
    with pytest.raises(Refusal, match="no labelled images: expected at least one to fit a temperature to"):
        fit_temperature(*nothing)
