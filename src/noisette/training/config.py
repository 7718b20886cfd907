"""What a training run may choose."""

from dataclasses import dataclass
from typing import Literal

from noisette.base.config import require, require_storable
from noisette.training.optimizers import OPTIMIZERS
from noisette.training.rates import RATES


@dataclass(frozen=True)
class TrainingConfig:
    """How the network is trained. Horizons and intervals are counted in images, not in steps or epochs."""

    images: int | None = None
    """Where training ends, unless the minutes are over before."""
    minutes: float | None = None
    """When training ends, unless the images are seen before; summed over interruptions."""
    batch_size: int = 128
    """Images an optimiser step."""
    accumulation: int = 1
    """Parts that a batch is cut into to save memory."""
    optimizer: str = "adamw"
    """adamw or muon."""
    learning_rate: float = 1e-3
    """Its peak; for muon, that of the matrices."""
    adamw_rate: float = 1e-3
    """For muon: the peak of AdamW's rate, which trains the other parameters."""
    weight_decay: float = 0.0
    """Decoupled, in units of the learning rate."""
    rate: str = "cosine"
    """How the learning rate goes on after its warm-up: constant, plateau, linear or cosine."""
    warmup_images: int = 10_000
    """The learning rate rises linearly over so many."""
    plateau_factor: float = 0.5
    """The plateau rate is multiplied by it at each drop."""
    plateau_patience: int = 3
    """Validations without improvement before the plateau rate drops."""
    patience: int = 0
    """Validations without improvement before training stops early (0: never)."""
    gradient_clip: float = 1.0
    """Largest norm of the whole gradient (0: no limit)."""
    ema_halflife_images: int = 50_000
    """Half-life of the average of the weights, which makes all samples."""
    ema_ramp: float = 0.05
    """The half-life is at most this share of the images seen so far."""
    label_drop: float = 0.1
    """Share of images trained without their class, which classifier-free guidance needs."""
    validate_every: int = 48_000
    """Images between two validations."""
    validation_images: int = 2_000
    """Held-out images to validate on, at most (0: no validation)."""
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    """Of the gradients; auto is measured once on the device, then kept."""
    seed: int = 0
    """Decides everything random in training."""

    def __post_init__(self) -> None:
        require_storable(self)
        OPTIMIZERS[self.optimizer]
        RATES[self.rate]
        for name in ("images", "batch_size", "accumulation", "plateau_patience", "validate_every"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name} {value}", "at least 1")
        for name in ("minutes", "learning_rate", "adamw_rate", "ema_ramp"):
            value = getattr(self, name)
            require(value is None or 0 < value < float("inf"), f"{name} {value}", "a positive number")
        for name in (
            "weight_decay",
            "warmup_images",
            "patience",
            "gradient_clip",
            "ema_halflife_images",
            "validation_images",
        ):
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
