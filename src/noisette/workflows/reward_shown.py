"""What a person sees of a model that was rewarded: its checks line by line, before and after in a table and figures."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from noisette.report.comparisons import Chart, Curve, charts
from noisette.report.theme import save_figures
from noisette.report.words import number, percent
from noisette.workflows.choice_shown import Record, images, measures, scorers_told, show_measured
from noisette.workflows.reward import Check, Rewarded

FIGURES = ("course", "images", "measured")


def check_line(check: Check) -> str:
    """A check in one line."""
    measured = check.measured
    floors = measured["frechet"]["value"] / measured["frechet"]["real"]
    return (
        f"{check.images_seen:,} images: score {percent(check.score)}, label accuracy "
        f"{percent(measured['label_accuracy']['value'])}, {number(floors)} floors, coverage "
        f"{percent(measured['coverage']['value'])}: {check.verdict}"
    )


def show_rewarded(record: Record, console: Console) -> None:
    """Print what the reward did by the classifier that took no part, and what it took."""
    console.print()
    show_measured(record, {"before": "before", "after": "after"}, {"before": "", "after": ""}, console)
    console.print(Text("\n".join(_told(record)), style="dim"))


def _told(record: Record) -> list[str]:
    request = record["request"]
    ways = {
        "gradient": f"through the last {request['last_steps']} of {record['model']['sampling']['steps']} steps",
        "filter": f"on the best {request['per_class']} of {request['candidates']} a class",
    }
    return [
        f"It went {ways[request['method']]}, {record['images_seen']:,} images in "
        f"{record['training_seconds']:,.0f} s of training; it ended since {record['stopped']}. "
        f"Kept are the weights after {record['kept_at']:,} images.",
        *scorers_told(record, "Rewarded"),
    ]


def save_rewarded(rewarded: Rewarded, folder: Path) -> list[Path]:
    """Write the figures, as PNG and SVG, into a folder; returns the PNGs."""
    record = rewarded.record
    of = f"{Path(record['model']['name']).name}, {record['before']['count']:,} drawings of one seed"
    pictures = images(
        {f"Before: {of}. Score, %": rewarded.before, "After, from the same noise": rewarded.after},
        record["classes"],
    )
    names = {"before": "before", "after": "after"}
    return save_figures(
        {"course": course(record), "images": pictures, "measured": measures(record, names, f"Rewarded: {of}")}, folder
    )


def course(record: Record) -> Any:
    """What the checks found, against the images trained on."""
    checks = record["checks"]
    seen = [check["images_seen"] for check in checks]
    first, request = checks[0]["measured"], record["request"]
    floor = first["frechet"]["real"]

    def curve(name: str, times: float = 1.0) -> Curve:
        def of(part: str) -> list[float]:
            return [times * check["measured"][name][part] for check in checks]

        return Curve(seen, of("value"), of("low"), of("high"))

    def level(value: float) -> Curve:
        return Curve([seen[0], seen[-1]], [value, value])

    measured = f"{record['measured_by']['name']}, which takes no part"
    limit = "where training ends"
    return charts(
        [
            Chart(
                f"Right, {first['count']:,} drawings",
                "images trained on",
                {
                    "the judge's score": Curve(seen, [check["score"] for check in checks]),
                    measured: curve("label_accuracy"),
                },
                first["label_accuracy"]["real"],
                shares=True,
            ),
            Chart(
                "Distance, in floors",
                "images trained on",
                {
                    measured: curve("frechet", 1 / floor),
                    limit: level(request["distance_growth"] * first["frechet"]["value"] / floor),
                },
                1.0,
                bottom=0.0,
            ),
            Chart(
                "Coverage",
                "images trained on",
                {measured: curve("coverage"), limit: level(first["coverage"]["value"] - request["coverage_loss"])},
                first["coverage"]["real"],
                shares=True,
            ),
        ]
    )
