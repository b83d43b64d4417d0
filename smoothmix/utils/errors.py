"""The one exception that stands for a user's mistake."""


class UserError(Exception):
    """A mistake that one sentence can explain: what was wrong, with the value, and the remedy.

    The commands print the sentence and exit with status 2; everything else is a bug and keeps its traceback. It may
    quote a stranger's file, so it is made one line here, and no terminal obeys what is in it.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__("".join(_shown(character) for character in sentence))


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else character.encode("unicode_escape").decode()
