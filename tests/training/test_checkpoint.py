"""A saved state is every tensor and every number; what is not that very state is refused and changes nothing."""

import contextlib
import json
import pickle
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from noisette.base.errors import Refusal
from noisette.models.unet import UNetConfig
from noisette.training.checkpoint import FORMAT, load_state, read_progress, save_state
from noisette.training.loop import Progress, TrainState

NETWORK = UNetConfig(widths=(4, 8), blocks=1, patch=2, embedding=8)


def everything(state: TrainState) -> dict[str, Tensor]:
    """All tensors of a state, copied, named without the code under test."""
    found = {}
    for what, module in (("network", state.network), ("average", state.average)):
        found |= {f"{what} {name}": value.detach().clone() for name, value in module.state_dict().items()}
    for number, optimizer in enumerate(state.optimizers):
        for place, values in optimizer.state_dict()["state"].items():
            found |= {f"optimizer {number} {place} {key}": torch.as_tensor(v).clone() for key, v in values.items()}
    return found


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture
def trained(lesson, tmp_path):
    """A state that has moved in every part, and its file."""
    case = lesson(NETWORK, images=48, batch_size=16, validate_every=16, optimizer="muon", learning_rate=0.01)
    case.run()
    path = tmp_path / "state.safetensors"
    save_state(path, case.state)
    return case.state, path


def parts(path) -> tuple[dict[str, str], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def test_a_state_comes_back_as_it_was(lesson, trained):
    state, path = trained
    fresh = lesson(NETWORK, optimizer="muon", seed=99).state
    held = everything(fresh)
    assert held.keys() == everything(state).keys()
    assert sum(not torch.equal(held[name], value) for name, value in everything(state).items()) > 0.9 * len(held)
    load_state(path, fresh)
    assert same(everything(fresh), everything(state))
    assert fresh.progress == state.progress == read_progress(path)
    assert fresh.progress.images_seen == 48
    assert fresh.progress.validated_at == 48


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_state_that_comes_back_goes_on_as_if_it_had_never_left(lesson, tmp_path, optimizer):
    settings = {"optimizer": optimizer, "rate": "plateau", "plateau_patience": 1, "validate_every": 16}
    unbroken, first, second = (lesson(NETWORK, images=images, **settings) for images in (64, 32, 64))
    whole = unbroken.run()
    begun = [event for event in first.run() if event.images_seen <= 32][:-1]  # less its "finished"
    save_state(tmp_path / "s.safetensors", first.state)
    load_state(tmp_path / "s.safetensors", second.state)
    assert begun + second.run() == whole
    assert same(everything(second.state), everything(unbroken.state))


def test_loading_moves_the_tensors_that_are_there(lesson, trained):
    """The optimisers go on stepping the network's own parameters."""
    _, path = trained
    case = lesson(NETWORK, images=64, optimizer="muon")
    places = [parameter.data_ptr() for parameter in case.state.network.parameters()]
    load_state(path, case.state)
    assert [parameter.data_ptr() for parameter in case.state.network.parameters()] == places
    before = everything(case.state)
    next(case.events(validation=None))
    after = everything(case.state)
    assert all(not torch.equal(before[name], after[name]) for name in before if name.endswith("momentum"))
    assert not torch.equal(before["network output.weight"], after["network output.weight"])


def test_numbers_that_are_not_finite_survive(lesson, tmp_path):
    state = lesson(NETWORK).state
    assert state.progress.best_loss == float("inf")
    save_state(tmp_path / "s.safetensors", state)
    assert read_progress(tmp_path / "s.safetensors") == Progress()


@pytest.mark.parametrize(
    ("network", "optimizer", "first"),
    [
        (replace(NETWORK, widths=(4, 12)), "muon", r"network\.\S+: expected torch.float32 \[.*\], found .*"),
        (replace(NETWORK, blocks=2), "muon", r"network\.\S+: expected torch.float32 \[.*\], found nothing"),
        (replace(NETWORK, norm="channel", attention_at=(4,)), "muon", r"network\.\S+: expected .*, found nothing"),
        (NETWORK, "adamw", r"optimizer\.0\.\S+: expected torch.float32 \[.*\], found nothing"),
    ],
    ids=["widths", "blocks", "attention", "optimizer"],
)
def test_the_state_of_another_network_or_optimiser_is_refused(lesson, trained, network, optimizer, first):
    _, path = trained
    other = lesson(network, optimizer=optimizer).state
    before = everything(other)
    with pytest.raises(Refusal, match=f"belongs to another network or optimiser: {first}") as caught:
        load_state(path, other)
    assert "\n" not in str(caught.value)
    assert same(everything(other), before)
    assert other.progress == Progress()


def test_a_file_with_more_than_was_asked_for_is_refused(lesson, trained):
    state, path = trained
    header, tensors = parts(path)
    save_file({**tensors, "network.extra": torch.zeros(3)}, path, metadata=header)
    with pytest.raises(Refusal, match=r"network\.extra: expected nothing, found torch\.float32 \[3\]"):
        load_state(path, state)


def test_another_type_of_number_is_refused(lesson, trained):
    state, path = trained
    header, tensors = parts(path)
    tensors["average.output.bias"] = tensors["average.output.bias"].double()
    save_file(tensors, path, metadata=header)
    with pytest.raises(Refusal, match=r"expected torch\.float32 \[4\], found torch\.float64 \[4\]"):
        load_state(path, state)


def progress_json(**changes: Any) -> str:
    return json.dumps(asdict(Progress()) | changes)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({}, "expected a state of format 'noisette-state-1', found None"),
        ({"format": "noisette-model-1"}, "found 'noisette-model-1'"),
        ({"format": FORMAT}, "is not a readable state: 'progress'"),
        ({"format": FORMAT, "progress": "{"}, "is not a readable state"),
        ({"format": FORMAT, "progress": "[]"}, "expected a table of settings"),
        ({"format": FORMAT, "progress": progress_json(images_seen="many")}, "images_seen: expected int, found 'many'"),
        ({"format": FORMAT, "progress": progress_json(image=3)}, "unknown key 'image': .*did you mean"),
    ],
    ids=["no header", "a model", "no progress", "not JSON", "a list", "a word", "unknown"],
)
def test_a_header_that_is_not_a_states_is_refused(lesson, trained, header, message):
    state, path = trained
    _, tensors = parts(path)
    save_file(tensors, path, metadata=header)
    before, progress = everything(state), replace(state.progress)
    with pytest.raises(Refusal, match=message) as caught:
        load_state(path, state)
    assert "\n" not in str(caught.value)
    assert same(everything(state), before)
    assert state.progress == progress


@pytest.mark.parametrize("kept", [0, 4, 8, 100, 5000, -1])
def test_a_file_that_was_cut_short_is_refused(trained, kept):
    state, path = trained
    before, progress = everything(state), replace(state.progress)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(Refusal, match="is not a readable state"):
        load_state(path, state)
    assert same(everything(state), before)
    assert state.progress == progress


class Bomb:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("unpickled",)


def test_nothing_is_ever_unpickled_and_a_missing_file_is_refused(trained, tmp_path):
    state, path = trained
    path.write_bytes(pickle.dumps(Bomb()))
    torch.save({"bomb": torch.zeros(1)}, tmp_path / "torch.safetensors")
    for file in (path, tmp_path / "torch.safetensors", tmp_path / "missing.safetensors", tmp_path):
        with pytest.raises(Refusal, match=r"is not a readable state|no state at .*: found (nothing|a folder) there"):
            load_state(file, state)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=some.data())
def test_a_damaged_file_loads_or_is_refused(trained, data):
    state, path = trained
    whole = bytearray((path.with_suffix(".whole") if path.with_suffix(".whole").exists() else path).read_bytes())
    path.with_suffix(".whole").write_bytes(whole)
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in data.draw(some.lists(some.integers(0, header - 1), min_size=1, max_size=4)):
        whole[place] = data.draw(some.integers(0, 255))
    path.write_bytes(whole)
    with contextlib.suppress(Refusal):
        load_state(path, state)


def test_a_full_disk_leaves_the_old_state(lesson, trained, monkeypatch):
    state, path = trained
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Exception, match="No space left on device"):
        save_state(path, state)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_same_state_is_the_same_bytes(trained, tmp_path):
    """Also in another process, where the library orders its header anew."""
    state, path = trained
    header, _ = parts(path)
    assert len(header) > 1
    for number in range(8):
        save_state(tmp_path / f"{number}.safetensors", state)
        assert (tmp_path / f"{number}.safetensors").read_bytes() == path.read_bytes()
