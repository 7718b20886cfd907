"""What a model is and what ships, told without an error and without loss."""

import io

import pytest
import torch
from rich.console import Console

from noisette.data.datasets import DATASETS
from noisette.diffusion.samplers import SAMPLERS
from noisette.workflows.info import model_facts, shipped_facts, show
from noisette.workflows.model import Model


def printed(tables) -> str:
    console = Console(file=io.StringIO(), width=100, color_system=None)
    show(tables, console)
    return console.file.getvalue()


def test_what_a_model_is(tiny_model):
    file = tiny_model(classes=("zero", "[red]"), sampler="ddim", eta=0.25, guidance_scale=2.0, guidance_from=0.5)
    tables = model_facts(Model("tiny", file, torch.device("cpu")))
    about, sampling = dict(tables["model tiny"]), dict(tables["sampling defaults"])
    assert about["images"] == "8 x 10, channels: 1"
    assert about["classes"] == "zero, [red]"
    assert about["network"].startswith(f"{sum(p.numel() for p in file.network.parameters()):,} parameters")
    assert about["noise levels"].startswith("0.002 to 80")
    assert sampling["sampler"] == "ddim, eta 0.25"
    assert sampling["guidance"] == "scale 2 at noise levels 0.5 to inf"
    assert tables["card"] == [("data", "made up")]
    assert tables["config"] == [("training.seed", "0")]
    text = printed(tables)
    assert "[red]" in text  # a name is never taken for a colour
    assert "made up" in text


def test_what_was_measured_has_a_line_a_number(tiny_model):
    file = tiny_model()
    coverage = {"value": 0.94061, "low": 0.93, "high": 0.95, "real": 0.949, "real_spread": 0.005, "better": "up"}
    frechet = {"value": 2.0, "low": 1.5, "high": 2.5, "real": 1.0, "floors": 2.0}
    file.card["metrics"] = {
        "classifier eye": {"count": 60, "metrics": {"coverage": coverage, "frechet": frechet}},
        "odd": 3,
    }
    tables = model_facts(Model("tiny", file, torch.device("cpu")))
    assert tables["card"] == [("data", "made up")]
    assert tables["measured by classifier eye"] == [
        ("count", "60"),
        ("metrics.coverage", "0.9406 (0.93 to 0.95; real images 0.949)"),
        ("metrics.frechet", "2 (1.5 to 2.5; real images 1), 2 floors"),
    ]
    assert tables["measured by odd"] == [("", "3")]  # whatever a stranger's file holds is shown
    assert isinstance(file.card["metrics"]["odd"], int)  # and the model is as it was


@pytest.mark.parametrize("number", [1.5, 10**400], ids=["a number", "a very long one"])
def test_a_card_may_hold_anything(tiny_model, number):
    file = tiny_model()
    measure = dict.fromkeys(("value", "low", "high", "real", "floors"), number)
    file.card.update(
        measure | {"metrics": {"eye": measure}}
    )  # numbers where none are measured, and no integer is too long
    tables = model_facts(Model("tiny", file, torch.device("cpu")))
    assert ("low", str(number)) in tables["card"]
    assert str(number) in tables["measured by eye"][0][1]


@pytest.mark.parametrize(
    ("given", "clamp"),
    [
        ({}, "no"),
        ({"clamp": True}, "to [-1, 1]"),
        ({"clamp": True, "clamp_quantile": 0.9}, "by dynamic threshold 0.9"),
    ],
)
def test_how_it_is_clamped(tiny_model, given, clamp):
    tables = model_facts(Model("tiny", tiny_model(**given), torch.device("cpu")))
    assert dict(tables["sampling defaults"])["clamp"] == clamp


def test_what_guidance_leads_away_from(tiny_model):
    tables = model_facts(Model("tiny", tiny_model(guidance_scale=2.0, perturb_attention=True), torch.device("cpu")))
    expected = "scale 2 at noise levels 0 to inf, away from perturbed attention too"
    assert dict(tables["sampling defaults"])["guidance"] == expected


def test_of_very_many_classes_the_first_are_named(tiny_model):
    file = tiny_model(classes=tuple(f"class{number}" for number in range(100)))
    classes = dict(model_facts(Model("tiny", file, torch.device("cpu")))["model tiny"])["classes"]
    assert "class39" in classes
    assert "class40" not in classes
    assert classes.endswith("and 60 more")


def test_what_ships():
    facts = dict(shipped_facts()["what ships"])
    assert facts["data sets"] == ", ".join(DATASETS)
    assert facts["samplers"] == ", ".join(SAMPLERS)
    assert "quick" in facts["recipes"]
    assert set(facts) == {"models", "recipes", "data sets", "samplers", "schedules", "parameterisations"} | {
        "classifiers",
        "CLIP models",
    }
    assert all(found in printed(shipped_facts()) for found in facts.values())


def test_where_copies_are_kept_and_how_much_room_they_take(tmp_path, monkeypatch):
    monkeypatch.setenv("NOISETTE_CACHE", str(tmp_path / "cache"))
    assert f"{tmp_path / 'cache'}, 0.0 MB" in shipped_facts()["on this machine"][0][1]
    (tmp_path / "cache" / "sets").mkdir(parents=True)
    (tmp_path / "cache" / "sets" / "images").write_bytes(bytes(1_200_000))
    assert f"{tmp_path / 'cache'}, 1.2 MB" in shipped_facts()["on this machine"][0][1]
