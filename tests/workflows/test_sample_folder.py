"""Folders of samples: every image once and the same bytes, whether drawn in one go, stopped, killed or shared out."""

import dataclasses
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from noisette.base.errors import NoisetteError, Refusal
from noisette.weights.model_file import save_model
from noisette.workflows import sample_folder
from noisette.workflows.model import Model, load
from noisette.workflows.sample import sample_to
from noisette.workflows.sample_folder import read_record, sample_to_folder
from noisette.workflows.sample_request import SampleRequest

CLASSES = ("zero", "one", "../two")
KINDS = ("png", "npz", "parquet")


@pytest.fixture
def model(tiny_model, tmp_path, monkeypatch):
    """A model in a file; shards are of 8 images, drawn 4 at a time."""
    for place in ("model.BATCH", "sample_folder.BATCH"):
        monkeypatch.setattr(f"noisette.workflows.{place}", 4)
    monkeypatch.setattr(sample_folder, "SHARD_IMAGES", 8)
    save_model(tmp_path / "model.safetensors", tiny_model(CLASSES, steps=2))
    return load(tmp_path / "model.safetensors", "cpu", "float32")


def request_of(model, out, **asked):
    asked = asked if {"labels", "count", "per_class"} & asked.keys() else {"per_class": 10} | asked
    return SampleRequest(model.sampling, out=out, **asked)


def draw(model, out, stop=lambda: False, process=0, processes=1, **asked):
    request = request_of(model, out, **asked)
    return sample_to_folder(model, request, request.asked(model), None, stop, process, processes)


def contents(out):
    """The bytes of every file of a folder by its name."""
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def after(calls):
    """Says yes when asked so often."""
    asked = iter(range(calls))
    return lambda: next(asked, None) is None


@pytest.fixture(params=KINDS)
def files(request):
    return request.param


@pytest.fixture
def whole(model, tmp_path, files):
    """30 images, drawn in one go."""
    sampled = draw(model, tmp_path / "whole", files=files)
    assert (sampled.images, sampled.before, sampled.left, sampled.evaluations) == (30, 0, 0, 2)
    found = contents(tmp_path / "whole")
    assert json.loads(found["samples.json"])["finished"]
    return found


def test_a_stopped_drawing_goes_on_to_the_same_bytes(model, tmp_path, files, whole):
    out, had = tmp_path / "out", []
    for steps in (0, 3, 9, 5, 100):  # a shard takes 4: what was drawn of one is given up
        sampled = draw(model, out, after(steps), files=files)
        assert sampled.images + sampled.before + sampled.left == 30
        had.append(sampled.images)
        assert read_record(out).finished == (sampled.left == 0)
    assert had == [0, 0, 16, 8, 6]
    assert contents(out) == whole


@pytest.mark.parametrize("processes", [2, 5])
def test_many_processes_draw_the_same_bytes_once(model, tmp_path, files, whole, processes):
    out = tmp_path / "out"
    draw(model, out, after(5), files=files)  # resumes what one process began
    for process in reversed(range(processes)):
        draw(model, out, process=process, processes=processes, files=files)
    assert contents(out) == whole


def test_each_process_draws_its_own_share(model, tmp_path, files):
    shares = [draw(model, tmp_path / "out", process=process, processes=2, files=files) for process in (1, 0)]
    assert [(each.images, each.before, each.left) for each in shares] == [(14, 0, 16), (16, 0, 0)]


KILLED = """
import os, signal, sys
from noisette.workflows import model, sample_folder
from noisette.cli import main

def kill(handle):
    os.kill(os.getpid(), signal.SIGKILL)

def draw(kind):
    def write(path, shard):
        if shard.index[0] >= 16:
            os.fsync = kill
        write_shard(path, shard)

    write_shard, sample_folder.WRITERS[kind] = sample_folder.WRITERS[kind], write
    main([*sys.argv[1:], "--out", kind, "--files", kind])

model.BATCH, sample_folder.BATCH, sample_folder.SHARD_IMAGES = 4, 4, 8
for kind in list(sample_folder.WRITERS):
    process = os.fork()
    if process == 0:
        draw(kind)
    assert os.waitpid(process, 0)[1] == signal.SIGKILL
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="one process forks three, to be killed")
def test_a_kill_in_a_write_loses_no_image_and_leaves_nothing(model, tmp_path):
    flags = ["--per-class", "10", "--precision", "float32", "--device", "cpu"]
    subprocess.run([sys.executable, "-c", KILLED, "sample", model.name, *flags], cwd=tmp_path, check=True)
    for kind in KINDS:
        out = tmp_path / kind
        assert any(path.name.startswith(".unfinished-") for path in out.rglob("*"))
        assert draw(model, out, files=kind).before == 16
        draw(model, tmp_path / "whole" / kind, files=kind)
        assert contents(out) == contents(tmp_path / "whole" / kind)


def test_a_finished_folder_is_left_alone(model, tmp_path, files, whole, monkeypatch):
    monkeypatch.setattr(type(model.file.network), "forward", lambda *_: pytest.fail("the network was called"))
    sampled = draw(model, tmp_path / "whole", files=files)
    assert (sampled.images, sampled.before, sampled.left) == (0, 30, 0)
    assert contents(tmp_path / "whole") == whole


def test_a_shard_that_was_removed_is_drawn_again(model, tmp_path, files, whole):
    out = tmp_path / "whole"
    shard = out / read_record(out).place(2)
    for path in sorted(shard.glob("*")):
        path.unlink()
    shard.rmdir() if shard.is_dir() else shard.unlink()
    assert draw(model, out, files=files).images == 8
    assert contents(out) == whole


def test_what_the_folders_hold_is_what_one_file_would(model, tmp_path):
    sample_to(model, request_of(model, tmp_path / "a.npz"))
    with np.load(tmp_path / "a.npz") as arrays:
        images, labels = arrays["images"], arrays["labels"]
    for kind in KINDS:
        draw(model, tmp_path / kind, files=kind)

    names = sorted((tmp_path / "png").rglob("*.png"))
    assert [str(path.relative_to(tmp_path / "png")) for path in names[:9:8]] == [
        "00000-of-00004/000000-zero.png",
        "00001-of-00004/000008-___two.png",
    ]
    assert np.array_equal(np.stack([np.asarray(Image.open(path)) for path in names]), images[..., 0])

    shards = [np.load(path) for path in sorted((tmp_path / "npz").glob("*.npz"))]
    assert [len(shard["labels"]) for shard in shards] == [8, 8, 8, 6]
    for name, array in {"images": images, "labels": labels, "index": np.arange(30)}.items():
        assert np.array_equal(np.concatenate([shard[name] for shard in shards]), array)
    assert {int(shard["seed"]) for shard in shards} == {0}

    table = pq.read_table(tmp_path / "parquet" / "data")
    assert table.column("label").to_pylist() == labels.tolist()
    rows = table.column("image").to_pylist()
    assert [row["path"] for row in rows] == [path.name for path in names]
    assert np.array_equal(np.stack([np.asarray(Image.open(io.BytesIO(row["bytes"]))) for row in rows]), images[..., 0])
    assert json.loads(pq.read_schema(tmp_path / "parquet/data/train-00003-of-00004.parquet").metadata[b"huggingface"])[
        "info"
    ] == {"features": {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": list(CLASSES)}}}


def test_without_classes_there_are_no_labels(tiny_model, tmp_path):
    model = Model("tiny", tiny_model((), size=(3, 8, 8), steps=1), torch.device("cpu"))
    draw(model, tmp_path / "out", count=3, files="parquet")
    table = pq.read_table(tmp_path / "out" / "data")
    assert table.column_names == ["image"]
    with Image.open(io.BytesIO(table.column("image").to_pylist()[2]["bytes"])) as picture:
        assert (picture.mode, picture.size) == ("RGB", (8, 8))


def test_any_number_may_be_asked_for(model, tmp_path):
    """Labels and numbers are worked out when they are needed."""
    numbers = (10**12 - 1, 4)
    draw(model, tmp_path / "out", per_class=10**12, index=numbers, files="npz")
    with np.load(tmp_path / "out" / "00000-of-00001.npz") as arrays:
        assert arrays["index"].tolist() == list(numbers)
        assert arrays["labels"].tolist() == [(10**12 - 1) % 3, 1]
    request = request_of(model, tmp_path / "new", per_class=10**12)
    record = sample_folder._record(model, request, request.asked(model))
    assert record.shards == 3 * 10**12 // 8
    assert record.index_of(10**11) == range(8 * 10**11, 8 * 10**11 + 8)


@pytest.mark.parametrize(("size", "images"), [((1, 28, 28), 1000), ((3, 256, 256), 300), ((3, 2000, 2000), 100)])
def test_a_shard_holds_few_enough_to_stay_in_memory(tiny_model, tmp_path, size, images):
    model = Model("tiny", tiny_model(size=size), torch.device("cpu"))
    request = request_of(model, tmp_path / "out", count=1)
    assert sample_folder._record(model, request, request.asked(model)).shard_images == images


def test_progress_counts_what_was_there(model, tmp_path):
    out, told = tmp_path / "out", []
    draw(model, out, after(9))
    sample_to(model, request_of(model, out), lambda done, images: told.append((done, images)))
    assert told[0] == (16, 30)
    assert told[-1] == (30, 30)
    assert told == sorted(told)


def test_the_film_is_of_the_first_shard(model, tmp_path):
    film = tmp_path / "f.gif"
    draw(model, tmp_path / "out", after(5), film=film)
    first = film.read_bytes()
    draw(model, tmp_path / "out", film=film)
    assert film.read_bytes() == first
    film.unlink()
    with pytest.raises(Refusal, match=r"film .*f\.gif of images that .*out holds already: expected a new folder"):
        draw(model, tmp_path / "out", film=film)


OTHERS = {
    "seed": ({"seed": 1}, "seed is 1, not 0"),
    "count": ({"per_class": 11}, "images is 33, not 30"),
    "labels": ({"labels": (0,) * 30}, r"labels is \[0, 0, .*\.\.\., not \[\]"),
    "no class": ({"count": 30}, "in_turns is 0, not 3"),
    "index": ({"index": tuple(reversed(range(30)))}, r"index is \[29, 28, .*\.\.\., not \[\]"),
    "files": ({"files": "parquet"}, "files is parquet, not npz"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_folder_of_another_request_is_refused(model, tmp_path, case):
    asked, message = OTHERS[case]
    draw(model, tmp_path / "out", after(5), files="npz")
    before = contents(tmp_path / "out")
    with pytest.raises(Refusal, match=rf"out holds other samples: {message} as there; expected a new folder"):
        draw(model, tmp_path / "out", **{"files": "npz"} | asked)
    assert contents(tmp_path / "out") == before


def test_another_sampler_precision_or_model_is_refused(model, tmp_path, tiny_model):
    out = tmp_path / "out"
    draw(model, out, after(5))
    sampling = dataclasses.replace(model.sampling, guidance_scale=2.0)
    with pytest.raises(Refusal, match=r"sampling\.guidance_scale is 2\.0, not 1\.0 as there"):
        sample_to(model, SampleRequest(sampling, per_class=10, out=out))
    with pytest.raises(Refusal, match="precision is bfloat16, not float32 as there"):
        draw(load(model.name, "cpu", "bfloat16"), out)
    save_model(Path(model.name), tiny_model(CLASSES, steps=2, clamp=True))
    with pytest.raises(Refusal, match=r"model_digest is [0-9a-f]{60}\.\.\., not [0-9a-f]{60}\.\.\. as there"):
        draw(load(model.name, "cpu", "float32"), out)


DAMAGED = {
    "no JSON": (lambda text: text[:50], "is not a record of samples"),
    "another key": (lambda text: text.replace('"seed"', '"sead"'), "unknown key 'sead'.* did you mean 'seed'"),
    "another format": (lambda text: text.replace("samples-1", "samples-9"), "format 'noisette-samples-9': expected"),
    "no images": (lambda text: text.replace('"images": 30', '"images": 0'), "0 images: expected at least 1"),
    "a class that is none": (
        lambda text: text.replace('"labels": []', '"labels": [3]'),
        "labels of no class: .* -1 to 2",
    ),
    "too few labels": (lambda text: text.replace('"labels": []', '"labels": [1]'), "numbers of no image: .* a label"),
    "a shard of too many": (lambda text: text.replace('_images": 8', '_images": 9'), "9 a shard: expected 1 to 8"),
    "turns": (lambda text: text.replace('"in_turns": 3', '"in_turns": 2'), "2 classes in turns: expected all"),
    "a list": (lambda text: "[]", "expected a table"),
    "deep": (lambda text: "[" * 100_000, "is not a record of samples"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_record_is_refused(model, tmp_path, case):
    change, message = DAMAGED[case]
    draw(model, tmp_path / "out")
    path = tmp_path / "out" / "samples.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(Refusal, match=re.compile(rf"samples\.json.*{message}")):
        draw(model, tmp_path / "out")


def test_parquet_without_its_library_is_refused_at_once(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(Refusal, match="parquet files need the extra 'hub': pip install"):
        draw(model, tmp_path / "out", files="parquet")
    assert not (tmp_path / "out").exists()


def test_what_a_full_disk_interrupts_is_gone_on_with(model, tmp_path, files, whole, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    out = tmp_path / "out"
    draw(model, out, after(5), files=files)
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(NoisetteError, match=r"cannot write .*00001-of-00004.*No space left"):
            draw(model, out, files=files)
    assert not list(out.rglob(".unfinished-*"))
    assert draw(model, out, files=files).before == 8
    assert contents(out) == whole
