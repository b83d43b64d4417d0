"""The one exception that stands for a user's mistake, and suggestions for its sentence."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that one sentence can explain: what was wrong, with the value, and the remedy.

    The commands print the sentence and exit with status 2; everything else is a bug and keeps its traceback. It may
    quote a stranger's file, so it is made one line here, and no terminal obeys what is in it.
    """

    def __init__(self, sentence: str) -> None:
        line = (" " if character.isspace() else character for character in sentence)
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line))


def unreadable(path: object, error: OSError) -> UserError:
    """Return the error for a file that is there and cannot be opened: what is in it is another matter."""
    return UserError(f"cannot read {path} ({error.strerror}); look at its permissions and its disk")


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown `word`: the nearest of `choices`, or all of them."""
    choices = sorted(choices)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(choices)}"
