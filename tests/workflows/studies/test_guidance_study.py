"""Guidance: every scale is drawn as it says, the paragraph follows the numbers."""

import math

import pytest

from noisette.workflows.studies.bench import Bench
from noisette.workflows.studies.guidance import INTERVAL, SCALES, paragraph, study


def test_every_scale_is_drawn_everywhere_and_within_the_interval(request_for, never_trains, own_model, monkeypatch):
    bench = Bench(request_for("guidance", model=own_model), never_trains)
    drawn, really = {}, bench.drawn

    def noted(key, model, sampling):
        drawn[key] = sampling
        return really(key, model, sampling)

    monkeypatch.setattr(bench, "drawn", noted)
    study(bench)
    assert len(drawn) == 2 * len(SCALES) - 1
    for key, sampling in drawn.items():
        scale, _, place = key.partition("-")
        assert sampling.guidance_scale == float(scale)
        limits = (0.0, math.inf) if place == "everywhere" else INTERVAL
        assert (sampling.guidance_from, sampling.guidance_to) == limits
        assert (sampling.sampler, sampling.steps) == ("ddpm", 12)  # the model's own
    assert bench.cells["1-everywhere"]["evaluations"] == 12
    assert bench.cells["2-everywhere"]["evaluations"] == 24


@pytest.fixture
def cells(measured):
    def make(everywhere, interval, right=(0.8, 0.9), coverage=(0.8, 0.5)):
        found = {}
        for place, distances in (("everywhere", everywhere), ("interval", interval)):
            for scale, far in zip(SCALES, distances, strict=True):
                best = scale == SCALES[-1]
                if scale != 1 or place == "everywhere":
                    found[f"{scale:g}-{place}"] = measured(far, right[best], coverage[best])
        return found

    return make


def test_the_paragraph_follows_the_numbers(cells):
    text = paragraph(cells([4.0, 3.0, 2.0, 5.0, 9.0], [4.0, 2.0, 1.0, 3.0, 5.0]), (0.3, 6.0))
    assert "highest at scale 5 everywhere, 90.0% (89.0% to 91.0%): more than without" in text
    assert "Nearest to the real digits is scale 2 between 0.3 and 6, 1 (0.9 to 1.1) floors: nearer than without" in text
    assert "At scale 5 everywhere, coverage falls: 50.0%" in text
    assert "is nearer to the real digits than everywhere (shown at 1.5, 2, 3, 5)" in text

    same = [1.0, 2.0, 3.0, 4.0, 5.0]
    text = paragraph(cells(same, same, right=(0.8, 0.8), coverage=(0.8, 0.8)), (0.3, 6.0))
    assert "highest at scale 1 (none), 80.0% (79.0% to 81.0%): not to be told from without" in text
    assert "Nothing is nearer to the real digits than no guidance at all." in text
    assert "coverage is not shown to change" in text
    assert "no scale can be told from the same one everywhere" in text

    text = paragraph(cells(same, [1.0, 3.0, 4.0, 5.0, 6.0], coverage=(0.5, 0.8)), (0.3, 6.0))
    assert "coverage rises" in text
    assert "is farther from the real digits than everywhere (shown at 1.5, 2, 3, 5)" in text
