"""A model to sample from: found by name, folder or file; one seed, one picture; its defaults honoured."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import noisette.workflows.model as module
from noisette.base.errors import Refusal
from noisette.base.seeds import ImageNoise, generator
from noisette.base.shapes import NO_CLASS, NO_CLASS_NO_ATTENTION
from noisette.diffusion.noise import LevelRange, grid, level_table, pick
from noisette.diffusion.objective import DiffusionConfig
from noisette.diffusion.precondition import PRECONDITIONS, denoiser
from noisette.diffusion.sample import sample, start_image
from noisette.diffusion.samplers import SAMPLERS, make_sampler
from noisette.guidance.clamp import clamp
from noisette.guidance.free import free
from noisette.models.unet import UNetConfig
from noisette.weights.model_file import ModelFile, ModelSpec, SamplingConfig, save_model
from noisette.workflows.device import choose_device
from noisette.workflows.model import Model, last, load, locate, shipped

CHAIN = DiffusionConfig("noise", "linear", table_steps=100, training_levels="table", data_std=0.5)
EDM = DiffusionConfig("edm", levels=LevelRange(noise_level_max=20.0), data_std=0.5)
CLASSES = ("cat", "dog", "3", "0")


def made(
    diffusion: DiffusionConfig = EDM, sampling: SamplingConfig | None = None, shape: tuple[int, int, int] = (1, 8, 8)
) -> Model:
    """A model with random weights, told its level and its class."""
    network = UNetConfig(widths=(8, 12), blocks=1, attention_at=(4,), embedding=16, dropout=0.2)
    spec = ModelSpec(network, diffusion, sampling or SamplingConfig(steps=4), *shape, CLASSES)
    unet = spec.new_network()
    unet.initialise(generator("born"))
    random = generator("awake")
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    return Model("made up", ModelFile(spec, unet.requires_grad_(False).eval(), {}), torch.device("cpu"))


# --- found


def test_a_model_is_loaded_from_its_file_and_from_the_folder_of_its_run(tmp_path):
    model = made()
    save_model(tmp_path / "best.safetensors", model.file)
    expected = model.sample(["cat", "none"], seed=1)
    for place in (tmp_path, str(tmp_path), tmp_path / "best.safetensors"):
        loaded = load(place, device="cpu", precision="float32")
        assert loaded.name == str(place)
        assert (loaded.classes, loaded.shape, loaded.sampling) == (CLASSES, (1, 8, 8), model.sampling)
        torch.testing.assert_close(loaded.sample(["cat", "none"], seed=1), expected, rtol=0, atol=1e-4)


def test_a_run_that_has_not_validated_yet_lends_its_last_weights(tmp_path):
    (tmp_path / "last.safetensors").touch()
    assert locate(tmp_path) == tmp_path / "last.safetensors"
    (tmp_path / "best.safetensors").touch()
    assert locate(tmp_path) == tmp_path / "best.safetensors"


def test_a_name_that_ships_comes_before_a_file_beside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "SHIPPED", tmp_path / "shipped")
    (tmp_path / "shipped").mkdir()
    for name in ("mnist.safetensors", "faces.safetensors", "notes.md"):
        (tmp_path / "shipped" / name).touch()
    (tmp_path / "mnist").touch()
    assert shipped() == ["faces", "mnist"]
    assert locate("mnist") == tmp_path / "shipped" / "mnist.safetensors"
    with pytest.raises(Refusal, match=r"no model 'mnst': expected .* one that ships \(faces, mnist\).*mean 'mnist'\?"):
        locate("mnst")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("absent.safetensors", r"no model '.*absent\.safetensors': expected a run folder, a \.safetensors file or one"),
        ("empty", r"empty holds neither best\.safetensors nor last\.safetensors: expected the folder of a run"),
        ("text.txt", r"text\.txt is not a readable model"),
    ],
)
def test_what_is_no_model_is_refused_in_one_line(tmp_path, place, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    with pytest.raises(Refusal, match=message) as caught:
        load(tmp_path / place)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "unknown device 'gpu': expected one of auto, cpu, cuda, mps"),
        ("cudaa", r"unknown device 'cudaa': .*did you mean 'cuda'\?"),
        ("cuda", "device 'cuda' is not on this machine: expected one of cpu$"),
        ("mps", "device 'mps' is not on this machine: expected one of cpu$"),
    ],
)
def test_a_device_that_is_not_there_is_refused(monkeypatch, device, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(Refusal, match=message):
        choose_device(device)


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(False, False, "cpu"), (False, True, "mps"), (True, False, "cuda"), (True, True, "cuda")],
)
def test_auto_is_the_fastest_device_there(monkeypatch, cuda, mps, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device("auto") == torch.device(chosen)
    assert choose_device("cpu") == torch.device("cpu")


# --- labels


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("cat", 0),
        ("dog", 1),
        (0, 0),
        (2, 2),
        ("1", 1),
        ("2", 2),
        ("none", -1),
        (-1, -1),
        ("-1", -1),
        ("3", 2),
        ("0", 3),
    ],
)
def test_a_label_is_a_name_then_a_number(name, label):
    assert made().label(name) == label


def test_a_class_that_is_called_by_a_digit_is_meant_by_that_digit_wherever_it_stands():
    assert CLASSES[3] == "0"
    assert made().label("0") == 3
    assert made().label(0) == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cats", r"unknown label 'cats': expected one of cat, dog, 3, 0, none; did you mean 'cat'\?"),
        ("nnone", r"unknown label 'nnone': .*did you mean 'none'\?"),
        (4, "unknown label '4'"),
        (-2, "unknown label '-2'"),
        ("4", "unknown label '4'"),
        ("", "unknown label ''"),
        ("1.0", "unknown label '1.0'"),
    ],
)
def test_an_unknown_label_is_refused_with_the_nearest(name, message):
    with pytest.raises(Refusal, match=message):
        made().label(name)


# --- sampling


def test_images_come_as_promised():
    images = made(shape=(3, 9, 6)).sample(["cat", 1, "none"], seed=5)
    assert images.shape == (3, 3, 9, 6)
    assert images.dtype == torch.float32
    assert images.device.type == "cpu"
    assert images.min() >= -1
    assert images.max() <= 1
    assert not images.is_inference()
    assert not images.requires_grad
    assert torch.equal(images, made(shape=(3, 9, 6)).sample(["cat", 1, "none"], seed=5))


def test_estimates_beyond_the_range_are_cut_off():
    model = made()
    with torch.no_grad():
        model.file.network.output.bias.add_(50)
    assert model.sample(["cat"]).max() == 1


def by_hand(model: Model, labels: list[int], seed: int, settings: SamplingConfig) -> torch.Tensor:
    """What sampling does, assembled from its pieces."""
    spec = model.file.spec
    denoise = denoiser(model.file.network, PRECONDITIONS[spec.diffusion.parameterisation], 0.5)
    away_from = NO_CLASS_NO_ATTENTION if settings.perturb_attention else NO_CLASS
    denoise = free(denoise, settings.guidance_scale, (settings.guidance_from, settings.guidance_to), away_from)
    if settings.clamp:
        denoise = clamp(denoise, 1.0, settings.clamp_quantile)
    chain = spec.diffusion.schedule == "linear"
    if settings.grid == "trained":
        levels = (
            pick(level_table("linear", 100, LevelRange()), settings.steps)
            if chain
            else level_table("karras", settings.steps, spec.diffusion.levels)
        )
    else:
        levels = level_table(settings.grid, settings.steps, spec.diffusion.levels)
    noise = ImageNoise(seed, "sample", range(len(labels)), (1, 8, 8))
    start = start_image(noise.draw(), float(levels[0]), unit_start=chain)
    *_, final = sample(
        denoise, make_sampler(settings.sampler, settings.eta), grid(levels), start, torch.tensor(labels), noise.draw
    )
    return final.denoised.clamp(-1, 1)


SETTINGS = {
    "plain": SamplingConfig(steps=4),
    "one step": SamplingConfig(steps=1),
    "unconditional": SamplingConfig("euler", steps=3, guidance_scale=0.0),
    "guided in an interval": SamplingConfig(
        "dpmpp-2m", steps=5, guidance_scale=3.0, guidance_from=0.1, guidance_to=5.0
    ),
    "away from perturbed attention": SamplingConfig(
        "dpmpp-2m", steps=5, guidance_scale=3.0, guidance_from=0.1, guidance_to=5.0, perturb_attention=True
    ),
    "ancestral": SamplingConfig("ddim", 0.7, 4),
    "with a share of noise": SamplingConfig("dpmpp-2m", 0.7, 5),
    "clamped": SamplingConfig("ddpm", None, 4, guidance_scale=4.0, clamp=True),
    "dynamically clamped": SamplingConfig("heun", None, 3, guidance_scale=4.0, clamp=True, clamp_quantile=0.9),
    "another grid": SamplingConfig("heun", None, 4, "log-linear"),
}


@pytest.mark.filterwarnings("ignore:the grid runs from")  # log-linear leaves the chain's range
@pytest.mark.parametrize("diffusion", [EDM, CHAIN], ids=["edm", "chain"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@torch.no_grad()
def test_the_defaults_that_travel_in_the_weights_are_honoured(diffusion, settings):
    model = made(diffusion, settings)
    torch.testing.assert_close(
        model.sample(["cat", "none", "0"], seed=7), by_hand(model, [0, -1, 3], 7, settings), rtol=0, atol=1e-4
    )
    others = [by_hand(model, [0, -1, 3], 7, other) for name, other in SETTINGS.items() if other != settings]
    found = model.sample(["cat", "none", "0"], seed=7)
    assert all((found - other).abs().max() > 1e-3 for other in others)  # each setting matters


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ({"steps": 2}, {"steps": 2}),
        ({"sampler": "euler"}, {"sampler": "euler"}),
        ({"guidance_scale": 0.5}, {"guidance_scale": 0.5}),
        ({"guidance_scale": 0}, {"guidance_scale": 0.0}),
        ({"sampler": "ddim", "steps": 6, "guidance_scale": 2}, {"sampler": "ddim", "steps": 6, "guidance_scale": 2.0}),
    ],
    ids=str,
)
@torch.no_grad()
def test_what_is_asked_for_comes_before_the_defaults(given, changed):
    model = made(sampling=SamplingConfig(steps=3, guidance_scale=1.5, guidance_to=10.0))
    expected = by_hand(model, [1], 0, replace(model.sampling, **changed))
    torch.testing.assert_close(model.sample(["dog"], **given), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_any_sampler_may_be_asked_of_a_model_whose_own_is_ddim_with_eta(sampler):
    model = made(sampling=SamplingConfig("ddim", 0.5, 3))
    images = model.sample(["cat"], sampler=sampler)
    same = made(sampling=SamplingConfig(sampler, 0.5 if sampler == "ddim" else None, 3))
    assert torch.equal(images, same.sample(["cat"]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": []}, "no labels: expected at least one"),
        ({"labels": ["cat", "cow"]}, "unknown label 'cow'"),
        ({"steps": 0}, "steps 0: expected at least 1"),
        ({"sampler": "huen"}, r"unknown sampler 'huen': .*did you mean 'heun'\?"),
        ({"guidance_scale": -1}, "guidance_scale -1: expected a finite number of at least 0"),
        ({"index": [1, 2]}, "2 indices: expected one a label, 1"),
        ({"index": []}, "0 indices: expected one a label, 1"),
    ],
    ids=str,
)
def test_bad_requests_are_refused_before_any_work(given, message, monkeypatch):
    model = made()
    model.file.network.register_forward_pre_hook(lambda *_: pytest.fail("the network was called"))
    with pytest.raises(Refusal, match=message) as caught:
        model.sample(**({"labels": ["cat"]} | given))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("extra", [1, 100])
def test_more_indices_than_labels_are_refused_whatever_the_batch(extra, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 2)
    with pytest.raises(Refusal, match="indices: expected one a label, 4"):
        made().sample(["cat"] * 4, index=range(4 + extra))


@pytest.mark.parametrize("label", [4, -2, 100])
def test_a_number_that_is_no_class_is_refused_by_snapshots_too(label):
    with pytest.raises(Refusal, match=f"label {label}: expected -1 to 3|unknown label '{label}'"):
        next(made().snapshots([0, label]))


def test_more_steps_than_a_chain_was_trained_on_are_refused():
    assert made(CHAIN).sample(["cat"], steps=100).shape == (1, 1, 8, 8)
    with pytest.raises(Refusal, match="101 sampling steps: expected 1 to 100"):
        made(CHAIN).sample(["cat"], steps=101)


def test_attention_is_perturbed_also_where_there_are_no_classes_and_refused_where_there_is_none():
    model = made(sampling=SamplingConfig(steps=3, guidance_scale=2.0, perturb_attention=True))
    without = replace(model.file.spec, classes=())
    network = without.new_network()
    network.load_state_dict(
        {
            name: value[:1] if name == "embed_class.weight" else value
            for name, value in model.file.network.state_dict().items()
        }
    )
    classless = replace(model, file=ModelFile(without, network.eval().requires_grad_(False), {}))
    plain = replace(model.sampling, guidance_scale=1.0)
    below = replace(model.sampling, guidance_scale=0.0)  # the unconditional model, not the one without attention
    torch.testing.assert_close(
        model.sample(["dog"], guidance_scale=0), by_hand(model, [1], 0, replace(below, perturb_attention=False))
    )
    guided, alone = (last(classless.snapshots([-1], sampling=each)).denoised for each in (model.sampling, plain))
    assert (guided - alone).abs().max() > 1e-3
    blind = replace(without.network, attention_at=())
    spec = replace(without, network=blind)
    lost = replace(model, file=ModelFile(spec, spec.new_network(), {}))
    with pytest.raises(Refusal, match="perturb_attention of a network without attention"):
        lost.sample(["none"])


def test_a_grid_that_leaves_the_trained_range_is_warned_of():
    with pytest.warns(UserWarning, match="the model was trained from"):
        made(CHAIN, SamplingConfig(steps=3, grid="karras")).sample(["cat"])


# --- one seed, one picture


BUSY = SamplingConfig("ddpm", None, 6, guidance_scale=3.0, guidance_from=0.3, guidance_to=5.0)
MIXED: list[int | str] = ["cat", "dog", "none", 2, "0", "none", 0, 1, "cat"]


def grey(images: torch.Tensor) -> torch.Tensor:
    return ((images + 1) * 127.5).round()


@pytest.mark.parametrize("batch", [1, 2, 4, 100])
@pytest.mark.parametrize("diffusion", [EDM, CHAIN], ids=["edm", "chain"])
def test_an_image_is_the_same_at_any_batch_size(diffusion, batch, monkeypatch):
    model = made(diffusion, BUSY)
    monkeypatch.setattr(module, "BATCH", 3)
    expected = model.sample(MIXED, seed=11)
    assert expected.flatten(1).std(dim=1).min() > 0.05
    monkeypatch.setattr(module, "BATCH", batch)
    assert (grey(model.sample(MIXED, seed=11)) - grey(expected)).abs().max() <= 1


def test_an_image_is_the_same_alone_and_in_any_order():
    model = made(sampling=BUSY)
    whole = grey(model.sample(MIXED, seed=11))
    order = [4, 8, 0, 2]
    again = grey(model.sample([MIXED[i] for i in order], seed=11, index=order))
    assert (again - whole[order]).abs().max() <= 1
    assert (grey(model.sample([MIXED[7]], seed=11, index=[7])) - whole[7:8]).abs().max() <= 1


@torch.no_grad()
def test_seed_index_and_label_each_make_another_picture():
    model = made(sampling=BUSY)
    one = model.sample(["cat"], seed=3, index=[5])
    for other in (
        model.sample(["cat"], seed=4, index=[5]),
        model.sample(["cat"], seed=3, index=[6]),
        model.sample(["cat"], seed=5, index=[3]),
        model.sample(["dog"], seed=3, index=[5]),
        model.sample(["none"], seed=3, index=[5]),
    ):
        assert (one - other).abs().max() > 0.02


def test_sampling_neither_draws_from_nor_seeds_the_global_generator():
    model, state = made(sampling=BUSY), torch.get_rng_state()
    model.sample(MIXED)
    assert torch.equal(torch.get_rng_state(), state)


# --- the snapshots


def test_snapshots_tell_the_way_and_end_in_the_sample():
    model = made(sampling=SamplingConfig(steps=5))
    seen = list(model.snapshots([0, NO_CLASS], seed=2))
    assert [snapshot.step for snapshot in seen] == [1, 2, 3, 4, 5]
    assert seen[-1].evaluations == 9
    assert math.isclose(seen[0].noise_level, level_table("karras", 5, EDM.levels)[1])
    assert torch.equal(seen[-1].noisy, seen[-1].denoised)
    assert torch.equal(seen[-1].denoised.clamp(-1, 1), model.sample(["cat", "none"], seed=2))
    assert last(iter(seen)) is seen[-1]


def test_between_two_snapshots_the_caller_may_train():
    """Inference mode must not leak out of the generator."""
    seen = made().snapshots([0])
    next(seen)
    weight = torch.ones(1, requires_grad=True)
    (weight * 2).sum().backward()
    assert weight.grad is not None
    next(seen)
    assert not torch.is_inference_mode_enabled()


def test_each_guided_step_calls_the_network_once_with_both_halves():
    model, rows = made(sampling=SamplingConfig("euler", steps=3, guidance_scale=2.0)), []

    def count(network: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        rows.append(len(inputs[0]))

    model.file.network.register_forward_pre_hook(count)
    model.sample(["cat", "dog"])
    assert rows == [4, 4, 4]


def test_a_path_and_a_string_name_the_same_model(tmp_path):
    save_model(tmp_path / "m.safetensors", made().file)
    assert locate(Path(tmp_path / "m.safetensors")) == locate(str(tmp_path / "m.safetensors"))


def test_a_drawing_may_begin_in_the_middle_of_the_grid(tiny_model):
    """From images noised to that level, and over the levels that are left: what the driver does of itself."""
    model = Model("tiny", tiny_model(steps=6), torch.device("cpu"))
    clean, levels = torch.rand(2, 1, 8, 10) * 2 - 1, model.file.spec.sampling_grid(model.sampling)
    shots = list(model.snapshots([3, 4], seed=5, clean=clean, first=4))
    assert [shot.noise_level for shot in shots] == levels[5:]
    noise = ImageNoise(5, "sample", range(2), (1, 8, 10)).draw()
    walk = sample(model.denoiser(), make_sampler("euler"), levels[4:], clean + levels[4] * noise, torch.tensor([3, 4]))
    torch.testing.assert_close(shots[-1].denoised, last(walk).denoised)
    (whole,) = [last(each).denoised for each in model.batches([3, 4], 5, range(2), model.sampling, clean, 4)]
    assert torch.equal(whole, shots[-1].denoised)
    for first, given in ((6, clean), (-1, clean), (1, None)):
        with pytest.raises(Refusal, match=rf"begins with level {first}: expected 0 to {0 if given is None else 5}"):
            next(model.snapshots([3, 4], clean=given, first=first))
