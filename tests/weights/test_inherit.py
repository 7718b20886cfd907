"""The weights of a model as the first weights of another: all but the class table, to the last tensor."""

from dataclasses import replace

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


def test_known_classes_have_their_rows_and_new_ones_keep_their_own(tiny_model):
    model = tiny_model(classes=("cat", "dog", "owl"))
    classes = ("owl", "new", "cat")
    network = born(model, classes)
    own = network.embed_class.weight[1].detach().clone()
    assert inherit(network, classes, model) == ("owl", "cat")
    cat, _, owl, none = model.network.embed_class.weight
    assert torch.equal(network.embed_class.weight, torch.stack([owl, own, cat, none]))


def test_unasked_it_draws_what_the_model_draws_and_new_classes_differ_from_the_first_step(tiny_model):
    model = tiny_model(classes=("cat", "dog"))
    network = born(model, ("new", "newer")).eval()
    inherit(network, ("new", "newer"), model)
    x, level = torch.randn(2, 1, 8, 10, generator=torch.Generator().manual_seed(0)), torch.tensor([0.1, -0.3])
    unasked = torch.tensor([-1, -1])
    assert torch.equal(network(x, level, unasked), model.network(x, level, unasked))
    assert not torch.equal(network(x, level, unasked + 1), network(x, level, unasked + 2))


def test_a_model_without_classes_learns_some_and_the_other_way_round(tiny_model):
    model = tiny_model(classes=())
    network = born(model, ("a", "b"))
    inherit(network, ("a", "b"), model)
    assert torch.equal(network.embed_class.weight[-1:], model.network.embed_class.weight)
    model = tiny_model(classes=("a", "b"))
    network = born(model, ())
    inherit(network, (), model)
    assert torch.equal(network.embed_class.weight, model.network.embed_class.weight[-1:])


def test_another_network_is_refused_and_nothing_taken_over(tiny_model):
    model, other = tiny_model(), tiny_model(widths=(4,))
    network = born(other, model.spec.classes)
    with pytest.raises(Refusal, match=r"the model to begin from has another network: .*stem\.weight"):
        inherit(network, model.spec.classes, model)


def test_another_embedding_is_refused(tiny_model):
    model = tiny_model(classes=("a", "b"))
    config = replace(model.spec.network, embedding=2 * model.spec.network.embedding)
    network = UNet(config, model.spec.channels, 2)
    expected = model.spec.network.embedding
    with pytest.raises(Refusal, match=f"embedding {config.embedding}: expected {expected}, as the model to begin from"):
        inherit(network, ("new", "newer"), model)


def test_other_channels_are_refused(tiny_model):
    model = tiny_model()
    network = born(model, model.spec.classes, channels=3)
    with pytest.raises(Refusal, match=r"images of 3 channels: expected 1, as the model to begin from has"):
        inherit(network, model.spec.classes, model)
