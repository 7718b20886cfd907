"""Tiny CLIP and SigLIP checkpoints, of made-up weights, written in the hub's format."""

import json
from pathlib import Path

from noisette.perception.prompts import DIGITS
from noisette.perception.prompts import WORDS as DIGIT_WORDS

WORDS = ("<unk>", "<start>", "<end>", "a", "handwritten", "number", "clear", "blurry", ",", *DIGITS, *DIGIT_WORDS)


def write_tiny_clip(folder: Path, kind: str = "clip", channels: int = 3, side: int = 16) -> Path:
    """Write it: config.json, model.safetensors, tokenizer.json, tokenizer_config.json, preprocessor_config.json."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 2)]
    )
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    begin = {"clip": "CLIP", "siglip": "Siglip"}[kind]
    config = getattr(transformers, f"{begin}Config")(
        text_config=tower | special | {"vocab_size": len(WORDS), "max_position_embeddings": 12, "projection_size": 16},
        vision_config=tower | {"image_size": side, "patch_size": 8, "num_channels": channels},
        projection_dim=8,
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<start>", eos_token="<end>", pad_token="<end>"
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = getattr(transformers, f"{begin}Model")(config)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if name.startswith("logit"):
                    parameter.fill_(3.0)
                else:
                    parameter.normal_(std=0.4)
    network.save_pretrained(folder)
    fast.save_pretrained(folder)
    form = {
        **{"do_resize": True, "resample": 3, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True},
        **{"image_mean": [0.48, 0.46, 0.41][:channels], "image_std": [0.27, 0.26, 0.28][:channels]},
    }
    if kind == "clip":
        form |= {"size": {"shortest_edge": side}, "do_center_crop": True, "crop_size": {"height": side, "width": side}}
    else:
        form |= {"size": {"height": side, "width": side}}
    (folder / "preprocessor_config.json").write_text(json.dumps(form))
    return folder
