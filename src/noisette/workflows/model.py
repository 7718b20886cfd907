"""A model to sample from: by the name that ships, a run folder or a file."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisette.base.config import require
from noisette.base.errors import Refusal, nearest, unknown
from noisette.base.files import digest_of, names_in
from noisette.base.seeds import ImageNoise
from noisette.base.shapes import NO_CLASS, NO_CLASS_NO_ATTENTION, Images
from noisette.diffusion.precondition import Denoiser
from noisette.diffusion.sample import Snapshot, sample, start_image
from noisette.diffusion.samplers import make_sampler
from noisette.guidance.clamp import clamp
from noisette.guidance.free import free
from noisette.weights.model_file import ModelFile, SamplingConfig, load_model
from noisette.workflows.device import choose_device, choose_precision

SHIPPED = resources.files("noisette.weights") / "shipped"
BEST_FILE, LAST_FILE = "best.safetensors", "last.safetensors"
BATCH = 100  # images drawn at once: their activations fit the caches of a small machine


@dataclass(frozen=True, eq=False)
class Model:
    """A denoiser with its classes and its sampling defaults, ready on a device."""

    name: str
    file: ModelFile
    device: torch.device
    guide: Callable[[Denoiser], Denoiser] | None = None
    """Guides the denoiser further: around classifier-free guidance, within the clamp."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the labels."""
        return self.file.spec.classes

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of its images."""
        return self.file.spec.channels, self.file.spec.height, self.file.spec.width

    @property
    def precision(self) -> str:
        """The type of its weights: float32 or bfloat16."""
        return str(next(self.file.network.parameters()).dtype).removeprefix("torch.")

    @property
    def sampling(self) -> SamplingConfig:
        """The sampling defaults that travel in the weights."""
        return self.file.spec.sampling

    def label(self, name: int | str) -> int:
        """The label of a class, given by name, by number or as "none" (-1). Raises Refusal with the nearest name."""
        if name in self.classes:
            return self.classes.index(str(name))
        if name in ("none", NO_CLASS, str(NO_CLASS)):
            return NO_CLASS
        if str(name).isdecimal() and int(name) < len(self.classes):
            return int(name)
        raise unknown("label", str(name), (*self.classes, "none"))

    def denoiser(self, sampling: SamplingConfig | None = None) -> Denoiser:
        """The model's denoiser, guided and clamped as `sampling` (its defaults) says."""
        sampling = sampling or self.sampling
        guided = guided_as(sampling, self.classes)(self.file.spec.as_denoiser(self.file.network))
        guided = self.guide(guided) if self.guide else guided
        return clamp(guided, quantile=sampling.clamp_quantile) if sampling.clamp else guided

    def snapshots(
        self,
        labels: Sequence[int],
        seed: int = 0,
        index: Sequence[int] | None = None,
        sampling: SamplingConfig | None = None,
        clean: Images | None = None,
        first: int = 0,
    ) -> Iterator[Snapshot]:
        """Draw one batch and yield the state after each step; labels [B] are class numbers, -1 for none.

        index [B] names each image (0, 1, ... when left out): image i of a seed is the same picture in any batch. With
        `clean` [B, C, H, W] it starts from these images, noised to the first level, instead of from noise alone; then
        it may also begin in the middle of the grid, with the level number `first`, counted from 0.
        """
        sampling = sampling or self.sampling
        index = range(len(labels)) if index is None else index
        require(len(index) == len(labels), f"{len(index)} indices", f"one a label, {len(labels)}")
        labels = [self.label(number) for number in labels]  # refuses what is no class
        levels = self.file.spec.sampling_grid(sampling)
        last_start = 0 if clean is None else len(levels) - 2
        require(0 <= first <= last_start, f"a drawing that begins with level {first}", f"0 to {last_start}")
        levels = levels[first:]
        noise = ImageNoise(seed, "sample", index, self.shape)
        if clean is None:
            start = start_image(noise.draw(), levels[0], self.file.spec.diffusion.is_chain())
        else:
            start = clean + levels[0] * noise.draw()
        walk = sample(
            self.denoiser(sampling),
            make_sampler(sampling.sampler, sampling.eta),
            levels,
            start.to(self.device, memory_format=torch.channels_last),
            torch.tensor(labels, dtype=torch.int64, device=self.device),
            noise.draw,
            trained=self.file.spec.trained_range(),
        )
        while True:  # inference mode must not stay on between the caller's turns
            with torch.inference_mode():
                snapshot = next(walk, None)
            if snapshot is None:
                return
            yield snapshot

    def batches(
        self,
        labels: Sequence[int],
        seed: int,
        index: Sequence[int],
        sampling: SamplingConfig,
        clean: Images | None = None,
        first: int = 0,
    ) -> Iterator[Iterator[Snapshot]]:
        """The snapshots of each batch that the images are cut into; clean, first: as in `snapshots`."""
        require(len(index) == len(labels), f"{len(index)} indices", f"one a label, {len(labels)}")
        for start in range(0, len(labels), BATCH):
            rows = slice(start, start + BATCH)
            given = None if clean is None else clean[rows]
            yield self.snapshots(labels[rows], seed, index[rows], sampling, given, first)

    def sample(
        self,
        labels: Sequence[int | str],
        *,
        seed: int = 0,
        index: Sequence[int] | None = None,
        steps: int | None = None,
        sampler: str | None = None,
        guidance_scale: float | None = None,
    ) -> Tensor:
        """Draw one image a label: [N, C, H, W] float32 on the CPU, in [-1, 1]. What is left out is the model's default.

        Raises Refusal for an unknown label or sampler, steps below 1, or a negative guidance scale.
        """
        numbers = [self.label(name) for name in labels]
        require(len(numbers) > 0, "no labels", "at least one")
        index = range(len(numbers)) if index is None else index
        given = {"steps": steps, "sampler": sampler, "guidance_scale": guidance_scale}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        sampling = dataclasses.replace(self.sampling.without_eta_of_another(sampler), **changes)
        drawn = [last(batch).denoised for batch in self.batches(numbers, seed, index, sampling)]
        return torch.cat(drawn).clamp(-1, 1).float().cpu()


def guided_as(sampling: SamplingConfig, classes: Sequence[str]) -> Callable[[Denoiser], Denoiser]:
    """Guidance as `sampling` says, of a model with these classes."""
    scale = sampling.guidance_scale if classes or sampling.perturbs() else 1.0  # else both halves would be the same
    away_from = NO_CLASS_NO_ATTENTION if sampling.perturbs() else NO_CLASS
    return lambda denoise: free(denoise, scale, (sampling.guidance_from, sampling.guidance_to), away_from)


def last(snapshots: Iterator[Snapshot]) -> Snapshot:
    """The final snapshot: the sample."""
    *_, final = snapshots
    return final


def shipped() -> list[str]:
    """Names of the models inside the package."""
    return names_in(SHIPPED, ".safetensors")


def load(model: str | Path, device: str = "auto", precision: str = "auto") -> Model:
    """Load a model: a name that ships ("mnist"), a run folder, or a .safetensors file.

    precision: float32, bfloat16 or auto, which is bfloat16 where the processor has instructions for it: twice as fast,
    and on average a quarter of a grey level (of 255) off. Raises Refusal, with the nearest name, when `model` is none
    of these, and for a damaged file or an absent device.
    """
    chosen = choose_device(device)
    dtype = choose_precision(precision, chosen)
    file = load_model(locate(model))
    file.network.to(chosen, dtype)
    return Model(str(model), file, chosen)


def locate(model: str | Path) -> Path:
    """The file that `model` names: a name that ships, a run folder's best weights (before its first validation the
    last), or the file itself."""
    if str(model) in shipped():
        with resources.as_file(SHIPPED / f"{model}.safetensors") as path:
            return path
    path = Path(model)
    if path.is_dir():
        for name in (BEST_FILE, LAST_FILE):
            if (path / name).is_file():
                return path / name
        raise Refusal(f"{path} holds neither {BEST_FILE} nor {LAST_FILE}: expected the folder of a run that has saved")
    if path.is_file():
        return path
    guess = nearest(str(model), shipped())
    hint = f"; did you mean {guess!r}?" if guess else ""
    ships = ", ".join(shipped())
    raise Refusal(
        f"no model {str(model)!r}: expected a run folder, a .safetensors file or one that ships ({ships}){hint}"
    )


def weights_digest(model: str | Path) -> str:
    """SHA-256 (hex) of the file that `model` names. Raises Refusal when it names none."""
    return digest_of(locate(model))


def file_digest(name: str) -> str | None:
    """SHA-256 (hex) of the file that a model was loaded from; None for one that was never saved."""
    try:
        return weights_digest(name)
    except Refusal:
        return None
