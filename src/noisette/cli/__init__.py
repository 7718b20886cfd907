"""The command line: faces only. Each command is a module beside this one, loaded when it is used."""

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module

from noisette import __version__
from noisette.base.errors import NoisetteError, Refusal, one_line, printable, unknown
from noisette.base.processes import rank_and_count
from noisette.cli.voice import Voice

COMMANDS = {
    "train": "train a model into a run folder, or go on with the run that is there",
    "sample": "draw images from a model",
    "check": "look at a data set before training on it",
    "doctor": "why samples are noise, blobs or NaN: causes, evidence, what to try first",
    "evaluate": "measure models or samples against real images, each number with its yardstick",
    "score": "how likely each sample is what was asked for, by a CLIP model or a classifier",
    "rank": "draw many images of each class and keep the best, no two too alike",
    "refine": "noise images to a middle level and draw them again, keep what is better",
    "reward": "train a model on with what a judge says of its drawings, watched by another",
    "report": "tell a run in one page",
    "study": "the laboratory's studies: a table, figures and a finding",
    "perceive": "train a small classifier of a data set, or with --text a small CLIP model",
    "info": "what a model is; without a model, what ships",
    "demo": "draw digits, train a small model in two minutes, show both, and report",
}
SHARED = ("train", "sample")
"""The commands that many processes may share."""
INTERRUPTED, BROKEN_PIPE = 130, 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 2 for bad input, 1 for work that failed, each told in one line."""
    with warnings.catch_warnings():
        warnings.showwarning = _each_warning_once()
        try:
            voice = Voice()
        except NoisetteError as error:
            print(f"noisette: {one_line(error)}", file=sys.stderr)
            return error.exit_code
        try:
            code = _run(sys.argv[1:] if argv is None else list(argv))
            sys.stdout.flush()  # here, where a broken pipe is caught
            return code
        except NoisetteError as error:
            voice.tell(f"noisette: {one_line(error)}")
            return error.exit_code
        except KeyboardInterrupt:
            voice.tell("noisette: interrupted")
            return INTERRUPTED
        except BrokenPipeError:  # the reader has gone; nothing more can be said to it, not even at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return BROKEN_PIPE
        except OSError as error:  # of a path that the system does not take: too long, not permitted, gone by now
            voice.tell(f"noisette: {one_line(error)}")
            return Refusal.exit_code
        except Exception:
            voice.tell_of_a_bug()
            raise


def _run(args: list[str]) -> int:
    for arg in args:  # cards and caches hold them, and JSON is UTF-8
        if any("\ud800" <= sign <= "\udfff" for sign in arg):
            raise Refusal(f"argument {printable(arg)}: expected UTF-8")
    name = args[0] if args else "--help"
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name == "--version":
        print(f"noisette {__version__}")
        return 0
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    if name not in SHARED and (count := rank_and_count()[1]) > 1:
        raise Refusal(f"`noisette {name}` on {count} processes: expected one; many may share {' or '.join(SHARED)}")
    command: Callable[[list[str]], int] = import_module(f"noisette.cli.{name}").run
    try:
        return command(args[1:])
    except SystemExit as ended:  # tyro has printed the help
        return int(ended.code or 0)


def usage() -> str:
    """The text of `noisette --help`."""
    commands = "\n".join(f"  {name:10}{about}" for name, about in COMMANDS.items())
    return (
        "usage: noisette COMMAND ...\n\n"
        "Train, sample and measure class-conditional diffusion models of small images.\n\n"
        f"{commands}\n\n"
        "  noisette COMMAND --help   the flags of a command\n"
        "  noisette --version"
    )


def _each_warning_once() -> Callable[..., None]:
    """Shows a warning in one line, but not a second time."""
    told: set[str] = set()

    def show(message: Warning | str, *_: object) -> None:
        text = " ".join(str(message).split())
        if text not in told:
            told.add(text)
            print(f"noisette: warning: {text}", file=sys.stderr)

    return show
