"""Kill a training at many moments, resume it by the same command, and see that nothing was lost, to the bit.

A tiny run is trained once unbroken. Then, again and again, a child process trains it anew and gets SIGKILL at a moment
inside one of the PHASES; another child resumes it by the same command (and may be killed too) until it has finished,
and the folder is compared with the unbroken one: every tensor, picture, line and number but the seconds.

The moments are read from a trace that the children write into a pipe: this file wraps the functions of the phases and
the calls of the operating system that make a file whole, and the product knows nothing of it. Some kills come at such
a call, the child held there: when half of a file is written, before it is synced, between the temporary name and the
rename, right after it. Others come a random while after a phase began; the trace says where they fell, and only that is
counted.

    python tools/kills.py [kills] [seed]      100 kills unless said otherwise, at least a tenth of them in each phase

Prints a table; the exit code is 1 when a resumed run differs, whose folder is then kept.
"""

import contextlib
import functools
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.figure  # noqa: F401 (imported before the forks, so that no child has to)
import torch
import torch._dynamo  # (as the first optimiser does)
from safetensors import safe_open

import noisette.cli.train  # noqa: F401
from noisette.base.files import UNFINISHED, digest_of
from noisette.base.lock import LOCK_FILE
from noisette.cli import main, progress
from noisette.training import loop
from noisette.workflows import train

PHASES = ("start", "batch", "validation", "checkpoint write", "grid write")
BETWEEN, BEST = "between", "best write"
HELD = 0.6
"""Share of the kills that come at a point of the trace; the others come on the way."""
COMMAND = (
    *("train", "--data", "mnist-5k", "--recipe", "demo", "--device", "cpu", "--precision", "float32"),
    *("--widths", "4", "--blocks", "1", "--patch", "4", "--embedding", "8", "--dropout", "0.1", "--batch-size", "16"),
    *("--learning-rate", "2", "--adamw-rate", "0.4", "--rate", "plateau", "--plateau-patience", "1"),
    *("--ema-halflife-images", "30", "--warmup-images", "0", "--validate-every", "32", "--validation-images", "20"),
    *("--steps", "2", "--images", "128", "--out"),
)
SECONDS = ("seconds", "training_seconds")
"""What no two runs have in common."""


@dataclass(frozen=True)
class Point:
    """A line of the trace. kind: enter or exit of a phase, or a call of the operating system inside it."""

    number: int
    kind: str
    what: str
    moment: float

    def label(self) -> str:
        """What all points of its kind have in common: numbers and names made up for the while are left out."""
        return f"{self.kind} {re.sub('[0-9]+', '', re.sub(f'{UNFINISHED}.*-', UNFINISHED, Path(self.what).name))}"


@dataclass(frozen=True)
class Moment:
    """When to kill: at the point of this number, held there (delay None) or so many seconds later, on its way."""

    number: int
    delay: float | None


# The child ----------------------------------------------------------------------------------------


class Tracer:
    """Writes a line for each phase entered or left and each call that makes a file whole; holds the child at one."""

    def __init__(self, pipe: int, hold: int, held_at: int | None) -> None:
        self.pipe, self.hold, self.held_at, self.number = pipe, hold, held_at, 0

    def tell(self, kind: str, what: object) -> None:
        name = str(what).replace("\n", " ")
        os.write(self.pipe, f"{self.number}\t{kind}\t{name}\t{time.monotonic()}\n".encode())
        if self.number == self.held_at:
            os.read(self.hold, 1)  # until it is killed
            os._exit(99)
        self.number += 1

    def phase(self, owner: Any, name: str, phase: str, only: Callable[..., bool] = lambda *_: True) -> None:
        function = getattr(owner, name)

        @functools.wraps(function)
        def traced(*args: Any, **named: Any) -> Any:
            if not only(*args):
                return function(*args, **named)
            self.tell("enter", phase)
            try:
                return function(*args, **named)
            finally:
                self.tell("exit", phase)

        setattr(owner, name, traced)

    def call(self, name: str, after: bool = False) -> None:
        function = getattr(os, name)

        @functools.wraps(function)
        def traced(*args: Any, **named: Any) -> Any:
            self.tell(f"before {name}", args[-1])
            result = function(*args, **named)
            if after:
                self.tell(f"after {name}", args[-1])
            return result

        setattr(os, name, traced)

    def half(self, owner: Any, name: str) -> None:
        """Of a function that writes its content into a path: a moment when half of it is written."""
        function = getattr(owner, name)

        @functools.wraps(function)
        def traced(path: Path, content: Any, *args: Any, **named: Any) -> Any:
            function(path, content[: len(content) // 2], *args, **named)
            self.tell("half of", path)
            return function(path, content, *args, **named)

        setattr(owner, name, traced)

    def install(self) -> None:
        started = train.train

        def begun(*args: Any, **named: Any) -> Any:
            self.tell("exit", "start")
            return started(*args, **named)

        train.train = begun  # type: ignore[assignment]
        self.phase(loop, "_step", "batch")
        self.phase(loop, "_validate", "validation")
        self.phase(train.Run, "_save", "checkpoint write")
        self.phase(train, "save_picture", "grid write")
        self.phase(train.Run, "_save_model", BEST, lambda run, name: name == train.BEST_FILE)
        self.call("replace", after=True)
        self.call("fsync")
        self.call("unlink")
        self.half(Path, "write_bytes")
        self.half(Path, "write_text")


def child(command: list[str], pipe: int, hold: int, held_at: int | None, said: Path) -> None:
    """Run the command, traced; never returns."""
    log = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    tracer = Tracer(pipe, hold, held_at)
    train.PREVIEW_IMAGES = 10
    train.SAVE_SECONDS = 0.0  # a checkpoint after every step
    progress.save_curves = lambda *_: None  # drawn from the log when all is over
    tracer.tell("enter", "start")
    tracer.install()
    code = 1
    with contextlib.suppress(BaseException):
        code = main(command)
    sys.stdout.flush()
    os._exit(code)


# The harness --------------------------------------------------------------------------------------


def attempt(command: list[str], said: Path, moment: Moment | None) -> tuple[int, list[Point]]:
    """Run the command in a child, killed at the moment: its exit code (-9: killed), and its trace."""
    sys.stdout.flush()
    (reading, writing), (held, holding) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        os.close(holding)
        child(command, writing, held, moment.number if moment and moment.delay is None else None, said)
    os.close(writing)
    os.close(held)
    trace = []
    with os.fdopen(reading, encoding="utf-8") as lines:
        for line in lines:
            number, kind, what, at = line.rstrip("\n").split("\t")
            trace.append(Point(int(number), kind, what, float(at)))
            if moment is not None and int(number) == moment.number:
                time.sleep(moment.delay or 0.0)
                os.kill(pid, signal.SIGKILL)
    os.close(holding)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), trace


def phase_at(trace: list[Point]) -> str:
    """The phase that was entered and not left."""
    inside: list[str] = []
    for point in trace:
        if point.kind == "enter":
            inside.append(point.what)
        elif point.kind == "exit":
            inside.remove(point.what)
    return inside[0] if inside else BETWEEN


class Aim:
    """Chooses moments inside a phase, as the trace of an unbroken run shows them."""

    def __init__(self, trace: list[Point], chance: random.Random) -> None:
        self.chance = chance
        self.inside: dict[str, list[Point]] = {phase: [] for phase in PHASES}
        self.spans: dict[str, list[tuple[Point, float]]] = {phase: [] for phase in PHASES}
        self.left: dict[str, list[str]] = {phase: [] for phase in PHASES}
        """The kinds of points that are yet to be held at."""
        entered: dict[str, Point] = {}
        for place, point in enumerate(trace):
            if point.kind == "exit" and point.what in PHASES:
                begun = entered[point.what]
                self.spans[point.what].append((begun, point.moment - begun.moment))
            if point.kind == "enter":
                entered[point.what] = point
            if (phase := phase_at(trace[: place + 1])) in PHASES:
                self.inside[phase].append(point)

    def at(self, phase: str) -> Moment:
        """A moment in this phase: held at one of its points, or a random while after it began."""
        if self.chance.random() < HELD:
            return Moment(self._point(phase).number, None)
        begun, seconds = self.chance.choice(self.spans[phase])
        return Moment(begun.number, self.chance.uniform(0, seconds))

    def _point(self, phase: str) -> Point:
        """One of each kind in turn, those first where a file is half written or not yet renamed."""
        if not self.left[phase]:
            kinds = sorted({point.label() for point in self.inside[phase]})
            self.chance.shuffle(kinds)
            self.left[phase] = sorted(kinds, key=lambda kind: kind.startswith(("half of", "before replace")))
        kind = self.left[phase].pop()
        return self.chance.choice([point for point in self.inside[phase] if point.label() == kind])


# The comparison -----------------------------------------------------------------------------------


def difference(one: Path, two: Path) -> str | None:
    """The first thing in which two finished run folders differ; None when they are equal to the bit."""
    names = [sorted(str(p.relative_to(each)) for p in each.rglob("*") if p.is_file()) for each in (one, two)]
    if odd := set(names[0]) ^ set(names[1]):
        return f"{min(odd)}: only in one of them"
    for name in names[0]:
        left, right = one / name, two / name
        if name == LOCK_FILE:
            continue
        if name.endswith(".safetensors"):
            if found := tensor_difference(left, right):
                return f"{name}: {found}"
        elif name.endswith("manifest.json"):
            for folder, manifest in ((left.parent, left), (right.parent, right)):
                for each in json.loads(manifest.read_text())["checkpoints"]:
                    if digest_of(folder / each["file"]) != each["sha256"]:
                        return f"{manifest}: {each['file']} is another"
        elif name.endswith(".jsonl"):
            lines = [[timeless(json.loads(line)) for line in path.read_text().splitlines()] for path in (left, right)]
            for number, (a, b) in enumerate(zip(*lines, strict=False), start=1):
                if a != b:
                    return f"{name} line {number}: {a} and {b}"
            if len(lines[0]) != len(lines[1]):
                return f"{name}: {len(lines[0])} and {len(lines[1])} lines"
        elif left.read_bytes() != right.read_bytes():
            return f"{name}: other bytes"
    return None


def tensor_difference(left: Path, right: Path) -> str | None:
    """The first tensor or text of the header in which two files differ."""
    with safe_open(left, framework="pt") as one, safe_open(right, framework="pt") as two:
        if sorted(one.keys()) != sorted(two.keys()):
            return "other tensors"
        for name in one.keys():  # noqa: SIM118 (not a dict)
            if not torch.equal(one.get_tensor(name), two.get_tensor(name)):
                return f"tensor {name}"
        texts = [{key: plain(text) for key, text in file.metadata().items()} for file in (one, two)]
        return next((f"header {key}" for key in texts[0] if texts[0][key] != texts[1].get(key)), None)


def plain(text: str) -> Any:
    """A text of a header: JSON but for its format."""
    try:
        return timeless(json.loads(text))
    except ValueError:
        return text


def timeless(record: Any) -> Any:
    """The record less its seconds."""
    return {key: value for key, value in record.items() if key not in SECONDS} if isinstance(record, dict) else record


# The verdict --------------------------------------------------------------------------------------


class Harness:
    """The command that is killed and resumed in a folder for work."""

    def __init__(self, work: Path, chance: random.Random) -> None:
        self.work, self.chance, self.out, self.said = work, chance, work / "run", work / "said.txt"
        self.command = [*COMMAND, str(self.out)]
        code, trace = attempt(self.command, self.said, None)
        if code:
            sys.exit(f"the unbroken run failed: {self.said.read_text()[-1000:]}")
        self.aim, self.unbroken = Aim(trace, chance), self.out.rename(work / "unbroken")

    def kill_and_resume(self, moment: Moment | None) -> tuple[list[str], str | None]:
        """The phases in which the run was killed, once or more, and what was then wrong with it (None: nothing)."""
        killed: list[str] = []
        while True:
            code, trace = attempt(self.command, self.said, moment)
            told = self.said.read_text()
            if code not in (0, -signal.SIGKILL):
                return killed, f"exit code {code}: {told[-500:]}"
            if "going on from the checkpoint before" in told:
                return killed, f"a checkpoint was damaged by a kill: {told[-500:]}"
            if code == 0:
                return killed, difference(self.unbroken, self.out)
            killed.append(phase_at(trace))
            again = len(killed) < 3 and self.chance.random() < 0.25
            delay = self.chance.choice((None, self.chance.uniform(0, 0.05)))
            moment = Moment(self.chance.randrange(60), delay) if again else None


def run(kills: int, seed: int, work: Path) -> int:
    """Kill so many times and print the table; the exit code."""
    harness = Harness(work, random.Random(seed))
    print(f"{kills} kills, seed {seed}", flush=True)
    counts, equal, later, wrong = Counter[str](), Counter[str](), 0, 0
    while sum(counts.values()) < kills or min(counts[phase] for phase in PHASES) < max(1, kills // 10):
        moment = harness.aim.at(min(PHASES, key=lambda phase: counts[phase]))
        killed, found = harness.kill_and_resume(moment)
        counts.update(killed[:1])
        later += len(killed[1:])
        if found is None:
            equal.update(killed[:1])
            shutil.rmtree(harness.out)
        else:
            wrong += 1
            kept = harness.out.rename(work / f"different-{wrong}") if harness.out.exists() else harness.out
            print(f"killed in {', '.join(killed) or 'nothing'} at {moment}: {found}\n  kept: {kept}", flush=True)
    print(f"{'killed in':20}{'kills':>6}{'equal resumes':>15}")
    for phase in (*PHASES, BEST, BETWEEN):
        print(f"{phase:20}{counts[phase]:6}{equal[phase]:15}")
    print(f"{'all':20}{sum(counts.values()):6}{sum(equal.values()):15}   {later} killed again while they resumed")
    if not wrong:
        shutil.rmtree(work)
    return int(wrong > 0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = [int(word) for word in sys.argv[1:]]
    chosen = given[1] if len(given) > 1 else random.SystemRandom().randrange(10**6)
    sys.exit(run(given[0] if given else 100, chosen, Path(tempfile.mkdtemp(prefix="kills-"))))
