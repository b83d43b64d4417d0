"""mixcheck: the laws that an operation which mixes images and labels must obey, checked on any implementation.

`assert_mixing(make)` builds operations ``(images, labels) -> (images, targets)`` with `make`, and raises an
AssertionError that shows the laws that fail; `check_mixing(make)` returns a report on all laws. On the command line:
``python -m smoothmix.check package.module:make``. Needs torch alone.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from smoothmix.check import chance, exact
from smoothmix.check.report import FAIL, NOT_APPLICABLE, PASS, Entry, Report
from smoothmix.check.subject import Broken, DoesNotApply, Operation, Subject, global_generators_kept, name_of, short
from smoothmix.utils.errors import UserError, nearest

__all__ = ["LAWS", "Entry", "Law", "Report", "assert_mixing", "check_mixing"]


class Law(NamedTuple):
    """A law: its name, what it says, the check, and the arguments that make() must have for it to say anything."""

    name: str
    sentence: str
    check: Callable[[Subject], str]
    needs: tuple[str, ...] = ()


LAWS = (
    # labels that are wrong
    Law("label_weight", "The weight of a label is the share of its image's pixels.", exact.label_weight),
    Law("row_sum", "Rows of targets sum to 1, and no entry is negative.", exact.row_sum),
    Law("soft", "Soft labels mix linearly; one-hot rows give the same result as class indices.", exact.soft),
    Law("dense", "At every pixel the weight of a label is the share of its image's pixel.", exact.dense),
    # another distribution than the one that is stated
    Law("seed", "The same seed gives the same result; other seeds give others.", chance.seeded),
    Law("p", "p is the probability of mixing: applied once, never at 0, always at 1.", chance.probability, ("p",)),
    Law("pairs", "Every image can be the partner of every other.", chance.pairs),
    Law("positions", "Every position can occur, borders included, in square, tall and wide images.", chance.positions),
    Law("independent", "With per_sample, every image has its own draw.", chance.independent, ("per_sample",)),
    Law("coin", "With per_sample, every image has its own p-coin.", chance.coin, ("p", "per_sample")),
    Law("arguments", "Every argument has an effect.", exact.arguments),
    Law("share", "An image that is mixed keeps the share of itself that is expected.", chance.share),
    # results that are right, in a form that costs the user something
    Law("any_batch", "Any batch can be mixed: one image, odd numbers, odd and unequal sides.", exact.any_batch),
    Law("input_kept", "The input images and labels are not modified.", exact.input_kept),
    Law("format_kept", "Images keep dtype, device and memory format; targets are float32.", exact.format_kept),
    Law("rounding", "In half precision the label follows the rounded mask.", exact.rounding),
    Law("gradient", "Gradients flow to every image that was mixed.", exact.gradient),
    Law("compile", "torch.compile gives the same results.", exact.compiled),
    Law("export", "torch.export gives the same results.", exact.exported),
)


def check_mixing(
    make: Callable[..., Operation], *, not_applicable: Mapping[str, str] | None = None, share: float | None = None
) -> Report:
    """Check the laws on the operations that `make` builds.

    Args:
        make: called with the keywords num_classes, p, per_sample and generator, or those of them that its signature
            has; returns an operation (images (N, C, H, W), labels (N,)) -> (images, targets (N, num_classes)). Laws
            about a missing argument do not apply. Other arguments need defaults and must have an effect.
        not_applicable: law to reason, for laws that are not meant to hold; the report shows the reasons.
        share: the mean share of its own pixels that an image of 32 x 32 is meant to keep when it is mixed, in [0, 1].

    Returns:
        One entry per law. Takes seconds on one core; the global random generators are left as they were.

    Raises:
        UserError: `make` or its operation has another signature, or a law's name is unknown.
    """
    reasons = dict(not_applicable or {})
    names = [law.name for law in LAWS]
    for name in reasons:
        if name not in names:
            raise UserError(f"there is no law {name!r}; {nearest(name, names)}")
    if share is None:
        reasons.setdefault("share", "no share= was given")
    with global_generators_kept(), _compilers_quiet():
        subject = Subject(make, share)
        return Report(name_of(make), tuple(_entry(law, subject, reasons) for law in LAWS))


def assert_mixing(
    make: Callable[..., Operation], *, not_applicable: Mapping[str, str] | None = None, share: float | None = None
) -> None:
    """Raise an AssertionError that holds the laws that fail, and nothing else; see `check_mixing`."""
    __tracebackhide__ = True  # pytest shows the line of the test
    report = check_mixing(make, not_applicable=not_applicable, share=share)
    if not report.passed:
        failures = tuple(entry for entry in report.entries if entry.verdict == FAIL)
        raise AssertionError(str(Report(report.operation, failures)))


@contextmanager
def _compilers_quiet() -> Iterator[None]:
    """Leave out the compilers' own lines about what they could not follow: the entries say it."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _entry(law: Law, subject: Subject, reasons: Mapping[str, str]) -> Entry:
    if law.name in reasons:
        return Entry(law.name, law.sentence, NOT_APPLICABLE, reasons[law.name])
    if missing := [name for name in law.needs if not subject.takes(name)]:
        return Entry(law.name, law.sentence, NOT_APPLICABLE, f"make() has no argument {missing[0]}")
    try:
        return Entry(law.name, law.sentence, PASS, law.check(subject))
    except DoesNotApply as reason:
        return Entry(law.name, law.sentence, NOT_APPLICABLE, str(reason))
    except Broken as broken:
        return Entry(law.name, law.sentence, FAIL, str(broken))
    except Exception as error:  # an operation that keeps state can break the comparison itself
        return Entry(law.name, law.sentence, FAIL, short(error))
