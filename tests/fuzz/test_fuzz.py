"""Every reader against damaged and hostile files, as many for each as NOISETTE_FUZZ says."""

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.guard import CASES, FUZZING, TALLY, guarded
from fuzz.mutations import byte_changes, changed, value_changes
from fuzz.readers import READERS, Reader

CASE = settings(
    max_examples=CASES,
    derandomize=not FUZZING,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def outcome(reader: Reader, content: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / reader.name
        path.write_bytes(content)
        return guarded(lambda: reader.read(path))


@pytest.mark.parametrize("name", READERS)
def test_the_valid_file_is_read(name, tmp_path):
    reader = READERS[name]
    path = tmp_path / reader.name
    path.write_bytes(reader.wrap(reader.make()))
    reader.read(path)


@pytest.mark.parametrize("name", READERS)
def test_damaged_bytes(name):
    reader, tally = READERS[name], TALLY.setdefault(f"{name}, bytes", Counter())
    others = [other.make() for other in READERS.values()]

    @CASE
    @given(byte_changes(others))
    def try_it(changes):
        tally[outcome(reader, reader.wrap(changed(reader.make(), changes)))] += 1

    try_it()


@pytest.mark.parametrize("name", [name for name, reader in READERS.items() if reader.value])
def test_hostile_values(name):
    reader, tally = READERS[name], TALLY.setdefault(f"{name}, values", Counter())

    @CASE
    @given(st.deferred(lambda: value_changes(reader.value())))
    def try_it(value):
        tally[outcome(reader, reader.wrap(reader.dump(value)))] += 1

    try_it()
