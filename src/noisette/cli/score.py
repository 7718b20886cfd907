"""`noisette score`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from noisette.base.errors import Refusal
from noisette.base.files import require_writable, write_text
from noisette.cli.flags import parse, subject
from noisette.cli.progress import progress_bar
from noisette.cli.tables import console_for_tables
from noisette.workflows.score import ScoreRequest, Scoring
from noisette.workflows.score_shown import FIGURES, save_scores, show
from noisette.workflows.sources import open_drawn

PROG = "noisette score SAMPLES"
RECORD = "score.json"


@dataclass(frozen=True)
class Options:
    """Score samples, image by image: how likely is each what was asked for, by a CLIP model or a classifier? Of a
    folder of `noisette sample`, or an .npz file from anybody (images uint8 [N, H, W, C]; labels int64 [N], -1: none).
    Beside it stands how well the scorer reads real images."""

    request: Annotated[ScoreRequest, arg(name="")] = ScoreRequest()
    out: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(optional)")] = None
    """Where score.json goes, with the probabilities of every image, and the figures."""
    data_dir: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(optional)")] = None
    """Holds the data set's files; without it they are looked for in NOISETTE_DATA, then downloaded."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""


def run(args: list[str]) -> int:
    """Score as the flags say; the exit code."""
    name, flags = subject(args)
    options = parse(Options, flags, PROG)
    if name is None:
        raise Refusal(f"no samples: expected a folder or an .npz file first, as in {PROG} --by clip")
    samples = open_drawn(name, fewest=1)
    out = options.out
    if out is not None:
        for file in (RECORD, *(f"{stem}.png" for stem in FIGURES)):
            require_writable(out / file)
    with progress_bar() as progress:
        score = Scoring(options.request, options.data_dir, options.device, progress).run(samples, progress)
    written: list[Path] = []
    if out is not None:
        write_text(out / RECORD, json.dumps(score.record, allow_nan=False) + "\n")
        written = [out / RECORD, *save_scores(score, out)]
    show(score.record, console_for_tables())  # last, since whoever reads it may have gone
    if written:
        print("written:", *written, sep="\n  ")
    return 0
