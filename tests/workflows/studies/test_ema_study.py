"""EMA: both kinds of weights are kept when they should be, also across an interruption; the paragraph follows."""

import pytest
import torch
from safetensors import safe_open

from noisette.training.loop import Finished
from noisette.workflows import train
from noisette.workflows.model import LAST_FILE
from noisette.workflows.studies.bench import Bench, Interrupted
from noisette.workflows.studies.ema import KeptRun, kept, paragraph, study


def tensors(path):
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)


def equal(one, other):
    one, other = tensors(one), tensors(other)
    return all(torch.equal(one[name], other[name]) for name in one)


def test_both_are_kept_at_each_milestone_and_an_interruption_changes_nothing(request_for, trains, never_trains):
    whole = Bench(request_for("ema"), trains)
    found = study(whole)
    run = whole.run_folder("whole")
    assert list(whole.cells) == ["average-64", "raw-64", "average-128", "raw-128"]
    assert equal(kept(run, 128, "average"), run / LAST_FILE)
    assert not equal(kept(run, 128, "raw"), run / LAST_FILE)
    assert not equal(kept(run, 64, "raw"), kept(run, 128, "raw"))
    assert whole.loaded(kept(run, 64, "raw")).file.card["images_seen"] == 64

    def stops(run):
        events = []
        for event in run.events(lambda: len(events) >= 3):
            events.append(event)
        return isinstance(events[-1], Finished)

    cut = Bench(request_for("ema", out=whole.out.parent / "cut"), stops)
    with pytest.raises(Interrupted):
        study(cut)
    goes_on = Bench(request_for("ema", out=cut.out), trains)
    study(goes_on)
    for images in (64, 128):
        for kind in ("average", "raw"):
            assert equal(kept(goes_on.run_folder("whole"), images, kind), kept(run, images, kind))
    assert study(Bench(request_for("ema"), never_trains)).paragraph == found.paragraph


def test_a_run_that_is_killed_between_its_checkpoint_and_what_it_keeps_still_keeps_it(request_for, trains, monkeypatch):
    def killed(run, milestone):
        raise KeyboardInterrupt

    bench = Bench(request_for("ema"), trains)
    with monkeypatch.context() as patch:
        patch.setattr(train, "SAVE_SECONDS", 0.0)
        patch.setattr(KeptRun, "_keep", killed)
        with pytest.raises(KeyboardInterrupt):
            study(bench)
    whole = Bench(request_for("ema", out=bench.out.parent / "whole"), trains)
    study(whole)
    study(Bench(request_for("ema"), trains))
    for kind in ("average", "raw"):
        assert equal(kept(bench.run_folder("whole"), 64, kind), kept(whole.run_folder("whole"), 64, kind))


def test_the_paragraph_follows_the_numbers(measured):
    def cells(average, raw):
        found = {}
        for images, one, other in zip((50, 100), average, raw, strict=True):
            found[f"average-{images}"] = measured(one, images_seen=images)
            found[f"raw-{images}"] = measured(other, images_seen=images)
        return found

    assert paragraph(cells([2.0, 1.0], [8.0, 2.0])).endswith("The average is nearer throughout.")
    text = paragraph(cells([2.0, 1.0], [8.0, 1.0]))
    assert "After 50 images the average lies 2 (1.9 to 2.1) floors from the real digits, nearer than" in text
    assert text.endswith("at the end, where the rate is 0, it is not.")
    assert paragraph(cells([8.0, 2.0], [2.0, 1.0])).endswith("at times it is farther.")
    assert paragraph(cells([2.0, 2.0], [2.0, 2.0])).endswith("Nowhere can the two be told apart.")
    assert paragraph(cells([8.0, 1.0], [2.0, 2.0])).endswith(
        "At the end the average is nearer, before that not always."
    )
    early = cells([2.0, 1.0], [8.0, 2.0]) | {"average-100": measured(1.0, right=0.1, images_seen=100)}
    assert "throughout" not in paragraph(early)
    assert "Too little is learned" in paragraph(early)
