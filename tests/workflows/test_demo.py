"""What `make demo` leaves: pictures, and last the report; an interrupted one ends where it was."""

from dataclasses import replace

import pytest

from noisette.cli import main
from noisette.workflows import demo as module
from noisette.workflows.demo import run_demo
from noisette.workflows.recipes import load_recipe


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A training of a second, and no drawing with the weights that ship."""
    recipe = load_recipe("demo")
    training = replace(recipe.training, batch_size=32, validate_every=64, validation_images=10, precision="float32")
    network = replace(recipe.network, widths=(4,), blocks=1, embedding=8)
    tiny = replace(recipe, network=network, training=training, sampling=replace(recipe.sampling, steps=1))
    monkeypatch.setattr(module, "load_recipe", {"demo": tiny}.__getitem__)
    monkeypatch.setattr(module, "draw", lambda model, out, name: [out / f"{name}-grid.png"])


@pytest.fixture
def reported(monkeypatch):
    """The runs that were reported, with the count of samples to measure."""
    asked = []

    def write(folder, count):
        asked.append((folder, count))
        return folder / "report.html"

    monkeypatch.setattr(module, "write_report", write)
    return asked


def test_it_ends_with_the_report(reported, tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path), "--minutes", "0.005"]) == 0
    assert reported == [(tmp_path / "run", 1000)]  # as many as mnist-5k holds out
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"report, for any browser: {tmp_path / 'run' / 'report.html'}"
    assert [line[:3] for line in said if line[1:3] == "/4"] == ["1/4", "2/4", "3/4", "4/4"]
    assert (tmp_path / "trained-losses.png").exists()
    assert (tmp_path / "run" / "best.safetensors").exists()


def test_interrupted_it_leaves_what_there_is(reported, tmp_path):
    written = run_demo(tmp_path, 0.005, "noisette demo", lambda run: False, lambda line: None)
    assert written == [tmp_path / "shipped-grid.png"]
    assert reported == []
