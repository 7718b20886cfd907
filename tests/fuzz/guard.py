"""What every hostile file is promised: it is read or refused in one line, in bounded memory and time."""

import contextlib
import faulthandler
import io
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from noisette.base.errors import Refusal
from noisette.cli import main

FUZZING = "NOISETTE_FUZZ" in os.environ
"""Whether this is `make fuzz`: other files each time. In `make test` they are always the same few."""

CASES = int(os.environ.get("NOISETTE_FUZZ", "20"))
"""Hostile files of each kind."""

MEMORY = 192 * 2**20
"""Bytes that reading a file of a few kilobytes may take: its honest need, some tens of millions, and slack."""

SECONDS = 30
"""After which a reader hangs: a thousand times what it needs. A net, not a measurement."""

ACCEPTED, REFUSED = "accepted", "refused"
TALLY: dict[str, Counter[str]] = {}
"""How often each reader did what."""


class Hung(BaseException):
    """No Exception, so that nothing takes it for a damaged file."""


def guarded(read: Callable[[], object]) -> str:
    """ACCEPTED or REFUSED. Anything else fails: another exception, a second line, memory beyond MEMORY, a hang."""
    with bounded():
        try:
            read()
        except Refusal as error:
            message = str(error)
        else:
            return ACCEPTED
    assert message
    assert "\n" not in message
    return REFUSED


def refused(read: Callable[[], object], match: str) -> None:
    """Under guard it must be refused, in words that match."""
    told: list[str] = []

    def listen() -> None:
        try:
            read()
        except Refusal as error:
            told.append(str(error))
            raise

    assert guarded(listen) == REFUSED
    assert re.search(match, told[0]), told[0]


def command(*argv: str | Path) -> None:
    """Run the command line; raises Refusal for exit code 2, told in one line. Any code but 0 and 2 fails."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(arg) for arg in argv])
    said = [line for line in err.getvalue().splitlines(keepends=True) if "warning: " not in line]
    assert code in (0, 2), said
    assert "\x1b" not in out.getvalue() + err.getvalue()  # no file may steer the terminal
    out.getvalue().encode()
    if code == 2:
        assert len(said) == 1
        assert said[0].startswith("noisette: ")
        assert len(said[0]) < 2500
        raise Refusal(said[0].strip())


@contextlib.contextmanager
def bounded(memory: int = MEMORY) -> Iterator[None]:
    """Lets what runs within take so much more memory than there is now, where the system can be told so (Linux), and
    SECONDS of time."""

    def hung(*_: object) -> None:
        raise Hung(f"more than {SECONDS} s")

    with _limited(memory):
        if not hasattr(signal, "setitimer"):
            yield
            return
        faulthandler.dump_traceback_later(2 * SECONDS, exit=True)  # where not even a signal comes through
        before = signal.signal(signal.SIGALRM, hung)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def _limited(memory: int) -> Iterator[None]:
    if sys.platform != "linux":
        yield
        return
    import resource

    lines = Path("/proc/self/status").read_text().splitlines()
    now = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData"))
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (now + memory, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
