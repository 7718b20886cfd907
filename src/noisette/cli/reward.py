"""`noisette reward`."""

import shlex
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from noisette.base.config import require
from noisette.base.errors import Refusal
from noisette.base.files import require_writable
from noisette.cli.flags import parse, parse_known, subject
from noisette.cli.progress import progress_bar, stopped_by_signals
from noisette.cli.sample import Early
from noisette.cli.tables import console_for_tables
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.model import BEST_FILE, load
from noisette.workflows.reward import RECORD, Reward, RewardRequest
from noisette.workflows.reward_shown import FIGURES, check_line, save_rewarded, show_rewarded
from noisette.workflows.sources import form_of

PROG = "noisette reward MODEL"
USUAL_STEPS = 8
"""Of drawings on the way, unless asked: fewer than a model usually takes, since all are paid for image by image."""


@dataclass(frozen=True)
class Options:
    """Train a model on with what a judge says of its own drawings, checked on the way by a classifier that takes no
    part: training ends before the judge is fooled. Drawings are made in 8 steps, without guidance or a share of noise,
    unless asked."""

    request: Annotated[RewardRequest, arg(name="")] = RewardRequest()
    sampling: Annotated[SamplingConfig, arg(name="")] = SamplingConfig()
    out: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(required)")] = None
    """Where best.safetensors goes, the model as before with other weights, reward.json and the figures."""
    data_dir: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(optional)")] = None
    """Holds the data set's files; without it they are looked for in NOISETTE_DATA, then downloaded."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    precision: str = "auto"
    """Of gradients and drawings: float32, bfloat16, or auto: bfloat16 where the processor has instructions for it."""


def run(args: list[str]) -> int:
    """Reward as the flags say; the exit code."""
    name, flags = subject(args)
    if name is None:
        parse(Options, flags, PROG)
        raise Refusal(f"no model: expected its name, run folder or file first, as in {PROG} --out FOLDER")
    early = parse_known(Early, flags, PROG)
    model = load(name, early.device, "float32")
    sampling = model.sampling.without_eta_of_another(early.sampler)
    sampling = replace(sampling, steps=min(USUAL_STEPS, sampling.steps), eta=None, guidance_scale=1.0)
    options = parse(Options, flags, PROG, Options(RewardRequest(form=form_of(model)), sampling))
    out = options.out
    if out is None:
        raise Refusal("no --out: expected the folder to write to")
    require(not (out / BEST_FILE).exists(), f"--out {out}, which holds a model", "a new folder")
    for file in (BEST_FILE, RECORD, *(f"{stem}.png" for stem in FIGURES)):
        require_writable(out / file)
    command = shlex.join(["noisette", "reward", *args])
    with stopped_by_signals() as stop, progress_bar() as progress:
        reward = Reward(
            model, options.request, out, options.sampling, options.data_dir, options.precision, command, progress
        )
        for check in reward.checks(progress, stop):
            print(check_line(check), flush=True)
        rewarded = reward.finish(progress)
    show_rewarded(rewarded.record, console_for_tables())
    print("written:", out / BEST_FILE, out / RECORD, *save_rewarded(rewarded, out), sep="\n  ")
    return 128 + (stop.signal or signal.SIGTERM) if stop() else 0
