"""`noisette report`: one page that tells a run, whatever state it is in."""

import json
import platform
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import noisette
from noisette.base.config import require
from noisette.base.errors import NoisetteError, one_line
from noisette.base.files import require_writable, write_text
from noisette.report.page import TITLES, KeyNumber, Page, Part, render
from noisette.report.words import by, listed, number, percent, spent
from noisette.workflows import report_again as again
from noisette.workflows import report_prompts as opinion
from noisette.workflows import report_samples as samples
from noisette.workflows import report_training as training
from noisette.workflows.evaluate import FORMAT, RECORD, EvaluationRequest, evaluate
from noisette.workflows.evaluation_record import is_record
from noisette.workflows.model import weights_digest
from noisette.workflows.perceive import load_perception
from noisette.workflows.run_folder import Once, RunFolder, read_table

NONE = "–"


def write_report(
    folder: Path,
    out: Path | None = None,
    count: int = 1000,
    data_dir: Path | None = None,
    classifier: str = "mnist",
    device: str = "auto",
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write the page of the run in `folder` and return its path: `out`, or report.html in the run.

    Its figures lie beside it, as PNG and SVG, in a folder of the page's name. `count` samples are measured, and the
    record kept there, unless the run has one of its weights with as many. say is told what is done next. Raises Refusal
    for what is no run and for a page that could not be written; whatever else is missing is told on the page.
    """
    started = time.perf_counter()
    run = RunFolder(folder, data_dir, device)
    out = out or folder / "report.html"
    require(out.suffix == ".html", f"output {str(out)!r}", "a .html file")
    dataset = run.config.dataset
    request = EvaluationRequest(
        dataset.data,
        count=count,
        classifier=classifier,
        validation_fraction=dataset.validation_fraction,
        split_seed=dataset.split_seed,
        form=dataset.form,
    )
    beside = out.with_suffix("")
    for path in (out, beside / RECORD):
        require_writable(path)

    record = Once(lambda: _record(run, beside, request))

    def known() -> dict[str, Any] | None:
        try:
            return record()
        except NoisetteError:
            return None

    sections: dict[str, Callable[[], Part]] = {
        "trained": lambda: training.trained(run),
        "data": lambda: training.data(run, beside),
        "noise": lambda: training.noise(run, beside),
        "schedule": lambda: training.schedule(run, beside),
        "network": lambda: training.network(run, beside),
        "losses": lambda: training.losses(run, beside),
        "progress": lambda: training.progress(run, beside),
        "samples": lambda: samples.samples(run, beside),
        "film": lambda: samples.denoising(run, beside),
        "recognition": lambda: samples.recognition(run, beside, classifier),
        "measured": lambda: samples.measured(record()),
        "confusion": lambda: samples.confused(record(), beside),
        "prompts": lambda: opinion.prompts(run, beside),
        "nearest": lambda: samples.closest(run, record(), beside),
        "timings": lambda: again.timings(run, known(), time.perf_counter() - started),
        "reproduce": lambda: again.again(run, known()),
    }
    parts = {}
    for anchor, title in TITLES.items():
        say(title)
        parts[anchor] = _attempt(sections[anchor])
    title = f"{run.config.dataset.data}, {'/'.join(folder.resolve().parts[-2:])}"
    page = Page(title, _summary(run), _numbers(run, known()), parts, _made())
    write_text(out, render(page))
    return out


def _attempt(section: Callable[[], Part]) -> Part:
    """The section, or why there is none."""
    try:
        return section()
    except NoisetteError as error:
        reason = one_line(error)
        return Part(missing=[f"{reason[0].upper()}{reason[1:]}."])


# The measurement ----------------------------------------------------------------------------------


def _record(run: RunFolder, beside: Path, request: EvaluationRequest) -> dict[str, Any]:
    """The evaluation of the run's weights: one that is there, in the run or beside the page, else it is made."""
    model = run.model()
    run.data()  # which refuses other data than the run was trained on
    wanted = weights_digest(run.folder), load_perception(request.classifier).digest
    for path in (run.folder / RECORD, beside / RECORD):
        found = read_table(path)
        if _is_of(found, *wanted, request):
            return found
    found = evaluate(model, request, run.data_dir)
    write_text(beside / RECORD, json.dumps(found, indent=1) + "\n")
    return found


def _is_of(record: Mapping[str, Any], weights: str, classifier: str, request: EvaluationRequest) -> bool:
    """Whether a record is of the weights and the classifier with these digests, by the data asked for and with as many
    samples (class counts are made equal, which may leave out a few)."""
    if not is_record(record):
        return False
    source = record["source"]
    named = record.get("format"), source.get("model_digest"), record["classifier"]["digest"], record["data"]["name"]
    enough = source["count"] > request.count - len(record["classes"])
    return bool(named == (FORMAT, weights, classifier, request.data) and enough)


# The head of the page -----------------------------------------------------------------------------


def _summary(run: RunFolder) -> str:
    """The run in a sentence or two."""
    images, seconds = run.seen()
    try:
        spec = run.spec()
        what = f"A diffusion model of {by((spec.height, spec.width))} images"
        what += f" of {len(spec.classes)} classes" if spec.classes else ""
    except NoisetteError:
        what = "A diffusion model"
    trained = (
        f"trained on {images:,} images of {run.config.dataset.data} in {spent(seconds)}"
        if images
        else "not trained yet"
    )
    ended = "" if run.finished() or not images else " The run is not finished: the same command goes on with it."
    return f"{what}, {trained}.{ended}"


def _numbers(run: RunFolder, record: Mapping[str, Any] | None) -> list[KeyNumber]:
    """The header's figures, each with what to hold it against."""
    metrics = record["metrics"] if record else {}

    def measured(what: str, name: str, write: Callable[[float], str], note: str) -> KeyNumber:
        if name not in metrics:
            return KeyNumber(what, NONE, "not measured")
        found = metrics[name]
        return KeyNumber(what, write(found["value"]), note.format(real=write(found["real"])))

    images, seconds = run.seen()
    frechet = metrics.get("frechet", {}).get("floors")
    try:
        epochs = f"{images / len(run.split()[0]):.1f} times the training images" if images else "none yet"
    except NoisetteError:
        epochs = "by training"
    try:
        with torch.device("meta"):
            parameters = f"{sum(p.numel() for p in run.spec().new_network().parameters()):,}"
    except NoisetteError:
        parameters = NONE
    finished = run.finished()
    return [
        measured("label accuracy", "label_accuracy", percent, "real images: {real}"),
        KeyNumber("distance, in floors", number(frechet), "real images: 1")
        if frechet
        else KeyNumber("distance, in floors", NONE, "not measured"),
        measured("coverage", "coverage", percent, "real images: {real}"),
        KeyNumber("images seen", f"{images:,}", epochs),
        KeyNumber("training time", spent(seconds), finished or "not finished"),
        KeyNumber("parameters", parameters, f"U-Net, {listed(run.config.network.widths)} wide"),
    ]


def _made() -> str:
    """When and with what the page was made."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    versions = f"noisette {noisette.__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    return f"Made on {now} by {versions}."
