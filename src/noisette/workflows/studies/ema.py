"""EMA: the average of the weights against the weights themselves, while the learning rate is high and when it is 0.

One training, whose weights and whose average (half-life at most a twentieth of the images seen so far) are both kept
at quarters of it. The learning rate falls by a cosine, so that at the end the two have less to disagree about.

Time on two cores: 64,000 images at 560 a second are 2 minutes, 8 x 1,000 digits at 50 evaluations 3 more.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from noisette.models.unet import UNet
from noisette.report.comparisons import Chart, charts, grids
from noisette.training.loop import Event, Stepped
from noisette.weights.model_file import ModelFile, save_model
from noisette.workflows.studies.bench import Bench
from noisette.workflows.studies.finding import Drawn, Finding, Table, curve, differ, floors, percent, titled, too_early
from noisette.workflows.train import Run, Stopped

KINDS = ("average", "raw")


class KeptRun(Run):
    """A run that also keeps its weights and their average when so many images are seen."""

    milestones: tuple[int, ...] = ()

    def events(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Event | Stopped]:
        """The run's events; what is to be kept is written before the event that reaches it is handed on."""
        progress, batch = self.state.progress, self.config.training.batch_size
        left = [images for images in self.milestones if images > progress.images_seen - batch]
        if left and left[0] <= progress.images_seen:  # the run may have been saved, and killed before this was kept
            self._keep(left.pop(0))
        for event in super().events(stop):
            if isinstance(event, Stepped) and left and event.images_seen >= left[0]:
                self._keep(left.pop(0))
            yield event

    def _keep(self, milestone: int) -> None:
        card = {**self.card, "images_seen": self.state.progress.images_seen}
        for kind, network in zip(KINDS, (self.state.average, self.state.network), strict=True):
            assert isinstance(network, UNet)
            save_model(kept(self.out, milestone, kind), ModelFile(self.spec, network, card))


def kept(run: Path, images: int, kind: str) -> Path:
    """Where a run keeps what it had after so many images."""
    return run / "kept" / f"{images:09d}-{kind}.safetensors"


def study(bench: Bench) -> Finding:
    """Train once, and draw with both at each milestone."""
    milestones = tuple(round(share * bench.effort.images) for share in bench.effort.milestones)
    bench.plan(len(milestones) * len(KINDS))

    def prepare(*args: Any, **named: Any) -> Run:
        run = KeptRun(*args, **named)
        run.milestones = milestones
        return run

    def measured(images: int, kind: str) -> Mapping[str, Any]:
        bench.trained("whole", bench.laboratory(), prepare=prepare)
        model = bench.loaded(kept(bench.run_folder("whole"), images, kind))
        return {**bench.drawn(f"{kind}-{images}", model, bench.cheap()), "images_seen": images}

    for images in milestones:
        for kind in KINDS:
            bench.cell(f"{kind}-{images}", partial(measured, images, kind))
    end = milestones[-1]
    panels = [
        (titled(f"{kind}, {images:,} images", bench.cells[f"{kind}-{images}"]), bench.grid(f"{kind}-{images}", rows=4))
        for images in (milestones[0], end)
        for kind in KINDS
    ]
    return Finding(
        "EMA: the average of the weights against the weights",
        paragraph(bench.cells),
        [_table(bench.cells)],
        {
            "course": Drawn(_curves(bench.cells), "Both while training goes on, with 90 % intervals."),
            "grids": Drawn(grids([panels[:2], panels[2:]]), "Digits of both, early and at the end."),
        },
    )


def _pairs(cells: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any], Mapping[str, Any]]]:
    """(images seen, the average's cell, the weights' own), rising."""
    seen = sorted({cell["images_seen"] for cell in cells.values()})
    return [(images, cells[f"average-{images}"], cells[f"raw-{images}"]) for images in seen]


def paragraph(cells: Mapping[str, Any]) -> str:
    """What the numbers say."""
    said, nearer = [], []
    for images, average, raw in _pairs(cells):
        words = {-1: "nearer than", 0: "not to be told from", 1: "farther than"}[
            differ(average["frechet"], raw["frechet"])
        ]
        said.append(
            f"After {images:,} images the average lies {floors(average['frechet'])} floors from the real digits, "
            f"{words} the weights themselves at {floors(raw['frechet'])}; label accuracy "
            f"{percent(average['label_accuracy'])} against {percent(raw['label_accuracy'])}."
        )
        nearer.append(differ(average["frechet"], raw["frechet"]))
    if all(found == -1 for found in nearer):
        verdict = "The average is nearer throughout."
    elif nearer[-1] != -1 and -1 in nearer:
        verdict = "The average is nearer while the learning rate is high; at the end, where the rate is 0, it is not."
    elif nearer[-1] == -1:
        verdict = "At the end the average is nearer, before that not always."
    elif 1 in nearer:
        verdict = "Nowhere is the average shown to be nearer, and at times it is farther."
    else:
        verdict = "Nowhere can the two be told apart."
    return " ".join([*said, too_early(average) or verdict])


def _table(cells: Mapping[str, Any]) -> Table:
    rows = [
        (kind, f"{cell['images_seen']:,}", percent(cell["label_accuracy"]), floors(cell["frechet"]))
        for _, average, raw in _pairs(cells)
        for kind, cell in zip(KINDS, (average, raw), strict=True)
    ]
    return Table("The average and the weights themselves", ("weights", "images", "label accuracy", "floors"), rows)


def _curves(cells: Mapping[str, Any]) -> Any:
    pairs = _pairs(cells)
    seen = [images for images, *_ in pairs]
    right, far = {}, {}
    for kind in KINDS:
        own = [cells[f"{kind}-{images}"] for images in seen]
        right[kind] = curve(seen, [cell["label_accuracy"] for cell in own])
        far[kind] = curve(seen, [cell["frechet"] for cell in own], unit=True)
    return charts(
        [
            Chart("Label accuracy", "images seen", right, shares=True),
            Chart("Distance, in floors", "images seen", far, log_y=True),
        ]
    )
