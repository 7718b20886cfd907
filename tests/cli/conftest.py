"""A run so small that it takes a second, and what the command line prints of it."""

import shutil

import pytest

TINY = (
    *("train", "--data", "mnist-5k", "--recipe", "demo", "--device", "cpu", "--precision", "float32"),
    *("--widths", "4", "--blocks", "1", "--patch", "4", "--embedding", "8", "--batch-size", "64"),
    *("--validate-every", "256", "--validation-images", "50", "--steps", "2", "--images"),
)


@pytest.fixture(scope="session")
def tiny():
    """The command of a tiny run; the number of images and `--out` follow."""
    return TINY


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """The folder of a tiny run that is finished, of 512 images."""
    from noisette.cli import main

    folder = tmp_path_factory.mktemp("finished") / "run"
    assert main([*TINY, "512", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def run_folder(finished_run, tmp_path):
    """A copy of it."""
    return shutil.copytree(finished_run, tmp_path / "run")


@pytest.fixture
def refused(capsys):
    """Sees a command refuse: whose words match, in one line, with exit code 2, and not a file in the folder changed."""
    from noisette.base.errors import Refusal
    from noisette.cli import main

    def see(command, run, args, message, folder):
        before = sorted(folder.rglob("*"))
        with pytest.raises(Refusal, match=message):
            run(args)
        assert main([command, *args]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
        assert sorted(folder.rglob("*")) == before

    return see
