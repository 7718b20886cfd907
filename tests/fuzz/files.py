"""Tiny valid files of every kind that is read from outside."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fuzz.mutations import as_json
from noisette.base.config import to_plain
from noisette.diffusion.objective import DiffusionConfig
from noisette.models.unet import UNetConfig
from noisette.perception.classifier import ClassifierConfig
from noisette.perception.classifier_file import ClassifierSpec, save_classifier
from noisette.training.checkpoint import save_state
from noisette.training.config import TrainingConfig
from noisette.training.loop import TrainState, new_state
from noisette.weights.model_file import ModelFile, ModelSpec, SamplingConfig, save_model
from noisette.workflows.sample_folder import FolderRecord

NETWORK = UNetConfig(widths=(4,), blocks=1, embedding=8, norm="channel")
DIFFUSION = DiffusionConfig(data_std=0.5, table_steps=10)
SAMPLING = SamplingConfig(sampler="euler", steps=2)


# Data sets ----------------------------------------------------------------------------------------

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def idx(*shape: int) -> bytes:
    """An IDX file of bytes."""
    pixels = np.random.default_rng(0).integers(0, 10, shape, dtype=np.uint8)
    return bytes((0, 0, 8, len(shape))) + struct.pack(f">{len(shape)}I", *shape) + pixels.tobytes()


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


def zipped(**members: bytes) -> bytes:
    """An .npz file whose archive is sound, whatever is in its members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def zipped_images(content: bytes) -> bytes:
    """Samples, their images as given."""
    return zipped(images=content, labels=npy(samples()["labels"]))


def zipped_labels(content: bytes) -> bytes:
    """A user's own arrays, their labels as given."""
    return zipped(images=npy(own()["images"]), labels=content)


def zipped_classes(content: bytes) -> bytes:
    """A user's own arrays, the names of their classes as given."""
    return zipped(images=npy(own()["images"]), labels=npy(own()["labels"]), classes=content)


# Pictures, and what lists them --------------------------------------------------------------------


def picture(kind: str, mode: str = "RGB") -> bytes:
    """A picture of 7 x 5 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind)
    return file.getvalue()


def rotated(kind: str) -> bytes:
    """A picture with EXIF."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.new("RGB", (7, 5), "red").save(file, kind, exif=exif)
    return file.getvalue()


TABLE = [["path", "label"], ["a.png", "cat"], ["a.png", "dog"], ["a.png", "cat"]]


def csv_of(rows: Any) -> bytes:
    """Comma-separated values, as anybody would write them: without much thought of quotes."""
    rows = rows if isinstance(rows, list) else [rows]
    lines = (",".join(map(str, row)) if isinstance(row, list) else str(row) for row in rows)
    return "\n".join(lines).encode("utf-8", errors="surrogatepass")


def parquet(compression: str = "none") -> bytes:
    """Three pictures and their labels, as the datasets library writes them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    columns = {
        "image": pa.array([{"bytes": picture("PNG"), "path": "a.png"}] * 3),
        "label": pa.array([0, 1, 0], pa.int64()),
    }
    file = io.BytesIO()
    table = pa.table(columns, metadata={"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, file, compression=compression)
    return file.getvalue()


def own() -> dict[str, np.ndarray]:
    """A user's own arrays."""
    return {"images": samples()["images"][:20], "labels": np.arange(20) % 2, "classes": np.array(["cat", "dog"])}


ENTRY = {"format": "noisette-set-1", "name": "made up", "shape": [2, 3, 4, 1]}


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


# Runs and samples ---------------------------------------------------------------------------------

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


def evaluation() -> dict[str, Any]:
    """What stands in evaluation.json."""
    metric = {"value": 0.5, "low": 0.4, "high": 0.6, "real": 0.9, "real_spread": None, "better": "up"}
    return {
        "format": "noisette-evaluation-1",
        "source": {
            **{"count": 100, "seed": 0, "seconds": 1.5, "evaluations": 3.0, "dtype": "float32", "model_digest": "0"},
            "sampling": {"sampler": "euler", "steps": 2, "guidance_scale": 2.0},
        },
        "data": {"name": "mnist", "part": "test", "priors": "equal", "reference_count": 100},
        "classifier": {"name": "mnist", "digest": "0", "features": 96, "accuracy": 0.99, "trained_on": "mnist"},
        "metrics": {"label_accuracy": metric, "frechet": metric | {"floors": 2.0, "real_spread": 0.1}},
        "confusion": [[40, 10], [0, 50]],
        "classes": ["cat", "dog"],
        "nearest": {"samples": [1], "training": [2], "distances": [0.5], "feature": {"threshold": 0.25}},
        "timings": {"reading": 0.5},
    }


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
