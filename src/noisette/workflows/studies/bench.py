"""What every study works with: variants trained into run folders, digits drawn and measured, cells that are kept.

A study's folder holds `runs/` (a run folder for each training), `samples/` (the images of each cell, .npz) and
`results.json`, written after each cell. The same command goes on where it stopped: a run is resumed, a cell that is
there is not measured again.

At `FULL` effort the seven studies train 5 networks on 100,000 images and 10 on 64,000, and spend 3.4 million
evaluations. A core of 2024 with bfloat16 instructions trains the network of `study` at 210 images a second and
evaluates it 720 times: three hours of one core, half of that on two. `SHORT` trains the network of the recipe `demo`
on 20,000 images in small batches and spends 0.5 million evaluations: blobs, which show how a study goes and nothing
else.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image

import noisette
from noisette.base.array_file import read_arrays
from noisette.base.config import require, to_plain
from noisette.base.errors import NoisetteError, Refusal, one_line
from noisette.base.files import require_writable, whole_file, write_text
from noisette.base.lock import unused
from noisette.base.text_file import read_json
from noisette.data.form import Form
from noisette.diffusion.objective import DiffusionConfig
from noisette.models.unet import UNet
from noisette.report.pictures import Pixels, grid_picture
from noisette.training.checkpoint import read_progress
from noisette.training.log import read_log
from noisette.training.manifest import Checkpoints
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.model import LAST_FILE, Model, load, weights_digest
from noisette.workflows.recipes import DataConfig, RunConfig, first_difference, load_recipe, read_run_config
from noisette.workflows.sample import sample_to
from noisette.workflows.sample_request import SampleRequest
from noisette.workflows.sources import check_fits, form_of
from noisette.workflows.studies.judge import Judge
from noisette.workflows.train import CHECKPOINTS, Run

FORMAT, RESULTS = "noisette-study-1", "results.json"
SEED = 0
"""Of all that a study draws: the same noise and labels in every cell, so that cells differ in what they compare."""
READERS = ("recognition", "forward")
"""Studies that only read images: they hold nothing against real ones, of which there may be few."""


@dataclass(frozen=True)
class Effort:
    """How much a study spends. recipe: whose network is trained. images: that each training sees, so many a step;
    chain_images: the same for the laboratory's chains, whose digits should be as good as time allows. digits: that a
    cell draws. chain_digits: the same where every step of a whole chain is taken, or many cells are drawn. evaluations:
    of the network, that the samplers are compared at. milestones: shares of a training at which its weights are
    kept."""

    recipe: str
    images: int
    chain_images: int
    batch_size: int
    digits: int
    chain_digits: int
    evaluations: tuple[int, ...]
    milestones: tuple[float, ...]


FULL = Effort("study", 64_000, 100_000, 64, 1_000, 400, (1, 2, 5, 10, 20, 50, 100, 500), (0.25, 0.5, 0.75, 1.0))
SHORT = Effort("demo", 20_000, 20_000, 32, 200, 100, (1, 5, 20, 100), (0.5, 1.0))


@dataclass(frozen=True)
class StudyRequest:
    """What to study. model: a name that ships, a run folder or a file, for the studies that take one."""

    name: str
    out: Path
    model: str | None = None
    short: bool = False
    data: str = "mnist"
    data_dir: Path | None = None
    classifier: str = "mnist"
    device: str = "auto"
    command: str = ""
    form: Form = Form()


class Interrupted(NoisetteError):
    """A person has stopped a training; what was done is kept."""


class Bench:
    """One study's folder, data, classifier and measured cells.

    follow trains a run to its end, showing progress, and returns False when it was interrupted. say prints a line.
    progress is told, while images are drawn, how many are done and how many there are.
    """

    def __init__(
        self,
        request: StudyRequest,
        follow: Callable[[Run], bool],
        say: Callable[[str], None] = lambda line: None,
        progress: Callable[[float, int], None] = lambda done, images: None,
    ) -> None:
        """Load data, classifier and what was measured before. Raises Refusal before anything is written."""
        self.request, self.out = request, request.out
        self.effort = SHORT if request.short else FULL
        self._follow, self._say, self.progress = follow, say, progress
        self.given = None if request.model is None else load(request.model, request.device)
        model_form = request.form if self.given is None else form_of(self.given)
        self.form = model_form if request.form == Form() else request.form
        self.judge = Judge(request.classifier, request.data, request.data_dir, self.form)
        self.data = self.judge.data
        if self.given is not None:
            check_fits(self.given, self.data)
            require(len(self.given.classes) > 0, f"model {self.given.name} without classes", "one that can be asked")
        self.cells: dict[str, Any] = _read_cells(self.out, self.settings)
        self._check_data()
        self._models: dict[str, Model] = {}
        self._total = 0

    def _check_data(self) -> None:
        """Refuse, before any training, data that could not be measured after it."""
        name, effort = self.request.name, self.effort
        digits = effort.chain_digits if name == "steps" else effort.digits
        each = len(self.even_labels(digits)) // len(self.classes)
        if name in READERS:
            return
        fewest = self.judge.real.train.fewest()
        require(
            each <= fewest,
            f"data set {self.data.name} with {fewest} training images of its rarest class",
            f"at least {each}, as many as are drawn of each",
        )
        self.judge.real.require_reference("equal")

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the labels."""
        return self.data.classes

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What decides the cells: a folder belongs to one such choice."""
        name = self.request.model
        return {
            "study": self.request.name,
            "short": self.request.short,
            "model": name or "none",
            "model_digest": "none" if name is None else weights_digest(name),
            "data": self.data.name,
            "data_digest": self.data.digest,
            "classifier": self.request.classifier,
            "classifier_digest": self.judge.real.classifier.digest,
            **{key: list(value) if isinstance(value, tuple) else value for key, value in to_plain(self.effort).items()},
        }

    # Training -------------------------------------------------------------------------------------

    def laboratory(self, diffusion: DiffusionConfig | None = None, images: int | None = None) -> RunConfig:
        """The effort's network on the laboratory's diffusion, noise prediction and a table of betas (or on another),
        for `images` (`effort.images`).

        It is trained as the recipe `study` trains.
        """
        study = load_recipe("study")
        images = images or self.effort.images
        training = dataclasses.replace(
            study.training,
            images=images,
            batch_size=self.effort.batch_size,
            warmup_images=images // 20,
            validate_every=images,
            validation_images=1_000,
        )
        return dataclasses.replace(
            study,
            dataset=DataConfig(self.request.data, self.judge.held_out_share, form=self.form),
            network=load_recipe(self.effort.recipe).network,
            diffusion=diffusion or study.diffusion,
            training=training,
            sampling=dataclasses.replace(self.cheap(), steps=min(20, (diffusion or study.diffusion).table_steps)),
        )

    def trained(
        self,
        name: str,
        config: RunConfig,
        alter: Callable[[UNet], None] | None = None,
        prepare: Callable[..., Run] = Run,
    ) -> Model:
        """The model of the run `name` at its last image, trained now unless it is there.

        alter: see Run; prepare: Run, or what makes one. Raises Interrupted when a person stops the training.
        """
        if name not in self._models:
            folder = self.run_folder(name)
            if not _finished(folder, config):
                self._say(f"training {name}: {config.training.images:,} images")
                run = prepare(
                    config,
                    folder,
                    data_dir=self.request.data_dir,
                    device=self.request.device,
                    command=self.request.command,
                    alter=alter,
                )
                if not self._follow(run):
                    raise Interrupted(f"{name} is not trained to its end")
            self._models[name] = self.loaded(folder / LAST_FILE, alter)
        return self._models[name]

    def run_folder(self, name: str) -> Path:
        """Where the training `name` lies."""
        return self.out / "runs" / name

    def loaded(self, path: Path, alter: Callable[[UNet], None] | None = None) -> Model:
        """A model file of a run of this study."""
        model = load(path, self.request.device)
        if alter is not None:
            alter(model.file.network)
        return model

    def validation_loss(self, name: str) -> float:
        """The last validation loss of the training `name`."""
        records = read_log(self.run_folder(name) / "metrics.jsonl")
        return float([record["loss"] for record in records if record["event"] == "validation"][-1])

    # Cells ----------------------------------------------------------------------------------------

    def plan(self, cells: int) -> None:
        """Say how many cells the study will have, and make its folder, which this process holds."""
        self._total, self.cells = cells, _read_cells(self.out, self.settings)
        self.save()
        done = f", {len(self.cells)} of them measured before" if self.cells else ""
        self._say(
            f"{cells} cells to measure{done}; {self.data.name}, measured against its {self.judge.real.against} part"
        )

    def cell(self, key: str, measure: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """The measured cell `key`, plain values: kept from before, else measured now and kept."""
        if key not in self.cells:
            found = dict(measure())
            self.cells[key] = found
            self.save()
            told = "".join(
                f", {name.replace('_', ' ')} {found[name]['value']:.4g}"
                for name in ("label_accuracy", "frechet")
                if name in found
            )
            self._say(f"[{len(self.cells)}/{self._total}] {key}{told}")
        return self.cells[key]  # type: ignore[no-any-return]

    def save(self, **more: Any) -> None:
        """Write results.json: settings, versions, cells and what else there is."""
        versions = {"noisette": noisette.__version__, "torch": str(torch.__version__)}
        record = {"format": FORMAT, "settings": self.settings, "versions": versions, "cells": self.cells, **more}
        write_text(self.out / RESULTS, json.dumps(record, indent=1) + "\n")

    # Drawing and measuring ------------------------------------------------------------------------

    def cheap(self) -> SamplingConfig:
        """How variants are drawn where the sampler is not what is compared: 50 evaluations, no guidance."""
        return SamplingConfig("dpmpp-2m", steps=50)

    def even_labels(self, count: int) -> list[int]:
        """Labels of `count` images, the classes in turns; rounded down to equal counts. Raises Refusal for data without
        classes, or with more than that."""
        classes = len(self.classes)
        found = f"data set {self.data.name} of {classes} classes"
        require(1 <= classes <= count, found, f"1 to {count}, to draw images of each")
        return [number % classes for number in range(count - count % classes)]

    def drawn(self, key: str, model: Model, sampling: SamplingConfig, count: int | None = None) -> dict[str, Any]:
        """Draw `count` images (`effort.digits`), every class as often, keep them for `grid`, and measure them."""
        labels = self.even_labels(count or self.effort.digits)
        sampled = sample_to(
            model, SampleRequest(sampling, labels=tuple(labels), seed=SEED, out=self._samples(key)), self.progress
        )
        return {
            **self.judge.metrics(self._images(key), labels),
            "evaluations": sampled.evaluations,
            "seconds": round(sampled.seconds, 1),
            "model": model.name,
            "precision": model.precision,
            "sampler": sampling.sampler,
            "steps": sampling.steps,
        }

    def keep(self, key: str, images: Pixels, labels: Sequence[int]) -> None:
        """Keep images that the study drew by itself, for `grid`."""
        path = self._samples(key)
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, images=images, labels=np.array(labels, np.int64))

    def grid(self, key: str, rows: int) -> Image:
        """The first images of a cell, so many of each class, one column a class."""
        return grid_picture(self._images(key)[: rows * len(self.classes)], len(self.classes))

    def _samples(self, key: str) -> Path:
        return self.out / "samples" / f"{key}.npz"

    def _images(self, key: str) -> Pixels:
        (images,) = read_arrays(self._samples(key), "sample file", ("images",))
        return images


def _finished(folder: Path, config: RunConfig) -> bool:
    """Whether the run of exactly this configuration has seen all its images."""
    saved, settings = Checkpoints(folder / CHECKPOINTS).newest, folder / "config.toml"
    if not (saved and settings.exists() and (folder / LAST_FILE).exists()):
        return False
    if first_difference(config, read_run_config(settings)):
        return False  # Run says which setting it is
    assert config.training.images is not None
    return read_progress(saved).images_seen >= config.training.images


def _read_cells(out: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The cells that an earlier call of this study left in `out`. Raises Refusal when the folder belongs to anything
    else."""
    if out.exists() and not out.is_dir():
        raise Refusal(f"--out {out} is a file: expected a new folder or the folder of this study")
    if unused(out):
        require_writable(out / RESULTS)
        return {}
    file = out / RESULTS
    if not file.exists():
        raise Refusal(f"--out {out} is not empty and holds no study: expected a new folder or the folder of this study")
    try:
        record = read_json(file, "study")
        require(record["format"] == FORMAT, f"format {record['format']!r}", repr(FORMAT))
        found, cells = dict(record["settings"]), dict(record["cells"])
    except (KeyError, TypeError, ValueError, Refusal) as error:
        raise Refusal(f"{file} is not a study's results: {one_line(error)}") from error
    for key in [*found, *settings]:
        if found.get(key) != settings.get(key):
            there, here = (str(values.get(key))[:40] for values in (found, settings))  # a digest is longer
            raise Refusal(
                f"--out {out} belongs to another study: {key} is {there} there, not {here}; expected a new folder"
            )
    return cells
