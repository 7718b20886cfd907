"""Reading images: the same in any batches, in evaluation mode, of the classifier's size only."""

import pytest
import torch

from noisette.base.errors import Refusal
from noisette.base.seeds import generator
from noisette.perception.classifier import NETWORKS, Classifier, ClassifierConfig
from noisette.perception.read import read


@pytest.fixture(params=NETWORKS)
def classifier(request):
    made = Classifier(ClassifierConfig(request.param, 64), 2, 9, 8, classes=3)
    made.initialise(generator(0))
    made(torch.rand(20, 2, 9, 8, generator=generator(1)))  # a batch norm remembers it
    return made.eval()


@pytest.fixture
def images():
    return torch.rand(23, 2, 9, 8, generator=generator(2)) * 2 - 1


def test_what_is_read_is_what_the_network_says(classifier, images):
    found = read(classifier, images)
    with torch.no_grad():
        logits, features = classifier(images)
    torch.testing.assert_close(found.features, features)
    torch.testing.assert_close(found.probabilities, logits.softmax(1))
    assert found.guesses.dtype == torch.int64
    assert torch.equal(found.guesses, logits.argmax(1))
    for tensor in (found.features, found.probabilities):
        assert tensor.dtype == torch.float32
        assert not tensor.is_inference()
        assert not tensor.requires_grad


def test_batches_of_any_size_are_read_alike(classifier, images):
    whole = read(classifier, images)
    parts = read(classifier, iter([images[:1], images[1:9], images[9:9], images[9:]]))
    torch.testing.assert_close(parts.features, whole.features)
    torch.testing.assert_close(parts.probabilities, whole.probabilities)


def test_memory_is_bounded(classifier, images, monkeypatch):
    sizes = []
    classifier.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    monkeypatch.setattr("noisette.perception.read._AT_A_TIME", 10)
    read(classifier, images)
    assert sizes == [10, 10, 3]


def test_a_classifier_in_training_is_read_as_in_evaluation_and_stays_as_it_was(classifier, images):
    expected = read(classifier, images).features
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    assert torch.equal(read(classifier.train(), images).features, expected)
    assert classifier.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.state_dict().items())


def test_the_batches_are_made_in_the_callers_mode(classifier, images):
    modes = []

    def batches():
        for _ in range(2):
            modes.append(torch.is_inference_mode_enabled())
            yield images

    read(classifier, batches())
    assert modes == [False, False]


def test_other_images_and_none_are_refused(classifier, images):
    with pytest.raises(Refusal, match="images of 2 x 8 x 8: expected those the classifier knows, of 2 x 9 x 8"):
        read(classifier, images[:, :, :8])
    with pytest.raises(Refusal, match="images of 1 x 9 x 8"):
        read(classifier, [images, images[:, :1]])
    with pytest.raises(Refusal, match="no images to read"):
        read(classifier, [])
