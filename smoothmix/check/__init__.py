"""mixcheck: the laws that an operation which mixes images and labels must obey, checked on anyone's.

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
    Law("rounding", "In half precision the label follows the mask as it was rounded.", exact.rounding),
    Law("row_sum", "Rows of targets sum to 1 where the labels do, and none is negative.", exact.row_sum),
    Law("soft", "Soft labels mix linearly, one-hot rows like class indices.", exact.soft),
    Law("any_batch", "Any batch is mixed: one image, odd numbers, odd and unequal sides.", exact.any_batch),
    Law("input_kept", "The images and labels that were passed are not modified.", exact.input_kept),
    Law("format_kept", "Images keep their dtype, device and memory format.", exact.format_kept),
    Law("seed", "The same seed gives the same result, others differ.", chance.seeded),
    Law("p", "p is the probability of mixing: applied once, never at 0, always at 1.", chance.probability, ("p",)),
    Law("pairs", "Every image can be the partner of every other.", chance.pairs),
    Law("positions", "Every position can occur, borders included, on images that are not square.", chance.positions),
    Law("independent", "With per_sample, every image has a draw of its own.", chance.independent, ("per_sample",)),
    Law("coin", "With per_sample, every image has a p-coin of its own.", chance.coin, ("p", "per_sample")),
    Law("arguments", "Every argument changes something.", exact.arguments),
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
            about a missing argument do not apply. Its other arguments need defaults, and must have an effect.
        not_applicable: law to reason, for contracts that are not meant to hold; added to those of an attribute
            `make.not_applicable`. The report shows them.
        variants: argument to two values that must differ in effect, where numbers near the default will not do.

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
