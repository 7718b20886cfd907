"""`noisette rank`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from noisette.base.errors import Refusal
from noisette.base.files import require_writable, write_text
from noisette.cli.flags import parse, parse_known, subject
from noisette.cli.progress import progress_bar
from noisette.cli.sample import Early
from noisette.cli.tables import console_for_tables
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.choice_shown import FIGURES, save_ranked, show_ranked
from noisette.workflows.choosing import Choice
from noisette.workflows.model import load
from noisette.workflows.rank import Rank, RankRequest, shard_of
from noisette.workflows.sample_files import write_arrays
from noisette.workflows.sources import form_of

PROG = "noisette rank MODEL"
RECORD, KEPT = "rank.json", "kept.npz"


@dataclass(frozen=True)
class Options:
    """Draw many images of each class and keep the best, no two of them too alike: what that does to them by a
    classifier that takes no part, and what it costs."""

    choice: Annotated[Choice, arg(name="")] = Choice()
    per_class: int = 100
    """Images of each class to keep."""
    candidates: Annotated[int, arg(name="from")] = 400
    """Images of each class to draw and to choose from."""
    reject_below: float = 0.0
    """Keeps no image whose score, a calibrated probability, is below this, though a class be short of images then."""
    seed: int = 0
    """Decides what is drawn: the same images as by noisette sample with this seed."""
    sampling: Annotated[SamplingConfig, arg(name="")] = SamplingConfig()
    out: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(required)")] = None
    """Where kept.npz goes (images, labels, index, seed), rank.json and the figures."""
    data_dir: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(optional)")] = None
    """Holds the data set's files; without it they are looked for in NOISETTE_DATA, then downloaded."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    precision: str = "auto"
    """float32, bfloat16, or auto: bfloat16 where the processor has instructions for it."""


def run(args: list[str]) -> int:
    """Rank as the flags say; the exit code."""
    name, flags = subject(args)
    if name is None:
        parse(Options, flags, PROG)
        raise Refusal(f"no model: expected its name, run folder or file first, as in {PROG} --out FOLDER")
    early = parse_known(Early, flags, PROG)
    model = load(name, early.device, early.precision)
    sampling = model.sampling.without_eta_of_another(early.sampler)
    options = parse(Options, flags, PROG, Options(Choice(form=form_of(model)), sampling=sampling))
    out = options.out
    if out is None:
        raise Refusal("no --out: expected the folder to write to")
    for file in (RECORD, KEPT, *(f"{stem}.png" for stem in FIGURES)):
        require_writable(out / file)
    request = RankRequest(options.choice, options.per_class, options.candidates, options.reject_below, options.seed)
    with progress_bar() as progress:
        ranked = Rank(model, request, options.sampling, options.data_dir, progress).run(progress)
    write_arrays(out / KEPT, shard_of(ranked.kept, request.seed, model.classes))
    write_text(out / RECORD, json.dumps(ranked.record, allow_nan=False) + "\n")
    pictures = save_ranked(ranked, out)
    show_ranked(ranked.record, console_for_tables())  # last, since whoever reads it may have gone
    print("written:", out / KEPT, out / RECORD, *pictures, sep="\n  ")
    return 0
