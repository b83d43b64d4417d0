"""A claim about a table's rows, and the endpoints that it may be about."""

from dataclasses import dataclass

# top-1 error in % on the clean test set, unless it says otherwise; all are better when lower
ENDPOINTS = {
    "last_top1": "top-1 error after the last epoch",
    "best_top1": "top-1 error of the best epoch, chosen on the test set unless images were held out",
    "last_top5": "top-5 error after the last epoch",
    "test_loss": "mean cross-entropy on the test set after the last epoch, in nats",
    "corrupted": "mean top-1 error over all corruptions and severities",
    "noise": "mean top-1 error over the corruptions of the category noise",
    "blur": "mean top-1 error over the corruptions of the category blur",
    "weather": "mean top-1 error over the corruptions of the category weather",
    "digital": "mean top-1 error over the corruptions of the category digital",
    "corruption_gap": "mean top-1 error over all corruptions minus that on the same images without corruption",
}
DIRECTIONS = ("less", "greater")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence about `row` and what it is compared `to`, and what has to be true of an `endpoint` for it to hold.

    With d the difference of the endpoint's expected values, `row` minus the other:

    - direction "less": d < margin; "greater": d > -margin. A margin above 0 asks only not to be worse by that much.
    - within: abs(d) < within.
    - stable: the standard deviation over seeds is less than the other row's.

    `to` is a number, or rows; the claim holds if it holds against each of them.
    """

    id: str
    sentence: str
    source: str
    row: str
    to: tuple[str, ...] | float
    endpoint: str
    direction: str | None = None
    margin: float = 0.0
    within: float | None = None
    stable: bool = False
    primary: bool = False
