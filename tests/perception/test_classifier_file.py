"""A classifier as one file: everything comes back, and what is damaged or of another network is refused in one line."""

import json
import pickle
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from noisette.base.errors import NoisetteError, Refusal
from noisette.base.seeds import generator
from noisette.perception.classifier import NETWORKS, ClassifierConfig
from noisette.perception.classifier_file import ClassifierSpec, load_classifier, save_classifier
from noisette.perception.read import read

SPEC = ClassifierSpec(ClassifierConfig("plain", 64), 3, 9, 8, ("cat", "grüner Hund"))
CARD = {"data": "made up", "accuracy": 1 / 3, "fitting": {"seed": 0}, "note": "é\n"}
IMAGES = torch.rand(10, 3, 9, 8, generator=generator("images")) * 2 - 1


def made(spec=SPEC):
    network = spec.new_network()
    network.initialise(generator("born"))
    network(IMAGES)  # a batch norm remembers it
    return network.eval()


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "classifier.safetensors"
    save_classifier(path, SPEC, made(), CARD)
    return path


def parts(path):
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def refused(path, match):
    with pytest.raises(Refusal, match=match) as caught:
        load_classifier(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


# --- there and back


@pytest.mark.parametrize("network", NETWORKS)
def test_everything_comes_back(tmp_path, network):
    spec = replace(SPEC, config=ClassifierConfig(network, 72))
    original, path = made(spec), tmp_path / "classifier.safetensors"
    save_classifier(path, spec, original, CARD)
    loaded = load_classifier(path)
    assert (loaded.spec, loaded.card) == (spec, CARD)
    before, after = original.state_dict(), loaded.network.state_dict()
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert after[name].dtype == tensor.dtype
        assert torch.equal(after[name], tensor), name
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())
    assert not any(module.training for module in loaded.network.modules())
    torch.testing.assert_close(read(loaded.network, IMAGES).features, read(original, IMAGES).features)


def test_half_precision_is_for_the_weights_and_not_for_what_batch_norms_have_seen(tmp_path):
    path, network = tmp_path / "half.safetensors", made()
    network.body[2].running_var[0] = 1e6  # beyond float16
    save_classifier(path, SPEC, network, CARD, torch.float16)
    loaded = load_classifier(path).network
    for name, parameter in network.named_parameters():
        assert torch.equal(loaded.get_parameter(name), parameter.half().float()), name
        assert parameter.dtype == torch.float32
    for name, buffer in network.named_buffers():
        assert torch.equal(loaded.get_buffer(name), buffer), name


def test_loading_draws_no_random_numbers(saved):
    state = torch.get_rng_state()
    load_classifier(saved)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_digest_is_of_all_that_features_depend_on_and_of_nothing_else(saved, tmp_path):
    def digest(spec=SPEC, network=None, card=CARD, dtype=torch.float32):
        save_classifier(tmp_path / "other.safetensors", spec, network or made(spec), card, dtype)
        return load_classifier(tmp_path / "other.safetensors").digest

    own = load_classifier(saved).digest
    assert len(own) == 64
    assert digest() == own
    assert digest(card={}) == own
    weight, seen = made(), made()
    with torch.no_grad():
        weight.head.weight[0, 0] += 1
    seen.body[2].running_mean[0] += 1
    others = [digest(network=weight), digest(network=seen), digest(dtype=torch.float16)]
    others += [digest(replace(SPEC, classes=("cat", "dog"))), digest(replace(SPEC, height=10))]
    assert own not in others
    assert len(set(others)) == len(others)


def test_a_failure_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(NoisetteError, match=r"cannot write .*classifier\.safetensors: No space left"):
        save_classifier(saved, SPEC, made(), {})
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


# --- refused


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    refused(tmp_path / "absent.safetensors", "no classifier at .*: found nothing there")
    refused(tmp_path, "no classifier at .*: found a folder there")


@pytest.mark.parametrize("kept", [0, 7, 8, 500, -1])
def test_a_file_that_was_cut_short_is_refused(saved, kept):
    saved.write_bytes(saved.read_bytes()[:kept])
    refused(saved, "is not a readable classifier")


def test_nothing_is_ever_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("unpickled",)

    path = tmp_path / "pickled.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    refused(path, "is not a readable classifier")


def changed(**changes):
    """A header whose specification differs at these keys; None takes one out."""

    def change(header):
        spec = json.loads(header["spec"]) | changes
        return header | {"spec": json.dumps({key: value for key, value in spec.items() if value is not None})}

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda header: header | {"format": "noisette-model-1"},
            "expected a classifier of format .*, found 'noisette-m",
        ),
        (lambda header: {key: header[key] for key in ("format", "card")}, "is not a readable classifier: 'spec'"),
        (lambda header: header | {"spec": "{"}, "spec is not readable JSON"),
        (lambda header: header | {"card": "3"}, "card 3: expected a table"),
        (changed(width=None), "missing width"),
        (changed(colour=3), "unknown key 'colour'"),
        (changed(config={"network": "plan"}), "unknown classifier network 'plan'"),
        (changed(height=7), "images of 3 x 7 x 8: expected at least 1 channel and 8 x 8 pixels"),
        (changed(channels=0), "images of 0 x 9 x 8"),
        (changed(classes=["cat"]), "classes: 1: expected at least 2"),
        (changed(classes=["a", "b", "c"]), "holds weights of another network"),
        (changed(channels=1), "holds weights of another network"),
        (changed(config={"features": 96}), "holds weights of another network"),
        (changed(config={"network": "residual", "features": 64}), "holds weights of another network"),
        (changed(height=16), "holds weights of another network"),
    ],
)
def test_a_header_that_is_not_this_classifiers_is_refused(saved, change, message):
    header, tensors = parts(saved)
    save_file(tensors, saved, metadata=change(header))
    refused(saved, message)


@pytest.mark.parametrize("what", ["missing", "extra", "reshaped"])
def test_other_tensors_than_the_header_asks_for_are_refused(saved, what):
    header, tensors = parts(saved)
    if what == "missing":
        del tensors["body.2.running_var"]
    elif what == "extra":
        tensors["body.2.running_other"] = torch.zeros(2)
    else:
        tensors["head.weight"] = tensors["head.weight"].reshape(-1)
    save_file(tensors, saved, metadata=header)
    refused(saved, r"holds weights of another network: .*(running_var|running_other|head\.weight)")
