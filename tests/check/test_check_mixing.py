"""The tool: our strategies pass, reports tell what they found, and bad operations get a sentence."""

import random
import sys

import numpy
import pytest
import torch

from smoothmix import Mixup, SmoothMixC
from smoothmix.check import LAWS, check_mixing
from smoothmix.check.__main__ import main
from smoothmix.check.adapters import OURS, declare
from smoothmix.check.exact import arguments
from smoothmix.check.subject import Broken, Subject
from smoothmix.utils.command import status_of
from smoothmix.utils.errors import UserError


@pytest.mark.parametrize("name", OURS)
def test_our_strategies_obey_every_law(name):
    report = check_mixing(OURS[name])
    assert report.passed, report
    declared = {entry.law for entry in report.entries if entry.verdict == "not applicable"}
    assert declared == set(OURS[name].not_applicable)
    assert [entry.law for entry in report.entries] == [law.name for law in LAWS]


@pytest.fixture(scope="module")
def faulty():
    """A report on an operation with two faults: swapped labels, and an exception on odd batches."""

    def make(*, num_classes, generator=None):
        strategy = Mixup(num_classes=num_classes, generator=generator)

        def operation(images, labels):
            if len(images) % 2:
                raise ValueError("odd\nbatch")
            mixed, targets = strategy(images, labels)
            return mixed, (1.5 * targets).clamp(max=1)

        return operation

    return check_mixing(make, not_applicable={"compile": "not compiled\never"})


def test_a_failure_shows_the_smallest_batch_and_the_others_go_on(faulty):
    assert not faulty.passed
    assert faulty["any_batch"].verdict == "FAIL"
    assert "ValueError: odd batch (on images (1, 1, 4, 4) float32 and labels (1,) int64" in faulty["any_batch"].evidence
    assert faulty["label_weight"].verdict == "FAIL"
    assert "(2, 2, 4, 4) float32" in faulty["label_weight"].evidence
    assert {faulty[law].verdict for law in ("input_kept", "pairs", "export")} == {"pass"}


def test_missing_arguments_and_declared_laws_do_not_apply(faulty):
    assert faulty["p"].evidence == "make() has no argument p"
    assert faulty["independent"].evidence == "make() has no argument per_sample"
    assert faulty["compile"].evidence == "not compiled\never"


def test_a_report_prints_itself(faulty):
    lines = str(faulty).splitlines()
    assert lines[0].endswith("make: FAILED")
    for law in LAWS:
        assert any(line.split()[0] == law.name and law.sentence in line for line in lines[1:] if line.split()), law


def test_global_generators_are_left_alone():
    torch.manual_seed(3), random.seed(3), numpy.random.seed(3)
    expected = torch.rand(1), random.random(), numpy.random.rand()
    torch.manual_seed(3), random.seed(3), numpy.random.seed(3)
    check_mixing(OURS["Identity"])
    assert (torch.rand(1), random.random(), numpy.random.rand()) == expected


def adapted(result):
    return lambda *, num_classes: lambda images, labels: result(images, labels)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda *, num_classes: 3, "make() returned int, which is not callable"),
        (lambda *, num_classes: lambda images: images, "the operation cannot be called with (images, labels)"),
        (lambda *, num_classes, model: None, "needs model"),
        (lambda *, p: None, "does not take num_classes"),
        (lambda *, num_classes: 1 / 0, "make() fails with ZeroDivisionError: division by zero"),
        (adapted(lambda images, labels: images), "returned (2, 2, 8, 8) float32, not (images, targets)"),
        (adapted(lambda images, labels: (images, labels, labels, 0.5)), "returned 4 values"),
        (adapted(lambda images, labels: (images, labels)), "the targets have shape (2,)"),
        (type, "has no signature to read"),
    ],
)
def test_another_signature_gets_a_sentence_that_says_how_to_adapt_it(make, sentence):
    with pytest.raises(UserError) as caught:
        check_mixing(make)
    assert sentence in str(caught.value)
    assert "def make(*, num_classes, p=1.0, per_sample=False, generator=None):" in str(caught.value)


def test_an_unknown_law_gets_a_suggestion():
    with pytest.raises(UserError, match=r"there is no law 'label_wieght'; did you mean label_weight\?"):
        check_mixing(Mixup, not_applicable={"label_wieght": "why"})


def test_an_argument_without_numbers_needs_variants():
    def make(*, num_classes, mode="soft"):
        return SmoothMixC(num_classes=num_classes, p=1.0, sigma=(0.1, 0.2) if mode == "soft" else (0.3, 0.4))

    with pytest.raises(Broken, match=r"no second value to try for mode='soft': pass variants={'mode': "):
        arguments(Subject(make, {}, {}))
    assert "mode" in arguments(Subject(make, {}, {"mode": ("soft", "hard")}))
    with pytest.raises(Broken, match="mode='soft' and mode='loud' give the same results"):
        arguments(
            Subject(lambda *, num_classes, mode="": make(num_classes=num_classes), {}, {"mode": ("soft", "loud")})
        )


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["check", *arguments])
        return status_of(main), *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("smoothmix.nothing:make", "cannot import 'smoothmix.nothing' (No module named 'smoothmix.nothing')"),
        ("smoothmix", "'smoothmix' is not of the form package.module:make."),
        ("smoothmix:Nothing", "'smoothmix' has no 'Nothing'."),
        ("smoothmix.check:LAWS", "has no signature to read"),
    ],
)
def test_a_target_that_cannot_be_checked_is_a_sentence_and_exit_status_2(command, target, sentence):
    status, printed, error = command(target)
    assert (status, printed) == (2, "")
    assert sentence in error


def test_reasons_of_an_adapter_are_taken():
    assert check_mixing(declare(**{law.name: "no" for law in LAWS})(Mixup)).passed
