"""Steps: the tables end where they are said to, the control starts where it is said to, the paragraph follows."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from noisette.diffusion.noise import signal_left
from noisette.diffusion.sample import Snapshot
from noisette.workflows.model import load
from noisette.workflows.recipes import load_recipe, read_run_config
from noisette.workflows.studies import steps as module
from noisette.workflows.studies.bench import Bench
from noisette.workflows.studies.steps import noised_and_back, paragraph, study, tables


def test_each_length_is_trained_with_both_tables():
    found = tables()
    assert list(found) == ["fixed-100", "fixed-300", "fixed-500", "scaled-100", "scaled-300"]
    lab = load_recipe("lab").diffusion
    assert found["fixed-500"] == lab
    for name, diffusion in found.items():
        assert diffusion.table_steps == int(name.partition("-")[2])
        left = signal_left(diffusion.table_steps, diffusion.levels)
        assert (left == pytest.approx(signal_left(500, lab.levels))) == (
            name in ("fixed-500", "scaled-100", "scaled-300")
        )
        assert replace(diffusion, levels=lab.levels, table_steps=500) == lab  # all else is the same


def test_samplers_are_compared_at_equal_evaluations(bench):
    cells = dict(module._sweep((1, 2, 5, 10, 500), 500))
    assert [key for key in cells if key.startswith("ddim")] == ["ddim-1", "ddim-2", "ddim-5", "ddim-10", "ddim-500"]
    assert [key for key in cells if key.startswith("heun")] == ["heun-1", "heun-5", "heun-9", "heun-499"]
    assert cells["heun-9"].steps == 5
    assert [key for key in dict(module._sweep((1, 500), 12)) if key.startswith("ddpm")] == ["ddpm-1", "ddpm-12"]


def test_the_control_starts_at_the_models_own_last_level(own_model, monkeypatch):
    model = load(own_model, "cpu")
    clean = np.zeros((150, 8, 8, 1), np.uint8) + np.uint8(255)  # 1 when scaled; more than a batch
    starts = []

    def walk(denoise, sampler, levels, start, label, draw_noise, trained):
        starts.append(start)
        assert len(levels) == 13
        assert label.tolist() == [0] * len(start)
        yield Snapshot(12, 12, 0.0, torch.ones_like(start), torch.ones_like(start), 12)

    monkeypatch.setattr("noisette.workflows.model.sample", walk)
    told = []
    back = noised_and_back(model, clean, [0] * 150, lambda done, images: told.append((done, images)))
    assert told == [(100, 150), (150, 150)]
    noise = torch.cat(starts) - 1
    level = float(model.file.spec.diffusion.table()[0])
    assert float(noise.std()) == pytest.approx(level, rel=0.03)
    assert float(noise.mean()) == pytest.approx(0, abs=0.05 * level)
    assert noise.flatten(1).unique(dim=0).shape[0] == 150
    assert back.shape == (150, 8, 8, 1)
    assert bool((back == 255).all())


def test_the_study_compares_lengths_and_samplers_once(request_for, trains, never_trains, own_model, monkeypatch):
    monkeypatch.setattr(module, "LENGTHS", (4, 6, 9))
    monkeypatch.setattr(module, "LONGEST", 9)
    lab = load_recipe("lab")
    short_lab = replace(lab, diffusion=replace(lab.diffusion, table_steps=9))
    monkeypatch.setattr(module, "load_recipe", lambda name: short_lab)
    request = request_for("steps", model=own_model)
    bench = Bench(request, trains)
    found = study(bench)
    chains = ["fixed-4", "fixed-6", "fixed-9", "scaled-4", "scaled-6"]
    control = ["real-4", "real-6", "real-9"]
    sweep = ["ddpm-1", "ddpm-3", "ddim-1", "ddim-3", "heun-1", "heun-3", "dpmpp-2m-1", "dpmpp-2m-3"]
    assert list(bench.cells) == [*chains, *control, *sweep]
    spent = [cell["evaluations"] for cell in bench.cells.values()]
    assert spent == [4, 6, 9, 4, 6, 4, 6, 9, *[1, 3] * 4]
    assert all(bench.cells[key]["model"].endswith(f"{key}/last.safetensors") for key in chains)
    assert all(bench.cells[key]["model"] == own_model for key in sweep)
    assert [len(table.rows) for table in found.tables] == [9, 8]
    assert sorted(entry.name for entry in (bench.out / "runs").iterdir()) == sorted(chains)
    trained = {read_run_config(bench.out / "runs" / name / "config.toml").training.images for name in chains}
    assert trained == {bench.effort.chain_images}
    assert bench.effort.chain_images != bench.effort.images

    again = Bench(request, never_trains)
    monkeypatch.setattr(again, "drawn", lambda *_: pytest.fail("drawn again"))
    assert study(again).paragraph == found.paragraph


def test_a_chain_takes_no_more_steps_than_its_table(request_for, trains, own_model, bench):
    assert module._most_steps(Bench(request_for("steps", model=own_model), trains)) == 12
    assert module._most_steps(bench) == 500


@pytest.fixture
def cells(measured):
    """Numbers as the laboratory would have them: few steps are far, whatever they are."""

    def make(fixed, scaled, real):
        lengths = (100, 300, 500)
        found = {f"fixed-{steps}": measured(far) for steps, far in zip(lengths, fixed, strict=True)}
        found |= {f"scaled-{steps}": measured(far) for steps, far in zip(lengths, scaled, strict=False)}
        found |= {f"real-{steps}": measured(far) for steps, far in zip(lengths, real, strict=True)}
        for sampler in module.SAMPLERS:
            found |= {f"{sampler}-{count}": measured(30 / count) for count in (1, 10)}
            found[f"{sampler}-100"] = measured(3.0)
        return found

    return make


def test_when_scaling_closes_the_gap_the_number_of_steps_is_cleared(cells):
    text = paragraph(cells([50.0, 20.0, 5.0], [6.0, 5.5], [2.0, 3.0, 4.0]), "fixed-500")
    assert "The laboratory's effect is seen" in text
    assert "still farther than 500 steps, 98% of the gap closed" in text
    assert "So it was not the number of steps" in text
    assert "The control agrees." in text
    assert "ddpm 10, ddim 10, heun 10 and dpmpp-2m 10" in text
    assert "not always better" not in text
    numbers = cells([50.0, 20.0, 5.0], [6.0, 5.5], [2.0, 3.0, 4.0])
    for sampler in ("ddpm", "heun"):
        numbers[f"{sampler}-100"] = numbers["fixed-100"]
    text = paragraph(numbers, "fixed-500")
    assert "More are not always better; farther than at its best: ddpm at 100 and heun at 100." in text


def test_when_scaling_closes_nothing_the_number_of_steps_is_the_cause(cells):
    text = paragraph(cells([50.0, 20.0, 5.0], [49.0, 20.0], [48.0, 20.0, 5.0]), "fixed-500")
    assert "So it is the number of steps" in text
    assert "not the number" not in text
    text = paragraph(cells([50.0, 20.0, 5.0], [60.0, 20.0], [6.0, 20.0, 5.0]), "fixed-500")
    assert "none of the gap closed" in text
    assert "The control disagrees" in text


def test_when_scaling_closes_half_it_is_both(cells):
    text = paragraph(cells([50.0, 20.0, 10.0], [30.0, 15.0], [30.0, 15.0, 9.0]), "fixed-500")
    assert "So it is both: the noise that was never reached explains 50% of the gap" in text


def test_when_few_steps_are_no_worse_there_is_nothing_to_explain(cells):
    text = paragraph(cells([5.0, 5.0, 5.05], [5.0, 5.0], [5.0, 5.0, 5.0]), "fixed-500")
    assert "effect is not seen here" in text
    assert "So it" not in text


def test_of_models_that_learned_little_nothing_is_concluded(cells, measured):
    numbers = cells([50.0, 20.0, 5.0], [6.0, 5.5], [2.0, 3.0, 4.0])
    text = paragraph(numbers | {"fixed-500": measured(5.0, right=0.4)}, "fixed-500")
    assert "Too little is learned to conclude from" in text
    assert "So it" not in text
