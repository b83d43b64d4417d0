"""What the report says: the answer, the comparison, and what is never compared."""

import pandas as pd
import pytest
from scipy import stats

from smoothmix.reporting import figures
from smoothmix.reporting.methods import METHODS, place_of
from smoothmix.reporting.report import Contents, answer, compared, corrupted_means, report, settings
from tests.reporting.made import lines_of, results, run_line

BASELINE, CUTMIX = [20.1, 20.4, 19.9, 20.6, 20.2], [19.0, 19.5, 18.8, 19.4, 19.2]


def runs(method, errors, **changes):
    return [run_line(method, seed, error, **changes) for seed, error in enumerate(errors)]


def only(lines, errors=()):
    ((name, found, of),) = settings(results(lines, errors))
    return name, found, of


def test_the_comparison_is_paired_and_says_what_it_is():
    name, found, _ = only(runs("cutmix", CUTMIX) + runs("identity", BASELINE))
    assert name == "cifar100, m, recipe r, 3 epochs"
    low, high = stats.ttest_rel(CUTMIX, BASELINE).confidence_interval()
    first, second = compared(found).to_dict("records")
    assert first == {"method": "Baseline", "n": "5", "last epoch": "20.24 ± 0.27", "best epoch": "19.74 ± 0.27",
                     "difference to Baseline": "", "p": "", "exact p": ""}  # fmt: skip
    assert second["difference to Baseline"] == f"-1.06 [{low:+.2f}, {high:+.2f}] *"
    assert second["exact p"] == "0.062"  # 2 of 32 signs


def test_two_seeds_with_equal_differences_are_not_significant():
    wrong = {"identity": (23, 31), "cutmix": (20, 28)}
    lines = [line for method, counts in wrong.items() for line in runs(method, [count / 3.6 for count in counts])]
    (_, line) = compared(only(lines)[1]).to_dict("records")
    assert line["difference to Baseline"] == "-0.83"
    assert "p" not in line


@pytest.mark.parametrize(
    "change",
    [{"epochs": 4}, {"selected_on": "val"}, {"precision": "bf16"}, {"data_fingerprint": "other"}, {"recipe": "s"}],
)
def test_runs_of_different_settings_are_never_compared(change):
    facts = {"precision": "fp32", "data_fingerprint": "one"}
    lines = runs("identity", [20.0], **facts) + runs("cutmix", [19.0], **facts | change)
    assert len(list(settings(results(lines)))) == 2


def test_the_error_against_the_number_of_images(monkeypatch):
    drawn, draw = [], figures.by_images
    monkeypatch.setattr(figures, "by_images", lambda means: drawn.append(means) or draw(means))

    def lines(method, errors, images):
        of_images = runs(method, errors, train_images=images)
        return [line | {"run": line["run"].replace(f"-{method}/", f"-{images}/")} for line in of_images]

    small = lines("cutmix", CUTMIX, 100) + lines("identity", BASELINE, 100)
    both = small + lines("cutmix", [9.0, 9.2], 1000) + lines("identity", [8.0, 8.4], 1000)
    assert "images.svg" not in report("title", results(small), Contents("command")).markdown()
    assert "images.svg" in report("title", results(both), Contents("command")).markdown()
    (means,) = drawn
    assert list(means["name"]) == ["Baseline", "Baseline", "CutMix", "CutMix"]
    found = means.set_index(["method", "train_images"])
    assert found["mean"].to_dict() == pytest.approx(
        {("identity", 100): 20.24, ("identity", 1000): 8.2, ("cutmix", 100): 19.18, ("cutmix", 1000): 9.1}
    )
    low, high = stats.t.interval(0.95, 4, 19.18, stats.sem(CUTMIX))
    assert list(found.loc[("cutmix", 100), ["low", "high"]]) == pytest.approx([low, high])
    other = [line | {"run": line["run"].replace("-100/", "-other/")} for line in small]
    assert "images.svg" not in report("title", results(both + other), Contents("command")).markdown()


def test_two_configurations_of_a_method_are_two_lines():
    other = [line | {"run": line["run"].replace("r-cutmix", "r-other")} for line in runs("cutmix", [2.0])]
    _, found, _ = only(runs("cutmix", [1.0]) + other)
    assert list(found["label"]) == ["CutMix (cutmix)", "CutMix (other)"]


def test_methods_stand_in_the_papers_order():
    assert sorted(["zebra", "mine", *reversed(METHODS)], key=place_of) == [*METHODS, "mine", "zebra"]
    _, found, _ = only([line for name in ("smoothmix_c", "mine", "identity", "cutmix") for line in runs(name, [1.0])])
    assert list(found["label"]) == ["Baseline", "CutMix", "SmoothMix_C", "mine"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (runs("cutmix", [10.0]), ["CutMix", "10.00"]),
        (runs("identity", [9.0]) + runs("cutmix", [10.0]), ["Baseline", "9.00", "no method is below"]),
        (
            runs("identity", [10.0], test_images=360) + runs("cutmix", [9.0], test_images=360),
            ["CutMix", "1.00 points below Baseline", "one seed each", "0.28 points", "6.46 to 12.41"],
        ),
        (
            runs("identity", BASELINE) + runs("cutmix", CUTMIX) + runs("mixup", [19.9, 19.6, 20.0, 19.7, 20.1]),
            ["CutMix", "19.18", "-1.06 [", "from Baseline (p < 0.001)", "from Mixup, the next (chosen afterwards)"],
        ),
    ],
)
def test_the_answer(lines, said):
    name, found, _ = only(lines)
    sentence = answer(name, found)
    assert all(part in sentence for part in said), sentence


def test_corrupted_means_by_category_and_their_paired_difference():
    cells = {"fog": [1, 2, 3, 4, 5], "gaussian_noise": [10] * 5}
    worse = {name: [value + 2 for value in values] for name, values in cells.items()}
    lines = []
    for seed in (0, 1):
        better = {name: [value + 0.1 * seed for value in values] for name, values in cells.items()}
        lines += lines_of(better, 5.0, "cutmix", seed) + lines_of(worse, 5.0, "identity", seed)
    _, _, errors = only(runs("cutmix", [1.0, 2.0]) + runs("identity", [2.0, 2.5]), lines)
    ((images, shown),) = corrupted_means(errors)
    assert images == "cifar100_c: published files, best weights"
    line = shown.set_index("method").loc["CutMix"]
    assert (line["clean"], line["noise"], line["all corruptions"]) == ("5.00 ± 0.00", "10.05 ± 0.07", "6.55 ± 0.07")
    assert line["difference to Baseline"].startswith("-1.95 [")
    assert "blur" not in shown


def test_the_page_begins_with_the_answer_and_names_what_is_not_counted():
    found = results(runs("identity", BASELINE) + runs("cutmix", CUTMIX), lines_of({"fog": [1, 2, None, 4, 5]}))
    found.problems.append("a | b.json is damaged")
    page = report("Results", found, Contents("python scripts/report.py")).markdown()
    assert page.index("CutMix has the lowest error") < page.index("Not counted: a | b.json") < page.index("## Records")
    assert "| `cifar100/m/cutmix/r-cutmix` | 0 to 4 |" in page
    assert "cifar100/m/cutmix/r-cutmix/seed0: fog not evaluated at every severity" in page
    empty = report("Results", results([]), Contents("x")).markdown()
    assert "python train.py" in empty


def test_labels_are_the_rows_of_a_table_where_there_is_one():
    found = results(runs("identity", [1.0]))
    found.runs = found.runs.assign(row="My row")
    ((_, shown, _),) = settings(found)
    assert list(shown["label"]) == ["My row"]
    assert isinstance(compared(shown), pd.DataFrame)
