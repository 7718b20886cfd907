"""What a run settles once on its machine, and keeps: run.json."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from noisette.base.config import from_plain, require
from noisette.base.errors import Refusal, one_line
from noisette.base.files import write_text
from noisette.base.text_file import read_json
from noisette.workflows.device import Precision

MOST_THREADS = 1024  # a file that asks for more would end the process


@dataclass(frozen=True)
class Settled:
    """What was chosen once on this machine and is kept, so that a resumed run equals the unbroken one.

    On another number of processes it goes on with other threads, and equals the unbroken one to rounding.
    """

    device: str
    processes: int
    threads: int
    precision: Precision
    data_digest: str
    init_digest: str | None
    python: str
    torch: str
    noisette: str

    def __post_init__(self) -> None:
        require(self.processes >= 1, f"processes {self.processes}", "at least 1")
        require(1 <= self.threads <= MOST_THREADS, f"threads {self.threads}", f"at least 1, at most {MOST_THREADS}")


def read_settled(path: Path) -> Settled:
    """Raises Refusal for a file of anything else."""
    try:
        return from_plain(Settled, read_json(path, "run"), "settled")
    except Refusal as error:
        raise Refusal(f"{path} is not what a run has settled: {one_line(error)}") from error


def write_settled(path: Path, settled: Settled) -> None:
    """Write the file whole."""
    write_text(path, json.dumps(dataclasses.asdict(settled), indent=1) + "\n")
