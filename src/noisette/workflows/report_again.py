"""What a report tells of time, and of how to make the run again: one command, seeds, versions, digests."""

import contextlib
import dataclasses
import platform
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import noisette
from noisette.base.config import flatten, to_plain
from noisette.base.errors import NoisetteError, Refusal
from noisette.report.page import Part
from noisette.report.words import spent
from noisette.weights.model_file import load_model
from noisette.workflows.model import locate, weights_digest
from noisette.workflows.recipes import RunConfig, load_recipe, recipe_names, to_toml
from noisette.workflows.run_folder import RunFolder

HORIZON = ("images", "minutes")


def timings(run: RunFolder, record: Mapping[str, Any] | None, seconds: float) -> Part:
    """How long training, drawing and measuring took; seconds: of this page until now."""
    facts = []
    steps, validations = training_seconds(run)
    if steps:
        images, total = run.seen()
        facts += [
            ("training", f"{spent(total)}, of which {spent(total - sum(steps))} to validate"),
            ("its speed", f"{images / sum(steps):,.0f} images/s without validations"),
        ]
    if validations:
        facts.append(("a validation", spent(float(np.mean(validations)))))
    if record is not None:
        source, stages = record["source"], record["timings"]
        told = ", ".join(f"{stage} {spent(taken)}" for stage, taken in stages.items())
        each = source["count"] / max(source["seconds"], 1e-9)
        facts += [
            ("drawing", f"{source['count']:,} samples in {spent(source['seconds'])}, {each:,.0f} images/s"),
            ("measuring", f"{spent(sum(stages.values()))}: {told}"),
        ]
    facts.append(("this page", f"{spent(seconds)} so far"))
    return Part(facts=facts)


def training_seconds(run: RunFolder) -> tuple[list[float], list[float]]:
    """Seconds of each step, and of each validation."""
    taken: dict[str, list[float]] = {"step": [], "validation": []}
    before = 0.0
    for record in run.records():
        if record["event"] in taken:
            taken[record["event"]].append(record["seconds"] - before)
            before = record["seconds"]
    return taken["step"], taken["validation"]


def again(run: RunFolder, record: Mapping[str, Any] | None) -> Part:
    """The command, the seeds, versions and digests, the configuration."""
    settled, config = run.settled, run.config
    names = ("python", "torch", "noisette")
    now = dict(zip(names, (platform.python_version(), str(torch.__version__), noisette.__version__), strict=True))
    facts = [
        ("seeds", f"training {config.training.seed}, split {config.dataset.split_seed}, samples 0"),
        ("trained with", _versions(settled) if settled else "not known: run.json is missing"),
        ("page made with", _versions(now)),
    ]
    facts.append(("data", f"{config.dataset.data}, SHA-256 {settled.get('data_digest', 'not known')}"))
    try:
        facts.append(("weights", f"{run.weights}, SHA-256 {weights_digest(run.folder)}"))
    except Refusal:
        facts.append(("weights", "none saved yet"))
    if record is not None:
        facts.append(("classifier", f"{record['classifier']['name']}, SHA-256 {record['classifier']['digest']}"))
    texts = {"config.toml, everything that decides the result": to_toml(config)}
    try:
        started = run.model().file.card.get("command")
    except NoisetteError:
        started = None
    if started:
        facts.insert(0, ("it was started by", str(started)))
    commands = [shlex.join(train_command(config, run.folder)), shlex.join(["noisette", "report", str(run.folder)])]
    return Part(facts=facts, commands=commands, texts=texts)


def _versions(known: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {known.get(name, '?')}" for name in ("python", "torch", "noisette"))


# The command ------------------------------------------------------------------------------------------------------


def train_command(config: RunConfig, out: Path) -> list[str]:
    """The `noisette train` that has this configuration: the recipe that is nearest, and what differs from it."""
    wanted, spec = _by_flag(config), None
    if config.init is not None:
        with contextlib.suppress(NoisetteError):  # a model that has gone
            spec = load_model(locate(config.init)).spec

    def unaltered(recipe: str) -> RunConfig:
        """What `noisette train` makes of a recipe before any flag but --init."""
        found = load_recipe(recipe)
        return found if spec is None else dataclasses.replace(found.beginning_from("", spec), init=None)

    flags = {name: _flags(wanted, _by_flag(unaltered(name))) for name in recipe_names()}
    nearest = min(flags, key=lambda name: len(flags[name]))
    return ["noisette", "train", "--recipe", nearest, *flags[nearest], "--out", str(out)]


def _flags(wanted: Mapping[str, Any], recipe: Mapping[str, Any]) -> list[str]:
    """What turns a recipe into what is wanted. The horizon always stands: one alone replaces the recipe's."""
    flags: list[str] = []
    for name in [*wanted, *(name for name in recipe if name not in wanted and name not in HORIZON)]:
        value = wanted.get(name)
        if name in HORIZON or value != recipe.get(name):
            flag = name.replace("_", "-")
            if isinstance(value, bool):
                flags.append(f"--{flag}" if value else f"--no-{flag}")
            elif isinstance(value, list):
                flags += [f"--{flag}", *([",".join(map(str, value))] if value else [])]
            else:
                text = f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
                flags += [f"--{flag}", text]
    return flags


def _by_flag(config: RunConfig) -> dict[str, Any]:
    """A configuration's settings by their own names, as flags have them."""
    return {key.rpartition(".")[2]: value for key, value in flatten(to_plain(config)).items()}
