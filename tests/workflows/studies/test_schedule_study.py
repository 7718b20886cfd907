"""Schedules: only what is said to differ differs, the paragraph follows the numbers."""

from dataclasses import replace

from noisette.workflows.model import LAST_FILE
from noisette.workflows.recipes import load_recipe
from noisette.workflows.studies.bench import Bench
from noisette.workflows.studies.schedule import diffusions, paragraph, study


def test_the_tables_alone_differ():
    found, lab = diffusions(), load_recipe("lab").diffusion
    assert found["linear"] == lab
    for name in ("cosine", "sigmoid"):
        assert found[name].schedule == name
        assert replace(found[name], schedule="linear") == lab
    assert found["cosine-velocity"].parameterisation == "velocity"
    assert found["edm"] == load_recipe("quick").diffusion


def test_each_is_trained_on_its_table_and_drawn(request_for, trains, never_trains):
    bench = Bench(request_for("schedule"), trains)
    found = study(bench)
    assert list(bench.cells) == list(diffusions())
    for name, diffusion in diffusions().items():
        spec = bench.loaded(bench.run_folder(name) / LAST_FILE).file.spec
        assert replace(spec.diffusion, data_std=None) == diffusion
        assert bench.cells[name]["evaluations"] == 50
    assert found.tables[0].rows[0][2] == "0.01 to 12.5"
    assert study(Bench(request_for("schedule"), never_trains)).paragraph == found.paragraph


def test_the_paragraph_follows_the_numbers(measured):
    def cells(*far):
        return {name: measured(value) for name, value in zip(diffusions(), far, strict=True)}

    text = paragraph(cells(3.0, 2.0, 4.0, 3.1, 1.0), 5000)
    assert (
        "After 5,000 images each, in floors from the real digits, nearest first: edm 1 (0.9 to 1.1), cosine 2" in text
    )
    assert "edm is nearer than every other by more than the intervals." in text
    assert (
        "linear table is nearer than sigmoid, not to be told from cosine-velocity, farther than edm and cosine." in text
    )

    text = paragraph(cells(1.0, 2.0, 4.0, 1.1, 3.0), 5000)
    assert "linear cannot be told from cosine-velocity." in text
    assert "linear table is nearer than cosine, edm and sigmoid, not to be told from cosine-velocity." in text
    assert "Too little" not in text
    assert "Too little" in paragraph(cells(1.0, 2.0, 4.0, 1.1, 3.0) | {"linear": measured(1.0, right=0.2)}, 5000)
