"""What a report tells of the training: the data, the noise, the network, what was learned and how long it took.

A section raises NoisetteError when it has nothing to show; the page then tells the error in its place.
"""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from noisette.base.errors import Refusal
from noisette.base.files import existing_file
from noisette.base.seeds import ImageNoise
from noisette.data.images import to_model, to_uint8
from noisette.diffusion.noise import add_noise, unit_variance
from noisette.diffusion.objective import training_levels
from noisette.models.unet import multiply_adds
from noisette.report import figures
from noisette.report.anatomy import draw_unet
from noisette.report.page import Part, Picture, chart, pixels
from noisette.report.words import by, listed, number, spent
from noisette.weights.model_file import TRAINED
from noisette.workflows.run_folder import RunFolder

MOMENTS = 6
"""Of training, whose grids are shown, at most."""
BARS = 40
"""Classes that a chart shows, at most."""
SHARES = (1.0, 0.99, 0.95, 0.85, 0.7, 0.5, 0.3, 0.15, 0.05, 0.005)
"""Of the variance that is still image: where an image is shown dissolving."""


def trained(run: RunFolder) -> Part:
    """What was trained, on what, how far."""
    config = run.config
    predicts = config.diffusion.parameterisation
    training, network, diffusion = config.training, config.network, config.diffusion
    images, seconds = run.seen()
    horizon = [f"{training.images:,} images"] if training.images else []
    horizon += [f"{training.minutes:g} minutes"] if training.minutes else []
    drawn_from = {
        "table": f"the {diffusion.table_steps:,} of the {diffusion.schedule} table, evenly",
        "log-normal": f"log-normal, ln level {diffusion.noise_log_mean:g} ± {diffusion.noise_log_std:g}",
        "log-snr": "even in log signal-to-noise ratio",
    }[diffusion.training_levels]
    facts = [
        ("state", state(run)),
        ("images seen", f"{images:,} in {spent(seconds)}, planned: {' or '.join(horizon) or 'no end'}"),
        ("data set", config.dataset.data),
        ("network", f"U-Net, {listed(network.widths)} channels wide, blocks a level: {network.blocks}"),
        ("predicts", "EDM's mixture of image and noise" if predicts == "edm" else predicts),
        ("noise levels", drawn_from),
        ("loss weight", diffusion.loss_weight),
        ("optimiser", f"{training.optimizer}, learning rate {training.learning_rate:g}, {training.rate}"),
        ("batch", f"{training.batch_size} images"),
        ("augmentation", run.config.augmentation.told()),
        ("average (EMA)", f"half-life {training.ema_halflife_images:,} images"),
        ("classes left out", f"{100 * training.label_drop:g} % of the time, for guidance"),
    ]
    if settled := run.settled:
        facts.append(("machine", ", ".join(f"{settled.get(key, '?')}{unit}" for key, unit in _MACHINE.items())))
    return Part(facts=facts)


_MACHINE = {"device": "", "threads": " threads", "precision": " gradients"}


def state(run: RunFolder) -> str:
    """How far the run has come, in words."""
    if reason := run.finished():
        return f"finished: {reason}"
    images, _ = run.seen()
    return f"not finished: {images:,} images so far" if images else "not begun: no step has been logged"


def data(run: RunFolder, folder: Path) -> Part:
    """What the check found, and the images of each class."""
    report = run.check()
    verdict = "refused" if report.problems else "usable, with warnings" if report.warnings else "sound"
    facts = [
        ("verdict", verdict),
        *(("problem", problem) for problem in report.problems),
        *(("warning", warning) for warning in report.warnings),
        ("source", report.source),
        *(("read as", note) for note in report.notes),
        ("images", f"{report.shape[0]:,} of {by(report.shape[1:3])} pixels, channels: {report.shape[3]}"),
    ]
    pictures: list[Picture] = []
    if (found := report.contents) is not None:
        facts += [
            ("training, validation", f"{found.train.images:,} and {found.validation.images:,} images"),
            ("values", f"{found.lowest} to {found.highest}"),
            (
                "mean, deviation",
                f"{number(found.mean)} and {number(found.standard_deviation)} of training values, scaled to −1 to 1",
            ),
            ("repeated images", f"{found.train.duplicates} in training, {found.validation.duplicates} in validation"),
            ("in both parts", f"{found.shared}"),
            ("of one colour", f"{found.constant}"),
        ]
        if 0 < len(report.classes) <= BARS:
            counts = found.train.per_class, found.validation.per_class
            alt = "Bars: images of each class in training and in validation."
            pictures.append(chart(figures.class_counts(report.classes, *counts), folder / "classes", "", alt))
    facts.append(("digest", report.digest))
    return Part(pictures, facts)


def noise(run: RunFolder, folder: Path) -> Part:
    """A held-out image dissolving."""
    kept, held_out = run.split()
    row = (held_out if len(held_out) else kept)[0]
    clean = to_model(run.data().images[row : row + 1])
    unit = ImageNoise(0, "report", [0], clean.shape[1:]).draw()
    noised = []
    for share in SHARES:
        level = math.sqrt(1 / share - 1)
        noisy = add_noise(clean, torch.tensor([level]), unit)
        noised.append((level, to_uint8(unit_variance(noisy, level))[0]))
    caption = f"Image {row} of the data set at ten noise levels, always with the same noise."
    alt = f"One image at noise levels from {noised[0][0]:g} to {noised[-1][0]:.3g}: it dissolves."
    return Part([chart(figures.forward_strip(noised), folder / "forward", caption, alt)])


def schedule(run: RunFolder, folder: Path) -> Part:
    """Levels and signal-to-noise ratio by step; the levels of training."""
    spec = run.spec()
    sampling, diffusion = spec.sampling, spec.diffusion
    table, grid = diffusion.table().tolist(), spec.sampling_grid(sampling)[:-1]
    chain = sampling.grid == TRAINED and diffusion.is_chain()
    guided = None if sampling.guidance_scale == 1 else (sampling.guidance_from, sampling.guidance_to)
    draws = training_levels(diffusion)((torch.arange(4000, dtype=torch.float64) + 0.5) / 4000).tolist()
    how = f"{sampling.sampler}, {sampling.steps} steps"
    if guided:
        how += f", guidance {sampling.guidance_scale:g}"
    pictures = [
        chart(
            figures.noise_levels(table, grid, chain, guided),
            folder / "noise-levels",
            f"Schedule {diffusion.schedule}; drawn with {how}.",
            f"Noise level by step of sampling, falling from {grid[0]:.3g} to {grid[-1]:.3g}.",
        ),
        chart(
            figures.signal_to_noise(table, grid, chain),
            folder / "signal-to-noise",
            f"From {grid[0] ** -2:.2g} at the first step to {grid[-1] ** -2:.2g}.",
            "Signal-to-noise ratio by step of sampling, rising.",
        ),
        chart(
            figures.image_share(table, grid, chain),
            folder / "image-share",
            f"It begins with {100 / (1 + grid[0] ** 2):.2g} % of image.",
            "Share of the variance that is image, by step of sampling, rising.",
        ),
        chart(
            figures.training_levels(draws),
            folder / "training-levels",
            "In equal ratios of noise level.",
            "How often training draws each noise level.",
        ),
    ]
    return Part(pictures)


def network(run: RunFolder, folder: Path) -> Part:
    """The U-Net drawn, with its sizes."""
    spec = run.spec()
    with torch.device("meta"):  # its sizes alone
        unet = spec.new_network()
    parameters = sum(parameter.numel() for parameter in unet.parameters())
    work_done = multiply_adds(unet, spec.height, spec.width)
    caption = f"{parameters:,} parameters, {work_done / 1e6:,.1f} million multiply-adds an image and evaluation."
    config = spec.network
    alt = f"The U-Net with {len(config.widths)} levels of {listed(config.widths)} channels, drawn from input to output."
    return Part([chart(draw_unet(unet, spec.height, spec.width), folder / "network", caption, alt)])


def losses(run: RunFolder, folder: Path) -> Part:
    """Losses, by noise level too, the learning rate and the gradient."""
    steps, validations = run.events("step"), run.events("validation")
    if not steps:
        raise Refusal("no step of training has been logged yet")
    recent = f"Training, the last {len(steps[-100:])} batches: {np.mean([step['loss'] for step in steps[-100:]]):.4f}."
    best = [record for record in validations if record["is_best"]]
    told = f"Best validation: {best[-1]['loss']:.4f} at {best[-1]['images_seen']:,} images. " if best else ""
    drops = sum(record["rate_dropped"] for record in validations)
    clip = run.config.training.gradient_clip
    drawn = {
        "losses": (figures.losses(steps, validations), told + recent, "Training and validation loss"),
        "loss-by-level": (
            figures.loss_by_level(validations) if validations else None,
            "Each validation, by ranges of noise level.",
            "Validation loss of eight ranges of noise level",
        ),
        "learning-rate": (
            figures.learning_rate(steps, validations),
            f"Course: {run.config.training.rate}; drops: {drops}.",
            "Learning rate",
        ),
        "gradient": (
            figures.gradient_norm(steps),
            f"Before it is cut to {clip:g} where it is longer." if clip else "It is not clipped.",
            "Length of the gradient",
        ),
    }
    pictures = [
        chart(figure, folder / name, caption, f"{alt} against images seen.")
        for name, (figure, caption, alt) in drawn.items()
        if figure is not None
    ]
    held_out = run.config.training.validation_images and run.config.dataset.validation_fraction
    why = "none has been due" if held_out else "it holds no images out"
    lacks = f"The run has not validated: {why}. So there is neither a best point nor a loss by noise level."
    return Part(pictures, missing=[] if validations else [lacks])


def progress(run: RunFolder, folder: Path) -> Part:
    """Grids of the average at several moments of training."""
    saved = sorted(path for path in (run.folder / "samples").glob("*.png") if path.stem.isdecimal())
    if not saved:
        raise Refusal("no grid has been saved yet: one is at each validation")
    rows = np.unique(np.linspace(0, len(saved) - 1, min(MOMENTS, len(saved))).round().astype(int))
    pictures, missing = [], []
    for path in (saved[row] for row in rows):
        told = f"{int(path.stem):,} images"
        try:
            with Image.open(existing_file(path, "picture"), formats=["PNG"]) as picture:
                picture.load()
                pictures.append(pixels(picture, folder / f"progress-{path.stem}", told, f"Samples after {told}."))
        except Exception:  # Pillow does not say which errors a damaged file raises
            missing.append(f"{path} is not a readable picture.")
    return Part(pictures, missing=missing)
