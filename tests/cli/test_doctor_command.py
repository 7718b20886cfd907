"""`noisette doctor`: its flags reach the workflow, what was found is printed and is the exit code."""

import pytest

from noisette.base.errors import Refusal
from noisette.cli import doctor as command
from noisette.cli import main
from noisette.data.form import Form
from noisette.workflows.doctor.evidence import Diagnosis, Evidence
from noisette.workflows.doctor.examine import Examination


@pytest.fixture
def asked(monkeypatch):
    """What the command hands to the workflow, and what it gets back: nothing found, unless something is put there."""
    given, found = [], {}

    def examine(*arguments):
        given.append(arguments)
        return Examination("run x", ("log",), (), found, Evidence())

    monkeypatch.setattr(command, "examine", examine)
    return given, found


def test_every_flag_reaches_the_workflow(asked, capsys):
    flags = ["--overfit", "--data-dir", "d", "--device", "cpu", "--image-size", "8", "--channels", "1"]
    assert command.run(["runs/x", *flags]) == 0
    (((*arguments, say, form),), _) = asked
    assert form == Form(image_size=(8,), channels=1)
    assert [str(argument) for argument in arguments] == ["runs/x", "d", "cpu", "True"]
    say("log")
    assert capsys.readouterr().out == "run x\nlooked at: log\n\nnothing found\n"


def test_what_is_found_is_an_exit_code_of_its_own(asked, capsys):
    asked[1]["noise never pure"] = Diagnosis("suspected", ("alpha-bar 0.02",), "--table-steps 500")
    assert main(["doctor", "mnist-5k"]) == 3
    out = capsys.readouterr().out
    assert out.endswith("1. suspected: noise never pure\n   - alpha-bar 0.02\n   try first: --table-steps 500\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "nothing to examine: expected a run's folder or a data set first"),
        (["x", "--overfitt"], "did you mean --overfit"),
        (["mnits"], "unknown data set 'mnits'.*did you mean 'mnist'"),
        (["mnist-5k", "--device", "gpu"], "unknown device 'gpu'"),
    ],
)
def test_bad_input_is_refused(args, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refusal, match=message):
        command.run(args)


def test_a_real_run(run_folder, capsys):
    """Eight steps are far too few, and are said to be."""
    assert main(["doctor", str(run_folder), "--device", "cpu"]) == 3
    assert "found: too little training\n   - 8 optimiser steps, 512 images" in capsys.readouterr().out
