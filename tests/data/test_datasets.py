import pytest

from noisette.base.errors import Refusal
from noisette.data.datasets import DATASETS, load_data


def test_names_and_parts_are_known(tmp_path):
    assert list(DATASETS) == ["mnist", "fashion-mnist", "kmnist", "mnist-5k"]
    with pytest.raises(Refusal, match=r"unknown data set 'mnist5k'.*did you mean 'mnist-5k'"):
        load_data("mnist5k")
    with pytest.raises(Refusal, match=r"unknown part 'tset'.*did you mean 'test'"):
        load_data("mnist", tmp_path, "tset")
