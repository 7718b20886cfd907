import pytest
import torch

from noisette.base.errors import Refusal
from noisette.workflows.device import choose_device, choose_precision
from noisette.workflows.model import load

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("able", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_a_processor_samples_in_bfloat16_only_where_it_has_instructions_for_it(able, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert choose_precision("auto", CPU) == expected
    assert choose_precision("auto", torch.device("mps")) == torch.float32
    assert choose_precision("float32", CPU) == torch.float32
    assert choose_precision("bfloat16", CPU) == torch.bfloat16


@pytest.mark.parametrize(("able", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_gpu_samples_in_bfloat16_only_where_it_need_not_emulate_it(able, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: able or including_emulation)
    assert choose_precision("auto", torch.device("cuda")) == expected


def test_what_is_not_there_is_refused_by_its_nearest_name():
    with pytest.raises(Refusal, match="did you mean 'bfloat16'"):
        choose_precision("bfloat", CPU)
    with pytest.raises(Refusal, match="did you mean 'cuda'"):
        choose_device("cuba")


def test_bfloat16_draws_the_same_digits_within_a_grey_level():
    exact, rounded = (load("mnist", "cpu", precision) for precision in ("float32", "bfloat16"))
    assert (exact.precision, rounded.precision) == ("float32", "bfloat16")
    images = [model.sample([7, 3], steps=8) for model in (exact, rounded)]
    assert images[1].dtype == torch.float32
    off = (images[0] - images[1]).abs().mean() * 127.5
    assert 0 < off < 1


@pytest.mark.parametrize(("gpus", "taken"), [(4, [2]), (2, [])])
def test_each_process_of_a_machine_takes_a_gpu_of_its_own(monkeypatch, gpus, taken):
    set_to: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", set_to.append)
    for name, value in {"WORLD_SIZE": "6", "RANK": "5", "LOCAL_RANK": "2"}.items():
        monkeypatch.setenv(name, value)
    if taken:
        assert choose_device("auto") == torch.device("cuda")
    else:
        with pytest.raises(Refusal, match=r"process 3 of this machine on 2 GPU\(s\): expected one GPU a process"):
            choose_device("auto")
    assert set_to == taken
