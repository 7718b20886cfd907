"""Studies from the command line: the flags reach the request, what is wrong is told in one line."""

import pytest

from noisette.base.errors import Refusal
from noisette.cli import study as module
from noisette.cli.drawing import Drawing
from noisette.cli.study import run
from noisette.workflows.studies.bench import Interrupted
from noisette.workflows.studies.catalogue import STUDIES
from noisette.workflows.studies.finding import Finding
from noisette.workflows.train import Run


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """The requests that commands make, without making the study."""
    seen = []

    def note(request, follow, say, progress):
        seen.append(request)
        progress(1.0, 2)
        say("[1/1] cell")
        return Finding("Title", "It was found.", [], {}), [tmp_path / "README.md"]

    monkeypatch.setattr(module, "run_study", note)
    return seen


def test_what_was_found_is_printed(asked, capsys, tmp_path):
    assert run(["steps", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "[1/1] cell\n\nIt was found.\n\nwritten:\n  " in out
    assert out.endswith("README.md\n")


def test_every_flag_arrives(asked, tmp_path):
    assert (
        run(["guidance", "mine", "--short", "--data-dir", str(tmp_path), "--classifier", "x", "--device", "cpu"]) == 0
    )
    (request,) = asked
    assert (request.name, request.model, request.short) == ("guidance", "mine", True)
    assert (request.data, request.data_dir, request.classifier, request.device) == ("mnist-5k", tmp_path, "x", "cpu")
    assert str(request.out) == "studies/guidance"
    assert request.command.startswith("noisette study guidance mine --short")


def test_full_studies_are_of_mnist_unless_told_otherwise(asked):
    run(["parts"])
    run(["parts", "--short", "--data", "mnist"])
    assert [request.data for request in asked] == ["mnist", "mnist"]
    assert asked[0].model is None


def test_help_lists_the_studies(capsys):
    with pytest.raises(SystemExit) as ended:
        run(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    for name, study in STUDIES.items():
        assert f"  {name}" in out
        assert study.about in out


def test_no_study_is_refused_with_the_list(capsys):
    with pytest.raises(Refusal, match="no study: expected its name first"):
        run([])
    assert "recognition" in capsys.readouterr().out
    with pytest.raises(Refusal, match="did you mean 'recognition'"):
        run(["recogniton", "--short"])
    with pytest.raises(Refusal, match="at most a model"):
        run(["steps", "mnist", "mnist-5k"])
    with pytest.raises(Refusal, match="did you mean --short"):
        run(["steps", "--shorter"])


def test_an_interrupted_study_says_how_to_go_on(monkeypatch, capsys):
    monkeypatch.setattr(module, "follow", lambda run: 130)

    def interrupted(request, follow, say, progress):
        assert not follow(object.__new__(Run))
        raise Interrupted("fixed-100 is not trained to its end")

    monkeypatch.setattr(module, "run_study", interrupted)
    assert run(["steps", "--short"]) == 130
    assert "to go on: noisette study steps --short" in capsys.readouterr().out


def test_without_a_terminal_lines_tell_how_far_drawing_has_come(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with Drawing() as drawing:
        for done in (5.0, 10.0, 20.0):
            drawing.show(done, 20)
            now[0] += 11
        drawing.show(5.0, 20)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["10 of 20 images  0.5 images/s  0:00:22 left", "20 of 20 images  0.7 images/s  0:00:00 left"]
