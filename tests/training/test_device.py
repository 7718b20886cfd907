"""No float64 tensor ever reaches the device, since an Apple GPU has none, and nothing stays behind on the CPU.

The tests need no accelerator: they pretend one. Its tensors claim torch's `meta` device and keep their numbers in an
ordinary tensor beside. While the mode is on, every operation that torch dispatches passes through it, the optimisers'
and autograd's too; it works out the numbers on the CPU, and an operation that would bring a float64 tensor onto the
device, make one there or mix a tensor of the device with one of the CPU fails as it would on such a device.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from noisette.diffusion.objective import DiffusionConfig
from noisette.diffusion.precondition import PRECONDITIONS
from noisette.diffusion.samplers import SAMPLERS
from noisette.models.unet import UNetConfig
from noisette.training.checkpoint import load_state, save_state
from noisette.training.config import TrainingConfig
from noisette.training.loop import Finished
from noisette.weights.model_file import SamplingConfig
from noisette.workflows import model as model_module
from noisette.workflows import train as train_module
from noisette.workflows.model import load
from noisette.workflows.recipes import DataConfig, RunConfig
from noisette.workflows.train import Run

DEVICE, CPU = torch.device("meta"), torch.device("cpu")
MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
NETWORK = UNetConfig(widths=(4, 8), blocks=1, embedding=8, dropout=0.1, attention_at=(4,))


class OnDevice(Tensor):
    """A tensor of the pretended device."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, numbers: Tensor) -> "OnDevice":
        made = Tensor._make_wrapper_subclass(
            cls, numbers.size(), strides=numbers.stride(), dtype=numbers.dtype, device=DEVICE
        )
        made.numbers = numbers
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnDevice({self.numbers!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} on the pretended device while it is switched off")


class FromData(TorchFunctionMode):
    """torch.tensor(data, device=...) skips the dispatch where the device is `meta`: it becomes a tensor and a move."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.tensor and torch.device(kwargs.get("device") or CPU) == DEVICE:
            wanted = kwargs.pop("requires_grad", False)
            return func(*args, **{**kwargs, "device": CPU}).to(DEVICE).requires_grad_(wanted)
        return func(*args, **kwargs)


class Pretended(TorchDispatchMode):
    """The device, switched on. `operations` counts what ran there."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
            with self:  # in inference mode an operation comes whole; its parts come back here one by one
                return func.decompose(*args, **kwargs)
        flat, _ = tree_flatten((args, kwargs))
        tensors = [value for value in flat if isinstance(value, Tensor)]
        target = DEVICE if any(isinstance(tensor, OnDevice) for tensor in tensors) else CPU
        if kwargs.get("device") is not None:  # a factory, or a move
            target, kwargs["device"] = torch.device(kwargs["device"].type), CPU
        elif func in MOVES:
            target = tensors[0].device
        there = any(isinstance(tensor, OnDevice) for tensor in tensors) or target == DEVICE
        if there and func not in MOVES:
            plain = [tensor for tensor in tensors if not isinstance(tensor, OnDevice)]
            assert not plain, f"{func} mixes devices: {[(t.dtype, list(t.shape)) for t in plain]}"
        if there:
            sent = [tensor.dtype for tensor in tensors]
            assert torch.float64 not in sent, f"{func} brings float64 to the device"

        flat, layout = tree_flatten((args, kwargs))
        numbers = [value.numbers if isinstance(value, OnDevice) else value for value in flat]
        plain_args, plain_kwargs = tree_unflatten(numbers, layout)
        result = func(*plain_args, **plain_kwargs)
        if target == CPU:
            return result
        self.operations += 1
        known = {id(value.numbers): value for value in flat if isinstance(value, OnDevice)}
        return tree_map(lambda value: self.place(func, value, known), result)

    def place(self, func: Any, value: Any, known: dict[int, OnDevice]) -> Any:
        """A result, on the device; what was changed in place is the tensor that was handed in."""
        if not isinstance(value, Tensor):
            return value
        assert value.dtype != torch.float64, f"{func} makes float64 on the device"
        return known.get(id(value)) if id(value) in known else OnDevice(value)


@pytest.fixture
def device() -> Iterator[Pretended]:
    overwrote = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # Module.to cannot swap numbers in place
    with FromData(), Pretended() as pretended:
        yield pretended
    torch.__future__.set_overwrite_module_params_on_conversion(overwrote)


# --- the pretended device refuses what a real one would


@pytest.mark.parametrize(
    "wrong",
    [
        lambda there: torch.zeros(2, dtype=torch.float64).to(DEVICE),
        lambda there: torch.zeros(2, dtype=torch.float64).to(DEVICE, torch.float32),
        lambda there: torch.tensor([1.5], dtype=torch.float64, device=DEVICE),
        lambda there: torch.full((2,), 0.5, dtype=torch.float64, device=DEVICE),
        lambda there: torch.linspace(0, 1, 3, dtype=torch.float64, device=DEVICE),
        lambda there: there.double(),
        lambda there: there.to(torch.float64),
        lambda there: there.copy_(torch.zeros(2, dtype=torch.float64)),
        lambda there: there * torch.zeros(2, dtype=torch.float64),
        lambda there: there + torch.tensor(1.0, dtype=torch.float64),
        lambda there: there.sum(dtype=torch.float64),
    ],
    ids=range(11),
)
def test_float64_is_refused_on_the_device(device, wrong):
    there = torch.ones(2, device=DEVICE)
    with pytest.raises(AssertionError, match=r"float64|mixes devices"):
        wrong(there)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda there: there + torch.ones(2),
        lambda there: torch.ones(2) * there,
        lambda there: there[torch.tensor([0])],
        lambda there: torch.cat([there, torch.ones(2)]),
        lambda there: torch._foreach_add([there, there], [there, torch.ones(2)]),
    ],
    ids=range(5),
)
def test_a_tensor_of_the_cpu_is_refused_on_the_device(device, wrong):
    with pytest.raises(AssertionError, match="mixes devices"):
        wrong(torch.ones(2, device=DEVICE))


def test_the_device_computes_and_hands_back(device):
    weight = torch.tensor([1.0, 2.0], device=DEVICE, requires_grad=True)
    loss = (torch.tensor([3.0, 4.0]).to(DEVICE) * weight).sum()
    loss.backward()
    assert isinstance(weight.grad, OnDevice)
    assert (loss.item(), weight.grad.cpu().tolist()) == (11.0, [3.0, 4.0])
    assert torch.tensor([1.0], dtype=torch.float64).exp().dtype == torch.float64  # tables stay free, on the CPU


# --- and noisette never gives it reason to


@pytest.mark.parametrize(
    ("levels", "precision", "optimizer"),
    [
        ("table", torch.float32, "adamw"),
        ("log-normal", torch.bfloat16, "muon"),
        ("log-snr", torch.bfloat16, "adamw"),
    ],
)
def test_training_and_validating(lesson, device, optimizer, precision, levels):
    diffusion = DiffusionConfig(
        data_std=0.6, training_levels=levels, loss_weight="min-snr", parameterisation="velocity"
    )
    expected, case = (
        lesson(NETWORK, diffusion, images=32, validate_every=16, optimizer=optimizer, accumulation=2, weight_decay=0.1)
        for _ in range(2)
    )
    with_cpu = expected.run(precision=precision)
    assert device.operations == 0
    case.state = train_module.new_state(case.state.network.to(DEVICE), case.config)
    on_device = case.run(precision=precision)
    assert device.operations > 1000
    for one, two in zip(on_device, with_cpu, strict=True):
        if not isinstance(one, Finished):
            assert one.loss == pytest.approx(two.loss, rel=1e-2 if precision == torch.bfloat16 else 1e-4)
    for average in case.state.average.parameters():
        assert isinstance(average, OnDevice)


def test_saving_and_loading_a_state(lesson, device, tmp_path):
    case, other = (lesson(NETWORK, images=32, optimizer="muon") for _ in range(2))
    for each in (case, other):
        each.state = train_module.new_state(each.state.network.to(DEVICE), each.config)
    case.run()
    save_state(tmp_path / "state.safetensors", case.state)
    load_state(tmp_path / "state.safetensors", other.state)
    for one, two in zip(case.state.network.parameters(), other.state.network.parameters(), strict=True):
        assert isinstance(two, OnDevice)
        assert torch.equal(one.numbers, two.numbers)


def test_a_whole_run_and_its_samples(device, tmp_path, monkeypatch):
    """Estimate, training, validation, preview, checkpoint, resumption, best model, and every sampler with guidance."""
    for module in (train_module, model_module):
        monkeypatch.setattr(module, "choose_device", lambda name: DEVICE)
    monkeypatch.setattr(train_module, "PREVIEW_IMAGES", 10)
    training = TrainingConfig(
        images=64, batch_size=32, validate_every=32, validation_images=20, optimizer="muon", precision="auto"
    )
    sampling = SamplingConfig(steps=2, guidance_scale=2.0, clamp=True, clamp_quantile=0.9)
    config = RunConfig(DataConfig(), NETWORK, training=training, sampling=sampling)
    stops = iter([True])
    events = list(Run(config, tmp_path / "run").events(lambda: next(stops, False)))
    assert [event.images_seen for event in events] == [32, 32]
    events = list(Run(config, tmp_path / "run").events())
    assert isinstance(events[-1], Finished)

    model = load(tmp_path / "run")
    assert isinstance(model.file.network.stem.weight, OnDevice)
    before = device.operations
    for sampler in SAMPLERS:
        images = model.sample(["7", "none"], sampler=sampler, steps=3)
        assert type(images) is Tensor
        assert images.shape == (2, 1, 28, 28)
        assert images.isfinite().all()
    assert device.operations > before + 1000


@pytest.mark.parametrize("row", PRECONDITIONS)
def test_every_parameterisation(lesson, device, row):
    case = lesson(NETWORK, DiffusionConfig(data_std=0.6, parameterisation=row, schedule="cosine"), images=16)
    case.state = train_module.new_state(case.state.network.to(DEVICE), case.config)
    assert isinstance(case.run()[-1], Finished)
