"""Records made by hand: of runs, and of evaluations on corrupted images."""

from smoothmix.corruptions import CORRUPTIONS
from smoothmix.evaluation.robustness import CorruptionRecord
from smoothmix.utils.records import RunRecord

NAMES = {"dataset": "cifar100", "model": "m", "recipe": "r", "epochs": 3}


def run(method="cutmix", error=10.0, **changes):
    """The record of a run: `error` after the last epoch, half a point less in the best one."""
    epochs = {when: {"test_top1_error": error - shift, "test_top5_error": 1.0}
              for when, shift in (("best", 0.5), ("last", 0.0))}  # fmt: skip
    return RunRecord(**NAMES | {"method": method, "config_hash": method, "seed": 0} | epochs | changes)


def corrupted(method="cutmix", error=30.0, names=tuple(CORRUPTIONS), **changes):
    """The record of an evaluation on corrupted images: errors of `error` + severity on each of `names`."""
    facts = {"benchmark": "cifar100_c", "source": "published files", "weights": "best", "clean_top1_error": 5.0}
    errors = {name: {severity: error + severity for severity in range(1, 6)} for name in names}
    identity = NAMES | {"method": method, "config_hash": method, "seed": 0}
    return CorruptionRecord(**identity | facts | {"top1_errors": errors} | changes)
