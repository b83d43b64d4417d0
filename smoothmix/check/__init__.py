"""mixcheck: the laws that an operation which mixes images and labels must obey, checked on any implementation.

`check_mixing(make)` builds operations ``(images, labels) -> (images, targets)`` with `make` and returns a report::

    from smoothmix.check import check_mixing
    report = check_mixing(make)
    assert report.passed, report

On the command line: ``python -m smoothmix.check package.module:make``. Needs torch alone.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from smoothmix.check import chance, exact
from smoothmix.check.report import FAIL, NOT_APPLICABLE, PASS, Entry, Report
from smoothmix.check.subject import Broken, Operation, Subject, global_generators_kept, name_of
from smoothmix.utils.errors import UserError, nearest

__all__ = ["LAWS", "Entry", "Law", "Report", "check_mixing"]


class Law(NamedTuple):
    """A law: its name, what it says, the check, and the arguments that make() must have for it to say anything."""

    name: str
    sentence: str
    check: Callable[[Subject], str]
    needs: tuple[str, ...] = ()


LAWS = (
    Law("label_weight", "The weight of a label is the share of its image's pixels.", exact.label_weight),
    Law("rounding", "In half precision the label follows the rounded mask.", exact.rounding),
    Law("row_sum", "Rows of targets sum to 1 if the labels do, and no entry is negative.", exact.row_sum),
    Law("soft", "Soft labels mix linearly; one-hot rows give the same result as class indices.", exact.soft),
    Law("any_batch", "Any batch can be mixed: one image, odd numbers, odd and unequal sides.", exact.any_batch),
    Law("input_kept", "The input images and labels are not modified.", exact.input_kept),
    Law("format_kept", "Images keep their dtype, device and memory format.", exact.format_kept),
    Law("seed", "The same seed gives the same result; other seeds give others.", chance.seeded),
    Law("p", "p is the probability of mixing: applied once, never at 0, always at 1.", chance.probability, ("p",)),
    Law("pairs", "Every image can be the partner of every other.", chance.pairs),
    Law("positions", "Every position can occur, borders included, on images that are not square.", chance.positions),
    Law("independent", "With per_sample, every image has its own draw.", chance.independent, ("per_sample",)),
    Law("coin", "With per_sample, every image has its own p-coin.", chance.coin, ("p", "per_sample")),
    Law("arguments", "Every argument has an effect.", exact.arguments),
    Law("compile", "torch.compile gives the same results.", exact.compiled),
    Law("export", "torch.export gives the same results.", exact.exported),
)


def check_mixing(
    make: Callable[..., Operation],
    *,
    not_applicable: Mapping[str, str] | None = None,
    variants: Mapping[str, tuple[Any, Any]] | None = None,
) -> Report:
    """Check the laws on the operations that `make` builds.

    Args:
        make: called with the keywords num_classes, p, per_sample and generator, or those of them that its signature
            has; returns an operation (images (N, C, H, W), labels (N,)) -> (images, targets (N, num_classes)). Laws
            about a missing argument do not apply. Other arguments need defaults and must have an effect.
        not_applicable: law to reason, for laws that are not meant to hold; added to those of an attribute
            `make.not_applicable`. The report shows the reasons.
        variants: argument to two values that must give different results, if values near the default do not.

    Returns:
        One entry per law. Takes seconds on one core; the global random generators are left as they were.

    Raises:
        UserError: `make` or its operation has another signature, or a law's name is unknown.
    """
    reasons = dict(getattr(make, "not_applicable", {})) | dict(not_applicable or {})
    names = [law.name for law in LAWS]
    for name in reasons:
        if name not in names:
            raise UserError(f"there is no law {name!r}; {nearest(name, names)}")
    with global_generators_kept(), _compilers_quiet():
        subject = Subject(make, reasons, variants or {})
        return Report(name_of(make), tuple(_entry(law, subject) for law in LAWS))


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


def _entry(law: Law, subject: Subject) -> Entry:
    if law.name in subject.not_applicable:
        return Entry(law.name, law.sentence, NOT_APPLICABLE, subject.not_applicable[law.name])
    if missing := [name for name in law.needs if not subject.takes(name)]:
        return Entry(law.name, law.sentence, NOT_APPLICABLE, f"make() has no argument {missing[0]}")
    try:
        return Entry(law.name, law.sentence, PASS, law.check(subject))
    except Broken as broken:
        return Entry(law.name, law.sentence, FAIL, str(broken))
