"""Data sets by name in another form; and what a name or path is taken for."""

import numpy as np
import pytest

from noisette.base.errors import Refusal
from noisette.data.datasets import DATASETS, load_data
from noisette.data.form import Form


@pytest.fixture
def tiny(digits, monkeypatch):
    """Sixty grey images of 8 x 8, a data set by name."""
    data = digits(shape=(8, 8, 1))
    monkeypatch.setitem(DATASETS._choices, "tiny", lambda data_dir, part: data)
    return data


def test_a_named_set_comes_as_it_is_unless_another_form_is_asked_for(tiny):
    for form in (Form(), Form((8,), 1), Form((8, 8), fit="crop"), Form(channels=1)):
        assert load_data("tiny", form=form) is tiny


def test_a_named_set_heeds_the_form(tiny, monkeypatch):
    monkeypatch.setattr("noisette.data.arrays.AT_A_TIME", 7 * 64)
    data = load_data("tiny", form=Form((4,), 3))
    assert data.images.shape == (60, 4, 4, 3)
    assert data.labels.tolist() == tiny.labels.tolist()
    assert (data.name, data.classes, data.source) == (tiny.name, tiny.classes, tiny.source)
    assert data.notes == ("60 images of 8 x 8, scaled to 4 x 4", "colour; stored in grey: all")
    np.testing.assert_array_equal(data.images[..., 0], data.images[..., 2])
    means, before = data.images.mean(axis=(1, 2, 3)), tiny.images.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(means, before, atol=6)  # each image is still itself
    assert load_data("tiny", form=Form((12, 8), fit="pad")).images.shape == (60, 12, 8, 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nowhere/",
            "no data at nowhere/: expected an .npz file, a .csv file, .*hub:owner/name, or a data set by name",
        ),
        ("./nowhere", "no data at ./nowhere"),
        (
            "minst",
            "unknown data set 'minst'.*did you mean 'mnist'.*; or your own: an .npz file, a .csv file, a .parquet",
        ),
        ("nowhere.npz", "no .npz file at nowhere.npz"),
        ("nowhere.CSV", "no CSV file at nowhere.CSV"),
    ],
)
def test_what_is_neither_a_name_nor_a_path_is_refused(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refusal, match=message):
        load_data(name)


def test_a_name_wins_over_a_folder_and_a_path_needs_no_data_dir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist-5k").mkdir()
    assert len(load_data("mnist-5k").images) == 5000
    with pytest.raises(Refusal, match="holds no pictures"):
        load_data("./mnist-5k")
    with pytest.raises(Refusal, match=r"--data-dir .* is for data sets by name"):
        load_data("./mnist-5k", tmp_path)
