"""When, on the way from noise to image, a sample is recognised."""

from collections.abc import Sequence
from itertools import pairwise

from noisette.base.config import require

ENOUGH = 0.9
"""Of the final accuracy."""


def recognised_at(done: Sequence[float], accuracy: Sequence[float], enough: float = ENOUGH) -> float:
    """The share of the reverse steps done from which on accuracy stays at `enough` of its final value or above.

    `done` rises (0 is pure noise, 1 the image), `accuracy` stands beside it. Between two steps the curve is a straight
    line. It counts where the curve arrives for good: a classifier takes pure noise for one class always, so that
    this class would be recognised before it is drawn. Raises Refusal for lists of another shape.
    """
    require(
        len(done) == len(accuracy) >= 2 and all(a < b for a, b in pairwise(done)),
        f"{len(done)} steps and {len(accuracy)} accuracies",
        "as many of both, two or more, the steps rising",
    )
    needed = enough * accuracy[-1]
    below = [number for number, value in enumerate(accuracy) if value < needed]
    if not below:
        return done[0]
    last = below[-1]
    way = (needed - accuracy[last]) / (accuracy[last + 1] - accuracy[last])
    return done[last] + way * (done[last + 1] - done[last])
