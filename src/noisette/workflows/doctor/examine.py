"""`noisette doctor`: gather the evidence that a run or a data set holds, and say what it shows."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from noisette.base.config import require
from noisette.base.errors import NoisetteError, one_line
from noisette.base.seeds import generator
from noisette.data.checks import check
from noisette.data.datasets import load_data
from noisette.data.form import AS_IT_IS, Form
from noisette.data.images import ImageData
from noisette.data.split import Index, split
from noisette.models.unet import UNet
from noisette.training.checkpoint import load_state
from noisette.training.loop import new_state
from noisette.training.manifest import Checkpoints
from noisette.weights.model_file import ModelSpec, load_model
from noisette.workflows.device import choose_device
from noisette.workflows.doctor import trials
from noisette.workflows.doctor.causes import diagnose
from noisette.workflows.doctor.evidence import Course, DataEvidence, Diagnosis, Evidence, Measured, course_of
from noisette.workflows.model import locate
from noisette.workflows.run_folder import RunFolder
from noisette.workflows.train import CHECKPOINTS

T = TypeVar("T")

TRACES = ("config.toml", "run.json", "metrics.jsonl")
"""A folder that holds one of these is a run."""


@dataclass(frozen=True)
class Examination:
    """What was looked at, what was missing, and what was found. `about`: the patient in a line."""

    about: str
    looked_at: tuple[str, ...]
    missing: tuple[str, ...]
    diagnoses: dict[str, Diagnosis]
    evidence: Evidence


class _Notes:
    """Collects what could be looked at and what could not."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.looked_at: list[str] = []
        self.missing: list[str] = []
        self._say = say

    def attempt(self, what: str, make: Callable[[], T]) -> T | None:
        """What `make` returns; None, and a note, where it raises NoisetteError."""
        self._say(what)
        try:
            return make()
        except NoisetteError as error:
            self.missing.append(f"{what}: {one_line(error)}")
            return None


def examine(
    subject: str,
    data_dir: Path | None = None,
    device: str = "auto",
    overfit: bool = False,
    say: Callable[[str], None] = lambda line: None,
    form: Form = AS_IT_IS,
) -> Examination:
    """Look at `subject`: a run folder in any state, else a data set, its images brought into `form`.

    overfit: also train a new network on one small batch. say is told what is looked at next. Raises Refusal for a data
    set that cannot be loaded, a form for a run, a run without a readable config.toml, and an absent device.
    """
    chosen = choose_device(device)
    if any((Path(subject) / name).exists() for name in TRACES):
        require(
            form == AS_IT_IS, f"a form for the images of the run {subject}", "none: it keeps the one it was trained in"
        )
        return _examine_run(RunFolder(Path(subject), data_dir, device), chosen, overfit, say)
    say("data")
    data = load_data(subject, data_dir, "train", form)
    seen = data_evidence(data, *split(data.labels))
    evidence = Evidence(data=seen)
    missing = ("the one-batch overfit test: it needs a run",) if overfit else ()
    return Examination(f"data set {data.name}", (_counted(seen),), missing, diagnose(evidence), evidence)


def data_evidence(data: ImageData, train: Index, held_out: Index) -> DataEvidence:
    """What a data set shows; of one that training would refuse, no more than its report."""
    report = check(data, train, held_out)
    if report.contents is None:
        return DataEvidence(report, (), None)
    return DataEvidence(report, trials.values(data), trials.neighbours(data, train, held_out))


def _counted(seen: DataEvidence) -> str:
    found = seen.report.contents
    counts = f"{found.train.images:,} + {found.validation.images:,} images" if found else "unsound"
    return f"data {seen.report.name} ({counts})"


# A run --------------------------------------------------------------------------------------------


def _examine_run(run: RunFolder, device: torch.device, overfit: bool, say: Callable[[str], None]) -> Examination:
    notes = _Notes(say)
    data = notes.attempt("data", lambda: data_evidence(run.data(), *run.split()))
    if data is not None:
        notes.looked_at.append(_counted(data))
    course = notes.attempt("log", lambda: course_of(run.records()))
    if course is not None:
        steps, validations = len(course.seen), len(course.validation)
        notes.looked_at.append(f"log ({steps:,} steps, {validations:,} validations)")
    average, raw = _weights(run, device, notes)
    bad = next((name for network in (average, raw) if network and (name := trials.first_bad(network))), None)
    measured, trial, trivial = None, None, None
    contents = data.report.contents if data else None
    if contents is not None:
        std = run.config.diffusion.data_std or max(contents.standard_deviation, 1e-6)
        spec = dataclasses.replace(run.spec(), diffusion=dataclasses.replace(run.config.diffusion, data_std=std))
        trivial = trials.trivial_loss(spec.diffusion, contents.standard_deviation)
        if average is not None and bad is None:
            measured = notes.attempt("losses of the weights", lambda: _measured(run, spec, average, raw))
        if overfit:
            rows = run.split()[0]
            trial = notes.attempt(
                "one-batch test", lambda: trials.overfit(spec, run.config, run.data(), rows, device, say)
            )
    if measured is not None:
        notes.looked_at.append(f"weights ({len(measured.average)} held-out images)")
    if trial is not None:
        notes.looked_at.append(f"one batch of {trial.images} images (loss {trial.first:.4g} to {trial.last:.4g})")
    precision = run.settled.get("precision")
    evidence = Evidence(data, run.config, trivial, precision, course, measured, bad, trial)
    return Examination(_about(run, course), tuple(notes.looked_at), tuple(notes.missing), diagnose(evidence), evidence)


def _about(run: RunFolder, course: Course | None) -> str:
    seen, _ = run.seen()
    how = "diverged" if course is not None and course.diverged else run.finished() or "not finished"
    return f"run {run.folder}: {seen:,} images of {run.config.dataset.data}, {how}"


def _weights(run: RunFolder, device: torch.device, notes: _Notes) -> tuple[UNet | None, UNet | None]:
    """The average and the network in training, in float32: of the newest checkpoint, else the best average alone."""
    both = notes.attempt("checkpoint", lambda: _checkpoint(run, notes))
    if both is not None:
        return both[0].to(device), both[1].to(device)
    model = notes.attempt("weights", lambda: load_model(locate(run.folder)))
    return (model.network.to(device), None) if model else (None, None)


def _checkpoint(run: RunFolder, notes: _Notes) -> tuple[UNet, UNet]:
    checkpoints = Checkpoints(run.folder / CHECKPOINTS)
    if checkpoints.damage is not None:
        notes.missing.append(f"the newest checkpoint, so the one before it is taken: {checkpoints.damage}")
    if checkpoints.newest is None:
        raise NoisetteError("none is saved yet: the first comes with the first validation, or after a minute")
    state = new_state(run.spec().new_network(), run.config.training)
    load_state(checkpoints.newest, state)
    average, network = state.average, state.network.eval()
    assert isinstance(average, UNet)
    assert isinstance(network, UNet)
    return average, network


def _measured(run: RunFolder, spec: ModelSpec, average: UNet, raw: UNet | None) -> Measured:
    born = None
    if run.config.init is None:
        born = spec.new_network()
        born.initialise(generator(run.config.training.seed, "weights"))
    return trials.measure(spec, average, raw, run.data(), *run.split(), born)


# The words ----------------------------------------------------------------------------------------


def lines(found: Examination) -> Iterator[str]:
    """The examination as text, the gravest cause first."""
    yield found.about
    yield f"looked at: {', '.join(found.looked_at) or 'nothing'}"
    yield from (f"could not look at {line}" for line in found.missing)
    yield ""
    if not found.diagnoses:
        yield "nothing found"
    for number, (name, diagnosis) in enumerate(found.diagnoses.items(), start=1):
        yield f"{number}. {diagnosis.sure}: {name}"
        yield from (f"   - {line}" for line in diagnosis.evidence)
        yield f"   try first: {diagnosis.advice}"
