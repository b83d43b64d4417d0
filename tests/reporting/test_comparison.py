"""The user's own comparison: means, paired differences, Holm's correction, errors on corrupted images."""

import math
import statistics
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from smoothmix.corruptions import CORRUPTIONS
from smoothmix.evaluation.averages import BENCHMARK
from smoothmix.reporting.comparison import CorruptionSetting, by_setting, compare, compare_corrupted, to_markdown
from smoothmix.reporting.methods import METHODS, place_of
from tests.reporting.made import corrupted, run

RESULTS = Path(__file__).parents[2] / "results"

BASELINE = [20.1, 20.4, 19.9, 20.6, 20.2]


def runs(method, errors, **changes):
    return [run(method, error, **{"seed": seed} | changes) for seed, error in enumerate(errors)]


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
    assert {label: line.mean("last").mean for label, line in found.items()} == {
        "CutMix (cutmix)": 1.0, "CutMix (other)": 2.0,
    }  # fmt: skip


def test_methods_stand_in_the_papers_order():
    assert sorted(["zebra", "mine", *reversed(METHODS)], key=place_of) == [*METHODS, "mine", "zebra"]
    made = [record for method in ("smoothmix_c", "mine", "identity", "cutmix") for record in runs(method, [1.0])]
    assert list(lines(made)) == ["Baseline", "CutMix", "SmoothMix_C", "mine"]


def test_the_table_has_means_deviations_and_differences():
    cutmix = [19.0, 19.5, 18.8, 19.4, 19.2]
    page = to_markdown(runs("identity", BASELINE) + runs("cutmix", cutmix), [])
    assert page.splitlines()[0] == "cifar100, m, recipe r, 3 epochs; top-1 error in %, best epoch chosen on test"
    mean, std = statistics.mean(cutmix), statistics.stdev(cutmix)
    low, high = stats.ttest_rel(cutmix, BASELINE).confidence_interval()
    of_mean = stats.t.interval(0.95, 4, mean, std / math.sqrt(5))
    best, last = (f"{value:.2f} ± {std:.2f}" for value in (mean - 0.5, mean))
    assert (
        f"| CutMix | 5 | {best} | {last} | [{of_mean[0]:.2f}, {of_mean[1]:.2f}] | "
        f"{mean - statistics.mean(BASELINE):+.2f} [{low:+.2f}, {high:+.2f}] * | < 0.001 | 1.00 ± 0.00 | 1.00 ± 0.00 |"
    ) in page
    assert "| CutMix | 1 | 18.50 | 19.00 | - | - | - | 1.00 | 1.00 |" in to_markdown(runs("cutmix", [19.0]), [])


def test_calibration_has_a_table_of_its_own_where_any_run_knows_it():
    old = runs("identity", BASELINE[:1])
    old[0].last["test_loss"] = 1.5
    assert "calibration" not in to_markdown(old, [])
    new = runs("cutmix", [19.0, 20.0])
    for record, ece in zip(new, (3.0, 5.0), strict=True):
        record.last.update(test_loss=0.9, test_brier=0.1234, test_ece=ece, test_adaptive_ece=math.inf)
    page = to_markdown(old + new, [])
    assert "epochs; calibration, last epoch\n\n| method | n | NLL | Brier score | ECE (%) | adaptive ECE (%) |" in page
    assert "| Baseline | 1 | 1.500 | - | - | - |" in page
    assert "| CutMix | 2 | 0.900 ± 0.000 | 0.123 ± 0.000 | 4.00 ± 1.41 | inf |" in page


def committed(name):
    """What results/<name>/errors.csv says, as records."""
    errors = pd.read_csv(RESULTS / name / "errors.csv")
    for line in errors.to_dict("records"):
        epochs = {when: {f"test_top{k}_error": line[f"{when}_top{k}"] for k in (1, 5)} for when in ("best", "last")}
        facts = {"dataset": name, "model": "pyramidnet8", "recipe": "short_cifar", "seed": line["seed"]}
        evaluated = [record(line["method"], line["best_top1"], names=())] if "fog" in line else []
        for one in evaluated:
            one.top1_errors.update({name: dict.fromkeys(range(1, 6), line[name]) for name in CORRUPTIONS})
        yield run(line["method"], **facts | epochs), evaluated


@pytest.mark.parametrize("name", ["cifar100_short", "cifar100_subset"])
def test_a_committed_table_is_the_one_that_the_committed_errors_make(name):
    found = list(committed(name))
    page = to_markdown([run for run, _ in found], [one for _, several in found for one in several])
    tables = [part for part in page.split("\n\n") if part.startswith("|")]
    assert len(tables) == (2 if name == "cifar100_short" else 1)
    for table in tables:
        assert table.strip() in (RESULTS / name / "README.md").read_text()


def record(method, clean, error=30.0, names=tuple(CORRUPTIONS), **changes):
    facts = {"dataset": "digits", "benchmark": "digits_c", "source": "generated files (seed 0)", "model": "pyramidnet8"}
    return corrupted(method, error, names, clean_top1_error=clean, **facts | {"recipe": "demo", "epochs": 12} | changes)


def test_both_averages_over_corruptions_and_seeds():
    records = [record("cutmix", error / 10, error, seed=seed) for seed, error in enumerate((30.0, 32.0, 37.0))]
    for each in records:  # one of five in the category "weather"
        each.top1_errors["fog"] = dict.fromkeys(range(1, 6), 0.0)
    (errors,) = compare_corrupted(records).values()
    weather = sum(corruption.category == "weather" for corruption in CORRUPTIONS.values())
    flat = [33.0, 35.0, 40.0]
    expected = {
        "clean": [3.0, 3.2, 3.7],
        "fog": [0.0, 0.0, 0.0],
        "snow": flat,
        "mean over corruptions": [18 * value / 19 for value in flat],
        "mean of category means": [(3 * value + value * (weather - 1) / weather) / 4 for value in flat],
    }
    assert list(errors) == ["CutMix"]
    assert list(errors.index) == ["clean", *CORRUPTIONS, "mean over corruptions", "mean of category means"]
    for name, values in expected.items():
        found = errors.loc[name, "CutMix"]
        assert found.n == 3
        assert (found.mean, found.std) == pytest.approx((statistics.mean(values), statistics.stdev(values)))
    page = to_markdown([], records)
    assert "digits_c: digits, pyramidnet8, recipe demo, 12 epochs, best weights; top-1 error in %" in page
    assert "images: generated files (seed 0)\n\n| images | CutMix |\n" in page
    assert "| n | 3 |\n| clean | 3.30 ± 0.36 |" in page


def test_calibration_on_corrupted_images():
    known = {"clean_calibration": {"ece": 2.0}, "calibration": {"ece": {"fog": {s: 3.0 + s for s in range(1, 6)}}}}
    records = [record("identity", 5.0), record("cutmix", 5.0, **known)]
    (found,) = compare_corrupted(records, "ece").values()
    assert list(found.index) == ["clean", "fog", "mean over corruptions", "mean of category means"]
    assert [mean.mean for mean in found["CutMix"]] == [2.0, 6.0, 6.0, 6.0]
    page = to_markdown([], records)
    assert "best weights; ECE (%), mean over severities" in page
    assert "| fog | - | 6.00 |" in page
    assert "NLL" not in page
    assert compare_corrupted(records, "loss") == {}


def test_what_a_seed_lacks_is_a_dash_and_in_no_mean():
    others = [record("smoothmix_c", 5.0), record("cutmix", 5.0, 20.0), record("cutmix", 5.0, 26.0, seed=1)]
    del others[2].top1_errors["fog"][4]
    others.append(record("mixup", 5.0, names=BENCHMARK))
    page = to_markdown([], others)
    assert "| images | Mixup | CutMix | SmoothMix_C |" in page
    assert "| fog | 33.00 | - | 33.00 |" in page
    assert "| speckle_noise | - | 26.00 ± 4.24 | 33.00 |" in page
    assert "| mean over corruptions | - | - | 33.00 |\n| mean of category means | - | - | 33.00 |" in page
    assert "speckle_noise" not in to_markdown([], others[3:])
    assert "| mean over corruptions | 33.00 |" in to_markdown([], others[3:])


@pytest.mark.parametrize("change", [{"benchmark": "cifar10_c"}, {"source": "published files"}, {"weights": "last"},
                                    {"dataset": "d"}, {"model": "m"}, {"epochs": 3}, {"recipe": "r"}])  # fmt: skip
def test_settings_of_corrupted_errors_are_never_mixed(change):
    records = [record("cutmix", 5.0), replace(record("cutmix", 5.0), **change), record("cutmix", 5.0, seed=1)]
    found = by_setting(records, CorruptionSetting)
    assert [len(group) for group in found.values()] == [2, 1]
    assert len(compare_corrupted(records)) == 2


def test_published_weights_have_no_epochs_and_nothing_complete_has_no_mean():
    page = to_markdown([], [record("cutmix", 5.0, names=(), epochs=None, recipe="published")])
    assert "recipe published, best weights" in page
    assert page.strip().endswith("| n | 1 |\n| clean | 5.00 |")
