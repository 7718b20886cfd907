"""Folders of samples as what is evaluated: the images and labels that one file would hold, and nothing unread."""

import numpy as np
import pytest
import torch

from noisette.base.errors import Refusal
from noisette.workflows import sources
from noisette.workflows.model import Model
from noisette.workflows.sample import sample_to
from noisette.workflows.sample_folder import read_record
from noisette.workflows.sample_request import SampleRequest
from noisette.workflows.sources import open_samples, open_source


@pytest.fixture(params=["png", "npz", "parquet"])
def drawn(request, tiny_model, tmp_path, monkeypatch):
    """A folder of 210 colour images in shards of 100, and the samples of one file of them."""
    monkeypatch.setattr("noisette.workflows.sample_folder.SHARD_IMAGES", 100)
    model = Model("tiny", tiny_model(size=(3, 4, 6), steps=1), torch.device("cpu"))
    for out in ("a.npz", "many"):
        files = request.param if out == "many" else "png"
        sample_to(model, SampleRequest(model.sampling, per_class=21, out=tmp_path / out, files=files, seed=3))
    return tmp_path / "many", open_samples(tmp_path / "a.npz")


def test_a_folder_is_read_as_one_file_would_be(drawn, monkeypatch):
    out, expected = drawn
    found = open_source(str(out))
    assert np.array_equal(found.images, expected.images)
    assert torch.equal(found.labels, expected.labels)
    assert torch.equal(found.index, expected.index)
    assert (found.source["name"], found.source["kind"], found.source["seed"]) == (str(out), "samples", 3)
    monkeypatch.setattr(sources, "FOLDER_BYTES", 2 * 100 * 4 * 6 * 3 + 1)
    assert np.array_equal(open_source(str(out)).images, expected.images[:200])


def test_what_is_not_finished_damaged_or_other_is_refused(drawn):
    out, _ = drawn
    place = out / read_record(out).place(1)
    shard = sorted(place.iterdir())[0] if place.is_dir() else place
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Refusal, match=r"00001-of-00003.* is not a readable shard"):
        open_source(str(out))
    shard.unlink()
    with pytest.raises(Refusal, match="00001-of-00003"):
        open_source(str(out))
    shard.write_bytes(whole)
    record = out / "samples.json"
    record.write_text(record.read_text().replace('"width": 6', '"width": 7'))
    with pytest.raises(Refusal, match=r"00000-of-00003.*(\[100, 4, 6, 3\]|4 x 6|6 x 4)"):
        open_source(str(out))
    record.write_text(record.read_text().replace('"width": 7', '"width": 6').replace("true\n", "false\n"))
    with pytest.raises(Refusal, match="not all drawn: expected a finished folder"):
        open_source(str(out))
