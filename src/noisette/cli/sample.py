"""`noisette sample`."""

import shlex
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from noisette.base.errors import Refusal
from noisette.base.processes import rank_and_count
from noisette.cli.drawing import Drawing
from noisette.cli.flags import parse, parse_known, subject
from noisette.cli.progress import Stop, stopped_by_signals
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.drawing import Sampled
from noisette.workflows.model import Model, load
from noisette.workflows.sample import sample_to
from noisette.workflows.sample_request import SampleRequest

PROG = "noisette sample MODEL"


@dataclass(frozen=True)
class Options:
    """Draw images from a model: a name that ships, a run folder, or a .safetensors file."""

    request: Annotated[SampleRequest, arg(name="")]
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    precision: str = "auto"
    """float32, bfloat16, or auto: bfloat16 where the processor has instructions for it."""


@dataclass(frozen=True)
class Early:
    """What decides the defaults of the other flags."""

    device: str = "auto"
    precision: str = "auto"
    sampler: str | None = None


def run(args: list[str]) -> int:
    """Draw as the flags say; the exit code."""
    name, flags = subject(args)
    if name is None:
        parse(Options, flags, PROG, Options(SampleRequest(SamplingConfig())))
        raise Refusal(f"no model: expected its name, run folder or file first, as in {PROG} --per-class 10")
    early = parse_known(Early, flags, PROG)
    model = load(name, early.device, early.precision)
    sampling = model.sampling.without_eta_of_another(early.sampler)
    request = parse(Options, flags, PROG, Options(SampleRequest(sampling), early.device, early.precision)).request
    command = shlex.join(["noisette", "sample", *args])
    rank, processes = rank_and_count()
    with Drawing() as drawing, _stopping(request) as stop:
        sampled = sample_to(model, request, drawing.show if rank == 0 else None, stop)
    stopped = stop.signal is not None and sampled.left > 0
    if rank == 0 and stopped:
        print(f"stopped, {sampled.left:,} images are left to draw; to go on: {command}")
    elif rank == 0:
        print(_told(sampled, model, request, processes))
    return 128 + stop.signal if stopped and stop.signal is not None else 0


def _stopping(request: SampleRequest) -> AbstractContextManager[Stop]:
    """A folder is gone on with, so signals stop between two shards; a single file is not, so they do what they do."""
    return stopped_by_signals() if request.writes_folder() else nullcontext(Stop())


def _told(sampled: Sampled, model: Model, request: SampleRequest, processes: int) -> str:
    """What was done, in a line; of many processes by the first."""
    place = f"{request.out}" + (f" and {request.film}" if request.film else "")
    before = f" after {sampled.before:,} that were there" if sampled.before else ""
    share = f" by the first of {processes} processes" if processes > 1 else ""
    left = f", {sampled.left:,} are left to the others" if sampled.left else ""
    if not sampled.images:
        return f"nothing left to draw{share}, {sampled.before:,} images are there{left}: {place}"
    rate = sampled.images / sampled.seconds
    return (
        f"{sampled.images:,} images{before}{share} in {sampled.seconds:.1f} s, {rate:,.1f} images/s, "
        f"{sampled.evaluations:g} network evaluations an image, {model.precision}{left}: {place}"
    )
