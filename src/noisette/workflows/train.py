"""Train a model into a run folder, or go on with the run that is there.

A run folder holds config.toml (what decides the result), run.json (what was settled on this machine), checkpoints/ (to
resume), metrics.jsonl, samples/ (a grid of the average at each validation), best.safetensors and last.safetensors. A
process that trains holds the folder's lock. Whatever moment it is killed at, what its newest checkpoint does not know
is dropped or written again by the process that resumes. Of many processes that share a training, all compute and the
first alone reads and writes the folder.
"""

import contextlib
import copy
import dataclasses
import math
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

import noisette
from noisette.base.config import from_plain, require, to_plain
from noisette.base.errors import Refusal
from noisette.base.files import remove_unfinished, require_writable, write_text, writing
from noisette.base.lock import FolderLock, locked, unused
from noisette.base.processes import Lost, join
from noisette.base.progress import Progress, silent
from noisette.base.seeds import generator
from noisette.base.shapes import NO_CLASS
from noisette.data.batches import Batch, Batches
from noisette.data.checks import Report, check
from noisette.data.datasets import load_data
from noisette.data.images import to_model, to_uint8
from noisette.data.split import split
from noisette.diffusion.objective import Objective
from noisette.models.unet import UNet, multiply_adds
from noisette.report.pictures import columns_for, grid_picture, save_picture
from noisette.training.checkpoint import load_state, read_progress, share_state
from noisette.training.log import Log
from noisette.training.loop import (
    Diverged,
    Event,
    Finished,
    Stepped,
    TrainState,
    Validated,
    gradient_seconds,
    new_state,
    train,
)
from noisette.training.manifest import Checkpoints
from noisette.weights.inherit import inherit
from noisette.weights.model_file import ModelFile, ModelSpec, load_model, save_model
from noisette.workflows.board import Board
from noisette.workflows.device import PRECISIONS, Precision, choose_device
from noisette.workflows.model import BEST_FILE, LAST_FILE, Model, last, locate, weights_digest
from noisette.workflows.recipes import RunConfig, first_difference, read_run_config, to_toml, without_horizon
from noisette.workflows.settled import Settled, read_settled, write_settled

SAVE_SECONDS = 60.0
PREVIEW_IMAGES, PREVIEW_CLASSES, PREVIEW_STEPS = 60, 20, 20
CHECKPOINTS = "checkpoints"
MOST_ANCESTORS = 20
"""Models that a card names, each begun from the next."""


@dataclass(frozen=True)
class Plan:
    """What is about to be trained, known before the first step.

    rate: images a second that a timed batch promises. seconds_left: until the horizon at that rate (None: no horizon).
    damage: what is wrong with the newest checkpoint, so that the run goes on from the one before (None: nothing).
    begun_on: how many processes trained it last, where that was another number (None: as many as now).
    """

    report: Report
    parameters: int
    multiply_adds: int
    device: str
    processes: int
    threads: int
    precision: str
    rate: float
    images_seen: int
    seconds_left: float | None
    damage: str | None
    begun_on: int | None


@dataclass(frozen=True)
class Stopped:
    """The caller asked to stop; the state is saved."""

    images_seen: int


class Run:
    """One run folder, prepared: `plan` says what will happen, `events()` makes it happen."""

    def __init__(
        self,
        config: RunConfig,
        out: Path,
        *,
        data_dir: Path | None = None,
        device: str = "auto",
        command: str = "",
        tensorboard: bool = False,
        alter: Callable[[UNet], None] | None = None,
        reading: Progress = silent,
    ) -> None:
        """Check everything and load what is there. Raises Refusal before anything is written for bad input.

        reading is told while data are read that take long.
        alter puts hooks on the network (`studies/parts.py`). The files hold its name only: whoever resumes the run or
        loads its model puts them there again.
        """
        training = config.training
        require(
            training.images is not None or training.minutes is not None,
            "no horizon",
            "--images or --minutes to train for",
        )
        self.config, self.out, self.command = config, out, command
        self.device = choose_device(device)
        self.processes = join(self.device)
        parts = training.accumulation * self.processes.count
        require(
            training.batch_size % parts == 0,
            f"batch_size {training.batch_size}",
            f"a multiple of {parts}, which is accumulation times processes",
        )
        resumed: bool = self.processes.by_first(lambda: _check_folder(config, out))
        self.checkpoints = _checkpoints(out, held=resumed and self.processes.is_first)

        with self.processes.machine_by_machine():  # one prepares the data for the others of its machine
            data = load_data(config.dataset.data, data_dir, "train", config.dataset.form, reading)
        train_rows, held_out_rows = split(data.labels, config.dataset.validation_fraction, config.dataset.split_seed)
        report = check(data, train_rows, held_out_rows)
        counted = report.require_sound()
        self.batches = Batches(data.images, data.labels, train_rows, training.seed, config.augmentation)
        self.held_out = _held_out(data.images, data.labels, _evenly(held_out_rows, training.validation_images))
        std = config.diffusion.data_std or counted.standard_deviation
        require(
            std > 0, f"data set {data.name} whose training images are all of one and the same colour", "some content"
        )
        height, width, channels = data.images.shape[1:]
        self.spec = ModelSpec(
            config.network,
            dataclasses.replace(config.diffusion, data_std=std),
            config.sampling,
            channels,
            height,
            width,
            data.classes,
        )
        self.spec.sampling_grid(config.sampling)  # refuses steps that the table does not have, before training
        self.card: dict[str, Any] = {
            "data": data.name,
            "data_digest": data.digest,
            "data_source": data.source,
            "training_images": len(train_rows),
            "config": to_plain(config),
        }

        network = self.spec.new_network()
        network.initialise(generator(training.seed, "weights"))
        if config.init is not None:
            self._begin_from(config.init, network)
        if alter is not None:
            alter(network)
            self.card["altered"] = alter.__name__
        network = network.to(self.device)
        self.state = new_state(network, training)
        self.objective = Objective(self.spec.diffusion)
        self.settled = self._settle(resumed)
        if self.processes.is_first and self.checkpoints.newest is not None:
            load_state(self.checkpoints.newest, self.state)
        share_state(self.state, self.processes)
        self.plan = self._make_plan(report, network)
        self.board = Board(out) if tensorboard else None

    def _begin_from(self, model: str, network: UNet) -> None:
        """Give the network the weights of a model, and the card what they cost. Raises Refusal where they would mean
        something else."""
        source = load_model(locate(model))
        for name in ("parameterisation", "data_std"):
            own, trained = getattr(self.spec.diffusion, name), getattr(source.spec.diffusion, name)
            require(own == trained, f"--{name.replace('_', '-')} {own}", f"{trained}, as {model} was trained with")
        inherit(network, self.spec.classes, source)
        command, images, before = (source.card.get(key) for key in ("command", "images_seen", "begun_from"))
        told = f"{images} images, {command}"[:1000]  # a card is free: these may be missing, or anything
        self.card["begun_from"] = [told, *(before if isinstance(before, list) else [])][:MOST_ANCESTORS]

    def _settle(self, resumed: bool) -> Settled:
        """What the run has settled, or what is settled now: the first process says, the others must find the same."""
        file, threads = self.out / "run.json", torch.get_num_threads()
        told = self.processes.by_first(
            lambda: dataclasses.asdict(read_settled(file)) if resumed and file.exists() else None
        )
        self.begun_on: int | None = None
        if told is None:
            settled = self._settle_anew(threads)
        else:
            settled = from_plain(Settled, told, "settled")
            self._require_same(settled)
            if settled.processes != self.processes.count:
                self.begun_on = settled.processes
                settled = dataclasses.replace(settled, processes=self.processes.count, threads=threads)
            torch.set_num_threads(settled.threads)
            self.rate = self._measured_rate(settled.precision)
        return settled

    def _settle_anew(self, threads: int) -> Settled:
        wanted = self.config.training.precision
        rates = {name: self._measured_rate(name) for name in PRECISIONS if wanted in (name, "auto")}
        precision = max(rates, key=lambda name: rates[name])
        self.rate = rates[precision]
        versions = platform.python_version(), str(torch.__version__), noisette.__version__
        own = Settled(
            str(self.device),
            self.processes.count,
            threads,
            precision,
            self.card["data_digest"],
            self._init_digest,
            *versions,
        )
        settled = from_plain(Settled, self.processes.by_first(lambda: dataclasses.asdict(own)), "settled")
        self._require_same(settled)
        return settled

    @cached_property
    def _init_digest(self) -> str | None:
        return self.config.init and weights_digest(self.config.init)

    def _require_same(self, settled: Settled) -> None:
        """Raise Refusal where this process found other data, another device or another model to begin from."""
        digest, device = self.card["data_digest"], str(self.device)
        if settled.data_digest != digest:
            raise Refusal(f"{self.out} was trained on other data: digest {settled.data_digest[:12]}, not {digest[:12]}")
        if settled.device != device:
            raise Refusal(f"{self.out} began on device {settled.device!r}: expected that one, found {device!r}")
        require(
            settled.init_digest == self._init_digest,
            f"--init {self.config.init} of other weights",
            "those this run began from",
        )

    def _measured_rate(self, precision: Precision) -> float:
        """Images a second of gradients in a precision, by all processes at once: each times a batch on a copy of the
        network."""
        network = copy.deepcopy(self.state.network)
        training = self.config.training
        batch = self.batches.at(0, training.batch_size // (training.accumulation * self.processes.count))
        seconds = gradient_seconds(network, self.objective, training, batch, PRECISIONS[precision])
        return self.processes.total(len(batch.position) / seconds)[0]

    def _make_plan(self, report: Report, network: UNet) -> Plan:
        training, progress = self.config.training, self.state.progress
        limits = []
        if training.images is not None:
            limits.append((training.images - progress.images_seen) / self.rate)
        if training.minutes is not None:
            limits.append(60 * training.minutes - progress.seconds)
        return Plan(
            report,
            sum(parameter.numel() for parameter in network.parameters()),
            multiply_adds(network, self.spec.height, self.spec.width),
            str(self.device),
            self.processes.count,
            self.settled.threads,
            self.settled.precision,
            self.rate,
            progress.images_seen,
            max(0.0, min(limits)) if limits else None,
            self.checkpoints.damage,
            self.begun_on,
        )

    def events(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Event | Stopped]:
        """Train; yield each event after its files are written. `stop` is asked after each: when true, the state is
        saved, Stopped is yielded and the run may be resumed later. Raises Refusal when another run is at it, Lost when
        one of the processes that share this one has ended."""
        try:
            if not self.processes.is_first:
                yield from self._compute(stop)
                self.processes.total()
                return
            with locked(self.out) as lock:
                _check_folder(self.config, self.out)
                require(self.checkpoints.unchanged(), f"{self.out} changed by another process", "to be prepared anew")
                yield from self._events(stop, lock)
            self.processes.total()  # the others stay until the first has saved: else a launcher would end it
        except Lost as error:
            raise Lost(f"{error}; the same command goes on from the last checkpoint") from error

    def _events(self, stop: Callable[[], bool], lock: FolderLock) -> Iterator[Event | Stopped]:
        self._tidy()
        write_text(self.out / "config.toml", to_toml(self.config))
        write_settled(self.out / "run.json", self.settled)
        log = Log(self.out / "metrics.jsonl", self.state.progress)
        saved_at = time.monotonic()
        try:
            if self.board is not None:
                self.board.open()
            for event in self._train():
                lock.require_in_place()
                log.write(event, self.state.progress.seconds)
                if self.board is not None:
                    self.board.add(event)
                if isinstance(event, Validated):
                    self._write_validated(event)
                if not isinstance(event, Stepped) or time.monotonic() - saved_at > SAVE_SECONDS:
                    self._save(log)
                    saved_at = time.monotonic()
                yield event
                if self.processes.asked(stop()) and not isinstance(event, Finished):
                    self._save(log)
                    yield Stopped(event.images_seen)
                    return
        except Diverged as error:
            log.write_diverged(self.state.progress.images_seen, str(error), self.state.progress.seconds)
            raise Diverged(f"{error}; last good checkpoint: {self._last_good()}") from error
        finally:
            log.close()
            if self.board is not None:
                self.board.close()

    def _train(self) -> Iterator[Event]:
        return train(
            self.state,
            self.objective,
            self.config.training,
            self.batches.at,
            self.held_out,
            PRECISIONS[self.settled.precision],
            processes=self.processes,
        )

    def _compute(self, stop: Callable[[], bool]) -> Iterator[Event | Stopped]:
        """What every process but the first does."""
        for event in self._train():
            yield event
            if self.processes.asked(stop()) and not isinstance(event, Finished):
                yield Stopped(event.images_seen)
                return

    def _tidy(self) -> None:
        """Remove what a killed process left half-written, and the grids of a future that was lost."""
        samples = self.out / "samples"
        with writing(self.out):
            remove_unfinished(self.out)
            remove_unfinished(samples)
            self.checkpoints.tidy()
            for path in samples.glob("[0-9]*.png"):
                if int(path.stem) > self.state.progress.validated_at:
                    path.unlink()

    def _last_good(self) -> str:
        newest = self.checkpoints.newest
        return "none was saved yet" if newest is None else f"{newest} at {read_progress(newest).images_seen} images"

    def _save(self, log: Log) -> None:
        """The checkpoint comes last: when it counts, all that it knows of is on the disk."""
        self._save_model(LAST_FILE)
        log.sync()
        self.checkpoints.save(self.state)

    def _save_model(self, name: str) -> None:
        progress = self.state.progress
        found = {"images_seen": progress.images_seen, "training_seconds": round(progress.seconds, 1)}
        if progress.validated_at == progress.images_seen and name == BEST_FILE:
            found["validation_loss"] = progress.best_loss
        card = {
            **self.card,
            "command": self.command,
            **dataclasses.asdict(self.settled),
            **found,
        }
        save_model(self.out / name, ModelFile(self.spec, _average(self.state), card))

    def _write_validated(self, event: Validated) -> None:
        if event.is_best:
            self._save_model(BEST_FILE)
        picture = preview(self.spec, _average(self.state), self.device)
        save_picture(picture, self.out / "samples" / f"{event.images_seen:09d}.png")


def preview(spec: ModelSpec, network: UNet, device: torch.device) -> Any:
    """A small grid by class (of many the first), always of seed 0: the model's sampling defaults, at most PREVIEW_STEPS
    of dpmpp-2m."""
    sampling = dataclasses.replace(
        spec.sampling, sampler="dpmpp-2m", eta=None, steps=min(PREVIEW_STEPS, spec.sampling.steps)
    )
    classes = len(spec.classes)
    shown = min(classes, PREVIEW_CLASSES) if classes > 1 else 10
    count = max(1, PREVIEW_IMAGES // shown) * shown
    labels = [number % shown % classes if classes else NO_CLASS for number in range(count)]
    model = Model("preview", ModelFile(spec, network, {}), device)
    images = last(model.snapshots(labels, 0, None, sampling)).denoised
    return grid_picture(to_uint8(images.cpu()), columns_for(count, shown), zoom=2)


def _average(state: TrainState) -> UNet:
    assert isinstance(state.average, UNet)
    return state.average


def _held_out(images: Any, labels: Any, rows: Any) -> Batch | None:
    if len(rows) == 0:
        return None
    return Batch(to_model(images[rows]), torch.from_numpy(labels[rows]), range(len(rows)))


def _evenly(rows: Any, most: int) -> Any:
    """At most `most` of the rows, evenly spaced, since a set may be sorted by class."""
    return rows[:: max(1, math.ceil(len(rows) / most))] if most else rows[:0]


def _check_folder(config: RunConfig, out: Path) -> bool:
    """Whether `out` holds this very run, to be resumed. Raises Refusal when it belongs to anything else."""
    with writing(out, Refusal):
        if out.exists() and not out.is_dir():
            raise Refusal(f"--out {out} is a file: expected a new folder or the folder of this run")
        require_writable(out / "config.toml")
        if unused(out):
            return False
        file = out / "config.toml"
        if not file.exists():
            raise Refusal(f"--out {out} is not empty and holds no run: expected a new folder or the folder of this run")
        difference = first_difference(without_horizon(config), without_horizon(read_run_config(file)))
        if difference:
            raise Refusal(f"--out {out} belongs to another run: {difference} as there; expected a new folder")
    return True


def _checkpoints(out: Path, held: bool) -> Checkpoints:
    """Those of a run; where it is held while they are looked at, no other process may be training it."""
    with locked(out) if held else contextlib.nullcontext():
        return Checkpoints(out / CHECKPOINTS)
