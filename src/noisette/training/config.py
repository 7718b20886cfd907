"""What a training run may choose."""

from dataclasses import dataclass
from typing import Literal

from noisette.base.config import require
from noisette.training.optimizers import OPTIMIZERS
from noisette.training.rates import RATES


@dataclass(frozen=True)
class TrainingConfig:
    """How the network is trained. Horizons and intervals are counted in images, not in steps or epochs.

    images, minutes: where training ends, whichever comes first; minutes are summed over interruptions.
    batch_size: images an optimiser step; accumulation: the parts that a batch is cut into to save memory.
    optimizer: "adamw" or "muon". learning_rate: its peak; for muon, AdamW's rate of the other parameters is adamw_rate.
    rate: "constant", "plateau" or "cosine", after a linear warm-up over warmup_images.
    plateau_factor, plateau_patience: the plateau rate is multiplied after so many validations without improvement.
    patience: validations without improvement before training stops early (0: never).
    gradient_clip: largest norm of the whole gradient (0: no limit).
    ema_halflife_images: half-life of the average that makes all samples; at most ema_ramp of the images seen so far.
    label_drop: share of images trained without their class, which classifier-free guidance needs.
    validate_every, validation_images: when, and on how many held-out images at most.
    precision: "float32", "bfloat16", or "auto" (measured once on the device, then kept).
    """

    images: int | None = None
    minutes: float | None = None
    batch_size: int = 128
    accumulation: int = 1
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    adamw_rate: float = 1e-3
    weight_decay: float = 0.0
    rate: str = "cosine"
    warmup_images: int = 10_000
    plateau_factor: float = 0.5
    plateau_patience: int = 3
    patience: int = 0
    gradient_clip: float = 1.0
    ema_halflife_images: int = 50_000
    ema_ramp: float = 0.05
    label_drop: float = 0.1
    validate_every: int = 48_000
    validation_images: int = 2_000
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        OPTIMIZERS[self.optimizer]
        RATES[self.rate]
        for name in ("images", "batch_size", "accumulation", "plateau_patience", "validate_every"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name} {value}", "at least 1")
        for name in ("minutes", "learning_rate", "adamw_rate", "ema_ramp"):
            value = getattr(self, name)
            require(value is None or 0 < value < float("inf"), f"{name} {value}", "a positive number")
        for name in ("weight_decay", "warmup_images", "patience", "gradient_clip", "ema_halflife_images", "validation_images"):
            require(getattr(self, name) >= 0, f"{name} {getattr(self, name)}", "at least 0")
        require(0 < self.plateau_factor < 1, f"plateau_factor {self.plateau_factor}", "a factor between 0 and 1")
        require(0 <= self.label_drop <= 1, f"label_drop {self.label_drop}", "a share from 0 to 1")
        require(
            self.batch_size % self.accumulation == 0,
            f"accumulation {self.accumulation}",
            f"a divisor of the batch size {self.batch_size}",
        )

    def share_done(self, images_seen: int, seconds: float) -> float:
        """How much of the horizon is behind, 0 to 1 (and 0 where no horizon is set)."""
        by_images = images_seen / self.images if self.images else 0.0
        by_time = seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(by_images, by_time))
