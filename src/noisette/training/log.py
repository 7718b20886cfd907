"""A run's log: one JSON line an event, in the order they happened."""

import dataclasses
import itertools
import json
import math
import os
import typing
from pathlib import Path
from typing import Any

from noisette.base.errors import Refusal, shown
from noisette.base.files import existing_file, write_text, writing
from noisette.base.text_file import parse_json
from noisette.training.loop import Event, Finished, Progress, Stepped, Validated

NAMES = {Stepped: "step", Validated: "validation", Finished: "finished"}
FIELDS = {
    name: {"event": str, **typing.get_type_hints(event), "seconds": float}
    for name, event in {"step": Stepped, "validation": Validated, "finished": Finished, "diverged": Finished}.items()
}
"""Of the records, by the name of their event: what each holds."""
LONGEST = 2**16
"""Bytes of a line; ours have a few hundred."""


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
        text = json.dumps({**record, "seconds": round(seconds, 3)}, allow_nan=False)  # which JSON has no word for
        line = f"{text}\n".encode()
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
    """The records of a log, whose fields are those of its events. A last line cut short by a crash is left out; any
    other bad line is refused."""
    records: list[dict[str, Any]] = []
    with existing_file(path, "log").open("rb") as file:
        bad = None
        for number in itertools.count(1):
            line = file.readline(LONGEST + 1)
            if line and bad is not None:
                raise Refusal(f"{path} line {number - 1} is not a record of a run: {shown(bad[:60])}")
            if not line:
                return records
            record = _record(line)
            if record is None:
                bad = line.decode("utf-8", errors="replace").strip()
            else:
                records.append(record)
    raise AssertionError  # counting has no end


def _record(line: bytes) -> dict[str, Any] | None:
    """What a line says; None where it is not a record."""
    try:
        record = parse_json(line.decode("utf-8"), "line")
    except (Refusal, UnicodeDecodeError):
        return None
    fields = FIELDS.get(str(record.get("event"))) if isinstance(record, dict) else None
    if fields is None or record.keys() != fields.keys():
        return None
    return record if all(_is_a(value, fields[name]) for name, value in record.items()) else None


def _is_a(value: Any, hint: Any) -> bool:
    """Whether a plain value is what a field may hold: a count from 0, a finite number, or a list of them."""
    if hint is int:
        return type(value) is int and value >= 0
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    if hint in (bool, str):
        return type(value) is hint
    return isinstance(value, list) and all(_is_a(item, float) for item in value)


def _happened(record: dict[str, Any], progress: Progress) -> bool:
    limits = {"step": progress.images_seen, "validation": progress.validated_at}
    return bool(record["images_seen"] <= limits.get(record["event"], -1))
