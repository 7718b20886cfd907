"""`noisette perceive --text`: train a small CLIP on captioned images; the one that ships."""

import json
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from noisette.base.config import require, to_plain
from noisette.base.files import require_writable, whole_folder, write_text
from noisette.base.progress import Progress, silent
from noisette.base.tensor_file import write_tensors
from noisette.data.form import AS_IT_IS, Form
from noisette.perception.captions import language
from noisette.perception.clip import WEIGHTS, load_clip
from noisette.perception.clip_pixels import PREPROCESSOR
from noisette.perception.contrast import ContrastConfig, Pixels, new_clip, patch_side, prepare, teach
from noisette.perception.fit import Fitted
from noisette.perception.tokens import LONGEST, new_tokenizer
from noisette.workflows.device import choose_device, choose_precision
from noisette.workflows.perceive import SHIPPED, STORED, labelled_parts, training_facts
from noisette.workflows.text_measures import measure_text

STORED_NAME = str(STORED).removeprefix("torch.")


def perceive_text(
    name: str,
    out: Path,
    config: ContrastConfig,
    captions: tuple[str, ...] = (),
    data_dir: Path | None = None,
    device: str = "auto",
    command: str = "",
    progress: Callable[[Fitted], None] = lambda fitted: None,
    form: Form = AS_IT_IS,
    reading: Progress = silent,
) -> dict[str, Any]:
    """Train a CLIP model of the data set `name`, measure it on images it has not seen, and write it to the folder `out`
    in the hub's form; what its card says.

    captions: templates with `{label}`, besides those that are always used. It trains on the training part and is
    measured on the test part; where there is none, on a fifth of each class that training leaves out. progress is told
    after each epoch, reading while data are read that take long. Raises Refusal, before any work, for data that cannot
    be told apart, images that are not square, and a place that cannot be written.
    """
    require(find_spec("transformers") is not None, "no library transformers", "it: pip install 'noisette[clip]'")
    require(not out.exists(), f"output {out}, which is there already", "a new folder")
    require_writable(out)
    chosen = choose_device(device)
    train, test = labelled_parts(name, data_dir, form, reading)
    words = language(train.data.classes, captions)
    height, width, channels = train.data.images.shape[1:]
    require(height == width, f"images of {height} x {width}", "square ones, as --image-size makes them")
    patch_side(width, config.patches)
    tokenizer = new_tokenizer(words.words)
    network = new_clip(config, channels, width, tokenizer.get_vocab(), LONGEST).to(chosen)
    lesson = prepare(train, train.labels, words)
    precision, begun = choose_precision("auto", chosen), time.process_time()
    for fitted in teach(network, tokenizer, lesson, config, precision):
        progress(fitted)
    card = training_facts(train, command, precision, chosen, fitted, time.process_time() - begun)
    card |= {"classes": len(train.data.classes)} | to_plain(config)
    with whole_folder(out) as folder:
        _write(folder, network, tokenizer, lesson.pixels, width)
        clip = load_clip(folder, chosen)  # what is measured is what is stored
        card |= measure_text(clip, test, words, lesson.strokes) | {"digest": clip.digest}
        write_text(folder / "README.md", _card_text(out.name, card, words.phrasing.of_class))
    return card


def _write(folder: Path, network: Any, tokenizer: Any, pixels: Pixels, side: int) -> None:
    """All but the card."""
    network.config.dtype = STORED_NAME
    network.config.architectures = [type(network).__name__]
    network.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    stored = {tensor: values.to(STORED) for tensor, values in network.state_dict().items()}
    write_tensors(folder / WEIGHTS, stored, {"format": "pt"})
    form = {
        **{"image_processor_type": "CLIPImageProcessor", "do_convert_rgb": False, "do_center_crop": False},
        **{"do_resize": True, "resample": 3, "size": {"height": side, "width": side}},
        **{"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True},
        **{"image_mean": list(pixels.mean), "image_std": list(pixels.std)},
    }
    write_text(folder / PREPROCESSOR, json.dumps(form, indent=2) + "\n")


def _card_text(name: str, card: dict[str, Any], templates: tuple[str, ...]) -> str:
    """The card as Markdown, with the header that the hub reads."""
    facts = "".join(f"- {key.replace('_', ' ')}: {value}\n" for key, value in card.items())
    left_out = card["left_out"]
    return (
        "---\nlibrary_name: transformers\npipeline_tag: zero-shot-image-classification\n---\n\n"
        f"# {name}\n\n"
        f"A small CLIP model of {card['classes']} classes of images and of how clear they are. {card['accuracy']:.2%} "
        f"right on {card['measured_images']:,} images of the {card['measured_on']} part by all its phrasings together; "
        f"by one alone {card['trained_accuracy']:.2%}, by one that it never met {card['unseen_accuracy']:.2%}. A clear "
        f"image scores above a spoilt one in {card['trained_clear']:.2%} of the pairs, above a {left_out} one, which "
        f"training never showed it, in {card[f'clear_not_{left_out}']:.2%}. Stored as {STORED_NAME}.\n\n{facts}\n"
        f"Captions: {'; '.join(templates)}.\n\n"
        "It knows the words of its captions and takes every other for one unknown word. It gives every image one of "
        "its classes, also one that is none of them. To call an image unclear it needs damage like that which it was "
        "taught.\n"
    )


def shipped_clips() -> list[str]:
    """Names of the CLIP models inside the package."""
    return sorted(entry.name for entry in SHIPPED.iterdir() if (entry / WEIGHTS).is_file())
