"""Put a classifier into the package, with a card beside it.

    noisette perceive mnist --out mnist.safetensors
    python tools/ship_perception.py mnist.safetensors mnist

The file goes in as it is: `noisette perceive` stores float16 and measures what it stored.
"""

import argparse
import shutil
from pathlib import Path

from noisette.base.files import whole_file, write_text
from noisette.perception.classifier_file import ClassifierFile, load_classifier

SHIPPED = Path(__file__).parent.parent / "src/noisette/perception/shipped"


def card_text(name: str, file: ClassifierFile) -> str:
    """The card as Markdown."""
    spec, card = file.spec, dict(file.card)
    fitting = card.pop("fitting")
    parameters = sum(parameter.numel() for parameter in file.network.parameters())
    facts = {key.replace("_", " "): value for key, value in card.items()}
    facts |= {"digest": file.digest, "network": spec.config.network, "features": spec.config.features}
    facts |= {key.replace("_", " "): value for key, value in fitting.items()}
    return (
        f"# {name}\n\n"
        f"Tells {len(spec.classes)} classes of images apart, {spec.width} x {spec.height}, and gives the features that "
        f"generated ones are measured in. {card['accuracy']:.2%} right on {card['measured_images']:,} images of the "
        f"{card['measured_on']} part. {parameters:,} parameters, stored as float16.\n\n"
        + "".join(f"- {key}: {value}\n" for key, value in facts.items())
        + "\nMeant for measuring samples of this data set, teaching and tests. It gives every image one of its "
        "classes, also one that is none of them. Numbers taken with it compare only with numbers taken with the same "
        "digest, and it knows the images it was trained on better than others.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="what `noisette perceive` wrote")
    parser.add_argument("name", help="what the classifier is called inside the package")
    arguments = parser.parse_args()
    file = load_classifier(arguments.file)
    path = SHIPPED / f"{arguments.name}.safetensors"
    with whole_file(path) as temporary:
        shutil.copyfile(arguments.file, temporary)
    write_text(path.with_suffix(".md"), card_text(arguments.name, file))
    print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
