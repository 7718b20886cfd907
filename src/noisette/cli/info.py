"""`noisette info`."""

from dataclasses import dataclass

from rich.console import Console

from noisette.cli.flags import parse, subject
from noisette.workflows.info import model_facts, shipped_facts, show
from noisette.workflows.model import load


@dataclass(frozen=True)
class Options:
    """What a model is (a name that ships, a run folder, or a .safetensors file); without one, what ships."""


def run(args: list[str]) -> int:
    """Print the tables; the exit code."""
    name, flags = subject(args)
    parse(Options, flags, "noisette info [MODEL]")
    show(shipped_facts() if name is None else model_facts(load(name, "cpu")), Console())
    return 0
