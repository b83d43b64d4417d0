"""What the command lines of the scripts share. It imports nothing heavy, so that --help is there at once."""

import signal
import sys
from collections.abc import Callable, Sequence


def command(main: Callable[[], int | None]) -> None:
    """Do what smoothmix.utils.command.run does; Ctrl-C ends the imports before it without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from smoothmix.utils.command import run

    run(main)


def exit_with(problems: Sequence[str]) -> None:
    """Print what could not be counted, a sentence each, and exit with status 2 if there is any."""
    for sentence in problems:
        print(f"error: {sentence}", file=sys.stderr)
    if problems:
        sys.exit(2)
