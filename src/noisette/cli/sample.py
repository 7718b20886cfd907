"""`noisette sample`."""

from dataclasses import dataclass
from typing import Annotated

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tyro.conf import arg

from noisette.base.errors import Refusal
from noisette.cli.flags import parse, parse_known, subject
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.model import load
from noisette.workflows.sample import SampleRequest, sample_to

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
    with _bar() as bar:
        task = bar.add_task("", total=None)

        def progress(done: float, images: int) -> None:
            rate = bar.tasks[0].finished_speed or bar.tasks[0].speed
            bar.update(task, completed=done, total=images, description=f"{rate:,.1f} images/s" if rate else "")

        sampled = sample_to(model, request, progress)
    print(
        f"{sampled.images} images in {sampled.seconds:.1f} s, {sampled.images / sampled.seconds:,.1f} images/s, "
        f"{sampled.evaluations:g} network evaluations an image, {model.precision}: {request.out}"
        + (f" and {request.film}" if request.film else "")
    )
    return 0


def _bar() -> Progress:
    """Progress with rate and time left, on stderr when it is a terminal."""
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
