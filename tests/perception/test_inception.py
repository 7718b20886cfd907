"""Inception v3: the same numbers as torch-fidelity's, and nothing but its weights is taken for them."""

import hashlib

import pytest
import torch
from safetensors.torch import load_file, save_file

from noisette.base.errors import Refusal
from noisette.perception.inception import FEATURES, Inception, enlarge, inception_features, load_inception

CPU = torch.device("cpu")

# What FeatureExtractorInceptionV3 of torch-fidelity 0.4.0 makes of the last image of `pixels`, by shape, with
# `random_weights`: the first three features, the last but one, and the mean of all images and features.
THEIRS = {
    (2, 1, 28, 28): (0.04758, 0.11706, 0.00328, 3.66893, 0.66701),
    (1, 3, 40, 23): (0.03172, 0.10626, 0.0014, 3.53933, 0.64749),
}


def random_weights():
    """Weights under which every layer passes its signal on, from one seed, by name."""
    random = torch.Generator().manual_seed(1)
    found = {}
    for name, tensor in sorted(Inception().state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue
        draw = torch.randn(tensor.shape, generator=random)
        if name.endswith("conv.weight"):
            found[name] = draw * (2 / tensor[0].numel()) ** 0.5
        elif name.endswith(("bn.weight", "running_var")):
            found[name] = 1 + 0.1 * draw.clamp(-3, 3)
        else:
            found[name] = 0.2 * draw
    return found


def pixels(*shape):
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(2), dtype=torch.uint8)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A file as people have it: with the classes that are not used, without counters."""
    path = tmp_path_factory.mktemp("inception") / "inception.safetensors"
    save_file(random_weights() | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}, path)
    return path


@pytest.mark.parametrize("shape", THEIRS)
def test_features_are_those_of_another_implementation(shape, stored):
    features = inception_features(load_inception(stored, CPU).network, [pixels(*shape).float() / 127.5 - 1])
    assert features.shape == (shape[0], FEATURES)
    found = torch.cat([features[-1, :3], features[-1, -2:-1], features.mean()[None]])
    torch.testing.assert_close(found, torch.tensor(THEIRS[shape]), rtol=1e-4, atol=2e-5)


def test_images_are_enlarged_from_the_corner():
    image = torch.tensor([[0.0, 4.0], [8.0, 12.0]])[None, None]
    rows = [[0, 2, 4, 4], [4, 6, 8, 8], [8, 10, 12, 12], [8, 10, 12, 12]]
    assert enlarge(image, 4)[0, 0].tolist() == rows


def test_batches_do_not_matter(stored):
    network = load_inception(stored, CPU).network
    images = pixels(3, 1, 9, 9).float() / 127.5 - 1
    one = inception_features(network, [images])
    torch.testing.assert_close(inception_features(network, [images[:1], images[1:]]), one, rtol=1e-4, atol=1e-4)


def test_only_its_weights_are_taken(stored, tmp_path):
    path, whole = tmp_path / "weights.safetensors", load_file(stored)

    def refused(message):
        with pytest.raises(Refusal, match=message):
            load_inception(path, CPU)

    refused("no Inception weights .*: found nothing there")
    path.write_bytes(stored.read_bytes()[:-100])
    refused("weights.safetensors is not a readable safetensors file")
    path.write_bytes(b"\x80\x04pickle")
    refused("is not a readable safetensors file")
    name = "Mixed_7c.branch3x3_2b.conv.weight"
    save_file({key: value for key, value in whole.items() if key != name}, path)
    refused(f"holds no Inception weights: .*{name}")
    save_file(whole | {name: whole[name][:5].clone()}, path)
    refused(f"holds no Inception weights: .*{name}")
    save_file(whole | {"more": torch.zeros(1)}, path)
    refused("holds no Inception weights: .*more")


def test_the_digest_is_the_files(stored):
    assert load_inception(stored, CPU).digest == hashlib.sha256(stored.read_bytes()).hexdigest()
