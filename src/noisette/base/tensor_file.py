"""Named tensors and a header of texts in one safetensors file: written whole, the same bytes for the same content."""

import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from noisette.base.errors import Refusal, one_line, shown
from noisette.base.files import existing_file, whole_file

LARGEST_HEADER = 2**22
"""Bytes of names, shapes and texts: a thousand tensors and as many classes take a twentieth."""
TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
}
"""Of tensors, as the files name them: all that is ever written here."""

Form = tuple[torch.dtype, tuple[int, ...]]
"""Type and shape of a tensor."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Write the tensors, whatever their device and layout, and the header."""
    whole = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, dict(header))
    # The library writes the header's texts in an order that changes from run to run.
    (length,) = struct.unpack("<Q", whole[:8])
    parts = json.loads(whole[8 : 8 + length])
    parts["__metadata__"] = dict(sorted(parts["__metadata__"].items()))
    ordered = json.dumps(parts, separators=(",", ":"), ensure_ascii=False).encode()
    ordered += b" " * (-len(ordered) % 8)  # tensors begin at a multiple of 8 bytes
    with whole_file(path) as temporary:
        temporary.write_bytes(struct.pack("<Q", len(ordered)) + ordered + whole[8 + length :])


@dataclass(frozen=True, eq=False)
class OpenTensors:
    """A tensor file of which only the header was read. forms: what its tensors are, by name."""

    header: dict[str, str]
    forms: dict[str, Form]
    _file: Any

    def read(self) -> dict[str, Tensor]:
        """All the tensors, on the CPU."""
        return {name: self._file.get_tensor(name) for name in self.forms}


@contextmanager
def open_tensors(path: Path, kind: str) -> Iterator[OpenTensors]:
    """A tensor file, closed at the end, whose header may be looked at before memory is taken for its tensors.

    `kind` is the word for messages ("model"). Raises Refusal when the file is missing or damaged, its header is larger
    than LARGEST_HEADER, or a tensor has none of TYPES.
    """
    existing_file(path, kind)
    try:
        with path.open("rb") as start:
            length = int.from_bytes(start.read(8), "little")
        if length > LARGEST_HEADER:
            most = f"expected at most {LARGEST_HEADER:,}"
            raise Refusal(f"{path} is not a readable {kind}: a header of {length:,} bytes, {most}")
        # Not mapped into memory: there, a file that shrinks meanwhile would end the process without a word.
        with safe_open(path, framework="pt", backend="pread") as file:
            forms: dict[str, Form] = {}
            for name in file.offset_keys():
                tensor = file.get_slice(name)
                if tensor.get_dtype() not in TYPES:
                    found, known = f"{shown(name)} of type {tensor.get_dtype()}", ", ".join(TYPES)
                    raise Refusal(f"{path} is not a readable {kind}: {found}, expected one of {known}")
                forms[name] = TYPES[tensor.get_dtype()], tuple(tensor.get_shape())
            yield OpenTensors(file.metadata() or {}, forms, file)
    except (SafetensorError, OSError) as error:
        raise Refusal(f"{path} is not a readable {kind}: {one_line(error)}") from error


@contextmanager
def open_format(path: Path, kind: str, file_format: str) -> Iterator[OpenTensors]:
    """`open_tensors` of a file of ours; raises Refusal, too, when its header's "format" is another."""
    with open_tensors(path, kind) as file:
        found = file.header.get("format")
        if found != file_format:
            raise Refusal(f"{path}: expected a {kind} of format {file_format!r}, found {shown(found)}")
        yield file


def read_tensors(path: Path, kind: str, file_format: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The header and the tensors, on the CPU. Raises Refusal as `open_format` does."""
    with open_format(path, kind, file_format) as file:
        return file.header, file.read()
