"""Studies by name: what is asked for is refused early or made, and leaves its files."""

import json

import pytest

from noisette.base.errors import Refusal
from noisette.base.lock import LOCK_FILE, locked
from noisette.workflows.studies.catalogue import STUDIES, run_study


def test_the_studies_are_the_laboratorys():
    assert list(STUDIES) == ["steps", "recognition", "forward", "parts", "ema", "guidance", "schedule"]


def test_a_study_leaves_its_files(request_for, never_trains, own_model):
    request = request_for("forward", model=own_model)
    found, written = run_study(request, never_trains)
    assert written[0] == request.out / "README.md"
    page = written[0].read_text()
    assert found.paragraph in page
    assert "command: `noisette study forward`" in page
    record = json.loads((request.out / "results.json").read_text())
    assert record["finding"] == found.paragraph
    assert record["settings"]["model"] == own_model
    assert {"dissolving.png", "signal.png", "table.md"} <= {path.name for path in request.out.iterdir()}


def test_a_study_that_another_process_makes_is_refused(request_for, never_trains, own_model):
    request = request_for("forward", model=own_model)
    with locked(request.out):
        with pytest.raises(Refusal, match="forward is in use by another process"):
            run_study(request, never_trains)
        assert [path.name for path in request.out.iterdir()] == [LOCK_FILE]
    run_study(request, never_trains)


def test_what_cannot_be_studied_is_refused_before_any_work(request_for, never_trains, laboratory):
    with pytest.raises(Refusal, match=r"unknown study 'stepps'.*did you mean 'steps'"):
        run_study(request_for("stepps"), never_trains)
    with pytest.raises(Refusal, match="study parts takes no model, found 'mnist': those that do are steps, recogn"):
        run_study(request_for("parts", model="mnist"), never_trains)
    with pytest.raises(Refusal, match=r"did you mean 'mnist'"):
        run_study(request_for("guidance", model="mnits"), never_trains)
    with pytest.raises(Refusal, match="unknown data set"):
        run_study(request_for("forward", data="tyni"), never_trains)
    with pytest.raises(Refusal, match="no classifier"):
        run_study(request_for("forward", classifier="nobody"), never_trains)
    assert not [entry for entry in laboratory.iterdir() if entry.is_dir()]
