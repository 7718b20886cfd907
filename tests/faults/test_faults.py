"""The planted faults are up to date: their texts stand in the package, and what they leave is still Python."""

import ast
import importlib.util
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("faults", ROOT / "tools" / "faults.py")
faults = importlib.util.module_from_spec(SPEC)
sys.modules["faults"] = faults  # dataclasses look their module up
SPEC.loader.exec_module(faults)


@pytest.mark.parametrize("fault", faults.FAULTS, ids=lambda fault: f"{fault.place}: {fault.new}")
def test_a_fault_can_be_planted(fault):
    text = faults.planted(fault, ROOT / "src" / "noisette")
    ast.parse(text)
    assert fault.new in text
    assert all((ROOT / "tests" / test.partition("::")[0]).is_file() for test in fault.tests)


def test_every_part_of_the_core_has_at_least_two():
    places = Counter(fault.place for fault in faults.FAULTS)
    core = ("schedules", "preconditioning", "objective", "samplers", "driver", "guidance", "EMA", "batches")
    assert all(places[place] >= 2 for place in core)
    assert len(set(faults.FAULTS)) == len(faults.FAULTS)


def test_a_stale_fault_is_told(tmp_path):
    (tmp_path / "module.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match=r"module.py holds 'y = 1' 0 times: expected once"):
        faults.planted(faults.Fault("here", "module.py", "y = 1", "y = 2", ()), tmp_path)
