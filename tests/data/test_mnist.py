import re
from importlib import resources

import numpy as np
import pytest

from noisette.base.errors import Refusal
from noisette.data import mnist
from noisette.data.datasets import load_data
from noisette.data.images import NoTestPart
from noisette.data.mnist import FILES, FOLDER_VARIABLE, RELATIVES

LABELS = np.array([3, 1, 4, 1, 5])
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 28, 28))


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No test reads this machine's own folder of data sets, none downloads."""

    def refuse(*_: object) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(mnist, "download", refuse)


@pytest.mark.parametrize("zipped", [True, False], ids=["gzipped", "plain"])
@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("sub", ["", "mnist"])
def test_mnist_is_found_under_all_its_names(tmp_path, write_mnist, zipped, dot, sub):
    write_mnist(tmp_path / sub, IMAGES, LABELS, zipped=zipped, dot=dot)
    data = load_data("mnist", tmp_path)
    np.testing.assert_array_equal(data.images[..., 0], IMAGES)
    np.testing.assert_array_equal(data.labels, LABELS)
    assert (data.images.dtype, data.labels.dtype) == (np.uint8, np.int64)
    assert data.images.shape == (5, 28, 28, 1)
    assert data.classes == tuple("0123456789")
    assert "CC BY-SA 3.0" in data.source


def test_each_part_has_its_own_files(tmp_path, write_mnist):
    write_mnist(tmp_path, IMAGES, LABELS, part="train")
    write_mnist(tmp_path, IMAGES[:2], LABELS[:2], part="test")
    assert len(load_data("mnist", tmp_path).images) == 5
    assert len(load_data("mnist", tmp_path, "test").images) == 2


@pytest.mark.parametrize("sub", ["", "mnist"])
def test_the_folder_may_stand_in_the_environment(tmp_path, write_mnist, monkeypatch, sub):
    write_mnist(tmp_path / sub, IMAGES, LABELS)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert load_data("mnist").labels.tolist() == LABELS.tolist()


def test_the_argument_wins_over_the_environment(tmp_path, write_mnist, monkeypatch):
    write_mnist(tmp_path / "argument", IMAGES[:2], LABELS[:2])
    write_mnist(tmp_path / "variable", IMAGES, LABELS)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "variable"))
    assert len(load_data("mnist", tmp_path / "argument").images) == 2


@pytest.mark.parametrize("variable", [None, "", "other data"])
def test_what_is_not_here_is_downloaded(tmp_path, write_mnist, monkeypatch, variable):
    write_mnist(tmp_path / "cache", IMAGES, LABELS, part="test")
    asked = []

    def download(name, wanted):
        asked.extend((name, *wanted))
        return [tmp_path / "cache" / f"{stem}.gz" for stem in wanted]

    monkeypatch.setattr(mnist, "download", download)
    if variable is not None:
        monkeypatch.setenv(FOLDER_VARIABLE, variable and str(tmp_path))
    assert load_data("mnist", part="test").labels.tolist() == LABELS.tolist()
    assert asked == ["mnist", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


def test_a_folder_without_the_files_is_refused(tmp_path, write_mnist, monkeypatch):
    with pytest.raises(Refusal, match="holds no train-images-idx3-ubyte nor train-labels-idx1-ubyte"):
        load_data("mnist", tmp_path)
    with pytest.raises(Refusal, match=r"no folder .*absent: expected"):
        load_data("mnist", tmp_path / "absent")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(Refusal, match=r"no folder .*absent: expected"):
        load_data("mnist")
    write_mnist(tmp_path, IMAGES, LABELS)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(Refusal, match=r"holds train-images-idx3-ubyte.gz but not train-labels-idx1-ubyte"):
        load_data("mnist", tmp_path)


@pytest.mark.parametrize("name", RELATIVES)
def test_a_relative_is_read_by_its_own_class_names(tmp_path, write_mnist, name):
    write_mnist(tmp_path / name, IMAGES, LABELS)
    data = load_data(name, tmp_path)
    assert data.name == name
    np.testing.assert_array_equal(data.images[..., 0], IMAGES)
    assert [data.classes[label] for label in data.labels] == [RELATIVES[name].classes[label] for label in LABELS]
    assert any(licence in data.source for licence in ("CC BY-SA", "MIT"))


def test_what_the_classes_of_the_relatives_are_called():
    assert [RELATIVES["fashion-mnist"].classes[label] for label in (0, 8, 9)] == ["t-shirt", "bag", "boot"]
    assert [RELATIVES["kmnist"].classes[label] for label in (0, 3, 9)] == ["o", "tsu", "wo"]
    for relative in RELATIVES.values():
        assert len(set(relative.classes)) == 10
        assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in relative.classes)  # typed in --labels, put into paths


def test_digits_are_never_taken_for_clothes(tmp_path, write_mnist, monkeypatch):
    write_mnist(tmp_path, IMAGES, LABELS)  # under the very names of Fashion-MNIST's files
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert load_data("mnist").labels.tolist() == LABELS.tolist()
    with pytest.raises(AssertionError, match="a download was tried"):
        load_data("fashion-mnist")
    write_mnist(tmp_path / "fashion-mnist", IMAGES[:2], LABELS[:2])
    assert len(load_data("fashion-mnist").images) == 2
    assert len(load_data("fashion-mnist", tmp_path).images) == 2  # its own sub-folder goes before the folder itself


@pytest.mark.parametrize("name", RELATIVES)
def test_every_file_has_a_checksum_and_every_mirror_an_end(name):
    relative = RELATIVES[name]
    assert set(relative.checksums) == {stem for pair in FILES.values() for stem in pair}
    assert all(re.fullmatch("sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", found) for found in relative.checksums.values())
    assert len({found for each in RELATIVES.values() for found in each.checksums.values()}) == 4 * len(RELATIVES)
    assert len(relative.mirrors) >= 2
    assert all(re.fullmatch(r"https?://\S+/", mirror) for mirror in relative.mirrors)


def test_the_embedded_digits_are_what_their_card_says():
    data = load_data("mnist-5k")
    folder = resources.files("noisette.data")
    card = (folder / "mnist-5k.md").read_text(encoding="utf-8")
    assert f"`{data.digest}`" in card
    assert "CC BY-SA 3.0" in card
    assert data.images.shape == (5000, 28, 28, 1)
    assert (data.images.dtype, data.labels.dtype) == (np.uint8, np.int64)
    assert np.bincount(data.labels).tolist() == [500] * 10
    assert len(np.unique(data.images.reshape(5000, -1), axis=0)) == 5000
    with (folder / "mnist-5k.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        rows = arrays["rows"]
        assert file.seek(0, 2) < 1_000_000
    assert (np.diff(rows.astype(int)) > 0).all()
    assert rows[-1] < 60_000


def test_the_embedded_labels_name_their_digits():
    # The nearest class mean tells four digits of five; shuffled labels would leave one of ten.
    data = load_data("mnist-5k")
    flat = data.images.reshape(5000, -1).astype(np.float64)
    means = np.stack([flat[:2500][data.labels[:2500] == k].mean(axis=0) for k in range(10)])
    distance = (means**2).sum(axis=1) - 2 * flat[2500:] @ means.T
    assert (distance.argmin(axis=1) == data.labels[2500:]).mean() > 0.75


def test_the_embedded_digits_refuse_what_they_lack(tmp_path):
    with pytest.raises(NoTestPart, match="no test part: use its validation split"):
        load_data("mnist-5k", part="test")
    with pytest.raises(Refusal, match="reads no folder"):
        load_data("mnist-5k", tmp_path)
