"""Records and frames made by hand: of runs, and of evaluations on corrupted images."""

from smoothmix.corruptions import CORRUPTIONS
from smoothmix.evaluation.robustness import CorruptionRecord
from smoothmix.reporting.frames import LEVELS, Results, errors_frame, runs_frame
from smoothmix.utils.records import RunRecord

NAMES = {"dataset": "cifar100", "model": "m", "recipe": "r", "epochs": 3}


def run(method="cutmix", error=10.0, **changes):
    """The record of a run: `error` after the last epoch, half a point less in the best one."""
    epochs = {when: {"test_top1_error": error - shift, "test_top5_error": 1.0}
              for when, shift in (("best", 0.5), ("last", 0.0))}  # fmt: skip
    facts = NAMES | {"method": method, "config_hash": method, "seed": 0} | epochs | changes
    known = {name: facts.pop(name) for name in list(facts) if name in RunRecord.__dataclass_fields__}
    return RunRecord(**known, extra=facts)


def corrupted(method="cutmix", error=30.0, names=tuple(CORRUPTIONS), **changes):
    """The record of an evaluation on corrupted images: errors of `error` + severity on each of `names`."""
    facts = {"benchmark": "cifar100_c", "source": "published files", "weights": "best", "clean_top1_error": 5.0}
    errors = {name: {severity: error + severity for severity in range(1, 6)} for name in names}
    identity = NAMES | {"method": method, "config_hash": method, "seed": 0}
    return CorruptionRecord(**identity | facts | {"top1_errors": errors} | changes)


def run_line(method="cutmix", seed=0, error=10.0, recipe="r", **changes):
    """A line of the frame of runs."""
    line = {"run": f"cifar100/m/{method}/{recipe}-{method}/seed{seed}", "epochs": 3, "selected_on": "test"}
    line |= {"best_top1": error - 0.5, "best_top5": 1.0, "last_top1": error, "last_top5": 1.5}
    return line | changes


def lines_of(cells, clean=5.0, method="cutmix", seed=0, benchmark="cifar100_c", measure="top1_error", **changes):
    """Lines of the frame of errors: {corruption: values at the five severities}."""
    of_all = {"run": f"cifar100/m/{method}/r-{method}/seed{seed}", "weights": "best", "benchmark": benchmark}
    of_all |= {"source": "published files", "images": 10000, "measure": measure} | changes
    lines = [of_all | {"corruption": "clean", "clean": clean}]
    for name, values in cells.items():
        lines.append(of_all | {"corruption": name} | dict(zip(LEVELS, values, strict=True)))
    return lines


def errors_of(lines):
    return errors_frame(lines)


def results(runs, errors=()):
    """The two frames of these lines."""
    return Results(runs_frame(runs), errors_frame(list(errors)))
