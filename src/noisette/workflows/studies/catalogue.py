"""The studies by name, and how one is made. A new one is a function of a bench and its line of registration."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import noisette
from noisette.base.errors import Refusal
from noisette.base.lock import locked
from noisette.base.registry import Registry
from noisette.workflows.studies import ema, forward, guidance, parts, recognition, schedule, steps
from noisette.workflows.studies.bench import Bench, StudyRequest
from noisette.workflows.studies.finding import Finding, write_finding
from noisette.workflows.train import Run


@dataclass(frozen=True)
class Study:
    """A study. about: a phrase for a list. model: what it is given when none is named; None: it takes one or goes
    without, and "" it takes none."""

    about: str
    make: Callable[[Bench], Finding]
    model: str | None


STUDIES: Registry[Study] = Registry("study")
STUDIES.add("steps", Study("blobs at 100 steps: their number, or the noise they end in?", steps.study, None))
STUDIES.add("recognition", Study("after which share of the steps can a digit be told?", recognition.study, "mnist"))
STUDIES.add("forward", Study("how an image dissolves, and what is left of it", forward.study, None))
STUDIES.add("parts", Study("what time embedding, skips and labels are worth", parts.study, ""))
STUDIES.add("ema", Study("the average of the weights against the weights", ema.study, ""))
STUDIES.add("guidance", Study("its scale against label accuracy and coverage", guidance.study, "mnist"))
STUDIES.add("schedule", Study("tables of noise levels at equal images seen", schedule.study, ""))


def run_study(
    request: StudyRequest,
    follow: Callable[[Run], bool],
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[float, int], None] = lambda done, images: None,
) -> tuple[Finding, list[Path]]:
    """Make the study that `request` names; what was found, and the files that tell it.

    follow, say, progress: see Bench. Raises Refusal before any work for an unknown name, a model where none is taken,
    or a folder of something else; Interrupted when a person stops a training, to be gone on with.
    """
    study = STUDIES[request.name]
    if request.model is not None and study.model == "":
        takers = ", ".join(name for name, other in STUDIES.items() if other.model != "")
        raise Refusal(f"study {request.name} takes no model, found {request.model!r}: those that do are {takers}")
    bench = Bench(dataclasses.replace(request, model=request.model or study.model or None), follow, say, progress)
    with locked(request.out):
        found = study.make(bench)
        bench.save(finding=found.paragraph)
        return found, write_finding(found, request.out, _how(bench))


def _how(bench: Bench) -> list[str]:
    """How the study was made, a line each."""
    settings = bench.settings
    return [
        f"command: `{bench.request.command}`",
        f"data: {settings['data']}, digest {settings['data_digest'][:12]}; measured against its "
        f"{bench.judge.real.against} part, equal class counts",
        f"classifier: {settings['classifier']}, digest {settings['classifier_digest'][:12]}, "
        f"{bench.judge.accuracy:.2%} right on the real images",
        f"model: {settings['model']}, file digest {settings['model_digest'][:12]}",
        "floors: Frechet distance in units of the same distance of as many real training images (mean of 8 draws)",
        "in brackets: 90 % intervals; what overlaps is said not to be told apart",
        f"numbers, counts and versions: results.json; noisette {noisette.__version__}",
    ]
