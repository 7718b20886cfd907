"""Put a run's best weights into the package: stored as float16, with a card beside them.

    python tools/ship.py runs/best mnist --metrics a.json b.json [--sampler heun --steps 18 --guidance-scale 1.5 ...]

The flags settle the sampling defaults that travel in the weights. --metrics are records that `noisette evaluate mnist
--data mnist --json a.json` wrote with these very defaults, one for each classifier; they go into the card. So ship a
run without them, measure what ships, rounded as it is, and ship that file again with them.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

from noisette.base.config import from_plain, to_plain
from noisette.base.errors import Refusal
from noisette.base.files import write_text
from noisette.weights.model_file import ModelFile, SamplingConfig, load_model, save_model
from noisette.workflows.evaluate import FORMAT
from noisette.workflows.model import locate
from noisette.workflows.sources import file_digest, finite

SHIPPED = Path(__file__).parent.parent / "src/noisette/weights/shipped"


def card_text(name: str, model: ModelFile) -> str:
    """The model card as Markdown."""
    card = dict(model.card)
    metrics, config = card.pop("metrics", None), card.pop("config")
    facts = "\n".join(f"- {key.replace('_', ' ')}: {value}" for key, value in card.items())
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    return (
        f"# {name}\n\n"
        f"Draws handwritten digits, {model.spec.width} x {model.spec.height}, of the class asked for. "
        f"{parameters:,} parameters, stored as float16.\n\n"
        f"{facts}\n\n"
        "Meant for trying noisette out, teaching and tests; it knows MNIST's digits and nothing else. "
        "Like its data, it writes some digits in ways that people disagree on.\n\n"
        f"## Sampling defaults\n\n```json\n{json.dumps(to_plain(model.spec.sampling), indent=1)}\n```\n\n"
        "## Metrics\n\nBy `noisette evaluate`; `low` to `high`: a 90 % interval; `real`: as many real images.\n\n"
        f"```json\n{json.dumps(metrics, indent=1)}\n```\n\n"
        f"## Configuration\n\n```json\n{json.dumps(config, indent=1)}\n```\n"
    )


def evaluated(path: Path, run: str, sampling: SamplingConfig) -> tuple[str, dict[str, Any]]:
    """The classifier's name, and what the card says of an evaluation. Raises Refusal for one of another model, or of
    other sampling."""
    record = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise Refusal(f"{path} is no evaluation: expected one record of format {FORMAT!r}")
    source, classifier = record["source"], record["classifier"]
    if source["model_digest"] != file_digest(run):
        raise Refusal(f"{path} measured the model {source['name']}: expected {run}, as it is now")
    if source["sampling"] != finite(sampling):
        raise Refusal(f"{path} measured samples drawn by {source['sampling']}: expected {finite(sampling)}")
    facts = {
        "count": source["count"],
        "seed": source["seed"],
        "data": record["data"],
        "classifier": classifier,
        "metrics": record["metrics"],
    }
    return f"classifier {Path(classifier['name']).stem}", facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run folder or a model file")
    parser.add_argument("name", help="what the model is called inside the package")
    parser.add_argument("--metrics", type=Path, nargs="+", default=[], help="JSON written by noisette evaluate")
    for field in dataclasses.fields(SamplingConfig):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=json.loads if field.name != "sampler" else str)
    arguments = parser.parse_args()

    model = load_model(locate(arguments.run))
    names = [field.name for field in dataclasses.fields(SamplingConfig)]
    changes: dict[str, Any] = {n: getattr(arguments, n) for n in names if getattr(arguments, n) is not None}
    sampling = from_plain(SamplingConfig, changes, "flags", base=model.spec.sampling)
    card = model.card | {"stored_as": "float16"}
    card["metrics"] = dict(evaluated(path, arguments.run, sampling) for path in arguments.metrics)
    shipped = ModelFile(dataclasses.replace(model.spec, sampling=sampling), model.network, card)
    path = SHIPPED / f"{arguments.name}.safetensors"
    save_model(path, shipped, torch.float16)
    write_text(path.with_suffix(".md"), card_text(arguments.name, load_model(path)))
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
