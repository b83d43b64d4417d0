"""What a mistake must get: one line that a terminal can print, with the value and what to change; wording is free."""

import re
from pathlib import Path

from smoothmix.utils.errors import UserError
from tests.commands import said


def one_line(sentence, *words):
    """Return `sentence` if it is one line and holds all `words`: texts and paths anywhere, other values alone."""
    assert sentence.isprintable()
    assert 0 < len(sentence) < 600  # paths are long
    missing = [word for word in words if not re.search(_pattern(word), sentence)]
    assert not missing, f"{sentence!r} lacks {missing}"
    return sentence


def _pattern(word):
    text = re.escape(str(word))
    return text if isinstance(word, str | Path) else rf"(?<![\w.]){text}(?!\w)"


class refused:
    """The block ends with an `error` whose message is such a line; nothing keeps the frames that it passed."""

    def __init__(self, *words, error=UserError):
        self.words, self.error = words, error

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        assert kind is not None, f"not refused: {self.words}"
        if not issubclass(kind, self.error):
            return False
        self.sentence = one_line(str(error), *self.words)
        return True


def refuses(script, *arguments, words, folder="."):
    """The command ends with status 2, has printed nothing but notes, and complains in such a line."""
    status, printed, complaint = said(script, *arguments, folder=folder)
    assert (status, [line for line in printed.splitlines() if not line.startswith("note: ")]) == (2, [])
    assert complaint.startswith("error: ")
    assert complaint.endswith("\n")
    one_line(complaint[:-1], *words)
