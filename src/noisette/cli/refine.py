"""`noisette refine`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from noisette.base.config import require
from noisette.base.errors import Refusal
from noisette.base.files import require_writable, write_text
from noisette.cli.flags import parse, parse_known, subject
from noisette.cli.progress import progress_bar
from noisette.cli.sample import Early
from noisette.cli.tables import console_for_tables
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.choice_shown import FIGURES, save_refined, show_refined
from noisette.workflows.choosing import Choice
from noisette.workflows.model import load
from noisette.workflows.rank import shard_of
from noisette.workflows.refine import Refine, RefineRequest
from noisette.workflows.sample_files import write_arrays
from noisette.workflows.sources import form_of, holds_samples, open_drawn

PROG = "noisette refine SAMPLES_OR_MODEL"
RECORD, REFINED = "refine.json", "refined.npz"


@dataclass(frozen=True)
class Options:
    """Noise the worst images of each class, or the best, to a middle level and draw them again; of old and new the best
    stay, as many as there were, no two too alike. Of a folder of `noisette sample`, of an .npz file from anybody, or of
    what a model draws first."""

    request: Annotated[RefineRequest, arg(name="")] = RefineRequest()
    sampling: Annotated[SamplingConfig, arg(name="")] = SamplingConfig()
    model: Annotated[str | None, arg(help_behavior_hint="(required for samples)")] = None
    """Draws samples again: a name that ships, a run folder or a .safetensors file."""
    out: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(required)")] = None
    """Where refined.npz goes (images, labels, index, seed), refine.json and the figures."""
    data_dir: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(optional)")] = None
    """Holds the data set's files; without it they are looked for in NOISETTE_DATA, then downloaded."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    precision: str = "auto"
    """float32, bfloat16, or auto: bfloat16 where the processor has instructions for it."""


@dataclass(frozen=True)
class Drawer:
    """What draws, which decides the defaults of the other flags."""

    model: str | None = None


def run(args: list[str]) -> int:
    """Refine as the flags say; the exit code."""
    name, flags = subject(args)
    if name is None:
        parse(Options, flags, PROG)
        raise Refusal(f"no samples and no model: expected one first, as in {PROG} --out FOLDER")
    early, drawer = parse_known(Early, flags, PROG), parse_known(Drawer, flags, PROG).model
    given = holds_samples(name)
    require(not given or drawer is not None, f"samples {name} without --model", "the model that draws them again")
    require(given or drawer is None, f"--model {drawer} beside the model {name}", "one of them, or samples first")
    model = load(drawer or name, early.device, early.precision)
    samples = open_drawn(name, fewest=1) if given else None
    sampling = model.sampling.without_eta_of_another(early.sampler)
    options = parse(Options, flags, PROG, Options(RefineRequest(Choice(form=form_of(model))), sampling))
    out = options.out
    if out is None:
        raise Refusal("no --out: expected the folder to write to")
    for file in (RECORD, REFINED, *(f"{stem}.png" for stem in FIGURES)):
        require_writable(out / file)
    with progress_bar() as progress:
        refine = Refine(model, options.request, samples, options.sampling, options.data_dir, progress)
        refined = refine.run(progress)
    write_arrays(out / REFINED, shard_of(refined.after, options.request.seed, model.classes))
    write_text(out / RECORD, json.dumps(refined.record, allow_nan=False) + "\n")
    pictures = save_refined(refined, out)
    show_refined(refined.record, console_for_tables())  # last, since whoever reads it may have gone
    print("written:", out / REFINED, out / RECORD, *pictures, sep="\n  ")
    return 0
