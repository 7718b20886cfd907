"""Bad input: one line that says what was found and expected, exit code 2, and nothing left behind."""

import dataclasses
import gzip
import json
import re
import shutil
import subprocess
import sys

import pytest
from safetensors.torch import load_file, save_file

from noisette.base.files import digest_of
from noisette.cli import main
from noisette.weights.model_file import save_model

TRAIN = "train --data mnist-5k --recipe demo"
STATE = "checkpoints/000000512-validated.safetensors"

CASES = {
    # what is asked for
    "command": ("trian", "unknown command 'trian'.* did you mean 'train'"),
    "flag": (f"{TRAIN} --out new --batchsize 3", "unknown flag --batchsize: did you mean --batch-size"),
    "flag like nothing": ("info --xyzzy", "unknown flag --xyzzy: see noisette info .* --help"),
    "stray word": (f"{TRAIN} --out new stray", "Unrecognized options: stray"),
    "short flag": ("check mnist-5k -v", "Unrecognized options: -v"),
    "no number": (f"{TRAIN} --out new --batch-size many", "--batch-size: .*'many'; expected --batch-size INT"),
    "no value": (f"{TRAIN} --out new --batch-size", "--batch-size"),
    "no choice": (f"{TRAIN} --out new --precision half", "'half' .*--precision.*'float32', 'bfloat16'"),
    "widths": (f"{TRAIN} --out new --widths 8,x", "--widths: .*'x'; expected --widths NUMBER,NUMBER"),
    "recipe": ("train --out new --recipe qick", "unknown recipe 'qick'.* did you mean 'quick'"),
    "no folder": (TRAIN, "no --out"),
    "value out of range": (f"{TRAIN} --out new --batch-size 0", "batch_size 0: expected at least 1"),
    "name of a choice": (f"{TRAIN} --out new --norm grup", "unknown .* 'grup'.* did you mean 'group'"),
    "optimizer": (f"{TRAIN} --out new --optimizer adam", "unknown optimizer 'adam'.* did you mean 'adamw'"),
    "steps 0 of training": (f"{TRAIN} --out new --steps 0", "steps 0: expected at least 1"),
    "no horizon": (f"{TRAIN} --out new --images None --minutes None", "no horizon"),
    "data set to train on": ("train --out new --data mnits", "unknown data set 'mnits'.* did you mean 'mnist'"),
    "device to train on": (f"{TRAIN} --out new --device gpu", "unknown device 'gpu'.* one of auto, cpu, cuda, mps"),
    "endless demo": ("demo --out new --minutes inf", "minutes inf: expected a positive number"),
    "split of a check": ("check mnist-5k --validation-fraction 2", "validation_fraction 2.0: expected a share"),
    "no UTF-8": (f"{TRAIN} --out caf\udce9", r"argument caf\\udce9: expected UTF-8"),
    "minutes of the demo": ("demo --out new --minutes 0", "minutes 0.0: expected a positive number"),
    # data
    "data set": ("check mnits", "unknown data set 'mnits'.* did you mean 'mnist'"),
    "no data set": ("check", "no data set: expected its name first"),
    "missing data": ("check mnist --data-dir nowhere", "no folder nowhere"),
    "empty data": ("check mnist --data-dir empty", "empty holds no train-images-idx3-ubyte"),
    "corrupt data": ("check mnist --data-dir corrupt", "corrupt.*train-images"),
    "corrupt data to train on": ("train --out new --data mnist --data-dir corrupt", "corrupt.*train-images"),
    "held out too much": (f"{TRAIN} --out new --validation-fraction 1", "validation_fraction 1.0"),
    # models
    "no model": ("sample --per-class 1", "no model: expected its name, run folder or file first"),
    "model": ("sample mnits --per-class 1", "no model 'mnits'"),
    "missing file": ("sample nowhere.safetensors --per-class 1", "no model 'nowhere.safetensors'"),
    "corrupt file": ("sample corrupt.safetensors --per-class 1", "corrupt.safetensors is not a readable model"),
    "half a file": ("info half.safetensors", "half.safetensors is not a readable model"),
    "another format": (f"info run/{STATE}", "expected a model of format"),
    "another network": (
        "sample misfit.safetensors --per-class 1",
        "misfit.safetensors holds weights of another network",
    ),
    "folder without a model": ("info empty", "empty holds neither best.safetensors nor last.safetensors"),
    # sampling
    "nothing to draw": ("sample model.safetensors --out new.png", "nothing to draw"),
    "label": (
        "sample model.safetensors --labels zero,sevn --out new.png",
        "unknown label 'sevn'.*did you mean 'seven'",
    ),
    "steps 0": ("sample model.safetensors --per-class 1 --steps 0", "steps 0: expected at least 1"),
    "sampler": ("sample model.safetensors --per-class 1 --sampler hein", "unknown sampler 'hein'.*did you mean 'heun'"),
    "grid": ("sample model.safetensors --per-class 1 --grid karas", "unknown grid 'karas'.*did you mean 'karras'"),
    "eta of another sampler": ("sample model.safetensors --per-class 1 --sampler heun --eta 0.5", "no eta"),
    "guidance": ("sample model.safetensors --per-class 1 --guidance-scale -1", "guidance_scale -1.0"),
    "no attention": ("sample model.safetensors --per-class 1 --perturb-attention", "a network without attention"),
    "judge": ("sample model.safetensors --per-class 1 --steer clap", "no CLIP model 'clap': expected a folder"),
    "judge of other images": ("sample model.safetensors --per-class 1 --steer classifier", "classifier mnist"),
    "prompt without a judge": ("sample model.safetensors --count 1 --prompt seven", "prompt 'seven' without a judge"),
    "judge's folder": (
        "sample model.safetensors --per-class 1 --steer empty",
        "no configuration of a CLIP model at empty",
    ),
    "no prompt": ("sample model.safetensors --count 1 --steer classifier", "count, .* expected --prompt"),
    "steering": ("sample model.safetensors --per-class 1 --steer x --steer-scale -1", "steer_scale -1.0"),
    "device": ("sample model.safetensors --per-class 1 --device tpu", "unknown device 'tpu'"),
    "index": ("sample model.safetensors --count 3 --index 3", "index 3: expected 0 to 2"),
    "output": ("sample model.safetensors --count 3 --out new.jpg", "'new.jpg': expected .png, .npz or a folder"),
    "film": ("sample model.safetensors --count 3 --film new.mp4", "unknown film format '.mp4'"),
    "output below a file": ("sample model.safetensors --count 3 --out file/new.png", "cannot write file/new.png"),
    "output folder in use": ("sample model.safetensors --count 3 --out run", "run is not empty"),
    # run folders
    "another run": ("tiny --widths 8 --out run", r"run belongs to another run: network.widths is \[8\], not \[4\]"),
    "no run": (f"{TRAIN} --out full", "full is not empty and holds no run"),
    "a file": (f"{TRAIN} --out file", "file is a file"),
    "below a file": (f"{TRAIN} --out file/new", "cannot write file/new"),
    "state of another network": ("tiny --out misfit", f"misfit/{STATE} belongs to another network"),
    "corrupt states": (
        "tiny --out corrupt-states",
        "no checkpoint in corrupt-states/checkpoints is whole: .* or remove",
    ),
    "corrupt config": ("tiny --out corrupt-config", "corrupt-config/config.toml is not valid TOML"),
    "run of other data": ("tiny --out other-data", "other-data was trained on other data"),
}


@pytest.fixture
def place(tmp_path, monkeypatch, finished_run, tiny_model):
    """A working folder with all that the cases speak of."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")

    (tmp_path / "corrupt").mkdir()
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (tmp_path / "corrupt" / f"{name}.gz").write_bytes(gzip.compress(b"\0\0\x08\x03 not what it says"))

    model = tiny_model(classes=("zero", "three", "seven"))
    save_model(tmp_path / "model.safetensors", model)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "corrupt.safetensors").write_bytes(b"\xff" * 1000)
    wider = dataclasses.replace(model.spec, network=dataclasses.replace(model.spec.network, widths=(16,)))
    save_model(tmp_path / "misfit.safetensors", dataclasses.replace(model, spec=wider))

    for name in ("run", "misfit", "corrupt-states", "corrupt-config", "other-data"):
        shutil.copytree(finished_run, tmp_path / name)
    state = tmp_path / "misfit" / STATE
    tensors = load_file(state)
    save_file(
        {
            name: tensor.repeat(2, *[1] * (tensor.ndim - 1)) if tensor.ndim else tensor
            for name, tensor in tensors.items()
        },
        state,
        metadata={"format": "noisette-state-1", "progress": "{}"},
    )
    checkpoint = {"file": state.name, "size": state.stat().st_size, "sha256": digest_of(state)}
    manifest = {"format": "noisette-checkpoints-1", "checkpoints": [checkpoint]}
    (state.parent / "manifest.json").write_text(json.dumps(manifest))
    for state in (tmp_path / "corrupt-states" / "checkpoints").glob("*.safetensors"):
        state.write_bytes(b"\xff" * 1000)
    (tmp_path / "corrupt-config" / "config.toml").write_text("[dataset\n")
    settled = tmp_path / "other-data" / "run.json"
    settled.write_text(json.dumps(json.loads(settled.read_text()) | {"data_digest": "0" * 64}))
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused_in_one_line(case, place, tiny, capfd):

    command, message = CASES[case]
    argv = [*tiny, "512", *command.split()[1:]] if command.startswith("tiny") else command.split()
    before = contents(place)
    assert main(argv) == 2
    said = capfd.readouterr()
    assert said.err.startswith("noisette: ")
    assert said.err.count("\n") == 1
    assert re.search(message, said.err), said.err
    assert not set(said.err) & set("\x1b│╭─\t")
    assert contents(place) == before


@pytest.mark.parametrize("case", ["recipe", "flag", "corrupt file", "no number"])
def test_the_real_command_says_the_same(case, place):
    before = contents(place)
    command = [sys.executable, "-m", "noisette", *CASES[case][0].split()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("noisette: ")
    assert done.stderr.count("\n") == 1
    assert contents(place) == before
