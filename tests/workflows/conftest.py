"""What the tests of several workflows need."""

import pytest

from noisette.data.images import NoTestPart
from noisette.workflows.choosing import Choice


@pytest.fixture
def choice(blobs, other_classifier):
    """Chooses by a residual classifier, measures by a plain one."""
    return Choice(by=(str(other_classifier),), measure=blobs.classifier, data="blobs")


@pytest.fixture
def parts_of(monkeypatch):
    """Gives `noisette perceive` these parts of a data set, which tests may change. Without a test part it says so as
    mnist-5k does."""

    def give(train, test):
        found = {"train": train, "test": test}

        def load(name, data_dir, part, *how):
            if part not in found:
                raise NoTestPart(f"{name} has no test part: use its validation split")
            return found[part]

        monkeypatch.setattr("noisette.workflows.perceive.load_data", load)
        return found

    return give
