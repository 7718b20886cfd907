"""The drawn U-Net is the network: its sizes are what passes through it, its parameters are all there."""

import re

import pytest
import torch

from noisette.models.unet import UNet, UNetConfig
from noisette.report.anatomy import anatomy, draw_unet
from noisette.report.theme import save_figure

NETWORKS = {
    "one level": (UNetConfig(widths=(8,), blocks=1, patch=1, embedding=8), 1, 0, (6, 7)),
    "two, a patch, attention": (UNetConfig(widths=(8, 16), patch=2, attention_at=(4,), embedding=8), 1, 10, (28, 28)),
    "four, of a colour image": (UNetConfig(widths=(4, 8, 12, 16), blocks=1, patch=1, embedding=8), 3, 3, (30, 50)),
}


def network_of(case):
    config, channels, classes, size = NETWORKS[case]
    return UNet(config, channels, classes), *size


@pytest.mark.parametrize("case", NETWORKS)
def test_every_parameter_is_in_one_part(case):
    network, height, width = network_of(case)
    parts = anatomy(network, height, width).parts()
    assert sum(part.parameters for part in parts) == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("case", NETWORKS)
def test_the_sizes_are_those_that_pass_through(case):
    network, height, width = network_of(case)
    found = anatomy(network, height, width)
    seen = {}
    modules = {
        "stem": network.stem,
        "bottleneck": network.bottleneck[-1],
        "output": network.output,
        **{f"down {i}": stage[-1] for i, stage in enumerate(network.down_stages)},
        **{f"halve {i}": down for i, down in enumerate(network.downs)},
        **{f"double {i}": up for i, up in enumerate(network.ups)},
    }
    for name, module in modules.items():
        module.register_forward_hook(lambda _, __, result, name=name: seen.update({name: tuple(result.shape[1:])}))
    # The stages on the way up were made in the order of the levels too, but are passed from below.
    for level, stage in enumerate(network.up_stages):
        stage[-1].register_forward_hook(
            lambda _, __, result, level=level: seen.update({f"up {level}": tuple(result.shape[1:])})
        )
    with torch.no_grad():
        network(torch.zeros(1, network.channels, height, width), torch.zeros(1), torch.zeros(1, dtype=torch.int64))
    told = {"stem": found.stem, "bottleneck": found.bottleneck, "output": found.output}
    for kind in ("down", "halve", "double", "up"):
        told |= {f"{kind} {level}": part for level, part in enumerate(getattr(found, kind))}
    assert {name: (part.channels, part.height, part.width) for name, part in told.items()} == seen


@pytest.mark.parametrize("case", NETWORKS)
def test_the_drawing_names_them_all(tmp_path, case):
    network, height, width = network_of(case)
    element = save_figure(draw_unet(network, height, width), tmp_path / "network")
    texts = re.findall(r"<text [^>]*>([^<]*)</text>", element)
    parts = anatomy(network, height, width).parts()
    assert f"{network.channels} × {height} × {width}" in texts
    for part in parts:
        assert any(f"{part.parameters:,}" in text for text in texts), part
    assert texts.count("skip") == len(network.downs)
