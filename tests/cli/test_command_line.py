"""The face itself: help, version, what is imported when, warnings, and a reader that goes away."""

import ast
import os
import re
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path

import pytest

import noisette
from noisette.cli import COMMANDS, main

HEAVY = ("torch", "numpy", "tyro", "rich", "PIL", "matplotlib", "jaxtyping", "safetensors", "pooch", "accelerate")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_help_names_every_command(argv, capsys):
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text and about in text for name, about in COMMANDS.items())


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"noisette {noisette.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, capsys):
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"usage: noisette {name}" in text
    assert "-h, --help" in text


def help_of(capsys, *argv) -> str:
    """The help as one line without frames."""
    assert main([*argv, "--help"]) == 0
    return " ".join(re.sub("[│╭╮╰╯─]", " ", capsys.readouterr().out).split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_is_explained(name, capsys):
    text = help_of(capsys, name)
    assert not re.findall(r"--[\w-]+(?:, --[\w-]+)?(?: \S+)? \((?:default|required|optional)", text)
    if name == "train":
        assert "--widths NUMBER,NUMBER,... Channels of each level;" in text
        assert "--beta-start FLOAT First rate of the linear table" in text


def test_the_recipe_decides_the_defaults_that_help_shows(capsys):
    lab, default = help_of(capsys, "train", "--recipe", "lab"), help_of(capsys, "train")
    assert "karras, log-linear or flow. (default: linear)" in lab
    assert "karras, log-linear or flow. (default: karras)" in default


def test_help_imports_nothing_heavy():
    code = "import sys; from noisette.cli import main; main(['--help']); main(['--version']); print(*sys.modules)"
    loaded = python(code).splitlines()[-1].split()
    assert "noisette.cli" in loaded
    assert not set(HEAVY) & set(loaded)


def test_importing_the_library_does_no_work():
    loaded = python("import sys, noisette; dir(noisette); print(*sys.modules)").split()
    assert [name for name in loaded if name.startswith("noisette")] == ["noisette"]
    assert not set(HEAVY) & set(loaded)


@pytest.mark.parametrize(
    "command", [[sys.executable, "-m", "noisette"], [str(Path(sys.executable).parent / "noisette")]]
)
def test_the_installed_command_starts(command):
    """How fast is measured by benchmarks/speed.py."""
    done = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: noisette")


def test_every_public_name_leads_home():
    tree = ast.parse(Path(noisette.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.name: node.module for node in block.body for alias in node.names}
    assert sorted(typed) == sorted(noisette.__all__) == sorted(dir(noisette))
    for name, home in typed.items():
        assert getattr(noisette, name) is getattr(import_module(home), name)
    with pytest.raises(AttributeError, match="no attribute 'tarin'"):
        noisette.tarin  # noqa: B018


def test_warnings_are_one_line(monkeypatch, capsys):
    def command(args):
        warnings.simplefilter("default")
        warnings.warn("first\nsecond", stacklevel=2)
        return 0

    monkeypatch.setattr("noisette.cli.info.run", command)
    assert main(["info"]) == 0
    assert capsys.readouterr().err == "noisette: warning: first second\n"


def test_ctrl_c_is_one_line(monkeypatch, capsys):
    def command(args):
        raise KeyboardInterrupt

    monkeypatch.setattr("noisette.cli.info.run", command)
    assert main(["info"]) == 130
    assert capsys.readouterr().err == "noisette: interrupted\n"


def test_what_nobody_foresaw_keeps_its_traceback(monkeypatch):
    def command(args):
        raise ZeroDivisionError

    monkeypatch.setattr("noisette.cli.info.run", command)
    with pytest.raises(ZeroDivisionError):
        main(["info"])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no broken pipes")
@pytest.mark.parametrize("argv", [["--help"], ["info"], ["sample", "--help"]])
def test_a_reader_may_go_away(argv):
    command = [sys.executable, "-m", "noisette", *argv]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered)
    with started:
        started.stdout.close()
        assert started.stderr.read() == b""
    assert started.returncode == 1
