"""A tokenizer of whole words, in the transformers library's form: a word outside its vocabulary is the unknown one."""

from collections.abc import Iterable
from typing import Any

from noisette.perception.captions import UNKNOWN

MARKS = ("[pad]", UNKNOWN, "[bos]", "[eos]")
"""The first of the vocabulary. The end is not number 2: with that, the library looks for it in another, older way."""
LONGEST = 32
"""Tokens that a text may have, its beginning and end included."""


def new_tokenizer(words: Iterable[str]) -> Any:
    """Texts in lower case, cut at blanks and punctuation, between [bos] and [eos]."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate((*MARKS, *words))}
    cutter = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    cutter.normalizer = normalizers.Lowercase()
    cutter.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [(mark, vocabulary[mark]) for mark in ("[bos]", "[eos]")]
    cutter.post_processor = processors.TemplateProcessing(single="[bos] $A [eos]", special_tokens=ends)
    marks = {f"{name}_token": f"[{name}]" for name in ("pad", "unk", "bos", "eos")}
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=cutter, model_max_length=LONGEST, **marks
    )
