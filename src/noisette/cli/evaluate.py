"""`noisette evaluate`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from noisette.base.errors import Refusal
from noisette.base.files import require_writable, write_text
from noisette.cli.flags import parse, parse_known, subjects
from noisette.cli.progress import progress_bar
from noisette.cli.sample import Early
from noisette.cli.tables import console_for_tables
from noisette.data.form import Form
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.evaluate import RECORD, EvaluationRequest, check_source, measure, take
from noisette.workflows.evaluation_shown import NEAREST, save_pictures, show
from noisette.workflows.model import Model, shipped
from noisette.workflows.real_statistics import real_statistics
from noisette.workflows.sources import Source, form_of, open_source

PROG = "noisette evaluate MODEL_OR_SAMPLES ..."
WIDTH = 160
"""Columns of a table that goes to a file or to another program."""


@dataclass(frozen=True)
class Options:
    """Measure samples against real images: of models (names that ship, run folders, .safetensors files), folders of
    `noisette sample`, or .npz files from anybody (images uint8 [N, H, W, C]; labels int64 [N], -1 for none)."""

    request: Annotated[EvaluationRequest, arg(name="")]
    sampling: Annotated[SamplingConfig, arg(name="")]
    data_dir: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(optional)")] = None
    """Holds the data set's files; without it they are looked for in NOISETTE_DATA, then downloaded."""
    json: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(optional)")] = None
    """Where the record goes, or a list of several; that of a run folder is written there as evaluation.json too."""
    pictures: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(optional)")] = None
    """Where pictures go: the ten samples nearest to training images, the confusion matrix, samples read as something
    else than what was asked for; a folder for each of several."""
    device: str = "auto"
    """That models draw on: auto, cpu, cuda or mps."""
    precision: str = "auto"
    """That they draw in: float32, bfloat16, or auto: bfloat16 where the processor has instructions for it."""


def run(args: list[str]) -> int:
    """Measure as the flags say; the exit code."""
    names, flags = subjects(args)
    if not names:
        parse(Options, flags, PROG, Options(EvaluationRequest(), SamplingConfig()))
        raise Refusal(f"no model and no samples: expected a name, run folder or file first, as in {PROG} --data mnist")
    early = parse_known(Early, flags, PROG)
    sources = [open_source(name, early.device, early.precision) for name in names]
    form = next((form_of(source) for source in sources if isinstance(source, Model)), Form())
    # The flags of each source: what they leave out of the sampling is its own.
    each = [parse(Options, flags, PROG, _defaults(source, early, form)) for source in sources]
    options = each[0]
    request = options.request
    places = [_places(name, number, len(names), options) for number, name in enumerate(names, 1)]
    for path in [options.json, *(path for files in places for path in files)]:
        if path is not None:
            require_writable(path)

    with progress_bar() as progress:
        real = request.load_real(options.data_dir, progress)
    for source, own in zip(sources, each, strict=True):
        check_source(source, real, request, own.sampling)
    records = []
    with progress_bar() as progress:
        known = real_statistics(real, progress)
        for source, own, (record_file, picture) in zip(sources, each, places, strict=True):
            samples = take(source, real, request, own.sampling, progress)
            evaluation = measure(samples, known, request, progress)
            records.append(evaluation.record)
            if options.json is not None:  # after each, so that nothing is lost where a later one fails
                _write(options.json, records[0] if len(names) == 1 else records)
            if record_file is not None:
                _write(record_file, evaluation.record)
            if picture is not None:
                save_pictures(evaluation, picture.parent)
    show(records, console_for_tables(WIDTH))
    for record in records:
        print(_line(record))
    return 0


def _defaults(source: Source, early: Early, form: Form) -> Options:
    """What the flags of a source are when they are left out."""
    sampling = source.sampling if isinstance(source, Model) else SamplingConfig()
    sampling = sampling.without_eta_of_another(early.sampler)
    return Options(EvaluationRequest(form=form), sampling, device=early.device, precision=early.precision)


def _places(name: str, number: int, count: int, options: Options) -> tuple[Path | None, Path | None]:
    """The file of a run folder's own record, and the first picture."""
    record = Path(name) / RECORD if Path(name).is_dir() and name not in shipped() else None
    if options.pictures is None:
        return record, None
    folder = options.pictures if count == 1 else options.pictures / f"{number}-{Path(name).stem}"
    return record, folder / NEAREST


def _write(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _line(record: dict[str, Any]) -> str:
    """What took how long."""
    source, timings = record["source"], record["timings"]
    drawn = "" if source["seconds"] is None else f"drawn in {source['seconds']:.1f} s, "
    stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in timings.items())
    return f"{source['name']}: {drawn}measured in {sum(timings.values()):.1f} s ({stages})"
