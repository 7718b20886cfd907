"""`noisette evaluate`: flags reach the request and each model's sampling, records and pictures reach their files."""

import importlib.util
import json
from pathlib import Path

import pytest

import noisette.cli.evaluate as evaluate_command
from noisette.base.errors import Refusal
from noisette.cli.evaluate import run
from noisette.cli.flags import subjects
from noisette.data.form import Form
from noisette.weights.model_file import load_model, save_model
from noisette.workflows.evaluate import EvaluationRequest


@pytest.fixture
def folder(blobs, monkeypatch, tiny_model):
    """The working folder, with two models, one of them in a run folder, and a sample file."""
    monkeypatch.chdir(blobs.folder)
    for name, options in (("model", {"steps": 3}), ("run/best", {"sampler": "ddim", "eta": 1.0, "steps": 2})):
        path = blobs.folder / f"{name}.safetensors"
        save_model(path, tiny_model(blobs.classes, **options))
    data = blobs.draw(50, 7)
    blobs.write("real.npz", data.images, data.labels)
    return blobs.folder


FLAGS = ("--data", "blobs", "--classifier", "blobs.safetensors", "--device", "cpu", "--count", "120")


def test_one_table_and_one_file_over_several(folder, capsys):
    assert run(["model.safetensors", "run", "real.npz", *FLAGS, "--json", "new/all.json", "--pictures", "shown"]) == 0
    out = capsys.readouterr().out
    assert out.count("real images, equal counts") == 1
    assert [line.split(":")[0] for line in out.splitlines()[-3:]] == ["model.safetensors", "run", "real.npz"]
    records = json.loads(Path("new/all.json").read_text())
    assert [record["source"]["name"] for record in records] == ["model.safetensors", "run", "real.npz"]
    assert [record["source"]["count"] for record in records] == [120, 120, 120]
    assert json.loads(Path("run/evaluation.json").read_text()) == records[1]
    assert not Path("evaluation.json").exists()
    assert sorted(path.name for path in Path("shown").iterdir()) == ["1-model", "2-run", "3-real"]
    assert Path("shown/2-run/nearest.png").exists()
    assert len(list(Path("run").iterdir())) == 2  # neither samples nor anything else was kept


def test_what_was_measured_is_kept_where_a_later_one_fails(folder, monkeypatch):
    measure = evaluate_command.measure

    def fail_at_last(samples, *given):
        if samples.source["name"] == "real.npz":
            raise KeyboardInterrupt
        return measure(samples, *given)

    monkeypatch.setattr(evaluate_command, "measure", fail_at_last)
    with pytest.raises(KeyboardInterrupt):
        run(["model.safetensors", "real.npz", *FLAGS, "--json", "all.json"])
    (record,) = json.loads(Path("all.json").read_text())
    assert record["source"]["name"] == "model.safetensors"


def test_real_images_are_brought_into_the_form_of_the_model_wherever_it_stands(folder, monkeypatch):
    asked = []
    monkeypatch.setattr(evaluate_command, "form_of", lambda model: Form((7, 10)))
    monkeypatch.setattr(EvaluationRequest, "load_real", lambda request, *given: asked.append(request.form) or 1 / 0)
    for names in (["model.safetensors", "real.npz"], ["real.npz", "model.safetensors"]):
        with pytest.raises(ZeroDivisionError):
            run([*names, *FLAGS])
    assert asked == [Form((7, 10))] * 2


def test_each_model_keeps_what_the_flags_leave_out(folder):
    assert run(["model.safetensors", "run", *FLAGS, "--seed", "4", "--guidance-scale", "2", "--json", "x.json"]) == 0
    one, other = (record["source"] for record in json.loads(Path("x.json").read_text()))
    assert (one["sampling"]["sampler"], one["sampling"]["steps"], one["sampling"].get("eta")) == ("euler", 3, None)
    assert (other["sampling"]["sampler"], other["sampling"]["steps"], other["sampling"]["eta"]) == ("ddim", 2, 1.0)
    assert one["sampling"]["guidance_scale"] == other["sampling"]["guidance_scale"] == 2
    assert one["seed"] == other["seed"] == 4
    assert run(["run", *FLAGS, "--sampler", "heun", "--json", "x.json"]) == 0  # the model's eta was its sampler's
    record = json.loads(Path("x.json").read_text())
    assert record["source"]["sampling"]["sampler"] == "heun"
    assert "eta" not in record["source"]["sampling"]


def test_every_flag_arrives(folder, monkeypatch):
    seen = []

    def note(request, data_dir, progress):
        seen.append((request, data_dir))
        raise KeyboardInterrupt

    monkeypatch.setattr(EvaluationRequest, "load_real", note)
    flags = (
        "--data mnist --against validation --count 500 --priors own --classifier x --inception i --seed 3 --usefulness "
        "--validation-fraction 0.3 --split-seed 2 --data-dir there --image-size 8,10 --channels 3 --fit pad"
    )
    with pytest.raises(KeyboardInterrupt):
        run(["real.npz", *flags.split()])
    request, data_dir = seen[0]
    assert request == EvaluationRequest(
        "mnist", "validation", 500, "own", "x", Path("i"), 3, True, 0.3, 2, Form((8, 10), 3, "pad")
    )
    assert data_dir == Path("there")


REFUSED = {
    "nothing": ([], "no model and no samples: expected a name, run folder or file first"),
    "flags alone": (["--data", "blobs"], "no model and no samples"),
    "model": (["mnits"], "no model 'mnits'.*did you mean 'mnist'"),
    "missing samples": (["real.npz", "none.npz"], "no sample file at none.npz"),
    "flag": (["real.npz", "--againts", "test"], "unknown flag --againts: did you mean --against"),
    "choice": (["real.npz", "--against", "train"], "'train'.*--against.*\\('test', 'validation'\\)"),
    "another size": (["real.npz", "mnist"], r"mnist.* draws the classes 0, 1"),
    "count": (["real.npz", "--count", "99"], "count 99: expected at least 100"),
    "sampling": (["model.safetensors", "--steps", "0"], "steps 0: expected at least 1"),
    "device": (["model.safetensors", "--device", "tpu"], "unknown device 'tpu'"),
    "json": (["real.npz", "--json", "real.npz/x.json"], "cannot write real.npz/x.json"),
    "json onto a folder": (["real.npz", "--json", "run"], "cannot write run: found a folder"),
    "pictures": (["real.npz", "--pictures", "real.npz"], "cannot write real.npz/nearest.png"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_before_any_work(case, folder, capsys, monkeypatch):
    monkeypatch.setattr("noisette.cli.evaluate.real_statistics", lambda *more: pytest.fail("it began"))
    args, message = REFUSED[case]
    before = sorted(folder.rglob("*"))
    options = [] if case in ("nothing", "flags alone") else ["--data", "blobs", "--classifier", "blobs.safetensors"]
    with pytest.raises(Refusal, match=message):
        run([*args, *options])
    assert capsys.readouterr().out == ""
    assert sorted(folder.rglob("*")) == before


def test_a_run_folder_that_cannot_be_written_is_refused(folder):
    (folder / "run" / "evaluation.json").mkdir()
    with pytest.raises(Refusal, match=r"cannot write run/evaluation\.json"):
        run(["run", *FLAGS])


def test_what_stands_before_the_flags_is_what_it_is_about():
    assert subjects(["a", "b", "--x", "c"]) == (["a", "b"], ["--x", "c"])
    assert subjects(["--x", "c"]) == ([], ["--x", "c"])
    assert subjects([]) == ([], [])


def test_help_shows_the_models_sampling_and_every_flag(folder, capsys):
    for args in (["--help"], ["run", "--help"]):
        with pytest.raises(SystemExit):
            run(args)
        text = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert "usage: noisette evaluate MODEL_OR_SAMPLES ..." in text
        for flag in ("--against", "--priors", "--usefulness", "--pictures", "--guidance-scale"):
            assert flag in text
    assert "(default: ddim)" in text


@pytest.fixture
def ship(folder, monkeypatch):
    """Calls tools/ship.py on the model, which then ships in the working folder; returns the card."""
    spec = importlib.util.spec_from_file_location("ship", Path(__file__).parents[2] / "tools" / "ship.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SHIPPED", folder / "shipped")

    def call(*flags):
        monkeypatch.setattr("sys.argv", ["ship.py", "model.safetensors", "blobs", *flags])
        module.main()
        return load_model(folder / "shipped" / "blobs.safetensors").card

    return call


def test_records_go_into_the_card_of_what_ships(ship, folder, capsys):
    assert run(["model.safetensors", *FLAGS, "--steps", "2", "--json", "x.json"]) == 0
    record = json.loads(Path("x.json").read_text())
    card = ship("--metrics", "x.json", "--steps", "2")
    assert card["metrics"]["classifier blobs"]["metrics"] == record["metrics"]
    assert card["metrics"]["classifier blobs"]["count"] == 120
    assert '"frechet"' in (folder / "shipped" / "blobs.md").read_text()
    with pytest.raises(Refusal, match=r"x.json measured samples drawn by .*'steps': 2.*: expected .*'steps': 3"):
        ship("--metrics", "x.json")
    run(["run", *FLAGS, "--json", "y.json"])
    with pytest.raises(Refusal, match=r"y\.json measured the model run: expected model\.safetensors"):
        ship("--metrics", "y.json")
    Path("z.json").write_text("[]")
    with pytest.raises(Refusal, match=r"z\.json is no evaluation"):
        ship("--metrics", "z.json")
