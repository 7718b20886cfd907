"""What a report tells of a CLIP model's opinion of the samples."""

from pathlib import Path

from noisette.base.config import require
from noisette.report.page import Part, chart
from noisette.report.words import listed
from noisette.workflows.report_samples import labels_for
from noisette.workflows.run_folder import RunFolder
from noisette.workflows.score import ScoreRequest, Scoring
from noisette.workflows.score_shown import figures_of, told
from noisette.workflows.scorers import CLIP
from noisette.workflows.sources import draw

EACH, MOST = 30, 300
"""Samples that are scored: so many of each class, at most so many in all."""


def prompts(run: RunFolder, folder: Path) -> Part:
    """How the CLIP model that ships scores samples by text: the best and the worst, the scores of all, what each is
    likeliest to be. Raises NoisetteError where it has no word for the classes, or its library is not installed."""
    model, dataset = run.model(), run.config.dataset
    require(len(model.classes) > 0, "a model without classes", "classes, to be asked for in words")
    asked = ScoreRequest(CLIP, data=dataset.data, form=dataset.form)
    run.data()  # refuses other data than it was trained on
    scoring = Scoring(asked, run.data_dir, str(model.device))  # refuses, too, before any is drawn
    samples = draw(model, tuple(labels_for(len(model.classes), EACH, MOST)), 0, model.sampling)
    score = scoring.run(samples)
    figures, many = figures_of(score), f"{len(samples.labels)} samples, seed 0"
    told_of = {
        "best_and_worst": f"Of {many}, those that score most and least in their class.",
        "scores": f"Scores of {many}, and of real images as an outline.",
        "confusion": f"What was asked for, and the likeliest prompt. {many}.",
    }
    pictures = [
        chart(figures[name], folder / f"prompts-{name.replace('_', '-')}", caption, caption)
        for name, caption in told_of.items()
        if name in figures
    ]
    record = score.record["scorer"]
    facts = [
        ("asked", f"“{record['prompts'][0][0]}” and so on, a prompt a class"),
        ("of bad images", listed([f"“{text}”" for text in record["bad"]])),
        ("how far to trust it", " ".join(told(score.record))),
    ]
    return Part(pictures, facts=facts)
