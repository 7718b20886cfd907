"""The networks: any size, channels and classes; weights from one generator alone."""

import pytest
import torch

from noisette.base.errors import Refusal
from noisette.base.seeds import generator
from noisette.perception.classifier import NETWORKS, Classifier, ClassifierConfig


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("size", [(1, 8, 8), (3, 28, 28), (4, 9, 41), (1, 70, 64)])
def test_any_size_and_number_of_channels_and_classes(network, size):
    classifier = Classifier(ClassifierConfig(network, features=64), *size, classes=2).eval()
    classifier.initialise(generator(0))
    logits, features = classifier(torch.rand(3, *size))
    assert logits.shape == (3, 2)
    assert features.shape == (3, 64)
    assert torch.equal(classifier.head(features), logits)
    assert (features.std(dim=0) > 0).any()


@pytest.mark.parametrize("network", NETWORKS)
def test_the_weights_come_from_the_generator_alone(network):
    def born(seed):
        classifier = Classifier(ClassifierConfig(network), 1, 28, 28, 10)
        classifier(torch.rand(8, 1, 28, 28))  # a batch norm remembers it
        classifier.initialise(generator(seed))
        return classifier.state_dict()

    one, again, other = born(0), born(0), born(1)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


@pytest.mark.parametrize("network", NETWORKS)
def test_each_weight_is_born_as_its_inputs_ask(network):
    classifier = Classifier(ClassifierConfig(network), 1, 28, 28, 10)
    classifier.initialise(generator(0))
    for name, weight in classifier.named_parameters():
        if weight.ndim > 1:
            expected = (2 / weight[0].numel()) ** 0.5  # He et al. 2015
            assert float(weight.detach().std()) == pytest.approx(expected, rel=4 / weight.numel() ** 0.5), name


def test_the_two_designs_differ():
    plain, residual = (Classifier(ClassifierConfig(name), 1, 28, 28, 10) for name in ("plain", "residual"))
    assert {type(module).__name__ for module in plain.modules()} & {"BatchNorm2d", "MaxPool2d"}
    assert not {type(module).__name__ for module in residual.modules()} & {"BatchNorm2d", "MaxPool2d"}


def test_a_large_image_does_not_make_a_large_network():
    small, large = (Classifier(ClassifierConfig(), 3, side, side, 10) for side in (32, 256))
    assert [p.shape for p in small.parameters()] == [p.shape for p in large.parameters()]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "plan"}, "unknown classifier network 'plan': .*did you mean 'plain'"),
        ({"features": 56}, "features 56: expected a multiple of 8 from 64 to 128"),
        ({"features": 136}, "features 136"),
        ({"features": 100}, "features 100"),
    ],
)
def test_what_no_classifier_is_is_refused(changes, message):
    with pytest.raises(Refusal, match=message):
        ClassifierConfig(**changes)
