"""Learning rates as a share of the peak: warm-up times one of four courses."""

import math
from collections.abc import Callable

from noisette.base.registry import Registry

RATES: Registry[Callable[[float, float], float]] = Registry("rate")
"""Course of the rate after warm-up: (share of the horizon done, product of the plateau drops) -> share of the peak."""

RATES.add("constant", lambda done, drops: 1.0)
RATES.add("plateau", lambda done, drops: drops)
RATES.add("linear", lambda done, drops: 1 - done)
RATES.add("cosine", lambda done, drops: (1 + math.cos(math.pi * done)) / 2)


def rate_share(course: str, images_seen: int, warmup_images: int, done: float, drops: float) -> float:
    """The learning rate of the batch that starts at images_seen, as a share of its peak, in [0, 1]."""
    warmup = min(1.0, (images_seen + 1) / warmup_images) if warmup_images else 1.0
    return warmup * RATES[course](done, drops)
