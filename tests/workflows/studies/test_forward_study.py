"""Forward: images are noised to the levels that are named, the paragraph follows the numbers."""

import math

import pytest
import torch

from noisette.data.images import to_model
from noisette.workflows.recipes import load_recipe
from noisette.workflows.studies.bench import Bench
from noisette.workflows.studies.forward import learned, losses_by_level, noised, paragraph, study


@pytest.fixture
def own_bench(request_for, never_trains):
    return Bench(request_for("forward"), never_trains)


def test_images_are_noised_as_they_are_shown(own_bench):
    rows = own_bench.judge.training_draw(30)
    clean = to_model(own_bench.data.images[rows])
    assert torch.equal(noised(own_bench, rows, 0.0), clean)
    added = noised(own_bench, rows, 3.0) * math.sqrt(10) - clean
    assert float(added.std()) == pytest.approx(3.0, rel=0.05)
    half = noised(own_bench, rows, 1.5) * math.sqrt(1 + 1.5**2) - clean
    torch.testing.assert_close(half * 2, added, atol=1e-4, rtol=1e-4)  # the same noise, at each level more of it


def test_the_levels_are_the_tables(own_bench):
    found = study(own_bench)
    cell = own_bench.cells["dissolving"]
    table = load_recipe("lab").diffusion.table().flip(0)
    for point in cell["read"]:
        level = 0.0 if point["step"] == 0 else float(table[point["step"] - 1])
        assert point["noise_level"] == level
        assert point["alpha_bar"] == pytest.approx(1 / (1 + level**2))
    assert cell["read"][-1]["step"] == 500
    assert table[cell["as_much_noise_at"] - 1] < 1 <= table[cell["as_much_noise_at"]]
    assert "only a run keeps its losses" in found.paragraph
    assert "losses" not in found.figures


def test_a_run_shows_its_losses(request_for, trains, never_trains):
    other = Bench(request_for("parts"), trains)
    other.trained("whole", other.laboratory())
    run = str(other.run_folder("whole"))
    found = study(Bench(request_for("forward", model=run), never_trains))
    assert "losses" in found.figures
    assert "validated once" in found.paragraph


def test_why_no_losses_are_shown(own_model):
    assert "without a model" in losses_by_level(None)[1]
    assert "is no run folder" in losses_by_level(own_model)[1]


def test_the_paragraph_follows_the_numbers():
    def cell(accuracies, even=184):
        points = [
            {"step": 250 * number, "noise_level": 5.0 * number, "alpha_bar": 1 / (1 + 25.0 * number), "accuracy": value}
            for number, value in enumerate(accuracies)
        ]
        return {
            "count": 100,
            "schedule": "linear",
            "steps": 500,
            "as_much_noise_at": even,
            "classes": 10,
            "read": points,
        }

    text = paragraph(cell([1.0, 0.4, 0.1]))
    assert "as much noise as signal (unit variance each) after 184 steps, 37% of them" in text
    assert "less than half from 250 steps on (50%; noise level 5, 40.0%)" in text
    assert "At the end it tells 10.0%, about what guessing gives." in text
    assert "more than guessing's 10%: something is left." in paragraph(cell([1.0, 0.4, 0.3]))
    text = paragraph(cell([1.0, 0.9, 0.8], even=None))
    assert "never becomes as much noise as signal" in text
    assert "still tells 80.0% of real images at the end" in text


def test_what_was_learned_follows_the_log():
    def validation(seen, *losses):
        return {"images_seen": seen, "bucket_losses": losses, "bucket_edges": (0.1, 1.0, 10.0)}

    text = learned([validation(100, 1.0, 1.0), validation(200, 0.5, 0.9)])
    assert text == (
        "From 100 to 200 images the validation loss fell most at noise levels 0.1 to 1 (-50%) and fell least at noise "
        "levels 1 to 10 (-10%)."
    )
    assert "rose most at noise levels 1 to 10 (+20%)" in learned([validation(100, 1.0, 1.0), validation(200, 0.5, 1.2)])
