"""What the documents say: the README's code runs, its commands are understood, the design's tree is the tree."""

import re
import shlex
from dataclasses import fields, replace
from pathlib import Path
from typing import ClassVar, NamedTuple, get_args, get_type_hints

import pytest

import noisette
from noisette.cli import COMMANDS, main
from noisette.data.datasets import load_data
from noisette.data.form import Form
from noisette.training.loop import Finished, Validated
from noisette.workflows.doctor.evidence import Evidence
from noisette.workflows.doctor.examine import Examination
from noisette.workflows.drawing import Sampled
from noisette.workflows.model import load
from noisette.workflows.perceive import load_perception

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {page.name: page.read_text(encoding="utf-8") for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def shell_lines(program: str) -> list[str]:
    """Every command line of the pages that starts `program`, without its comment."""
    lines = [
        line.partition("#")[0].strip()
        for page in PAGES.values()
        for block in blocks(page, "sh")
        for line in block.splitlines()
    ]
    return sorted({re.sub(r"^\S*bin/", "", line) for line in lines if re.match(rf"(\S*bin/)?{program}\b", line)})


class Stub(NamedTuple):
    """Stands for what a study found and what an evaluation measured."""

    paragraph: str
    record: dict[str, object] | None = None


class Scored:
    """Stands for what scores, and for what it found."""

    record: ClassVar[dict[str, object]] = {}
    kept = after = ()

    def run(self, *given):
        return self

    def checks(self, *given):
        return ()

    def finish(self, progress):
        return self


HEALTHY = Examination("", (), (), {}, Evidence())
DRAWING, PIECES, TRAINING = blocks(README, "python")


def test_the_library_draws_as_the_readme_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(DRAWING, names)
    assert names["images"].shape == (3, 1, 28, 28)
    assert (tmp_path / "sevens.png").stat().st_size > 0


def test_the_pieces_fit_as_the_readme_shows(capsys):
    exec(PIECES, {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 18
    assert lines[-1].split()[0] == "0.000"
    assert 0.5 < float(lines[-1].split()[1]) < 0.65  # the component that was asked for, and guided a little past it


def test_a_run_is_a_generator_as_the_readme_shows(tmp_path, monkeypatch, capsys):
    recipe = noisette.load_recipe("demo")
    network = replace(recipe.network, widths=(8,), blocks=1)
    training = replace(recipe.training, minutes=None, images=256, validation_images=16, precision="float32")
    tiny = replace(recipe, network=network, training=training, sampling=replace(recipe.sampling, steps=2))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(noisette, "load_recipe", {"demo": tiny}.__getitem__)
    exec(TRAINING, {})
    events = capsys.readouterr().out.splitlines()
    assert [line.partition("(")[0] for line in events[-2:]] == [Validated.__name__, Finished.__name__]
    assert (tmp_path / "runs/first/best.safetensors").exists()


def test_the_readme_shows_both_ways_briefly():
    assert sum(block.strip().count("\n") + 1 for block in (DRAWING, PIECES)) < 30


@pytest.mark.parametrize("line", shell_lines("noisette"))
def test_every_command_shown_is_understood(line, monkeypatch):
    """All but the work itself is real: the command, its flags, their values, the recipe, the model's defaults."""
    done = []
    monkeypatch.setattr("noisette.cli.sample.load", lambda name, *how: load("mnist", *how))
    monkeypatch.setattr("noisette.cli.sample.sample_to", lambda *given: done.append(given) or Sampled(1, 1.0, 1.0))
    monkeypatch.setattr("noisette.cli.train.Run", lambda *given, **named: done.append((given, named)))
    monkeypatch.setattr("noisette.cli.train.follow", lambda run: 0)
    monkeypatch.setattr("noisette.workflows.check.load_data", lambda *given: load_data("mnist-5k"))
    monkeypatch.setattr("noisette.cli.report.write_report", lambda *given: done.append(given) or Path("report.html"))
    monkeypatch.setattr("noisette.cli.perceive.perceive", lambda *given: done.append(given) or load_perception("mnist"))
    measured = {"left_out": "pixelated", "measured_images": 1, "measured_on": "test", "digest": ""}
    measured |= dict.fromkeys(("accuracy", "unseen_accuracy", "trained_clear", "clear_not_pixelated"), 1.0)
    measured |= {"training_seconds": 1.0}
    monkeypatch.setattr("noisette.cli.perceive.perceive_text", lambda *given: done.append(given) or measured)
    monkeypatch.setattr("noisette.cli.study.run_study", lambda *given: done.append(given) or (Stub("found"), []))
    monkeypatch.setattr("noisette.cli.evaluate.open_source", lambda name, *how: load("mnist", *how))
    monkeypatch.setattr("noisette.cli.evaluate.EvaluationRequest.load_real", lambda *given: done.append(given))
    for name in ("check_source", "real_statistics", "take", "save_pictures", "show"):
        monkeypatch.setattr(f"noisette.cli.evaluate.{name}", lambda *given: None)
    monkeypatch.setattr(
        "noisette.cli.evaluate.measure",
        lambda *given: Stub("", {"source": {"name": "", "seconds": None}, "timings": {}}),
    )
    monkeypatch.setattr("noisette.cli.score.open_drawn", lambda *given, **named: None)
    monkeypatch.setattr("noisette.cli.score.Scoring", lambda *given: done.append(given) or Scored())
    for name in ("write_text", "save_scores", "show"):
        monkeypatch.setattr(f"noisette.cli.score.{name}", lambda *given: [])
    monkeypatch.setattr("noisette.cli.rank.load", lambda name, *how: load("mnist", *how))
    monkeypatch.setattr("noisette.cli.rank.Rank", lambda *given: done.append(given) or Scored())
    for name in ("write_text", "write_arrays", "shard_of", "save_ranked", "show_ranked"):
        monkeypatch.setattr(f"noisette.cli.rank.{name}", lambda *given: [])
    monkeypatch.setattr("noisette.cli.reward.load", lambda name, *how: load("mnist", *how))
    monkeypatch.setattr("noisette.cli.reward.Reward", lambda *given: done.append(given) or Scored())
    for name in ("save_rewarded", "show_rewarded"):
        monkeypatch.setattr(f"noisette.cli.reward.{name}", lambda *given: [])
    monkeypatch.setattr("noisette.cli.refine.load", lambda name, *how: load("mnist", *how))
    monkeypatch.setattr("noisette.cli.refine.Refine", lambda *given: done.append(given) or Scored())
    for name in ("write_text", "write_arrays", "shard_of", "save_refined", "show_refined", "open_drawn"):
        monkeypatch.setattr(f"noisette.cli.refine.{name}", lambda *given, **named: [])
    monkeypatch.setattr("noisette.cli.doctor.examine", lambda *given: done.append(given) or HEALTHY)
    monkeypatch.setattr("noisette.cli.demo.run_demo", lambda *given: done.append(given) or [])
    program, command, *flags = shlex.split(line)
    assert program == "noisette"
    assert main([command, *flags]) == 0
    assert len(done) == (command not in ("check", "info"))


def test_arrays_of_your_own_are_read_as_the_page_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (arrays,) = blocks(PAGES["data.md"], "python")
    exec(arrays, {})
    data = load_data("mine.npz")
    assert data.images.shape == (100, 32, 32, 3)
    assert data.classes == ("boot", "7")


def test_every_choice_of_a_form_is_explained():
    shown = set(re.findall(r"`--([\w-]+) (\w+)", PAGES["data.md"]))
    hints = get_type_hints(Form)
    for field in fields(Form):
        flag = field.name.replace("_", "-")
        choices = get_args(hints[field.name]) if field.name in ("fit", "unreadable") else ()
        assert flag in {name for name, _ in shown}
        assert {choice for name, choice in shown if name == flag} >= set(choices) - {"refuse"}


def test_every_command_is_shown():
    assert {line.split()[1] for line in shell_lines("noisette")} == set(COMMANDS)


def test_every_make_target_shown_is_there():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    shown = {line.split()[1] for line in shell_lines("make")}
    assert shown
    assert shown <= targets


def test_every_link_between_the_pages_and_every_picture_is_there():
    for name, page in PAGES.items():
        here = ROOT if (ROOT / name).exists() else ROOT / "docs"
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page):
            assert (here / target).exists(), f"{name} points to {target}"
    assert "docs/images/" in README


def test_the_tree_in_the_design_is_the_tree():
    (tree,) = blocks(PAGES["design.md"], "tree")
    described: dict[str, str] = {}
    folder = ""
    for line in tree.splitlines():
        name, _, phrase = line.strip().partition("  ")
        if name.endswith("/"):
            folder = name
        described[name if name.endswith("/") else folder + name] = phrase.strip()
    source = ROOT / "src/noisette"
    files = {str(path.relative_to(source)) for path in source.rglob("*.py") if path.name != "__init__.py"}
    files |= {str(path.relative_to(source)) + "/" for path in source.iterdir() if (path / "__init__.py").exists()}
    assert described.keys() == files | {"recipes/"}
    assert [name for name, phrase in described.items() if not phrase] == []
