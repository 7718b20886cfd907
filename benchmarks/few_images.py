"""What a trained model is worth as a beginning: letters learned from few images, beginning
from its weights and from nothing.

    python benchmarks/few_images.py [--counts 300 3000] [--minutes 2] [--init mnist]

Ten letters in the typefaces that matplotlib carries, turned, slanted and stretched at random: 28 x 28, white on black,
and none is a digit. For each count one run begins from the weights of --init (recipe `few`) and one from nothing
(recipe `quick`, which is made for that), for equal minutes of training. A classifier of 8,000 other letters reads what
they draw, and distances are taken in its features to 2,000 more. All lies in --out; the same command goes on where it
was stopped.
"""

import dataclasses
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from measure import Record, Row, command, measure_missing, parser, picture, say
from noisette.base.files import whole_file
from noisette.perception.classifier import ClassifierConfig
from noisette.perception.fit import FitConfig
from noisette.report.pictures import grid_picture
from noisette.weights.model_file import load_model
from noisette.workflows.model import LAST_FILE, load, locate
from noisette.workflows.perceive import perceive
from noisette.workflows.recipes import DataConfig, RunConfig, load_recipe
from noisette.workflows.sample import draw_pixels
from noisette.workflows.studies.judge import Judge
from noisette.workflows.train import Run

LETTERS = "abcdefghij"
FACES = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif", "DejaVuSerif-Italic")
FACES = (*FACES, "STIXGeneral", "STIXGeneralItalic", "STIXGeneralBol", "cmr10", "cmss10", "cmtt10")
SIDE, ROOM = 28, 112
"""Pixels of an image, and of the sheet that a letter is drawn and bent on before it is made smaller."""
JUDGE_IMAGES, TEST_IMAGES = 8_000, 2_000
DRAWN = 1_000
"""Images drawn of each model."""
FITTING = FitConfig(images=160_000)
"""How the classifier that reads the letters is trained: type is easier than handwriting."""
NOTHING = "nothing"
METRICS = {
    "label_accuracy": "asked letter is read",
    "frechet": "Fréchet distance in floors (lower is better)",
    "coverage": "coverage",
}


def letters(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 28, 28, 1] and their labels int64 [N], the letters in turns."""
    random = np.random.default_rng(seed)
    folder = Path(get_data_path()) / "fonts" / "ttf"
    faces = [ImageFont.truetype(str(folder / f"{name}.ttf"), 70) for name in FACES]
    images = np.empty((count, SIDE, SIDE, 1), np.uint8)
    labels = np.arange(count) % len(LETTERS)
    for image, label in zip(images, labels, strict=True):
        sheet = Image.new("L", (ROOM, ROOM))
        face = faces[random.integers(len(faces))]
        ImageDraw.Draw(sheet).text((ROOM / 2, ROOM / 2), LETTERS[label], fill=255, font=face, anchor="mm")
        image[..., 0] = np.asarray(_bent(sheet, random).resize((SIDE, SIDE), Image.Resampling.BOX))
    return images, labels.astype(np.int64)


def _bent(sheet: Image.Image, random: np.random.Generator) -> Image.Image:
    """The sheet turned by up to 15 degrees, slanted by up to a quarter, stretched by up to a sixth, and moved."""
    angle, slant = np.radians(random.uniform(-15, 15)), random.uniform(-0.25, 0.25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shape = turn @ np.array([[1, slant], [0, 1]]) @ np.diag(random.uniform(0.85, 1.18, size=2))
    centre = np.array([ROOM / 2, ROOM / 2])
    move = centre - shape @ (centre + random.uniform(-4, 4, size=2))
    matrix = np.column_stack([shape, move]).flatten().tolist()
    return sheet.transform(sheet.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def write_set(folder: Path, train: int, seed: int) -> Path:
    """A data set in a folder: `train` letters, and the test letters that are the same in every set."""
    for part, count, own in (("train", train, seed), ("test", TEST_IMAGES, 0)):
        if (folder / part).exists():
            continue
        made = folder / f".{part}"
        for number, (image, label) in enumerate(zip(*letters(count, own), strict=True)):
            place = made / LETTERS[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(place / f"{number:05d}.png")
        made.rename(folder / part)
    return folder


def configuration(beginning: str, data: Path, minutes: float) -> RunConfig:
    """The run of a beginning: the weights of a model, or none."""
    config = load_recipe("quick" if beginning == NOTHING else "few")
    if beginning != NOTHING:
        config = config.beginning_from(beginning, load_model(locate(beginning)).spec)
    training = dataclasses.replace(config.training, images=None, minutes=minutes)
    return dataclasses.replace(config, dataset=DataConfig(str(data), validation_fraction=0.1), training=training)


def measure(count: int, beginning: str, minutes: float, out: Path, judge: Judge) -> Row:
    """Train one run to its end, draw with it, and have its letters read."""
    data = write_set(out / f"letters-{count}", count, seed=count)
    place = Path(beginning).stem
    run = Run(configuration(beginning, data, minutes), out / "runs" / f"{count}-{place}")
    for _ in run.events():
        pass
    model = load(run.out / LAST_FILE)
    labels = [number % len(LETTERS) for number in range(DRAWN)]
    images, _ = draw_pixels(model, labels, 0, range(DRAWN), model.sampling)
    with whole_file(out / f"{count}-{place}.png") as temporary:
        grid_picture(images[:100], len(LETTERS)).save(temporary)
    found = judge.metrics(images, labels)
    say("    " + ", ".join(f"{name} {found[name]['value']:.4g}" for name in METRICS))
    return {**found, "count": count, "beginning": beginning, "images_seen": run.state.progress.images_seen}


def draw(record: Record, path: Path) -> None:
    """A panel a metric: pairs of bars."""
    settings, rows = record.content["settings"], record.rows.values()
    counts = sorted({row["count"] for row in rows})
    heading = f"Ten letters from few images, {settings['minutes']:g} minutes of training each"
    with picture(path, heading, record.about(), panels=len(METRICS), width=3.4) as panels:
        for axes, (metric, title) in zip(panels, METRICS.items(), strict=True):
            for place, beginning in enumerate((settings["init"], NOTHING)):
                own = {row["count"]: row[metric] for row in rows if row["beginning"] == beginning}
                at = [counts.index(count) + 0.4 * place - 0.2 for count in own]
                unit = next(iter(own.values()))["real"] if metric == "frechet" else 1.0
                values = [cell["value"] / unit for cell in own.values()]
                bars = axes.bar(at, values, 0.36, label=f"from {beginning}", color=("#2b6cb0", "#c2601a")[place])
                axes.bar_label(bars, [f"{value:.3g}" for value in values])
            axes.axhline(1.0 if metric == "frechet" else cell_real(rows, metric), color="0.5", linestyle=":")
            axes.set_xticks(range(len(counts)), [f"{count:,} images" for count in counts])
            axes.set_title(title, loc="left")
        panels[-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))


def cell_real(rows: Iterable[Row], metric: str) -> float:
    """What real letters score."""
    return float(next(iter(rows))[metric]["real"])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    flags = parser(__doc__)
    flags.add_argument("--counts", nargs="+", type=int, default=(300, 3_000))
    flags.add_argument("--minutes", type=float, default=2.0)
    flags.add_argument("--init", default="mnist")
    chosen = flags.parse_args(arguments)

    def run() -> None:
        out = chosen.out / "few-images"
        record = Record(out / "few_images.json", {"minutes": chosen.minutes, "init": chosen.init})
        reader, data = out / "reader.safetensors", write_set(out / "letters", JUDGE_IMAGES, seed=1)
        if not reader.exists():
            say("training the classifier that reads the letters")
            perceive(str(data), reader, ClassifierConfig(), FITTING)
        judge = Judge(str(reader), str(data), None)
        cells = {
            f"{count} from {beginning}": (count, beginning)
            for count in chosen.counts
            for beginning in (chosen.init, NOTHING)
        }
        measure_missing(
            record,
            dict.fromkeys(cells, chosen.minutes),
            lambda cell: measure(*cells[cell], chosen.minutes, out, judge),
        )
        draw(record, out / "few_images.png")

    return command(run)


if __name__ == "__main__":
    sys.exit(main())
