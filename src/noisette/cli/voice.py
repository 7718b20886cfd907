"""One voice for many processes: the first shows what happens, and what went wrong is told once."""

import os
import signal
import sys
import time

from noisette.base.processes import rank_and_count

COURTESY_SECONDS = 1.0
"""How long the others wait before they tell of an error: where all meet the same one, the first tells it best."""
STORE_SECONDS = 5.0


class Voice:
    """What this process may say on the terminal."""

    def __init__(self) -> None:
        """Silence this process, its libraries included, unless it is the first. Raises Refusal as `rank_and_count`."""
        self._rank, self._count = rank_and_count()
        self._stderr = 2
        if self._rank > 0:
            self._stderr = os.dup(2)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for stream in (1, 2):
                os.dup2(nowhere, stream)

    def tell(self, line: str) -> None:
        """Say on stderr why the work ended, unless another process has said why it did."""
        if self._is_first_to_tell():
            self._speak_up()
            print(line, file=sys.stderr, flush=True)

    def tell_of_a_bug(self) -> None:
        """Let a traceback be seen, unless another process has told of an error."""
        if self._is_first_to_tell():
            self._speak_up()

    def _speak_up(self) -> None:
        if self._rank > 0:
            os.dup2(self._stderr, 2)

    def _is_first_to_tell(self) -> bool:
        if self._count == 1:
            return True
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # with which a launcher ends all as soon as one has ended
        if self._rank > 0:
            time.sleep(COURTESY_SECONDS)
        return _count_at_the_launcher() in (None, 1)


def _count_at_the_launcher() -> int | None:
    """How many processes have told of an error, this one included; None where the launcher cannot be asked."""
    from datetime import timedelta

    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    place = os.environ.get("MASTER_ADDR", ""), int(os.environ.get("MASTER_PORT", "0"))
    try:
        store = TCPStore(*place, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=STORE_SECONDS))
        return store.add(f"noisette/told/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", 1)
    except (RuntimeError, ValueError):
        return None
