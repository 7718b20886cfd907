"""A classifier as a scorer: log-probabilities of its classes, with a gradient to the images."""

import pytest
import torch

from noisette.base.errors import Refusal
from noisette.base.seeds import generator
from noisette.perception.classifier import Classifier, ClassifierConfig
from noisette.perception.read import read
from noisette.perception.scorer import ClassifierScorer


def classifier():
    network = Classifier(ClassifierConfig(features=64), 1, 8, 8, 3).eval()
    network.initialise(generator(0))
    return network.requires_grad_(False)


def test_it_says_what_the_classifier_says():
    network, images = classifier(), torch.rand(5, 1, 8, 8) * 2 - 1
    scorer = ClassifierScorer(network, ("a", "b", "c"))
    torch.testing.assert_close(scorer(images).exp(), read(network, images).probabilities)


def test_its_gradient_is_that_of_finite_differences():
    scorer = ClassifierScorer(classifier().double(), ("a", "b", "c"))
    images = (torch.rand(2, 1, 8, 8, dtype=torch.float64) * 2 - 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda given: scorer(given)[:, 1], images, fast_mode=True)


def test_refuses_prompts_that_are_not_one_a_class():
    with pytest.raises(Refusal, match="2 prompts: expected one a class, 3"):
        ClassifierScorer(classifier(), ("a", "b"))
