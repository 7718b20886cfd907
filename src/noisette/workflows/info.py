"""`noisette info`: what a model is, or what ships."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from noisette.base.config import flatten
from noisette.base.errors import printable
from noisette.base.files import cache_folder
from noisette.data.datasets import DATASETS
from noisette.diffusion.noise import SCHEDULES
from noisette.diffusion.precondition import PRECONDITIONS
from noisette.diffusion.samplers import SAMPLERS
from noisette.models.unet import multiply_adds
from noisette.weights.model_file import SamplingConfig
from noisette.workflows.model import Model, shipped
from noisette.workflows.perceive import shipped_perceptions
from noisette.workflows.perceive_text import shipped_clips
from noisette.workflows.recipes import recipe_names

Facts = list[tuple[str, str]]
"""What, and what was found."""

_CLASSES = 40
"""Classes named; the rest are counted."""


def model_facts(model: Model) -> dict[str, Facts]:
    """Tables about a model, by their titles: itself, its sampling defaults, its card, what each classifier measured of
    it, the config of its training."""
    spec, network = model.file.spec, model.file.network
    channels, height, width = model.shape
    low, high = spec.trained_range()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    work = multiply_adds(network, height, width) / 1e6
    about = [
        ("images", f"{height} x {width}, channels: {channels}"),
        ("classes", _listed(model.classes)),
        ("network", f"{parameters:,} parameters, {work:,.1f} million multiply-adds an image"),
        ("parameterisation", spec.diffusion.parameterisation),
        ("noise levels", f"{low:.4g} to {high:.4g}, schedule {spec.diffusion.schedule}"),
    ]
    card = dict(model.file.card)
    parts = {name: card.pop(name) for name in ("metrics", "config") if isinstance(card.get(name), dict)}
    judges = {judge: _interval_told(found) for judge, found in parts.get("metrics", {}).items()}
    measured = {
        f"measured by {judge}": told if isinstance(told, dict) else {"": told} for judge, told in judges.items()
    }
    tables = {"card": card, **measured, "config": parts.get("config", {})}
    return {
        f"model {model.name}": about,
        "sampling defaults": _sampling(spec.sampling),
        **{title: [(key, str(value)) for key, value in flatten(found).items()] for title, found in tables.items()},
    }


def shipped_facts() -> dict[str, Facts]:
    """The names of everything that ships, and where copies of data sets are kept."""
    names: dict[str, Iterable[str]] = {
        "models": shipped(),
        "classifiers": shipped_perceptions(),
        "CLIP models": shipped_clips(),
        "recipes": recipe_names(),
        "data sets": DATASETS,
        "samplers": SAMPLERS,
        "schedules": SCHEDULES,
        "parameterisations": PRECONDITIONS,
    }
    cache = cache_folder("")
    size = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())
    kept = f"{cache}, {size / 1e6:,.1f} MB; may be removed at any time, is made again when needed"
    return {
        "what ships": [(kind, ", ".join(found) or "none") for kind, found in names.items()],
        "on this machine": [("cache", kept)],
    }


def show(tables: dict[str, Facts], console: Console) -> None:
    """Print the tables."""
    for title, facts in tables.items():
        table = Table(title=Text(title), show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")  # a digest is shown whole
        for what, found in facts:
            table.add_row(Text(printable(what)), Text(printable(found)))  # Text, since a class may be called "[red]"
        console.print(table)


def _sampling(sampling: SamplingConfig) -> Facts:
    guidance = f"scale {sampling.guidance_scale:g}"
    if sampling.guidance_scale != 1:
        guidance += f" at noise levels {sampling.guidance_from:g} to {sampling.guidance_to:g}"
        guidance += ", away from perturbed attention too" * sampling.perturbs()
    quantile = sampling.clamp_quantile
    clamp = "no" if not sampling.clamp else "to [-1, 1]" if quantile is None else f"by dynamic threshold {quantile:g}"
    return [
        ("sampler", sampling.sampler if sampling.eta is None else f"{sampling.sampler}, eta {sampling.eta:g}"),
        ("steps", f"{sampling.steps}, grid {sampling.grid}"),
        ("guidance", guidance),
        ("clamp", clamp),
    ]


def _interval_told(record: Any) -> Any:
    """What a classifier measured, with each number and its interval as one text, wherever it stands."""
    if not isinstance(record, dict):
        return record
    numbers = [record.get(key) for key in ("value", "low", "high", "real")]
    if all(isinstance(number, float) for number in numbers):  # a stranger's integers may be too large to be formatted
        value, low, high, real = numbers
        floors = f", {record['floors']:.3g} floors" if isinstance(record.get("floors"), float) else ""
        return f"{value:.4g} ({low:.4g} to {high:.4g}; real images {real:.4g}){floors}"
    return {key: _interval_told(value) for key, value in record.items()}


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _CLASSES} more" if len(names) > _CLASSES else ""
    return (", ".join(names[:_CLASSES]) + more) or "none"
