"""The tool: our strategies pass, reports tell what they found, and bad operations get a sentence."""

import random
import sys

import numpy
import pytest
import torch

from results.mixcheck import OURS
from smoothmix import CutMix, Identity, Mixup, SmoothMixC
from smoothmix.check import LAWS, __main__, assert_mixing, check_mixing
from smoothmix.check.chance import share
from smoothmix.check.exact import arguments
from smoothmix.check.subject import Broken, Subject
from smoothmix.utils.command import status_of
from smoothmix.utils.errors import UserError
from tests.mistakes import one_line, refused

# The laws that depend on a strategy's own masks. The others depend on what strategies share, in one of three forms:
# with a partner, without one, and on a hidden layer.
OF_MASKS = {"label_weight", "rounding", "pairs", "positions", "independent", "arguments"}
ONE_OF_EACH_FORM = {"SmoothMixC", "HideAndSeek", "ManifoldMixup"}


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("laws", [{"label_weight"}, pytest.param(None, marks=pytest.mark.slow)], ids=["quick", "all"])
def test_our_strategies_obey_the_laws(name, laws):
    make, design = OURS[name]
    laws = laws or ({law.name for law in LAWS} if name in ONE_OF_EACH_FORM else OF_MASKS)
    assert_mixing(make, not_applicable={law.name: "not asked" for law in LAWS if law.name not in laws} | design)


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

    def draw():
        return torch.rand(1), random.random(), numpy.random.rand()

    torch.manual_seed(3), random.seed(3), numpy.random.seed(3)
    expected = draw()
    torch.manual_seed(3), random.seed(3), numpy.random.seed(3)
    report = check_mixing(make, not_applicable={"compile": "not compiled\never"})
    assert draw() == expected, "the global generators were not left alone"
    return report


def test_a_failure_shows_the_smallest_batch_and_the_others_go_on(faulty):
    assert not faulty.passed
    assert faulty["any_batch"].verdict == "FAIL"
    assert "ValueError: odd batch (on images (1, 1, 4, 4) float32 and labels (1,) int64" in faulty["any_batch"].evidence
    assert faulty["label_weight"].verdict == "FAIL"
    assert "(2, 2, 4, 4) float32" in faulty["label_weight"].evidence
    assert {faulty[law].verdict for law in ("input_kept", "gradient", "pairs", "export")} == {"pass"}


def test_missing_arguments_and_declared_laws_do_not_apply(faulty):
    assert faulty["p"].evidence == "make() has no argument p"
    assert faulty["independent"].evidence == "make() has no argument per_sample"
    assert faulty["compile"].evidence == "not compiled\never"
    assert faulty["share"].verdict == "not applicable"


def test_a_report_prints_itself(faulty):
    lines = str(faulty).splitlines()
    assert lines[0].endswith("make: FAILED")
    for law in LAWS:
        assert any(line.split()[0] == law.name and law.sentence in line for line in lines[1:] if line.split()), law


class MixesWithTheBatchBefore(CutMix):
    """The partner comes from the batch before, which a compiler leaves behind as a tensor without values."""

    before = None

    def __call__(self, images, labels):
        before, self.before = self.before, images
        mixed, targets = super().__call__(images, labels)
        return mixed if before is None else torch.where(mixed == images, images, before), targets


def test_an_operation_that_keeps_state_fails_and_the_others_go_on():
    asked = {"label_weight", "row_sum", "compile", "export"}
    with pytest.raises(AssertionError) as caught:
        assert_mixing(MixesWithTheBatchBefore, not_applicable={law.name: "" for law in LAWS if law.name not in asked})
    shown = str(caught.value).splitlines()
    assert shown[0] == "MixesWithTheBatchBefore: FAILED"
    assert [line.split()[:2] for line in shown[1::2]] == [["compile", "FAIL"], ["export", "FAIL"]]
    assert max(map(len, shown)) < 500


def share_of_cutmix(side):
    """The mean share that is left by a box of alpha = 1, given that the box has pixels: by all sides and places."""
    lengths = torch.arange(side)
    chance = ((lengths + 1) ** 2 - lengths**2) / side**2  # of floor(side * sqrt(u))
    start, stop = (torch.arange(side)[:, None] + sign * (lengths // 2) for sign in (-1, 1))
    inside = (stop.clamp_max(side) - start.clamp_min(0)).float().mean(dim=0)
    return float(1 - (chance * (inside / side) ** 2).sum() / chance[2:].sum())


def test_the_mean_share_is_told_from_another_one():
    expected = share_of_cutmix(32)
    assert expected == pytest.approx(0.6996, abs=1e-4)

    def make(*, num_classes, generator):  # one mask for a batch, half of the draws
        return CutMix(num_classes=num_classes, p=1.0, generator=generator)

    share(Subject(make, expected))
    with pytest.raises(Broken, match=r"not 0\.65"):
        share(Subject(make, 0.65))


def adapted(result):
    return lambda *, num_classes: lambda images, labels: result(images, labels)


def op(images, labels):
    return images, labels


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (op, ["op", "images, labels", "num_classes"]),
        (lambda *, num_classes, model: None, ["model"]),
        (lambda *, p: None, ["num_classes"]),
        (lambda *, num_classes: 1 / 0, ["make()", "ZeroDivisionError"]),
        (lambda *, num_classes: lambda images: images, ["TypeError", "(4, 4, 32, 32) float32"]),
        (lambda *, num_classes: 3, ["TypeError", "'int'"]),
        (adapted(lambda images, labels: images), ["(4, 4, 32, 32) float32", "(images, targets)"]),
        (adapted(lambda images, labels: (images, labels, labels, 0.5)), ["4 values"]),
        (adapted(lambda images, labels: (images, labels)), ["targets (4,) int64"]),
        (type, ["signature"]),
    ],
)
def test_another_signature_gets_a_sentence_and_an_example(make, words):
    with pytest.raises(UserError) as caught:
        check_mixing(make)
    one_line(str(caught.value), *words)
    assert "\n    def make(*, num_classes, p=1.0, per_sample=False, generator=None):\n" in caught.value.__notes__[0]


def test_an_unknown_law_gets_a_suggestion():
    with refused("'label_wieght'", "label_weight?"):
        check_mixing(Mixup, not_applicable={"label_wieght": "why"})


def test_an_argument_without_another_value_is_named():
    def make(*, num_classes, mode="soft", alpha=1.0):
        return SmoothMixC(num_classes=num_classes, p=1.0)

    with pytest.raises(Broken, match=r"alpha=1\.0 and alpha=2\.0 give the same results"):
        arguments(Subject(make))
    assert "mode" in arguments(Subject(lambda *, num_classes, mode="soft": make(num_classes=num_classes)))


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*given):
        monkeypatch.setattr(sys, "argv", ["check", *given])
        return status_of(__main__.main), *capsys.readouterr()

    return run


def test_the_command_takes_reasons_and_a_share(command):
    reasons = [word for law in LAWS if law.name != "share" for word in ("--not-applicable", law.name, "no")]
    status, printed, _ = command("smoothmix:Identity", *reasons, "--share", "0.5")
    assert (status, printed.splitlines()[0]) == (0, f"{Identity.__name__}: passed")
    assert "0.000 to 1.000" in printed  # no image is ever mixed


def test_peers_are_checked_from_a_clone_only(command, tmp_path, monkeypatch):
    monkeypatch.setattr(__main__, "PEERS", tmp_path / "mixcheck.py")
    status, _, error = command("--peers")
    assert (status, "clone" in error) == (2, True)
    (tmp_path / "mixcheck.py").write_text("print(__name__)")
    assert command("--peers") == (0, "__main__\n", "")
