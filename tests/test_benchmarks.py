"""Every benchmark runs in a tiny form, writes its JSON and its picture, and goes on where it was stopped.

What they time is never asserted: a busy machine is no fault.
"""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from noisette import cli
from noisette.base.errors import Refusal
from noisette.data.datasets import load_data
from noisette.perception.fit import FitConfig
from noisette.weights.model_file import SamplingConfig, save_model
from noisette.workflows.recipes import load_recipe, read_run_config, to_toml

FOLDER = Path(__file__).parents[1] / "benchmarks"

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # diffusers'
]


@pytest.fixture
def load_script(monkeypatch):
    """Imports a script as `python benchmarks/NAME.py` would; the quality of samples is made up, and matrices small."""
    monkeypatch.syspath_prepend(str(FOLDER))
    measure = importlib.import_module("measure")
    monkeypatch.setattr(measure, "matrix_rate", lambda dtype, repeats=1: 1e9)

    def load(name):
        script = importlib.import_module(name)
        for shared, stand_in in (("quality", made_up_quality), ("matrix_rate", measure.matrix_rate)):
            if script is not measure and hasattr(script, shared):
                monkeypatch.setattr(script, shared, stand_in)
        return script

    yield load
    for path in FOLDER.glob("*.py"):
        sys.modules.pop(path.stem, None)


def made_up_quality(samples, data_dir):
    """Two classifiers that look at the pixels: the darker, the more floors."""
    with np.load(samples) as arrays:
        assert arrays["images"].shape[1:] == (28, 28, 1)
        assert arrays["images"].dtype == np.uint8
        assert sorted(set(arrays["labels"].tolist())) == list(range(10))
        floors = 2 + float(255 - arrays["images"].mean()) / 100
    real = {"label_accuracy": 0.996, "floors": 1.0, "coverage": 0.96}
    one = {"label_accuracy": 1.0, "floors": floors, "coverage": 0.5, "real": real}
    return {"mild": one, "strict": {**one, "label_accuracy": 0.1, "floors": 2 * floors}}


def written(out, name):
    """The record of a benchmark, whose picture is one too."""
    with Image.open(out / f"{name}.png") as picture:
        assert min(picture.size) > 300
    record = json.loads((out / f"{name}.json").read_text())
    assert {"threads", "torch", "processors"} <= record["machine"].keys()
    assert record["matrix_product"].keys() == {"float32", "bfloat16"}
    return record


@pytest.fixture
def tiny_recipe(tmp_path):
    """The file of a configuration that trains at once."""
    quick = load_recipe("quick")
    tiny = replace(
        quick,
        network=replace(quick.network, widths=(8,), blocks=1, embedding=16, attention_at=(2,)),
        training=replace(quick.training, batch_size=8, validation_images=8, precision="float32"),
        sampling=replace(quick.sampling, steps=2),
    )
    path = tmp_path / "tiny.toml"
    path.write_text(to_toml(tiny))
    return path


def test_start_up(load_script, tmp_path, monkeypatch):
    script = load_script("start_up")
    monkeypatch.setattr(script, "CALLS", {"nothing": ["-c", ""], "help": ["-m", "noisette", "--help"]})
    assert script.main(["--repeats", "1", "--out", str(tmp_path)]) == 0
    rows = written(tmp_path, "start_up")["rows"]
    assert rows.keys() == {"nothing", "help"}
    assert all(len(row["each"]) == 1 and row["seconds"] > 0 for row in rows.values())


def test_memory(load_script, tmp_path, monkeypatch, tiny_recipe):
    script = load_script("memory")
    monkeypatch.setattr(script, "load_recipe", lambda name: read_run_config(tiny_recipe))

    def in_this_process(work, size, batch, recipe, precision):
        script.take_steps(work, recipe, size, batch, precision)
        return {"work": work, "size": size, "batch": batch, "peak_bytes": script.peak_bytes()}

    monkeypatch.setattr(script, "measure", in_this_process)
    assert script.main(["--sizes", "8", "--batches", "1", "2", "--out", str(tmp_path)]) == 0
    rows = written(tmp_path, "memory")["rows"]
    assert len(rows) == 2 * 2 + 1
    assert rows["drawing, 8 x 8, batch 2"]["peak_bytes"] > 50 * 2**20


def test_a_cell_of_memory_is_measured_in_a_process_of_its_own(load_script, monkeypatch):
    script = load_script("memory")
    ballast = np.ones(2**28, np.uint8)  # of this process; the other one does not inherit its peak
    here = script.peak_bytes()
    there = script.measure("importing", 28, 0, "quick", "float32")["peak_bytes"]
    assert len(ballast) < here
    assert 50 * 2**20 < there < here


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_large_data(load_script, tmp_path, monkeypatch):
    script = load_script("large_data")
    monkeypatch.setattr(script, "NETWORK", replace(script.NETWORK, widths=(8,), embedding=16))
    monkeypatch.setattr(script.DATASETS, "_choices", dict(script.DATASETS._choices))
    monkeypatch.setenv("NOISETTE_CACHE", "elsewhere")  # the script sets it
    monkeypatch.setattr("noisette.workflows.train.PREVIEW_IMAGES", 10)

    def in_this_process(kind, count, images, batch, out):
        return script.train_on(kind, count, images, batch, out) | {"peak_bytes": 2**20 * count}

    monkeypatch.setattr(script, "measure", in_this_process)
    flags = ["--count", "200", "--few", "100", "--images", "16", "--batch", "8", "--out", str(tmp_path)]
    assert script.main(flags) == 0
    rows = written(tmp_path, "large_data")["rows"]
    assert [(row["kind"], row["count"]) for row in rows.values()] == [*zip(script.KINDS, (100, 200, 200), strict=True)]
    assert all(row["images_per_second"] > 0 for row in rows.values())
    assert not (tmp_path / "cache").exists()


def test_training_rate(load_script, tmp_path, monkeypatch, tiny_recipe):
    script, tiny = load_script("training_rate"), read_run_config(tiny_recipe)
    monkeypatch.setattr(script, "load_recipe", {"quick": tiny, "demo": tiny}.__getitem__)
    flags = ["--widths", "8", "8,16", "--batches", "4", "--recipes", "demo", "--repeats", "1"]
    assert script.main([*flags, "--out", str(tmp_path)]) == 0
    rows = written(tmp_path, "training_rate")["rows"]
    assert len(rows) == 2 * 1 * 2 + 2
    row = rows["widths 8-16, batch 4, bfloat16"]
    step = row["step_seconds"][0]
    assert row["images_per_second"] == pytest.approx(4 / step)
    assert row["share_of_matrix_product"] == pytest.approx(6 * 4 * row["multiply_adds"] / step / 1e9)


@pytest.fixture
def model(tiny_model, tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_model(path, tiny_model(size=(1, 28, 28), sampler="dpmpp-2m", eta=None))
    return path


def test_sampling(load_script, tmp_path, model):
    script = load_script("sampling")
    flags = ["--samplers", "ddim/0.5:2,4", "heun:2", "--guidance", "1", "2:0.3:6", "--count", "10"]
    assert script.main([str(model), *flags, "--out", str(tmp_path)]) == 0
    rows = written(tmp_path, "sampling-tiny")["rows"]
    assert len(rows) == 6
    assert rows["heun 2, guidance none"]["evaluations"] == 3
    guided = rows["ddim/0.5 4, guidance 2 in 0.3-6"]
    assert guided["sampling"]["eta"] == 0.5
    assert guided["evaluations"] > 4
    assert guided["sampling"]["guidance_from"] == 0.3


def test_the_cells_of_sampling(load_script):
    script = load_script("sampling")
    found = script.cells(["dpmpp-2m/0.6:8", "heun:4"], ["1", "1.8:0.3:4:perturb"], SamplingConfig(grid="flow"))
    assert found == {
        "dpmpp-2m/0.6 8, guidance none": SamplingConfig("dpmpp-2m", 0.6, 8, "flow"),
        "dpmpp-2m/0.6 8, guidance 1.8 in 0.3-4, perturbed": SamplingConfig(
            "dpmpp-2m", 0.6, 8, "flow", 1.8, 0.3, 4.0, perturb_attention=True
        ),
        "heun 4, guidance none": SamplingConfig("heun", None, 4, "flow"),
        "heun 4, guidance 1.8 in 0.3-4, perturbed": SamplingConfig(
            "heun", None, 4, "flow", 1.8, 0.3, 4.0, perturb_attention=True
        ),
    }
    for guidance in ("1:2", "1.8:0.3:4:bend"):
        with pytest.raises(Refusal, match="expected"):
            script.cells(["heun:4"], [guidance], SamplingConfig())


def test_the_front_is_what_no_other_beats(load_script):
    script = load_script("sampling")

    def row(evaluations, floors):
        return {"evaluations": evaluations, "quality": {"a": {"floors": floors}, "b": {"floors": floors / 2}}}

    rows = {"slow": row(30, 2), "worse": row(20, 5), "middle": row(20, 4), "fast": row(5, 9), "beaten": row(30, 3)}
    assert script.front(rows) == ["fast", "middle", "slow"]


def test_time_to_quality_goes_on_where_it_was_stopped(load_script, tmp_path, tiny_recipe, monkeypatch, capsys):
    script = load_script("time_to_quality")
    peer = load_script("peer")
    widths = (32, 32, 32)  # the least that its normalisation allows
    monkeypatch.setattr(peer, "CourseNetwork", lambda network=peer.CourseNetwork: network(widths, layers=1))
    monkeypatch.setattr(peer, "BATCH", 2)
    monkeypatch.setattr(peer, "STEPS", 2)
    seconds = [0.02, 0.04]
    flags = ["--moments", *(str(second / 60) for second in seconds), "--data", "mnist-5k", "--count", "10"]
    call = [str(tiny_recipe), "peer", *flags, "--out", str(tmp_path)]
    calls = []

    def stopped(samples, data_dir):
        calls.append(samples)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return made_up_quality(samples, data_dir)

    monkeypatch.setattr(script, "quality", stopped)
    assert script.main(call) == 130
    assert len(json.loads((tmp_path / "time_to_quality.json").read_text())["rows"]) == 1
    assert script.main(call) == 0
    assert len(calls) == 5  # four moments, one of them twice
    rows = list(written(tmp_path, "time_to_quality")["rows"].values())
    assert [row["learner"] for row in rows] == ["tiny", "tiny", "peer", "peer"]
    for first, second in (rows[:2], rows[2:]):
        assert first["images_seen"] <= second["images_seen"]
        assert first["minutes"] >= seconds[0] / 60
        assert second["minutes"] >= seconds[1] / 60
    assert "left" in capsys.readouterr().out
    assert script.main(call) == 0
    assert len(calls) == 5


def test_the_peer_goes_on_from_its_folder(load_script, tmp_path, monkeypatch):
    peer = load_script("peer")
    monkeypatch.setattr(peer, "BATCH", 4)
    data = load_data("mnist-5k")

    def new():
        return peer.Peer(data.images[:9], data.labels[:9], tmp_path, 0, peer.CourseNetwork((32, 32, 32), layers=1))

    one = new()
    for _ in range(2):
        list(one.train_until(one.state.progress.seconds + 1e-9))  # a step
    other = new()
    assert other.state.progress == one.state.progress
    mine, its = (dict(peer.state.average.named_parameters()) for peer in (one, other))
    assert all(torch.equal(mine[name], its[name]) for name in mine)


def test_the_peer_predicts_the_noise_of_the_class_asked_for(load_script, tmp_path, monkeypatch):
    """Handed a network that knows the noise its loss is 0, and one picture a class is what it draws."""
    peer = load_script("peer")
    monkeypatch.setattr(peer, "BATCH", 20)
    monkeypatch.setattr(peer, "DRAW_BATCH", 7)
    labels = np.arange(10)
    images = np.zeros((10, 28, 28, 1), np.uint8)
    images[labels, labels, labels] = 255  # class k has its light at (k, k)

    class Knows(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, noisy, step, label):
            share = peer.DDPMScheduler(**peer.TABLE).alphas_cumprod[step.long()].view(-1, 1, 1, 1)
            clean = torch.from_numpy(images[label.numpy()]).permute(0, 3, 1, 2) / 127.5 - 1
            return (noisy - share.sqrt() * clean) / (1 - share).sqrt() + self.weight

    one = peer.Peer(images, labels, tmp_path, 0, Knows())
    next(one.train_until(1e9))
    assert one.state.network.weight.grad.abs() < 1e-4  # the loss is the mean square of nothing but rounding
    assert one.draw(2, 0, tmp_path / "some.npz")["evaluations"] == peer.STEPS
    with np.load(tmp_path / "some.npz") as arrays:
        assert arrays["labels"].tolist() == [*range(10)] * 2
        assert np.abs(arrays["images"].astype(int) - images[arrays["labels"]]).max() <= 2


def test_few_images(load_script, tmp_path, monkeypatch, tiny_recipe, model):
    script, tiny = load_script("few_images"), read_run_config(tiny_recipe)
    monkeypatch.setattr(script, "load_recipe", lambda name: tiny)
    for name, value in {"JUDGE_IMAGES": 240, "TEST_IMAGES": 100, "DRAWN": 100}.items():
        monkeypatch.setattr(script, name, value)
    monkeypatch.setattr("noisette.workflows.studies.judge.DRAWS", 2)
    monkeypatch.setattr(script, "FITTING", FitConfig(images=240))
    monkeypatch.setattr("noisette.workflows.train.PREVIEW_IMAGES", 10)
    flags = ["--counts", "20", "--minutes", "0.000001", "--init", str(model), "--out", str(tmp_path)]
    assert script.main(flags) == 0
    rows = written(tmp_path / "few-images", "few_images")["rows"]
    assert rows.keys() == {f"20 from {model}", "20 from nothing"}
    assert all(row["images_seen"] == 8 and row["coverage"]["real"] > 0 for row in rows.values())
    assert len(list((tmp_path / "few-images" / "letters-20" / "train" / "a").iterdir())) == 2


def test_letters_are_ten_and_none_is_cut_off(load_script):
    images, labels = load_script("few_images").letters(200, seed=0)
    assert labels.tolist() == [number % 10 for number in range(200)]
    assert (images.reshape(200, -1).max(axis=1) > 100).all()
    edges = np.concatenate([images[:, [0, -1]].reshape(200, -1), images[:, :, [0, -1]].reshape(200, -1)], axis=1)
    assert edges.max() < 60
    assert len({image.tobytes() for image in images}) == 200


def test_a_record_refuses_rows_of_another_machine(load_script, tmp_path, capsys):
    measure = load_script("measure")
    measure.Record(tmp_path / "some.json", {"count": 10}).add("one", {"seconds": 1.0})
    assert measure.Record(tmp_path / "some.json", {"count": 10}).rows == {"one": {"seconds": 1.0}}

    def other():
        measure.Record(tmp_path / "some.json", {"count": 20})

    assert measure.command(other) == 2
    assert "has count 10, not 20: expected another --out" in capsys.readouterr().err
    torch.set_num_threads(2)
    assert measure.command(lambda: measure.Record(tmp_path / "some.json", {"count": 10})) == 2
    assert "has threads 1, not 2" in capsys.readouterr().err
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("script", "flags", "refusal"),
    [
        ("time_to_quality", ["quik"], "did you mean 'quick'"),
        ("time_to_quality", ["quick", "--count", "15"], "expected a multiple of 10"),
        ("sampling", ["--samplers", "heun:x"], "expected numbers"),
        ("sampling", ["--samplers", "huen:4"], "did you mean 'heun'"),
        ("sampling", ["--guidance", "1.5:2"], "expected SCALE or SCALE:FROM:TO"),
        ("training_rate", ["--widths", "a"], "expected numbers with commas"),
    ],
)
def test_bad_input_is_refused_before_any_work(load_script, tmp_path, capsys, script, flags, refusal):
    more = ["--data", "mnist-5k"] if script == "time_to_quality" else []
    assert load_script(script).main([*flags, *more, "--out", str(tmp_path)]) == 2
    assert refusal in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_quality_is_what_both_classifiers_find(load_script, tmp_path, monkeypatch):
    measure = load_script("measure")
    evaluation = importlib.import_module("noisette.workflows.evaluate")
    metric = {"value": 0.3, "low": 0.2, "high": 0.4, "real": 0.1}
    metrics = dict.fromkeys(("label_accuracy", "coverage", "frechet"), metric)
    monkeypatch.setattr(evaluation, "evaluate", lambda *given: {"metrics": metrics})
    real = {"accuracy": 0.9, "coverage": 0.8}
    found = {"accuracy": 0.7, "floors": 4.0, "coverage": 0.6, "real": real}
    monkeypatch.setattr(measure, "load_judge", lambda *given, **named: None)
    monkeypatch.setattr(measure, "judge", lambda *given: found)
    np.savez(tmp_path / "some.npz", images=np.zeros((100, 28, 28, 1), np.uint8), labels=np.zeros(100, np.int64))
    row = {"quality": measure.quality(tmp_path / "some.npz", None)}
    assert measure.strictest(row, "floors") == 4.0
    assert measure.mildest(row, "floors") == pytest.approx(3.0)
    assert row["quality"]["noisette"]["intervals"]["floors"] == pytest.approx([2.0, 4.0])
    assert measure.strictest(row, "label_accuracy") == 0.3
    assert measure.mildest(row, "coverage") == 0.6


def test_many_samples(load_script, tmp_path, monkeypatch):
    script = load_script("many_samples")
    calls = []

    def in_this_process(call, out, shards=None):
        calls.append(shards)
        if shards is None:
            assert cli.main(call[3:]) == 0
        return 0.5, 2**20, 0 if shards is None else -9

    monkeypatch.setattr(script, "drawn", in_this_process)
    flags = ["--counts", "2", "3", "--files", "npz", "parquet", "--kills", "2", "--out", str(tmp_path)]
    assert script.main(flags) == 0
    rows = written(tmp_path, "many_samples")["rows"]
    assert rows.keys() == {"npz, 2", "npz, 3", "parquet, 2", "parquet, 3", "2 kills"}
    assert len(calls) == 5 + 2
    assert rows["2 kills"]["digest"] == rows["npz, 3"]["digest"]
    assert len({row["digest"] for row in rows.values()}) == 4
    assert rows["2 kills"]["seconds"] == 1.5


def test_a_drawing_is_killed_once_it_has_so_many_shards(load_script, tmp_path, monkeypatch):
    script, asked = load_script("many_samples"), iter([0, 1, 2])
    monkeypatch.setattr(script, "there", lambda out: next(asked))
    _, peak, code = script.drawn(["sleep", "100"], tmp_path, 2)
    assert (code, next(asked, None)) == (-9, None)
    assert peak > 0
