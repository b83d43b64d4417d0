import csv
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from statsmodels.stats.proportion import proportion_confint

from smoothmix.corruptions import CORRUPTIONS
from smoothmix.evaluation import averages
from tests.mistakes import refused

PAPER = Path(__file__).parents[2] / "results" / "paper"


ALEXNET = {name: dict(enumerate(cells, 1)) for name, cells in averages.ALEXNET.items()}


def flat(error, names=averages.BENCHMARK):
    """The same error at every severity."""
    return {name: dict.fromkeys(averages.SEVERITIES, error) for name in names}


def printed(table, method):
    """The errors and the averages of a table of the paper."""
    errors, average = {}, {}
    with open(PAPER / f"table{table}.csv") as file:
        for row in csv.DictReader(file):
            if row["method"] != method:
                continue
            if row["corruption"] != "average" and row["severity"] != "average":
                errors.setdefault(row["corruption"], {})[int(row["severity"])] = float(row["top1_error"])
            elif row["corruption"] == "average" and row["severity"] == "average":
                average[row["category"]] = float(row["top1_error"])
    return errors, average


def test_a_corruption_is_complete_with_its_five_severities():
    five = dict.fromkeys((1, 2, 3, 4, 5), 10.0)
    assert averages.complete(five)
    assert averages.complete(five | {6: 90.0})
    assert not averages.complete(dict.fromkeys((1, 2, 3, 4, 6), 10.0))
    assert averages.means({"fog": five | {6: 90.0}, "snow": dict.fromkeys((1, 2, 3, 4), 10.0)}) == {"fog": 10.0}


def test_alexnets_own_rows_have_an_mce_of_100():
    assert averages.mean_corruption_error(ALEXNET) == pytest.approx(100)
    assert averages.relative_mean_corruption_error(ALEXNET, averages.ALEXNET_CLEAN) == pytest.approx(100)


def test_a_twentieth_corruption_leaves_the_benchmark_as_it_is(monkeypatch):
    monkeypatch.setitem(CORRUPTIONS, "hail", CORRUPTIONS["snow"])
    spec = spec_from_file_location("averages_with_hail", averages.__file__)
    anew = module_from_spec(spec)
    spec.loader.exec_module(anew)
    summary = anew.summarize(ALEXNET | flat(50.0, ["hail"]), anew.ALEXNET_CLEAN, with_alexnet=True)
    assert (summary["mCE"], summary["relative mCE"]) == (pytest.approx(100), pytest.approx(100))
    assert "mean over 16 corruptions" in summary
    assert anew.corruptions_of("imagenet") == list(averages.BENCHMARK)
    assert anew.corruptions_of("cifar") == list(CORRUPTIONS)
    assert len(averages.BENCHMARK) == 15


def test_mce_weighs_each_corruption_by_alexnets_error():
    halved = {name: {s: e / 2 for s, e in cells.items()} for name, cells in ALEXNET.items()}
    assert averages.mean_corruption_error(halved) == pytest.approx(50)
    assert averages.mean_corruption_error(halved | {"fog": dict(enumerate([0] * 5, 1))}) == pytest.approx(50 * 14 / 15)
    # a network that corruption does not hurt, however bad it is
    assert averages.relative_mean_corruption_error(flat(30.0), 30.0) == pytest.approx(0)


@pytest.mark.parametrize(("method", "average", "over_15", "mce"), [
    ("cutmix", 59.61, 59.09, 74.7), ("smoothmix_c", 56.64, 56.15, 71.3),
])  # fmt: skip
def test_the_papers_average_is_the_mean_of_category_means(method, average, over_15, mce):
    errors, printed_means = printed(5, method)
    by_category = averages.category_means(errors)
    for category, mean in by_category.items():
        assert mean == pytest.approx(printed_means[category], abs=0.011)
    rows = averages.summarize(errors, clean=21.4, with_alexnet=True)
    assert rows["mean of the category means"] == pytest.approx(average, abs=0.01)
    assert printed_means[""] == average
    assert rows["mean over 15 corruptions"] == pytest.approx(over_15, abs=0.01)
    assert rows["mCE"] == pytest.approx(mce, abs=0.05)


def test_the_two_averages_differ_where_categories_differ_in_size():
    errors = flat(10.0) | flat(50.0, ["gaussian_noise", "shot_noise", "impulse_noise"])
    rows = averages.summarize(errors, clean=5.0, with_alexnet=False)
    assert rows["mean over 15 corruptions"] == pytest.approx((3 * 50 + 12 * 10) / 15)
    assert rows["mean of the category means"] == pytest.approx((50 + 10 + 10 + 10) / 4)
    assert "mCE" not in rows


def test_all_nineteen_have_the_fifteen_beside_them():
    errors = flat(10.0, CORRUPTIONS) | flat(29.0, ["saturate"])
    rows = averages.summarize(errors, clean=5.0, with_alexnet=False)
    assert rows["mean over 19 corruptions"] == pytest.approx(11)
    assert rows["mean over the 15 corruptions of the benchmark"] == pytest.approx(10)


def test_an_unfinished_corruption_is_in_no_average_and_mce_needs_all():
    errors = flat(10.0) | {"fog": {1: 99.0, 2: 99.0}}
    rows = averages.summarize(errors, clean=5.0, with_alexnet=True)
    assert rows["mean over 14 corruptions"] == pytest.approx(10)
    assert rows["mean of weather"] == pytest.approx(10)
    assert "mCE" not in rows
    assert averages.summarize({}, clean=5.0, with_alexnet=True) == {}


def test_the_corruptions_of_a_benchmark():
    assert averages.corruptions_of("imagenet") == list(averages.BENCHMARK)
    assert averages.corruptions_of("cifar") == list(CORRUPTIONS)
    assert averages.corruptions_of("cifar", ["snow", "fog"]) == ["snow", "fog"]
    with refused("corruptions=[]"):
        averages.corruptions_of("cifar", [])
    with refused("fogg", "fog?"):
        averages.corruptions_of("imagenet", ["snow", "fogg"])


def test_what_is_still_to_be_evaluated():
    errors = flat(10.0, ["fog"]) | {"snow": {1: 10.0}}
    assert averages.incomplete(errors, ["fog", "snow", "frost"]) == ["snow", "frost"]


def test_the_table_of_a_benchmark():
    errors = {"fog": {2: 20.0, 1: 10.0, 3: 30.0, 4: 40.0, 5: 50.0}} | flat(5.0, ["snow"])
    missing = {"frost": "no photographs", "jpeg": "no OpenCV"}
    assert averages.table("CIFAR", errors, 4.5, missing, False).splitlines() == [
        "CIFAR, top-1 error in %, severities 1 to 5 and their mean",
        "fog                 10.00  20.00  30.00  40.00  50.00   30.00",
        "snow                 5.00   5.00   5.00   5.00   5.00    5.00",
        f"{'clean':<53}   4.50",
        f"{'mean of weather':<53}  17.50",
        f"{'mean over 2 corruptions':<53}  17.50",
        f"{'mean of the category means':<53}  17.50",
        "not evaluated: frost: no photographs",
        "not evaluated: jpeg: no OpenCV",
        "incomplete: these averages leave out frost, jpeg",
    ]
    assert len(averages.table("CIFAR", errors, 4.5, {}, False).splitlines()) == 7
    assert averages.table("", ALEXNET, averages.ALEXNET_CLEAN, {}, True).endswith(f"{'relative mCE':<53} 100.00")


def test_the_table_of_calibration():
    clean = {"loss": 0.5, "brier": 0.25, "ece": 3.0, "adaptive_ece": 3.5}
    calibration = {name: flat(2 * value, ["fog"]) for name, value in clean.items()}
    calibration["brier"]["snow"] = {1: 9.0}  # not complete
    lines = averages.calibration_table(clean, calibration).splitlines()
    assert [line.split()[-4:] for line in lines[1:3]] == [
        ["0.500", "0.250", "3.00", "3.50"],
        ["1.000", "0.500", "6.00", "7.00"],
    ]
    assert [line[:44].strip() for line in lines[1:]] == [
        "clean", "fog", "mean of weather", "mean over 1 corruptions", "mean of the category means",
    ]  # fmt: skip
    assert lines[0].split("5")[-1].split() == ["NLL", "Brier", "score", "ECE", "(%)", "adaptive", "ECE", "(%)"]
    of_one = averages.calibration_table(clean, {"loss": calibration["loss"]}).splitlines()
    assert of_one[2].split() == ["fog", "1.000", "nan", "nan", "nan"]
    of_fifteen = averages.calibration_table(clean, {"loss": ALEXNET})
    assert "mCE" not in of_fifteen  # which is of errors


@pytest.mark.parametrize("n", [1, 12, 2000])
@pytest.mark.parametrize("percent", [0.0, 25.0, 100.0])
def test_wilsons_interval_is_that_of_statsmodels(n, percent):
    low, high = proportion_confint(percent / 100 * n, n, method="wilson")
    assert averages.wilson_interval(percent, n) == pytest.approx((100 * low, 100 * high), abs=1e-9)
    assert averages.table("", {}, percent, {}, False, n).splitlines()[-1] == (
        f"a subset of {n} images: 95 % interval of the clean error {100 * low:.2f} to {100 * high:.2f}"
    )
