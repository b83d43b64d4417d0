"""The user's own comparison: means, paired differences, Holm's correction."""

import math
import statistics

import pytest
from scipy import stats

from smoothmix.reporting.comparison import compare
from smoothmix.utils.records import RunRecord

BASELINE = [20.1, 20.4, 19.9, 20.6, 20.2]


def runs(method, errors, **changes):
    identity = {"dataset": "cifar100", "model": "m", "method": method, "recipe": "r", "config_hash": method}
    made = []
    for seed, error in enumerate(errors):
        epochs = {when: {"test_top1_error": error + shift, "test_top5_error": 1.0}
                  for when, shift in (("best", -0.5), ("last", 0.0))}  # fmt: skip
        made.append(RunRecord(**identity | {"seed": seed, "epochs": 3} | epochs | changes))
    return made


def lines(*records):
    (found,) = compare([one for group in records for one in group]).values()
    return {line.label: line for line in found}


def test_differences_are_paired_by_seed_and_corrected_over_methods():
    cutmix, mixup = [19.0, 19.5, 18.8, 19.4, 19.2], [20.0, 20.5, 19.7, 20.6, 20.0]
    found = lines(runs("mixup", mixup), runs("identity", BASELINE), runs("cutmix", cutmix))
    assert list(found) == ["Baseline", "Mixup", "CutMix"]
    assert math.isnan(found["Baseline"].p)
    tests = {"CutMix": stats.ttest_rel(cutmix, BASELINE), "Mixup": stats.ttest_rel(mixup, BASELINE)}
    small, large = sorted(test.pvalue for test in tests.values())
    assert found["CutMix"].p == pytest.approx(2 * small)  # Holm: the smallest of two is doubled
    assert found["Mixup"].p == pytest.approx(max(large, 2 * small))
    for label, test in tests.items():
        interval = test.confidence_interval()
        assert (found[label].low, found[label].high) == pytest.approx((interval.low, interval.high))
        assert found[label].paired
    assert found["CutMix"].difference == pytest.approx(statistics.mean(cutmix) - statistics.mean(BASELINE))
    assert found["CutMix"].significant
    assert not found["Mixup"].significant


def test_seeds_that_are_not_common_are_compared_between_the_means():
    others = [19.0, 19.6, 19.1]
    apart = [record for record in runs("cutmix", [0] * 5 + others) if record.seed >= 5]
    found = lines(runs("identity", BASELINE), apart)["CutMix"]
    test = stats.ttest_ind(others, BASELINE, equal_var=False)
    assert not found.paired
    assert found.p == pytest.approx(test.pvalue)
    assert found.difference == pytest.approx(statistics.mean(others) - statistics.mean(BASELINE))


@pytest.mark.parametrize(("ours", "theirs"), [([19.0], [20.0]), ([19.0, 20.0], [20.0, 21.0]), ([19.0, 19.5], [])])
def test_what_the_seeds_do_not_allow_is_not_tested(ours, theirs):
    """One seed each, differences without a spread, no baseline."""
    found = lines(runs("identity", theirs), runs("cutmix", ours))["CutMix"]
    assert math.isnan(found.p)
    assert not found.significant


def test_settings_and_configurations_are_never_mixed():
    changes = [{}, {"model": "n"}, {"epochs": 4}, {"recipe": "s"}, {"dataset": "d"}, {"selected_on": "val"}]
    assert len(compare([record for change in changes for record in runs("cutmix", [1.0], **change)])) == 6
    found = lines(runs("cutmix", [1.0]), runs("cutmix", [2.0], config_hash="other"))
    assert {label: line.errors("last") for label, line in found.items()} == {
        "CutMix (cutmix)": [1.0], "CutMix (other)": [2.0],
    }  # fmt: skip
