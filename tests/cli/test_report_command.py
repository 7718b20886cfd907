"""`noisette report`: its flags reach the workflow, its page's path is printed, bad input is one line."""

import shutil

import pytest

from noisette.base.errors import Refusal
from noisette.cli import report as command
from noisette.workflows import report as workflow


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What the command hands to the workflow."""
    given = []

    def write(*arguments):
        given.append(arguments)
        return tmp_path / "page.html"

    monkeypatch.setattr(command, "write_report", write)
    return given


def test_every_flag_reaches_the_workflow(asked, tmp_path, capsys):
    flags = ["--out", "a.html", "--count", "500", "--data-dir", "d", "--classifier", "c.safetensors", "--device", "cpu"]
    assert command.run(["runs/x", *flags]) == 0
    ((*arguments, say),) = asked
    assert [str(argument) for argument in arguments] == ["runs/x", "a.html", "500", "d", "c.safetensors", "cpu"]
    say("a section")
    assert capsys.readouterr().out == f"report: {tmp_path / 'page.html'}\n"


def test_the_defaults_are_the_runs_own(asked):
    command.run(["runs/x"])
    ((_, out, count, data_dir, classifier, device, _),) = asked
    assert (out, count, data_dir, classifier, device) == (None, 1000, None, "mnist", "auto")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "no run: expected its folder first"),
        (["runs/x", "--cuont", "3"], "did you mean --count"),
        (["runs/x", "--count", "many"], "count"),
        (["no-such-run"], "no folder no-such-run"),
    ],
)
def test_bad_input_is_refused(args, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refusal, match=message):
        command.run(args)


def test_a_real_page(report_run, evaluated, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("noisette.report.page.save_figure", lambda figure, stem: "<svg></svg>")
    monkeypatch.setattr("noisette.workflows.report_samples.WATCHED", 10)
    monkeypatch.setattr(workflow, "evaluate", lambda *given: pytest.fail("there is a record"))
    folder = shutil.copytree(report_run, tmp_path / "run")
    evaluated(folder)
    assert command.run([str(folder), "--device", "cpu"]) == 0
    assert capsys.readouterr().out == f"report: {folder / 'report.html'}\n"
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
