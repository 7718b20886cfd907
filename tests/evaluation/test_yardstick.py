"""Draws of real images have the class counts that were asked for."""

import pytest
import torch

from noisette.base.errors import Refusal
from noisette.base.seeds import generator
from noisette.evaluation.distances import frechet
from noisette.evaluation.yardstick import DRAWS, draw_equal, draw_own

LABELS = torch.tensor([0] * 10 + [1] * 30 + [2] * 60)[torch.randperm(100, generator=generator("labels"))]


def test_equal_counts_of_every_class_nothing_twice():
    rows = draw_equal(LABELS, 8, seed=3)
    assert torch.bincount(LABELS[rows]).tolist() == [8, 8, 8]
    assert len(rows.unique()) == 24
    assert torch.equal(draw_equal(LABELS, 8, seed=3), rows)
    assert set(draw_equal(LABELS, 8, seed=4).tolist()) != set(rows.tolist())


def test_a_class_with_too_few_is_refused():
    with pytest.raises(Refusal, match="10 images of class 0: expected at least 11"):
        draw_equal(LABELS, 11)


def test_own_frequencies_nothing_twice():
    labels = LABELS.repeat(20)
    rows = draw_own(labels, 1000, seed=3)
    assert len(rows.unique()) == 1000
    counts = torch.bincount(labels[rows])
    torch.testing.assert_close(counts.double(), torch.tensor([100.0, 300, 600]).double(), rtol=0.15, atol=0)
    assert torch.equal(draw_own(labels, 1000, seed=3), rows)
    assert not torch.equal(draw_own(labels, 1000, seed=4), rows)
    with pytest.raises(Refusal, match="100 images: expected at least 101"):
        draw_own(LABELS, 101)


def test_unequal_priors_alone_raise_a_distance():
    """Why it matters: classes far apart, the reference in equal counts."""
    labels = LABELS.repeat(30)
    features = torch.randn(3000, 2, generator=generator("features")) + 3 * labels[:, None]
    reference = features[draw_equal(labels, 100, seed=99)]
    equal = [frechet(features[draw_equal(labels, 100, seed)], reference) for seed in range(DRAWS)]
    own = [frechet(features[draw_own(labels, 300, seed)], reference) for seed in range(DRAWS)]
    assert min(own) > 3 * max(equal)
