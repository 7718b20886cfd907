"""Parts: what is taken away is away, in training and after; the paragraph follows the numbers."""

import copy

import pytest
import torch

from noisette.models.unet import UNet, UNetConfig
from noisette.workflows.studies.bench import Bench
from noisette.workflows.studies.parts import PARTS, paragraph, study, without_labels, without_skips, without_time


@pytest.fixture
def network():
    """A network of three levels that heeds everything."""
    born = UNet(UNetConfig(widths=(4, 4, 8), blocks=2, patch=1, embedding=8, norm="channel"), 1, 3)
    born.initialise(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in born.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)), alpha=0.2)
    return born.requires_grad_(False).eval()


X = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(2))
EARLY, LATE = torch.tensor([0.1, 0.1]), torch.tensor([0.9, -0.5])
ONE, OTHER = torch.tensor([0, 0]), torch.tensor([2, 1])


def test_the_whole_network_heeds_everything(network):
    assert not torch.equal(network(X, EARLY, ONE), network(X, LATE, ONE))
    assert not torch.equal(network(X, EARLY, ONE), network(X, EARLY, OTHER))


@pytest.mark.parametrize("copied", [False, True], ids=["itself", "its copy, as the average is one"])
def test_without_time_every_level_is_the_same(network, copied):
    without_time(network)
    network = copy.deepcopy(network) if copied else network
    assert torch.equal(network(X, EARLY, ONE), network(X, LATE, ONE))
    assert not torch.equal(network(X, EARLY, ONE), network(X, EARLY, OTHER))


@pytest.mark.parametrize("copied", [False, True], ids=["itself", "its copy, as the average is one"])
def test_without_labels_every_class_is_none(network, copied):
    nothing = network(X, EARLY, torch.tensor([-1, -1]))
    without_labels(network)
    network = copy.deepcopy(network) if copied else network
    assert torch.equal(network(X, EARLY, ONE), nothing)
    assert torch.equal(network(X, EARLY, OTHER), nothing)
    assert not torch.equal(network(X, EARLY, ONE), network(X, LATE, ONE))


@pytest.mark.parametrize("copied", [False, True], ids=["itself", "its copy, as the average is one"])
def test_without_skips_all_passes_through_the_bottleneck(network, copied):
    def with_the_bottleneck_closed(network):
        """The output when nothing comes up from the bottleneck."""
        closed = copy.deepcopy(network)
        with torch.no_grad():
            closed.ups[-1].weight.zero_()
            closed.ups[-1].bias.zero_()
        return lambda x: closed(x, EARLY, ONE)

    other = X.flip(0)
    assert not torch.equal(with_the_bottleneck_closed(network)(X), with_the_bottleneck_closed(network)(other))
    without_skips(network)
    network = copy.deepcopy(network) if copied else network
    assert torch.equal(with_the_bottleneck_closed(network)(X), with_the_bottleneck_closed(network)(other))
    assert not torch.equal(network(X, EARLY, ONE), network(other, EARLY, ONE))


def test_each_part_is_taken_away_in_training_and_in_drawing(request_for, trains, never_trains):
    bench = Bench(request_for("parts"), trains)
    found = study(bench)
    assert list(bench.cells) == ["whole", *(f"without-{part}" for part in PARTS)]
    for key in bench.cells:
        model = bench.trained(key, bench.laboratory())  # loaded, and altered, by now
        assert model.file.card.get("altered") == (None if key == "whole" else key.replace("-", "_"))
        assert model.file.card["images_seen"] == 128
        assert len(model.file.network._forward_pre_hooks) == (key in ("without-time", "without-labels"))
    assert bench.cells["without-time"]["validation_loss"] != bench.cells["whole"]["validation_loss"]
    assert len(found.tables[0].rows) == 4

    again = Bench(request_for("parts"), never_trains)
    assert study(again).paragraph == found.paragraph


def test_the_paragraph_follows_the_numbers(measured):
    cells = {
        "whole": measured(2.0),
        "without-time": measured(8.0, right=0.2),
        "without-skips": measured(4.0),
        "without-labels": measured(2.05, right=0.1),
    }
    text = paragraph(cells, 5000)
    assert "After 5,000 images" in text
    assert "Without time it is 4 times as far from the real digits" in text
    assert "its label accuracy is lower: 20.0%" in text
    assert "Without labels it is not to be told from it by the distance" in text
    assert "it needs time and skips, the dearest first, and nothing shows that it needs labels." in text
    assert "That the time embedding is crucial is borne out: nothing else costs as much." in text

    cells["without-time"], cells["without-skips"] = measured(2.0), measured(1.0)
    text = paragraph(cells, 5000)
    assert "Without skips it is nearer to the real digits (0.5 times the distance)" in text
    assert "it needs none" in text
    assert "crucial is not borne out here: the network tells the noise level from the image" in text

    cells["without-time"], cells["without-skips"] = measured(3.0), measured(9.0)
    assert "crucial is borne out in part: it matters, but skips matter more" in paragraph(cells, 5000)

    cells["whole"] = measured(2.0, right=0.45)
    text = paragraph(cells, 5000)
    assert text.endswith("draws the class asked for in 45.0% (44.0% to 46.0%) of cases only.")
    assert "crucial" not in text
