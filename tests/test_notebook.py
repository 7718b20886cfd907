"""The notebook's cells run from top to bottom, on fewer images than it says."""

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parent.parent / "docs" / "noisette.ipynb"
FULL, SHORT = "IMAGES = 40_000", "IMAGES = 256"


@pytest.fixture
def cells():
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["metadata"]["kernelspec"]["name"]) == (4, "python3")
    return notebook["cells"]


def test_its_cells_run(cells, tmp_path, monkeypatch, capsys):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("NOISETTE_CACHE", str(tmp_path / "cache"))
    names: dict[str, object] = {}
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert sum(cell.count(FULL) for cell in code) == 1
    for cell in code:
        exec(compile(cell.replace(FULL, SHORT), str(NOTEBOOK), "exec"), names)
    plt.close("all")
    said = capsys.readouterr().out
    assert "256 images, validation loss" in said
    assert "label_accuracy" in said
    assert names["record"]["source"]["count"] == 500


def test_it_tells_before_it_computes_and_holds_no_results(cells):
    assert [cell["cell_type"] for cell in cells[:2]] == ["markdown", "code"]
    assert all(
        cell["outputs"] == [] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code"
    )
    assert len({cell["id"] for cell in cells}) == len(cells)
