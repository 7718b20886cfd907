import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisette.base.errors import Refusal
from noisette.data.split import split

quick = settings(max_examples=60)


@quick
@given(
    st.lists(st.integers(0, 4), max_size=80),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 3),
)
def test_disjoint_complete_stratified(listed, fraction, seed):
    labels = np.array(listed, np.int64)
    train, validation = split(labels, fraction, seed)
    for part in (train, validation):
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()  # sorted, nothing twice
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), np.arange(len(labels)))
    for label in set(listed):
        total, held_out = (labels == label).sum(), (labels[validation] == label).sum()
        if fraction == 0 or total == 1:
            assert held_out == 0
        else:
            assert 1 <= held_out <= total - 1
            assert abs(held_out - fraction * total) <= 1


def test_the_fraction_is_met_in_every_class():
    labels = np.repeat(np.arange(3), [100, 50, 10])
    _, validation = split(labels, 0.2)
    assert np.bincount(labels[validation]).tolist() == [20, 10, 2]


def test_a_seed_fixes_the_split_and_another_changes_it():
    labels = np.arange(200) % 4
    first, again, other = split(labels, 0.3, 1), split(labels, 0.3, 1), split(labels, 0.3, 2)
    np.testing.assert_array_equal(first[1], again[1])
    assert set(first[1]) != set(other[1])


def test_classes_draw_apart():
    # Were one permutation used for all, the same places of every class would be held out.
    labels = np.repeat([0, 1], 100)
    _, validation = split(labels, 0.3)
    assert set(validation[labels[validation] == 0]) != set(validation[labels[validation] == 1] - 100)


def test_the_choice_of_a_class_does_not_hang_on_the_others():
    labels = np.array([0] * 30 + [1] * 30)
    _, validation = split(labels, 0.5)
    _, alone = split(labels[:30], 0.5)
    np.testing.assert_array_equal(validation[validation < 30], alone)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 2.0, float("nan")])
def test_a_fraction_outside_is_refused(fraction):
    with pytest.raises(Refusal, match="validation_fraction"):
        split(np.zeros(4, np.int64), fraction)


@pytest.mark.parametrize("labels", [np.zeros((4, 1), np.int64), np.zeros(4)])
def test_labels_of_another_form_are_refused(labels):
    with pytest.raises(Refusal, match="expected integers"):
        split(labels)
