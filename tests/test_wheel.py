"""What a user installs: an editable install would hide package data that the wheel lacks."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent


def call(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the built wheel; its dependencies are those of the tests, noisette itself is not."""
    room = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", room, ROOT, cwd=room)
    (wheel,) = room.glob("noisette-*.whl")
    call(sys.executable, "-m", "venv", room / "env", cwd=room)
    python = room / "env" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    call(python, "-m", "pip", "install", "-q", "--no-deps", wheel, cwd=room)
    purelib = call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=room).strip()
    # A plain path: the editable install's own .pth in that folder is not read.
    (Path(purelib) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python


def test_the_wheel_samples_what_ships_from_another_folder(installed, tmp_path):
    place = call(installed, "-c", "import noisette; print(noisette.__file__)", cwd=tmp_path)
    assert str(installed.parent.parent) in place
    call(
        installed.parent / "noisette",
        "sample",
        "mnist",
        "--labels",
        "7,3",
        "--steps",
        "2",
        "--out",
        "x.npz",
        cwd=tmp_path,
    )
    with np.load(tmp_path / "x.npz") as arrays:
        assert arrays["images"].shape == (2, 28, 28, 1)
        assert arrays["labels"].tolist() == [7, 3]


def test_the_wheel_holds_the_data_the_recipes_and_the_licences(installed, tmp_path):
    call(installed.parent / "noisette", "check", "mnist-5k", cwd=tmp_path)
    recipes = call(installed, "-c", "from noisette.workflows.recipes import *; print(recipe_names())", cwd=tmp_path)
    assert recipes.strip() == str(sorted(path.stem for path in (ROOT / "src/noisette/recipes").glob("*.toml")))
    (package,) = installed.parent.parent.glob("**/site-packages/noisette")
    for note in (
        "data/mnist-5k.md",
        "weights/shipped/mnist.md",
        "perception/shipped/mnist.md",
        "perception/shipped/mnist-clip/README.md",
        "perception/shipped/mnist-clip/model.safetensors",
        "report/page.html",
        "py.typed",
    ):
        assert (package / note).is_file()
