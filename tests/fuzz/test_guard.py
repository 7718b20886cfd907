"""The guard sees what it is there for."""

import os

import pytest

from fuzz.guard import bounded, guarded


def test_the_guard_sees_memory():
    with pytest.raises(MemoryError), bounded(2**26):
        bytearray(2**28)


def test_the_guard_sees_a_hang(monkeypatch, tmp_path):
    monkeypatch.setattr("fuzz.guard.SECONDS", 1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BaseException, match="more than 1 s"):
        guarded(lambda: (tmp_path / "pipe").read_bytes())


def test_the_guard_sees_a_traceback():
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 / 0)
