"""Which process this is, as the launcher says."""

import pytest
import torch

from noisette.base.errors import Refusal
from noisette.base.processes import ALONE, join, local_rank, rank_and_count


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, (0, 1)), ({"WORLD_SIZE": "1", "RANK": "0"}, (0, 1)), ({"WORLD_SIZE": "4", "RANK": "3"}, (3, 4))],
)
def test_the_launcher_says_which_process_this_is(monkeypatch, variables, expected):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert rank_and_count() == expected


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"WORLD_SIZE": "two", "RANK": "0"}, "WORLD_SIZE is 'two'"),
        ({"WORLD_SIZE": "0", "RANK": "0"}, "WORLD_SIZE 0"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK 2"),
        ({"WORLD_SIZE": "2"}, "RANK is ''"),
    ],
)
def test_nonsense_from_a_launcher_is_refused(monkeypatch, variables, named):
    monkeypatch.delenv("RANK", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Refusal, match=named):
        rank_and_count()


def test_one_process_is_alone_and_asks_nobody(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join(torch.device("mps")) is ALONE
    assert local_rank() == 0
    assert ALONE.total(1.5, 2.0) == (1.5, 2.0)
    assert ALONE.asked(True)
    assert not ALONE.asked(False)


@pytest.mark.parametrize(
    ("name", "device", "found"), [("LOCAL_RANK", "mps", "device 'mps'"), ("X", "cpu", "LOCAL_RANK")]
)
def test_many_need_a_device_to_share_and_a_place_on_their_machine(monkeypatch, name, device, found):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    for variable, value in {"WORLD_SIZE": "2", "RANK": "1", name: "1"}.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(Refusal, match=found):
        join(torch.device(device))
