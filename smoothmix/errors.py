"""The one exception that stands for a user's mistake."""


class UserError(Exception):
    """A mistake that one sentence can explain: what was wrong, with the value, and the remedy.

    The commands print the sentence and exit with status 2; everything else is a bug and keeps its traceback.
    """
