"""The weights of a model as the first weights of another: all but the class table, to the last tensor."""

import pytest
import torch

from noisette.base.errors import Refusal
from noisette.models.unet import UNet
from noisette.weights.inherit import CLASS_TABLE, inherit


def born(model, classes, **changes):
    network = UNet(model.spec.network, changes.get("channels", model.spec.channels), len(classes))
    network.initialise(torch.Generator().manual_seed(5))
    return network


def test_all_but_the_class_table_is_the_model_s(tiny_model):
    model = tiny_model(classes=("cat", "dog", "owl"))
    network = born(model, ("a", "b"))
    assert inherit(network, ("a", "b"), model) == ()
    theirs, own = model.network.state_dict(), network.state_dict()
    assert own.keys() == theirs.keys()
    for name in own.keys() - {CLASS_TABLE}:
        assert torch.equal(own[name], theirs[name]), name
    assert own[CLASS_TABLE].shape == (3, theirs[CLASS_TABLE].shape[1])


def test_known_classes_keep_their_rows_and_new_ones_begin_as_no_class(tiny_model):
    model = tiny_model(classes=("cat", "dog", "owl"))
    classes = ("owl", "new", "cat")
    network = born(model, classes)
    assert inherit(network, classes, model) == ("owl", "cat")
    cat, _, owl, none = model.network.embed_class.weight
    assert torch.equal(network.embed_class.weight, torch.stack([owl, none, cat, none]))


def test_at_first_a_new_class_asks_for_what_the_model_draws_unasked(tiny_model):
    model = tiny_model(classes=("cat", "dog"))
    network = born(model, ("new",)).eval()
    inherit(network, ("new",), model)
    x, level = torch.randn(2, 1, 8, 10, generator=torch.Generator().manual_seed(0)), torch.tensor([0.1, -0.3])
    unasked = model.network(x, level, torch.tensor([-1, -1]))
    assert torch.equal(network(x, level, torch.tensor([0, -1])), unasked)
    assert not torch.equal(model.network(x, level, torch.tensor([0, 1])), unasked)


def test_a_model_without_classes_learns_some_and_the_other_way_round(tiny_model):
    model = tiny_model(classes=())
    network = born(model, ("a", "b"))
    inherit(network, ("a", "b"), model)
    assert torch.equal(network.embed_class.weight, model.network.embed_class.weight.expand(3, -1))
    model = tiny_model(classes=("a", "b"))
    network = born(model, ())
    inherit(network, (), model)
    assert torch.equal(network.embed_class.weight, model.network.embed_class.weight[-1:])


def test_another_network_is_refused_and_nothing_taken_over(tiny_model):
    model, other = tiny_model(), tiny_model(widths=(4,))
    network = born(other, model.spec.classes)
    with pytest.raises(Refusal, match=r"the model to begin from has another network: .*stem\.weight"):
        inherit(network, model.spec.classes, model)


def test_other_channels_are_refused(tiny_model):
    model = tiny_model()
    network = born(model, model.spec.classes, channels=3)
    with pytest.raises(Refusal, match=r"images of 3 channels: expected 1, as the model to begin from has"):
        inherit(network, model.spec.classes, model)
