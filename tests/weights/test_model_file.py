"""A model as one file: everything comes back, and what is damaged or of another network is refused in one line."""

import json
import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from noisette.base.errors import NoisetteError, Refusal
from noisette.base.seeds import generator
from noisette.diffusion.noise import SCHEDULES, LevelRange, level_table
from noisette.diffusion.objective import DiffusionConfig
from noisette.diffusion.precondition import PRECONDITIONS, denoiser
from noisette.models.unet import UNetConfig
from noisette.weights.model_file import (
    FORMAT,
    ModelFile,
    ModelSpec,
    SamplingConfig,
    load_model,
    save_model,
)

NETWORK = UNetConfig(widths=(4, 8), blocks=1, patch=2, embedding=8, attention_at=(4,), norm="channel", dropout=0.1)
SPEC = ModelSpec(
    NETWORK,
    DiffusionConfig(schedule="cosine", training_levels="table", data_std=0.1 + 0.2, levels=LevelRange(rho=3.5)),
    SamplingConfig("ddim", 0.25, 7, "karras", 2.5, 0.1, math.inf, True, True, 0.995),
    channels=3,
    height=9,
    width=6,
    classes=("cat", "grüner Hund", "7"),
)
CARD = {
    "data": "made up",
    "digest": "ab" * 32,
    "metrics": {"loss": 1 / 3, "best": [1, 2]},
    "note": "é\n\U0001f600",
    "n": None,
}


def made(spec: ModelSpec = SPEC) -> ModelFile:
    """A model with random weights."""
    network = spec.new_network()
    network.initialise(generator("born"))
    random = generator("awake")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    return ModelFile(spec, network, CARD)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(path, made())
    return path


def parts(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def refused(path: Path, match: str) -> None:
    with pytest.raises(Refusal, match=match) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


# --- there and back


def test_everything_comes_back(saved):
    original, loaded = made(), load_model(saved)
    assert loaded.spec == original.spec == SPEC
    assert loaded.spec.sampling.guidance_to == math.inf
    assert loaded.spec.diffusion.data_std == 0.1 + 0.2  # to the last bit
    assert loaded.card == CARD
    for (name, one), two in zip(original.network.named_parameters(), loaded.network.parameters(), strict=True):
        assert torch.equal(one, two), name
        assert two.dtype == torch.float32
        assert not two.requires_grad
    assert not any(module.training for module in loaded.network.modules())
    x, clock, label = torch.ones(2, 3, 9, 6), torch.zeros(2), torch.tensor([2, -1])
    with torch.no_grad():
        torch.testing.assert_close(loaded.network(x, clock, label), original.network.eval()(x, clock, label))


def test_the_loaded_weights_lie_as_convolutions_are_fastest_and_in_their_own_memory(saved):
    loaded = load_model(saved)
    before = {name: parameter.clone() for name, parameter in loaded.network.named_parameters()}
    assert loaded.network.bottleneck[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    with saved.open("r+b") as file:  # another program may write to the file
        file.seek(saved.stat().st_size // 2)
        file.write(b"\x42" * (saved.stat().st_size // 3))
    for name, parameter in loaded.network.named_parameters():
        assert torch.equal(parameter, before[name]), name


def test_loading_draws_no_random_numbers(saved):
    state = torch.get_rng_state()
    load_model(saved)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_halves_the_file_and_comes_back_as_float32(tmp_path, saved, dtype):
    half = tmp_path / "half.safetensors"
    save_model(half, made(), dtype)
    headers = [int.from_bytes(path.read_bytes()[:8], "little") + 8 for path in (saved, half)]
    assert 2 * (half.stat().st_size - headers[1]) == saved.stat().st_size - headers[0]
    for one, two in zip(made().network.parameters(), load_model(half).network.parameters(), strict=True):
        assert two.dtype == torch.float32
        assert torch.equal(one.to(dtype).float(), two)


def test_saving_changes_neither_the_network_nor_its_layout(tmp_path):
    model = made()
    strides = [parameter.stride() for parameter in model.network.parameters()]
    save_model(tmp_path / "m.safetensors", model, torch.float16)
    assert [parameter.stride() for parameter in model.network.parameters()] == strides
    assert {parameter.dtype for parameter in model.network.parameters()} == {torch.float32}


def test_a_model_without_classes_comes_back(tmp_path):
    spec = replace(SPEC, classes=())
    save_model(tmp_path / "m.safetensors", made(spec))
    assert load_model(tmp_path / "m.safetensors").spec == spec


def test_a_failure_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(NoisetteError, match=r"cannot write .*model\.safetensors: No space left"):
        save_model(saved, made())
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


# --- refused


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    refused(tmp_path / "absent.safetensors", "no model at .*: found nothing there")
    refused(tmp_path, "no model at .*: found a folder there")


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 9, 500, -1])
def test_a_file_that_was_cut_short_is_refused(saved, kept):
    saved.write_bytes(saved.read_bytes()[:kept])
    refused(saved, "is not a readable model")


def test_a_file_with_bytes_behind_its_end_is_refused(saved):
    saved.write_bytes(saved.read_bytes() + b"\0" * 64)
    refused(saved, "is not a readable model")


class Bomb:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("unpickled",)


@pytest.mark.parametrize(
    "write", [lambda p: p.write_bytes(pickle.dumps(Bomb())), lambda p: torch.save({"b": Bomb()}, p)]
)
def test_nothing_is_ever_unpickled(tmp_path, write):
    path = tmp_path / "pickled.safetensors"
    write(path)
    refused(path, "is not a readable model")


def changed_spec(**changes: Any) -> Callable[[dict[str, str]], dict[str, str]]:
    """A header whose specification differs at `outer__inner` keys."""

    def change(header: dict[str, str]) -> dict[str, str]:
        spec = json.loads(header["spec"])
        for place, value in changes.items():
            *outer, last = place.split("__")
            table = spec
            for key in outer:
                table = table[key]
            if value is None:
                del table[last]
            else:
                table[last] = value
        return header | {"spec": json.dumps(spec)}

    return change


def without(key: str) -> Callable[[dict[str, str]], dict[str, str]]:
    return lambda header: {name: value for name, value in header.items() if name != key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("format"), r"expected a model of format 'noisette-model-1', found None"),
        (lambda header: header | {"format": "noisette-model-2"}, "found 'noisette-model-2'"),
        (lambda header: header | {"format": "noisette-state-1"}, "found 'noisette-state-1'"),
        (without("spec"), "is not a readable model: 'spec'"),
        (without("card"), "is not a readable model: 'card'"),
        (lambda header: header | {"spec": "{"}, "spec is not readable JSON"),
        (lambda header: header | {"spec": "[1]"}, r"expected a table of settings, found \[1\]"),
        (lambda header: header | {"card": "]"}, "card is not readable JSON"),
        (lambda header: header | {"card": "3"}, "card 3: expected a table"),
        (changed_spec(height=None), "missing height"),
        (changed_spec(network=None), "missing network"),
        (changed_spec(color=3), "unknown key 'color'"),
        (changed_spec(network__width=3), "network: unknown key 'width': .*did you mean 'widths'"),
        (changed_spec(network__norm="layer"), "unknown normalisation 'layer'"),
        (changed_spec(diffusion__parameterisation="edn"), "unknown parameterisation 'edn': .*did you mean 'edm'"),
        (changed_spec(diffusion__data_std=None), "diffusion without data_std"),
        (changed_spec(diffusion__data_std=-1.0), r"data_std -1\.0: expected a positive number"),
        (changed_spec(diffusion__levels__rho=0.0), r"rho 0\.0: expected a positive number"),
        (changed_spec(sampling__sampler="dim"), "unknown sampler 'dim': .*did you mean 'ddim'"),
        (changed_spec(sampling__steps=0), "steps 0: expected at least 1"),
        (changed_spec(height=0), "images of 3 x 0 x 6: expected positive sizes"),
        (changed_spec(height="9"), "height: expected int, found '9'"),
        (changed_spec(classes="cat"), "classes: expected "),
        (changed_spec(network__widths=[4, 12]), "holds weights of another network"),
        (changed_spec(network__blocks=2), "holds weights of another network"),
        (changed_spec(network__attention_at=[]), "holds weights of another network"),
        (changed_spec(channels=1), "holds weights of another network"),
        (changed_spec(classes=["cat"]), "holds weights of another network"),
        (changed_spec(network__widths=[90_000, 90_000]), "holds weights of another network"),  # 600 GB, were it made
    ],
)
def test_a_header_that_is_not_this_models_is_refused(saved, change, message):
    header, tensors = parts(saved)
    save_file(tensors, saved, metadata=change(header))
    refused(saved, message)


@pytest.mark.parametrize("what", ["missing", "extra", "reshaped"])
def test_other_tensors_than_the_header_asks_for_are_refused(saved, what):
    header, tensors = parts(saved)
    name = "bottleneck.0.conv1.weight"
    if what == "missing":
        del tensors[name]
    elif what == "extra":
        tensors["bottleneck.0.conv3.weight"] = torch.zeros(2)
    else:
        tensors[name] = tensors[name].reshape(-1)
    save_file(tensors, saved, metadata=header)
    refused(saved, r"holds weights of another network: .*bottleneck\.0\.conv[13]\.weight")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=some.data())
def test_a_damaged_file_loads_or_is_refused(saved, data):
    """Whatever bytes are flipped in the header, the only complaint is a refusal of one line."""
    whole = saved.with_suffix(".whole")
    if not whole.exists():
        whole.write_bytes(saved.read_bytes())
    damaged = bytearray(whole.read_bytes())
    header = 8 + int.from_bytes(damaged[:8], "little")
    for place in data.draw(some.lists(some.integers(0, header - 1), min_size=1, max_size=3)):
        damaged[place] = data.draw(some.one_of(some.sampled_from(b'0123456789.-+eE,:"[]{}x '), some.integers(0, 255)))
    saved.write_bytes(damaged)
    try:
        load_model(saved)
    except Refusal as refusal:
        told = str(refusal)
    else:
        told = ""
    assert "\n" not in told


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=some.binary(max_size=200))
def test_random_bytes_are_refused(tmp_path, content):
    path = tmp_path / "random.safetensors"
    path.write_bytes(content)
    refused(path, "is not a readable model")


# --- what a specification says


def test_as_denoiser_is_its_row_around_the_network():
    model = made(replace(SPEC, diffusion=DiffusionConfig(parameterisation="flow", data_std=0.7)))
    noisy, label = torch.randn(2, 3, 9, 6, generator=generator("noisy")), torch.tensor([0, 2])
    network = model.network.eval()
    with torch.no_grad():
        found = model.spec.as_denoiser(network)(noisy, 1.5, label)
        assert torch.equal(found, denoiser(network, PRECONDITIONS["flow"], 0.7)(noisy, 1.5, label))
        assert not torch.allclose(found, denoiser(network, PRECONDITIONS["edm"], 0.7)(noisy, 1.5, label), atol=1e-3)


def spec_of(sampling: SamplingConfig = SPEC.sampling, **diffusion: Any) -> ModelSpec:
    return replace(SPEC, diffusion=DiffusionConfig(data_std=0.5, **diffusion), sampling=sampling)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "sigmoid"])
def test_a_chain_is_sampled_at_levels_of_its_own_table(schedule):
    spec = spec_of(schedule=schedule, table_steps=50, training_levels="table")
    table = level_table(schedule, 50, LevelRange()).tolist()
    for steps in (1, 7, 50):
        *levels, last = spec.sampling_grid(SamplingConfig(steps=steps))
        assert last == 0
        assert len(levels) == steps
        assert levels[0] == table[0]
        assert set(levels) <= set(table)
    assert spec.sampling_grid(SamplingConfig(steps=50))[:-1] == table
    with pytest.raises(Refusal, match="51 sampling steps: expected 1 to 50"):
        spec.sampling_grid(SamplingConfig(steps=51))


@pytest.mark.parametrize("schedule", ["karras", "log-linear", "flow"])
def test_other_schedules_are_worked_out_for_any_number_of_steps(schedule):
    spec = spec_of(schedule=schedule, table_steps=50, levels=LevelRange(noise_level_min=0.01, noise_level_max=10))
    for steps in (1, 18, 200):
        assert spec.sampling_grid(SamplingConfig(steps=steps)) == [
            *level_table(schedule, steps, spec.diffusion.levels).tolist(),
            0.0,
        ]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_grid_may_be_asked_for_by_name(name):
    levels = spec_of(schedule="cosine", training_levels="table").sampling_grid(SamplingConfig(steps=9, grid=name))
    assert levels == [*level_table(name, 9, LevelRange()).tolist(), 0.0]


def test_the_trained_range_is_that_of_the_table_or_of_the_levels():
    table = level_table("linear", 50, LevelRange())
    chain = spec_of(schedule="linear", table_steps=50, training_levels="table")
    assert chain.trained_range() == (float(table[-1]), float(table[0]))
    levels = LevelRange(noise_level_min=0.01, noise_level_max=10)
    assert spec_of(levels=levels).trained_range() == (0.01, 10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampler": "hein"}, "unknown sampler 'hein': .*did you mean 'heun'"),
        ({"steps": 0}, "steps 0: expected at least 1"),
        ({"sampler": "heun", "eta": 0.5}, r"eta 0\.5 with sampler 'heun': expected no eta, or sampler 'ddim'"),
        ({"sampler": "ddim", "eta": 1.5}, r"eta 1\.5: expected a number from 0 to 1"),
        ({"grid": "karas"}, "unknown grid 'karas': .*did you mean 'karras'"),
        ({"guidance_scale": -1.0}, r"guidance_scale -1\.0: expected a finite number of at least 0"),
        ({"guidance_scale": math.inf}, "guidance_scale inf: expected a finite number"),
        ({"guidance_scale": math.nan}, "guidance_scale nan: expected a finite number"),
        ({"guidance_from": 2.0, "guidance_to": 1.0}, r"guidance from 2\.0 to 1\.0: expected two rising noise levels"),
        ({"guidance_from": -1.0}, r"guidance from -1\.0"),
        ({"guidance_from": math.nan}, "guidance from nan"),
        ({"clamp": True, "clamp_quantile": 1.0}, r"clamp_quantile 1\.0: expected a number between 0 and 1"),
        ({"clamp_quantile": 0.9}, r"clamp_quantile 0\.9 without clamp: expected both, or neither"),
    ],
    ids=str,
)
def test_bad_sampling_settings_are_refused_in_one_line(settings, message):
    with pytest.raises(Refusal, match=message) as caught:
        SamplingConfig(**settings)
    assert "\n" not in str(caught.value)


def test_the_format_is_named(saved):
    assert parts(saved)[0]["format"] == FORMAT == "noisette-model-1"
