import importlib.util
from pathlib import Path

import numpy as np
import pytest

from noisette.base.errors import Refusal

SCRIPT = Path(__file__).parents[2] / "tools" / "make_mnist_5k.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("make_mnist_5k", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made_up(per_class: int) -> tuple[np.ndarray, np.ndarray]:
    """Different images, `per_class` of each of ten classes: image i spells i in its first two pixels."""
    count = 10 * per_class
    images = np.zeros((count, 3, 3), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(count) % 256, np.arange(count) // 256
    return images, np.arange(count) % 10


def test_it_makes_the_same_bytes_of_real_different_images(tool, tmp_path, write_mnist):
    images, labels = made_up(520)
    images[5100:] = images[:100]  # leaves 510 different images a class
    write_mnist(tmp_path / "in", images, labels)
    data = tool.make(tmp_path / "in", tmp_path / "one")
    tool.make(tmp_path / "in", tmp_path / "two")
    for name in ("mnist-5k.npz", "mnist-5k.md"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert data.digest in (tmp_path / "one" / "mnist-5k.md").read_text()
    with np.load(tmp_path / "one" / "mnist-5k.npz", allow_pickle=False) as arrays:
        rows = arrays["rows"].astype(int)
        np.testing.assert_array_equal(arrays["images"][..., 0], images[rows])
        np.testing.assert_array_equal(arrays["labels"], labels[rows])
        assert len(np.unique(arrays["images"].reshape(5000, -1), axis=0)) == 5000
    assert np.bincount(labels[rows]).tolist() == [500] * 10
    assert rows.tolist() != sorted(set(range(5000)))  # chosen, not the first ones
    assert rows.max() < 5100


def test_too_few_different_images_are_refused(tool, tmp_path, write_mnist):
    images, labels = made_up(500)
    images[13] = images[3]
    write_mnist(tmp_path, images, labels)
    with pytest.raises(Refusal, match="class 3 has 499 different images, expected 500 or more"):
        tool.make(tmp_path, tmp_path / "out")
