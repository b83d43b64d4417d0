"""What a mistake must get: one line that a terminal can print, with the value and what to change; wording is free."""

from contextlib import contextmanager

import pytest

from smoothmix.utils.errors import UserError
from tests.commands import said


def one_line(sentence, *words):
    """Whether `sentence` is one line and holds all `words`, which may be paths and numbers."""
    assert sentence.isprintable()
    assert 0 < len(sentence) < 400
    missing = [word for word in map(str, words) if word not in sentence]
    assert not missing, f"{sentence!r} lacks {missing}"
    return sentence


@contextmanager
def refused(*words, error=UserError):
    """The block ends with an `error` whose message is such a line."""
    with pytest.raises(error) as caught:
        yield caught
    one_line(str(caught.value), *words)


def refuses(script, *arguments, words, folder="."):
    """The command ends with status 2, has printed nothing, and complains in such a line."""
    status, printed, complaint = said(script, *arguments, folder=folder)
    assert (status, printed) == (2, "")
    assert complaint.startswith("error: ")
    assert complaint.endswith("\n")
    one_line(complaint[:-1], *words)
