"""Every file that is read from outside: how a tiny valid one is made, and what reads it."""

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fuzz.guard import command
from fuzz.mutations import as_json, as_toml
from noisette.base.config import to_plain
from noisette.diffusion.objective import DiffusionConfig
from noisette.models.unet import UNetConfig
from noisette.perception.classifier import ClassifierConfig
from noisette.perception.classifier_file import ClassifierSpec, load_classifier, save_classifier
from noisette.training.checkpoint import load_state, save_state
from noisette.training.config import TrainingConfig
from noisette.training.log import read_log
from noisette.training.loop import TrainState, new_state
from noisette.training.manifest import Checkpoints
from noisette.weights.model_file import ModelFile, ModelSpec, SamplingConfig, save_model
from noisette.workflows.recipes import RunConfig, read_run_config
from noisette.workflows.run_folder import read_table
from noisette.workflows.sample_folder import FolderRecord, read_record
from noisette.workflows.sources import open_samples
from noisette.workflows.train import _read_settled

NETWORK = UNetConfig(widths=(4,), blocks=1, embedding=8, norm="channel")
DIFFUSION = DiffusionConfig(data_std=0.5, table_steps=10)
SAMPLING = SamplingConfig(sampler="euler", steps=2)


@dataclass(frozen=True, eq=False)
class Reader:
    """name: of the file in an empty folder. make: its valid content. read: reads it, or raises Refusal.

    wrap: puts the content into what holds it and is sound. value, dump: where the content is made of plain values,
    these, and how they are written.
    """

    name: str
    make: Callable[[], bytes]
    read: Callable[[Path], object]
    wrap: Callable[[bytes], bytes] = bytes
    value: Callable[[], Any] | None = None
    dump: Callable[[Any], bytes] = as_json


# Data sets ----------------------------------------------------------------------------------------


def idx(*shape: int) -> bytes:
    """An IDX file of bytes."""
    pixels = np.random.default_rng(0).integers(0, 10, shape, dtype=np.uint8)
    return bytes((0, 0, 8, len(shape))) + struct.pack(f">{len(shape)}I", *shape) + pixels.tobytes()


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def read_mnist(path: Path) -> None:
    """The folder of an IDX file, its partner laid beside it."""
    images = path.name.startswith(IMAGES)
    (path.parent / (LABELS if images else IMAGES)).write_bytes(idx(20) if images else idx(20, 3, 4))
    command("check", "mnist", "--data-dir", path.parent)


def npz(**arrays: np.ndarray) -> bytes:
    """An .npz file."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def samples() -> dict[str, np.ndarray]:
    """The fewest samples that may be measured."""
    pixels = np.random.default_rng(0).integers(0, 256, (100, 2, 3, 1), dtype=np.uint8)
    return {"images": pixels, "labels": np.arange(100, dtype=np.int64) % 10}


def npy(array: np.ndarray) -> bytes:
    """An .npy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def zipped_member(content: bytes) -> bytes:
    """An .npz file whose archive is sound, whatever is in its member."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", content)
        archive.writestr("labels.npy", npy(samples()["labels"]))
    return file.getvalue()


# Networks -----------------------------------------------------------------------------------------


@cache
def network_file(kind: str) -> bytes:
    """A model or a classifier that was never trained."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.safetensors"
        if kind == "model":
            spec = ModelSpec(NETWORK, DIFFUSION, SAMPLING, 1, 8, 8, ("cat", "dog"))
            network = spec.new_network()
            network.initialise(torch.Generator().manual_seed(0))
            save_model(path, ModelFile(spec, network, CARD))
        elif kind == "state":
            save_state(path, fresh_state())
        else:
            other = ClassifierSpec(ClassifierConfig(features=64), 1, 8, 8, ("cat", "dog"))
            classifier = other.new_network()
            classifier.initialise(torch.Generator().manual_seed(0))
            save_classifier(path, other, classifier, CARD)
        return path.read_bytes()


CARD = {
    "data": "made up",
    "images_seen": 10,
    "training_seconds": 1.5,
    "config": {"dataset": {"validation_fraction": 0.2, "split_seed": 0}, "training": {"seed": 0}},
}


def fresh_state() -> TrainState:
    """A run that has not begun."""
    spec = ModelSpec(NETWORK, DIFFUSION, SAMPLING, 1, 8, 8, ("cat", "dog"))
    network = spec.new_network()
    network.initialise(torch.Generator().manual_seed(0))
    return new_state(network, TrainingConfig(images=10))


def header(kind: str, text: str) -> Any:
    """The plain values of one text in a network file's header."""
    whole = network_file(kind)
    length = int.from_bytes(whole[:8], "little")
    return json.loads(json.loads(whole[8 : 8 + length])["__metadata__"][text])


def with_header(kind: str, text: str) -> Callable[[bytes], bytes]:
    """Puts another text into a network file's header, all else being sound."""

    def put(content: bytes) -> bytes:
        whole = network_file(kind)
        length = int.from_bytes(whole[:8], "little")
        parts = json.loads(whole[8 : 8 + length])
        parts["__metadata__"][text] = content.decode("utf-8", errors="replace")
        new = json.dumps(parts).encode()
        new += b" " * (-len(new) % 8)
        return struct.pack("<Q", len(new)) + new + whole[8 + length :]

    return put


def of_header(kind: str, text: str, read: Callable[[Path], object]) -> Reader:
    """A reader of the plain values in a network file's header."""
    return Reader(
        "file.safetensors",
        lambda: as_json(header(kind, text)),
        read,
        with_header(kind, text),
        lambda: header(kind, text),
    )


def info(path: Path) -> None:
    """What a model is."""
    command("info", path)


# Runs ---------------------------------------------------------------------------------------------

RECORDS = (
    {"event": "step", "images_seen": 16, "loss": 1.0, "learning_rate": 1e-3, "gradient_norm": 1.0, "seconds": 0.5},
    {
        **{"event": "validation", "images_seen": 16, "loss": 1.0, "bucket_losses": [1.0, 0.5]},
        **{"bucket_edges": [1.0, 2.0, 3.0], "is_best": True, "rate_dropped": False, "seconds": 0.6},
    },
    {"event": "finished", "images_seen": 16, "reason": "horizon reached", "seconds": 0.7},
)
SETTLED = {
    **{
        "device": "cpu",
        "processes": 1,
        "threads": 1,
        "precision": "float32",
        "data_digest": "0" * 64,
        "init_digest": None,
    },
    **{"data_digest": "0" * 64, "init_digest": None, "python": "3", "torch": "2", "noisette": "0"},
}


def lines(value: Any) -> bytes:
    """JSON lines."""
    return b"".join(as_json(item) + b"\n" for item in (value if isinstance(value, list) else [value]))


def plain(name: str, value: Any, dump: Callable[[Any], bytes], read: Callable[[Path], object]) -> Reader:
    """A reader of a file of plain values."""
    return Reader(name, lambda: dump(value), read, bytes, lambda: value, dump)


def record_of_samples() -> dict[str, Any]:
    """What stands in samples.json."""
    record = FolderRecord(
        *(
            "noisette-samples-1",
            "float32",
            "cpu",
            "0" * 64,
            0,
            SAMPLING,
            "npz",
            10,
            5,
            8,
            8,
            1,
            ("cat", "dog"),
            (),
            2,
            (),
        ),
        *("model", "0"),
    )
    found = to_plain(record)
    del found["sampling"]["guidance_to"]  # infinite, for which JSON has no word
    return found


def manifest() -> dict[str, Any]:
    """What stands beside a checkpoint of four bytes."""
    import hashlib

    listed = [{"file": "000000010.safetensors", "size": 4, "sha256": hashlib.sha256(b"abcd").hexdigest()}]
    return {"format": "noisette-checkpoints-1", "checkpoints": listed}


def read_manifest(path: Path) -> None:
    """A folder of checkpoints."""
    (path.parent / "000000010.safetensors").write_bytes(b"abcd")
    Checkpoints(path.parent)


READERS: dict[str, Reader] = {
    "IDX images": Reader(IMAGES, lambda: idx(20, 3, 4), read_mnist),
    "IDX labels": Reader(LABELS, lambda: idx(20), read_mnist),
    "IDX in gzip": Reader(f"{IMAGES}.gz", lambda: gzip.compress(idx(20, 3, 4)), read_mnist),
    "samples .npz": Reader("samples.npz", lambda: npz(**samples()), open_samples),
    "array in .npz": Reader("samples.npz", lambda: npy(samples()["images"]), open_samples, zipped_member),
    "model": Reader("model.safetensors", lambda: network_file("model"), info),
    "model's spec": of_header("model", "spec", info),
    "model's card": of_header("model", "card", info),
    "classifier": Reader("file.safetensors", lambda: network_file("classifier"), load_classifier),
    "classifier's spec": of_header("classifier", "spec", load_classifier),
    "state": Reader("file.safetensors", lambda: network_file("state"), lambda path: load_state(path, fresh_state())),
    "state's progress": of_header("state", "progress", lambda path: load_state(path, fresh_state())),
    "config.toml": plain("config.toml", to_plain(RunConfig(network=NETWORK)), as_toml, read_run_config),
    "metrics.jsonl": plain("metrics.jsonl", list(RECORDS), lines, read_log),
    "run.json": plain("run.json", SETTLED, as_json, lambda path: (read_table(path), _read_settled(path))),
    "manifest.json": plain("manifest.json", manifest(), as_json, read_manifest),
    "samples.json": plain("samples.json", record_of_samples(), as_json, lambda path: read_record(path.parent)),
}
