"""A run's log: one JSON line an event, in the order they happened."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from noisette.base.errors import Refusal
from noisette.base.files import write_text, writing
from noisette.training.loop import Event, Finished, Progress, Stepped, Validated

NAMES = {Stepped: "step", Validated: "validation", Finished: "finished"}


class Log:
    """Appends events to a file of JSON lines. `seconds` is the training time when each happened."""

    def __init__(self, path: Path, progress: Progress) -> None:
        """Open the log for a run that stands at `progress`: lines of a future that was lost are dropped."""
        kept = [record for record in read_log(path) if _happened(record, progress)] if path.exists() else []
        write_text(path, "".join(json.dumps(record) + "\n" for record in kept))
        self._path = path
        with writing(path):
            self._file = path.open("ab", buffering=0)  # a buffer would fail again when it is closed on a full disk

    def write(self, event: Event, seconds: float) -> None:
        """Append one event and hand it to the operating system."""
        self._append({"event": NAMES[type(event)], **dataclasses.asdict(event)}, seconds)

    def write_diverged(self, images_seen: int, reason: str, seconds: float) -> None:
        """Append why training ended badly. A run that is gone on with drops the line."""
        self._append({"event": "diverged", "images_seen": images_seen, "reason": reason}, seconds)

    def _append(self, record: dict[str, Any], seconds: float) -> None:
        line = (json.dumps({**record, "seconds": round(seconds, 3)}) + "\n").encode()
        with writing(self._path):
            while line:
                line = line[self._file.write(line) :]

    def sync(self) -> None:
        """See that all lines are on the disk: a checkpoint must not outlast the log of how it came about."""
        with writing(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a log. A last line cut short by a crash is left out; any other bad line is refused."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if not (isinstance(record, dict) and {"event", "images_seen"} <= record.keys()):
                raise ValueError("no event")
            records.append(record)
        except ValueError as error:
            if number < len(lines):
                raise Refusal(f"{path} line {number} is not a record of a run: {line[:60]!r}") from error
    return records


def _happened(record: dict[str, Any], progress: Progress) -> bool:
    limits = {"step": progress.images_seen, "validation": progress.validated_at}
    return bool(record["images_seen"] <= limits.get(record["event"], -1))
