"""Data sets of the hub. The datasets library finds them in a folder here as it would there, and once on a server of
this machine that answers as the hub does; no network is needed."""

import io
import json
import os
import shutil
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from loopback_hub import Hub, serving
from noisette.base.errors import NoisetteError, Refusal
from noisette.base.files import ABANDONED_SECONDS, cache_folder
from noisette.data import hub as module
from noisette.data.datasets import load_data
from noisette.data.images import NoTestPart


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that holds owner/name, in the form that the hub calls an image folder: files in folders of classes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOISETTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "library"))
    for split, greys in (("train", (10, 20, 30)), ("validation", (40,))):
        for grey in greys:
            folder = tmp_path / "owner/name" / split / ("cat" if grey == 20 else "dog")
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("L", (3, 2), grey).save(folder / f"{grey}.png")
    return tmp_path / "owner/name"


def found(data):
    return sorted(zip(data.images[:, 0, 0, 0].tolist(), data.labels.tolist(), strict=True))


def test_a_data_set_is_copied_once(hub, monkeypatch):
    told = []
    data = load_data("hub:owner/name", progress=lambda what, done, total: told.append((what, done)))
    assert (data.name, data.classes) == ("hub:owner/name", ("cat", "dog"))
    assert found(data) == [(10, 1), (20, 0), (30, 1)]
    assert ("copying train from the hub", 3) in told
    assert sorted(path.name for path in cache_folder("hub").glob("*/*")) == ["splits.json", "train.parquet"]
    assert found(load_data("hub:owner/name", part="test")) == [(40, 1)]
    shutil.rmtree(hub)  # from now on nothing can be asked
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert load_data("hub:owner/name").digest == data.digest
    assert found(load_data("hub:owner/name", part="test")) == [(40, 1)]


def test_a_part_that_is_not_there_is_told_without_a_copy(hub):
    shutil.rmtree(hub / "validation")
    with pytest.raises(NoTestPart, match="no test part"):
        load_data("hub:owner/name", part="test")
    assert not list(cache_folder("hub").glob("*/*.parquet"))


def test_an_interrupted_copy_leaves_nothing_and_begins_anew(hub, monkeypatch):
    monkeypatch.setattr(module, "ROWS", 1)

    def stop(what, done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_data("hub:owner/name", progress=stop)
    assert [path.name for path in cache_folder("hub").glob("*/*")] == ["splits.json"]
    assert len(load_data("hub:owner/name").images) == 3


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("datasets.table.embed_table_storage", r"^hub:owner/name cannot be read from the hub: .*reset by peer"),
        ("pyarrow.parquet.ParquetWriter.write_table", r"^cannot write .*train\.parquet: .*reset by peer"),
    ],
    ids=["hub", "disk"],
)
def test_of_hub_and_disk_the_one_that_failed_is_told(hub, monkeypatch, place, message):
    def fail(*_):
        raise ConnectionResetError("reset by peer")

    monkeypatch.setattr(place, fail)
    with pytest.raises(NoisetteError, match=message):
        load_data("hub:owner/name")
    assert [path.name for path in cache_folder("hub").glob("*/*")] == ["splits.json"]


def test_what_a_killed_copy_left_is_removed_once_it_is_old(hub):
    load_data("hub:owner/name")
    (folder,) = cache_folder("hub").iterdir()
    dead, alive = folder / ".unfinished-train-dead.parquet", folder / ".unfinished-train-alive.parquet"
    for each in (dead, alive):
        each.write_bytes(b"half")
    old = time.time() - 2 * ABANDONED_SECONDS
    os.utime(dead, (old, old))
    load_data("hub:owner/name")
    assert sorted(path.name for path in folder.iterdir()) == [alive.name, "splits.json", "train.parquet"]


@pytest.mark.parametrize("name", ["hub:", "hub:name", "hub:owner/name/more", "hub:owner/..", "hub:a b/c", "hub:o/n:"])
def test_other_names_are_refused(hub, name):
    with pytest.raises(Refusal, match="expected hub:owner/name or hub:owner/name:config"):
        load_data(name)


def test_what_the_library_says_is_told_in_a_line(hub):
    with pytest.raises(Refusal, match=r"hub:owner/name: .*other.* not found.*default"):
        load_data("hub:owner/name:other")
    with pytest.raises(NoisetteError, match=r"hub:nobody/nothing.*nobody/nothing") as caught:
        load_data("hub:nobody/nothing")
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, Refusal)  # it could not be asked


def test_a_missing_extra_is_named(hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(Refusal, match=r"need the extra 'hub': pip install 'noisette\[hub\]'"):
        load_data("hub:owner/name")


# Over HTTP ----------------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path):
    with serving(Hub, tmp_path / "remote") as variables:
        yield variables


ASK = """
from noisette.base.errors import Refusal
from noisette.data.datasets import load_data

for part in ("train", "test"):
    data = load_data("hub:owner/name", part=part)
    print(data.images[:, 0, 0, 0].tolist(), data.labels.tolist(), data.classes)
try:
    load_data("hub:owner/absent")
except Refusal as error:
    print(error)
"""


def test_the_hub_is_asked_in_its_own_words(served, tmp_path):
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    for split, greys in (("train", (10, 20)), ("test", (30,))):
        rows = []
        for grey in greys:
            with io.BytesIO() as file:
                Image.new("L", (3, 2), grey).save(file, format="PNG")
                rows.append({"bytes": file.getvalue(), "path": "x.png"})
        table = pa.table({"image": rows, "label": [1, 0][: len(rows)]})
        told = {"huggingface": json.dumps({"info": {"features": features}})}
        (Hub.root / "data").mkdir(parents=True, exist_ok=True)
        pq.write_table(table.replace_schema_metadata(told), Hub.root / f"data/{split}-00000-of-00001.parquet")
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**os.environ, **served, "NOISETTE_CACHE": str(tmp_path / "cache")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["[10, 20] [1, 0] ('cat', 'dog')", "[30] [1] ('cat', 'dog')"]
    assert lines[2].startswith("hub:owner/absent: ")
    assert sum(path.endswith("train-00000-of-00001.parquet") for path in Hub.asked) >= 1
