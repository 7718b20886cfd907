"""Named tensors and a header of texts in one safetensors file: written whole, the same bytes for the same content."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from noisette.base.errors import Refusal, one_line
from noisette.base.files import whole_file


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


def read_tensors(path: Path, kind: str, file_format: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The header and the tensors, on the CPU. `kind` is the word for messages ("model").

    Raises Refusal when the file is missing, damaged, or its header's "format" is another.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != file_format:
                found = header.get("format")
                raise Refusal(f"{path}: expected a {kind} of format {file_format!r}, found {found!r}")
            return header, {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise Refusal(f"{path} is not a readable {kind}: {one_line(error)}") from error
