"""Numbers, sizes and times as a reader likes them."""

from collections.abc import Sequence

MINUS = "−"


def listed(values: Sequence[object]) -> str:
    """`a, b and c`."""
    texts = [str(value) for value in values]
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def by(sizes: Sequence[int]) -> str:
    """`28 × 28`."""
    return " × ".join(map(str, sizes))


def spent(seconds: float) -> str:
    """A time: `1 h 5 min`, `10 min 2 s`, `18 s` or `1.5 s`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (0 if hours else rest, "s")]
    return " ".join(f"{value} {unit}" for value, unit in parts if value)


def percent(share: float) -> str:
    """A share as a percentage of one decimal, that is 0 or 100 only when nothing or everything is meant."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %"


def number(value: float, digits: int = 3) -> str:
    """So many digits that count, and a true minus sign."""
    text = f"{abs(value):,.0f}" if abs(value) >= 10 ** (digits - 1) else f"{abs(value):#.{digits}g}" if value else "0"
    return f"{MINUS}{text}" if value < 0 else text.rstrip(".")
