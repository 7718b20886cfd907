"""What a run left in its folder, read when it is asked for: any of it may be missing."""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from noisette.base.config import require
from noisette.base.errors import NoisetteError, Refusal
from noisette.base.files import existing_file
from noisette.base.text_file import read_json
from noisette.data.checks import Report, check
from noisette.data.datasets import load_data
from noisette.data.images import ImageData
from noisette.data.split import Index, split
from noisette.training.log import read_log
from noisette.weights.model_file import ModelSpec
from noisette.workflows.model import BEST_FILE, LAST_FILE, Model, load
from noisette.workflows.recipes import read_run_config

T = TypeVar("T")


class Once(Generic[T]):
    """A value that is made when it is first asked for; what refused it then refuses it ever after."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._found: list[T] = []
        self._error: NoisetteError | None = None

    def __call__(self) -> T:
        if self._error is not None:
            raise self._error
        if not self._found:
            try:
                self._found.append(self._make())
            except NoisetteError as error:
                self._error = error
                raise
        return self._found[0]


class RunFolder:
    """A run, finished or not. Each of the calls raises NoisetteError where the run, or this machine, lacks it."""

    def __init__(self, folder: Path, data_dir: Path | None = None, device: str = "auto") -> None:
        """Raises Refusal for what is no run folder, or one whose config.toml cannot be read."""
        require(folder.is_dir(), f"no folder {folder}", "the one that `noisette train` wrote")
        self.folder, self.data_dir = folder, data_dir
        self.config = read_run_config(existing_file(folder / "config.toml", "run"))
        self.settled = read_table(folder / "run.json")
        """What was settled on the machine that trained: device, threads, precision, data digest, versions."""
        self.model = Once(lambda: self._model(device))
        self.data: Once[ImageData] = Once(lambda: self._data())
        self.split: Once[tuple[Index, Index]] = Once(self._split)
        self.check: Once[Report] = Once(lambda: check(self.data(), *self.split()))
        self.records: Once[list[dict[str, Any]]] = Once(self._records)
        self.spec: Once[ModelSpec] = Once(self._spec)

    @property
    def weights(self) -> str:
        """In words, the weights that the model has."""
        return "the best weights" if (self.folder / BEST_FILE).exists() else "the weights saved last"

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The log's records of one kind."""
        return [record for record in self.records() if record["event"] == kind]

    def seen(self) -> tuple[int, float]:
        """Images that training has seen, and its seconds: by the log, or by what the weights say where it is lost."""
        with contextlib.suppress(NoisetteError):
            if records := self.records():
                last = max(records, key=lambda record: record["images_seen"])
                return last["images_seen"], last.get("seconds", 0.0)
        with contextlib.suppress(NoisetteError):
            card = self.model().file.card
            seen, seconds = card.get("images_seen"), card.get("training_seconds")
            if isinstance(seen, int) and isinstance(seconds, int | float):  # a card is free
                return seen, seconds
        return 0, 0.0

    def finished(self) -> str | None:
        """Why training ended; None when it has not, or when nothing tells."""
        with contextlib.suppress(NoisetteError):
            return next((str(record["reason"]) for record in self.events("finished")), None)
        return None

    def _model(self, device: str) -> Model:
        if not any((self.folder / name).exists() for name in (BEST_FILE, LAST_FILE)):
            raise Refusal("this run has not saved any weights yet")
        return load(self.folder, device)

    def _data(self) -> ImageData:
        """Raises Refusal, too, for other data than the run was trained on."""
        dataset, known = self.config.dataset, self.settled.get("data_digest")
        data = load_data(dataset.data, self.data_dir, "train", dataset.form)
        require(
            known in (None, data.digest),
            f"data set {data.name} with digest {data.digest[:12]}",
            f"the one this run was trained on, {str(known)[:12]}",
        )
        return data

    def _split(self) -> tuple[Index, Index]:
        dataset = self.config.dataset
        return split(self.data().labels, dataset.validation_fraction, dataset.split_seed)

    def _records(self) -> list[dict[str, Any]]:
        path = self.folder / "metrics.jsonl"
        return read_log(path) if path.exists() else []

    def _spec(self) -> ModelSpec:
        """The model's own; before there are weights, what it will be by the configuration and the data."""
        try:
            return self.model().file.spec
        except NoisetteError:
            height, width, channels = self.data().images.shape[1:]
            config, classes = self.config, self.data().classes
            diffusion = dataclasses.replace(config.diffusion, data_std=config.diffusion.data_std or 1.0)
            return ModelSpec(config.network, diffusion, config.sampling, channels, height, width, classes)


def read_table(path: Path) -> dict[str, Any]:
    """A JSON table; empty when the file is missing or holds anything else."""
    try:
        found = read_json(path, "table")
    except Refusal:
        return {}
    return found if isinstance(found, dict) else {}
