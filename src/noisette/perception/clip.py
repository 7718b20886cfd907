"""Models that know images and texts, as the transformers library writes them: CLIP (Radford et al. 2021) and SigLIP
(Zhai et al. 2023), from a folder or from the Hugging Face hub.

Only safetensors are loaded, and no code of a checkpoint runs. Images are brought into a model's form here, not by the
library: there they would lose their gradient, and its way needs torchvision.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisette.base.config import require
from noisette.base.errors import NoisetteError, Refusal, one_line, shown
from noisette.base.files import digest_of
from noisette.base.shapes import Images
from noisette.base.tensor_file import open_tensors
from noisette.base.text_file import read_json
from noisette.perception.clip_pixels import PixelForm, read_pixel_form
from noisette.perception.scorer import Scorer

KINDS = {"clip": "CLIP", "siglip": "Siglip"}
"""The models that are understood: their type in config.json, and how the names of their classes begin."""
WEIGHTS, PARTS = "model.safetensors", "model-*.safetensors"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
FILES = (
    *("config.json", "preprocessor_config.json", "processor_config.json", WEIGHTS, f"{WEIGHTS}.index.json", PARTS),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt", "spiece.model"),
)
"""All that is read of a checkpoint, and fetched from the hub: a repository often holds the weights several times."""
MOST_LAYERS = 1000


@dataclass(frozen=True, eq=False)
class Clip:
    """An image tower and a text tower, ready on a device, in evaluation mode, without gradients of their own."""

    name: str
    folder: Path
    network: Any
    """Of transformers: CLIPModel or SiglipModel."""
    tokenizer: Any
    form: PixelForm

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the files that were read: what scores depend on."""
        files = sorted({file for pattern in FILES for file in self.folder.glob(pattern)})
        return hashlib.sha256("".join(f"{file.name} {digest_of(file)}\n" for file in files).encode()).hexdigest()

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        found: torch.device = self.network.logit_scale.device
        return found

    def of_images(self, images: Images) -> Tensor:
        """Embeddings [B, D] of length 1; differentiable. images [B, C, H, W] in [-1, 1], grey or of as many channels
        as the model sees, of any size."""
        found = self.network.get_image_features(pixel_values=self.form(images)).pooler_output
        return torch.nn.functional.normalize(found, dim=-1)

    def of_texts(self, texts: Sequence[str]) -> Tensor:
        """Embeddings [T, D] of length 1. Raises Refusal for an empty text, and for one longer than the model reads."""
        with torch.no_grad():
            given = self._tokens(texts)
            found = self.network.get_text_features(**given).pooler_output
            return torch.nn.functional.normalize(found, dim=-1)

    def scorer(
        self,
        prompts: Sequence[str | Sequence[str]],
        names: Sequence[str] | None = None,
        temperature: float | None = None,
    ) -> Scorer:
        """The softmax over these prompts of the model's own logits, divided by the temperature if there is one.

        A prompt is a text, or several whose embeddings are averaged (Radford et al. 2021, section 3.1.4). names: what
        each is called; left out, its texts. Raises Refusal for fewer than 2 prompts, for an empty text, one that is too
        long for the model, and two prompts that are the same to it.
        """
        groups = [[prompt] if isinstance(prompt, str) else list(prompt) for prompt in prompts]
        names = tuple(names) if names is not None else tuple(" | ".join(group) for group in groups)
        require(len(groups) >= 2, f"{len(groups)} prompts", "at least 2 to tell apart")
        require(len(names) == len(groups), f"{len(names)} names", f"one a prompt, {len(groups)}")
        require(min(map(len, groups)) > 0, "a prompt of no text", "at least one text")
        require(temperature is None or temperature > 0, f"temperature {temperature}", "a positive number")
        self._require_different(groups)
        return ClipScorer(
            self, names, directions(self.of_texts, groups), float(self.network.logit_scale.exp()) / (temperature or 1.0)
        )

    def _tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        for text in texts:
            require(bool(text.strip()), f"prompt {shown(text)}", "a text")
        longest = int(self.network.config.text_config.max_position_embeddings)
        found = self.tokenizer(list(texts), padding=True, return_tensors="pt")
        for text, mask in zip(texts, found["attention_mask"], strict=True):
            length = int(mask.sum())
            require(length <= longest, f"prompt {shown(text)} of {length} tokens", f"at most {longest} in {self.name}")
        if self.network.config.model_type == "siglip":  # it learned from texts filled up to one length, unmasked
            found = self.tokenizer(list(texts), padding="max_length", max_length=longest, return_tensors="pt")
            return {"input_ids": found["input_ids"].to(self.device)}
        return {name: found[name].to(self.device) for name in ("input_ids", "attention_mask")}

    def _require_different(self, groups: Sequence[Sequence[str]]) -> None:
        """A small vocabulary takes every word that it lacks for the same unknown one."""
        seen: dict[tuple[tuple[int, ...], ...], str] = {}
        for group in groups:
            tokens = tuple(tuple(self.tokenizer(text)["input_ids"]) for text in group)
            if tokens in seen:
                raise Refusal(
                    f"prompts {shown(seen[tokens])} and {shown(group[0])} are the same to {self.name}: "
                    "expected texts that its vocabulary tells apart"
                )
            seen[tokens] = group[0]


def directions(of_texts: Callable[[Sequence[str]], Tensor], groups: Sequence[Sequence[str]]) -> Tensor:
    """The direction of each group of texts, [P, D], of length 1: that of the mean of their embeddings."""
    return torch.nn.functional.normalize(torch.stack([of_texts(group).mean(0) for group in groups]), dim=-1)


@dataclass(frozen=True, eq=False)
class ClipScorer:
    """How alike images are to the directions of prompts."""

    clip: Clip
    prompts: tuple[str, ...]
    directions: Tensor  # [P, D], of length 1
    scale: float

    def __call__(self, images: Images, /) -> Tensor:
        # SigLIP adds a bias to all logits: no softmax sees it.
        logits = self.scale * self.clip.of_images(images) @ self.directions.T
        return logits.log_softmax(1)


# Loading ------------------------------------------------------------------------------------------


def load_clip(name: str | Path, device: torch.device | str = "cpu") -> Clip:
    """A CLIP or SigLIP model from a folder in the hub's format, or by its name on the hub, `owner/name`: that is
    fetched once, into the cache which all programs share that use the hub (HF_HOME; HF_ENDPOINT names another hub).

    Raises Refusal for what is not there, for another kind of model, one without a text tower, weights that are missing,
    damaged or pickled; NoisetteError when the hub cannot be reached.
    """
    try:
        import transformers
    except ImportError as error:
        raise Refusal("CLIP models need the extra 'clip': pip install 'noisette[clip]'") from error
    folder = _folder(name)
    kind = _kind(folder)
    with _without_chatter(transformers):
        network = _network(folder, getattr(transformers, f"{kind}Model"), getattr(transformers, f"{kind}Config"))
        tokenizer = _tokenizer(folder, transformers, kind)
    seen = network.config.vision_config
    form = read_pixel_form(folder, int(seen.num_channels), int(seen.image_size))
    return Clip(str(name), folder, network.requires_grad_(False).eval().to(device), tokenizer, form)


def _folder(name: str | Path) -> Path:
    """Where the files lie; from the hub they are fetched."""
    if Path(name).is_dir():
        return Path(name)
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(name), re.ASCII) or ".." in str(name):
        raise Refusal(f"no CLIP model {str(name)!r}: expected a folder, or owner/name of the Hugging Face hub")
    import huggingface_hub
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return Path(huggingface_hub.snapshot_download(str(name), allow_patterns=list(FILES)))
    except RepositoryNotFoundError as error:
        raise Refusal(f"no CLIP model {str(name)!r}: found neither a folder nor a model of the hub") from error
    except Exception as error:  # of any of the libraries beneath it
        raise NoisetteError(f"CLIP model {str(name)!r} cannot be fetched from the hub: {one_line(error)}") from error


def _kind(folder: Path) -> str:
    """How the names of its classes begin."""
    config = read_json(folder / "config.json", "configuration of a CLIP model")
    found = config.get("model_type") if isinstance(config, dict) else None
    if isinstance(found, str) and re.fullmatch(r"(clip|siglip)_vision_model", found):
        raise Refusal(f"{folder} is a model without a text tower: expected both towers of a CLIP or SigLIP model")
    if not isinstance(found, str) or found not in KINDS:
        raise Refusal(f"{folder} is a model of type {shown(found)}: expected one of {', '.join(KINDS)}")
    for tower in ("text_config", "vision_config"):
        layers = config[tower].get("num_hidden_layers", 0) if isinstance(config.get(tower), dict) else 0
        require(
            isinstance(layers, int) and 0 <= layers <= MOST_LAYERS,
            f"{folder}: {tower} of {shown(layers)} layers",
            f"at most {MOST_LAYERS}",
        )
    return KINDS[found]


def _network(folder: Path, model: Any, config: Any) -> Any:
    """The network with the weights of its files, in float32. Raises Refusal when they are not its own, all of them."""
    files = [folder / WEIGHTS] if (folder / WEIGHTS).is_file() else sorted(folder.glob(PARTS))
    if not files:
        pickled = sorted(file.name for pattern in PICKLED for file in folder.glob(pattern))
        if pickled:
            raise Refusal(f"{folder} holds pickled weights ({pickled[0]}): expected {WEIGHTS}, nothing is unpickled")
        raise Refusal(f"{folder} holds no weights: expected {WEIGHTS} (pickled ones are neither fetched nor read)")
    names, stored = set(), 0
    for file in files:
        with open_tensors(file, "CLIP model") as opened:
            names |= set(opened.forms)
            stored += sum(torch.Size(shape).numel() for _, shape in opened.forms.values())
    if not any(name.startswith("text_model.") for name in names):
        raise Refusal(f"{folder} is a model without a text tower: its weights hold no tensor text_model.*")
    try:
        with torch.device("meta"):
            needed = sum(parameter.numel() for parameter in model(config.from_pretrained(folder)).parameters())
        # Before memory is taken: what the files lack would be made up.
        require(needed <= stored, f"{folder}: weights of {stored:,} numbers", f"{needed:,}, as its configuration says")
        network, told = model.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
    except NoisetteError:
        raise
    except Exception as error:  # whatever the library makes of a configuration or of shapes that do not fit
        raise Refusal(f"{folder} is not a readable CLIP model: {one_line(error)}") from error
    if missing := sorted(told["missing_keys"]):
        raise Refusal(f"{folder} lacks weights: no tensor {missing[0]}, {len(missing):,} in all")
    return network


def _tokenizer(folder: Path, transformers: Any, kind: str) -> Any:
    """What turns texts into tokens: tokenizer.json, or the vocabulary of older checkpoints."""
    whole = (folder / "tokenizer.json").is_file()
    if not whole and not (folder / "vocab.json").is_file() and not (folder / "spiece.model").is_file():
        raise Refusal(f"{folder} has no tokenizer: expected tokenizer.json, or the vocabulary that it is made of")
    try:
        if whole:
            return transformers.PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        return getattr(transformers, f"{kind}Tokenizer").from_pretrained(folder, local_files_only=True)
    except ImportError as error:
        raise Refusal(f"{folder} has no tokenizer.json, and its vocabulary needs pip install sentencepiece") from error
    except Exception as error:  # the library raises bare Exceptions
        raise Refusal(f"{folder} has no readable tokenizer: {one_line(error)}") from error


@contextmanager
def _without_chatter(transformers: Any) -> Iterator[None]:
    """Within, the library shows no bar of its own and warns of nothing short of an error."""
    logging = transformers.utils.logging
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with ExitStack() as after:
        after.callback(logging.set_verbosity, before)
        if bars:
            after.callback(logging.enable_progress_bar)
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        yield
