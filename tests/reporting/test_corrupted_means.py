import math
import statistics
from pathlib import Path

import pandas as pd
import pytest

from smoothmix.corruptions import CORRUPTIONS
from smoothmix.evaluation.averages import BENCHMARK
from smoothmix.evaluation.robustness import CorruptionRecord
from smoothmix.reporting.corrupted_means import by_corruption, summarize, to_markdown
from smoothmix.reporting.tables import name_of


def record(error=30.0, names=tuple(CORRUPTIONS), method="cutmix", clean=5.0, **changes):
    content = {
        "dataset": "digits", "benchmark": "digits_c",
        "source": "generated files (seed 0)", "model": "pyramidnet8", "recipe": "demo",
        "epochs": 12, "weights": "best", "method": method, "config_hash": method, "seed": 0, "clean_top1_error": clean,
        "top1_errors": {name: {str(severity): error + severity for severity in range(1, 6)} for name in names},
    }  # fmt: skip
    return CorruptionRecord.parse(content | changes)


def test_both_averages_over_seeds():
    records = [record(error, clean=error / 10, seed=seed) for seed, error in enumerate((30.0, 32.0, 37.0))]
    for each in records:  # one of five in the category "weather"
        each.top1_errors["fog"] = dict.fromkeys(range(1, 6), 0.0)
    (row,) = summarize(records).to_dict("records")
    weather = sum(corruption.category == "weather" for corruption in CORRUPTIONS.values())
    flat = [33.0, 35.0, 40.0]
    over = [18 * value / 19 for value in flat]
    categories = [(3 * value + value * (weather - 1) / weather) / 4 for value in flat]
    assert (row["n"], row["clean"]) == (3, pytest.approx(3.3))
    assert row["corruptions_mean"] == pytest.approx(statistics.mean(over))
    assert row["corruptions_mean_std"] == pytest.approx(statistics.stdev(over))
    assert row["categories_mean"] == pytest.approx(statistics.mean(categories))
    assert row["categories_mean_std"] == pytest.approx(statistics.stdev(categories))
    text = to_markdown(summarize(records))
    clean, *means = (
        f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"
        for values in ((3.0, 3.2, 3.7), over, categories)
    )
    assert f"| CutMix | 3 | {clean} | {means[0]} | {means[1]} |" in text
    assert "over 19 of 19 corruptions, severities 1 to 5" in text


def test_what_is_averaged_is_said_and_never_mixed():
    incomplete = record(method="mixup")
    del incomplete.top1_errors["frost"][4]
    records = [record(method="smoothmix_c"), record(method="identity"), record(names=BENCHMARK), incomplete]
    summary = summarize(records)
    assert summary["method"].tolist() == ["identity", "mixup", "cutmix", "smoothmix_c"]
    text = to_markdown(summary)
    assert text.count("| method |") == 3
    assert "over 18 of 19 corruptions (without frost)" in text
    assert "over 15 of 19 corruptions (without speckle_noise, gaussian_blur, spatter, saturate)" in text
    assert text.index("| Baseline |") < text.index("| SmoothMix_C |")


@pytest.mark.parametrize("change", [{"benchmark": "cifar10_c"}, {"source": "published files"}, {"weights": "last"},
                                    {"model": "m"}, {"epochs": 3}, {"recipe": "r"}, {"config_hash": "x"}])  # fmt: skip
def test_settings_are_never_mixed(change):
    assert summarize([record(), record(**change)])["n"].tolist() == [1, 1]


def test_published_weights_have_no_epochs_and_nothing_complete_is_a_dash():
    text = to_markdown(summarize([record(names=[], epochs=None, recipe="published")]))
    assert "| CutMix | 1 | 5.00 | - | - |" in text
    assert "recipe published, best weights" in text
    assert math.isnan(summarize([record(names=[])])["corruptions_mean"].item())
    assert summarize([]).empty


def test_a_row_for_each_corruption_and_a_column_for_each_method():
    fewer = [name for name in CORRUPTIONS if name != "frost"]
    records = [
        record(30.0, method="smoothmix_c"),
        record(20.0, fewer, method="cutmix", seed=0),
        record(26.0, fewer, method="cutmix", seed=1),
        record(50.0, fewer, method="cutmix", config_hash="other"),
    ]
    setting, _, head, _, *rows = by_corruption(records).strip().splitlines()
    assert setting.startswith("digits_c, generated files (seed 0), pyramidnet8, demo, 12, best: top-1 error")
    assert head == "| category | corruption | CutMix (cutmix) | CutMix (other) | SmoothMix_C |"
    assert len(rows) == 19
    assert rows[0] == "| noise | gaussian_noise | 26.00 | 53.00 | 33.00 |"
    assert [row for row in rows if "| frost |" in row] == ["| weather | frost | - | - | 33.00 |"]
    assert by_corruption([]) == ""
    del records[2].top1_errors["fog"]  # one of two seeds: no mean over two
    (fog,) = [row for row in by_corruption(records).splitlines() if "| fog |" in row]
    assert fog == "| weather | fog | - | 53.00 | 33.00 |"


def test_the_committed_tables_are_those_of_the_committed_errors():
    folder = Path(__file__).parents[2] / "results" / "cifar100_short"
    errors, page = pd.read_csv(folder / "errors.csv").set_index("method"), (folder / "README.md").read_text()
    for name, corruption in CORRUPTIONS.items():
        assert f"| {corruption.category} | {name} | " + " | ".join(f"{e:.2f}" for e in errors[name]) + " |" in page
    for method, line in errors.iterrows():
        over = line[list(CORRUPTIONS)]
        categories = over.groupby([CORRUPTIONS[name].category for name in over.index]).mean().mean()
        assert f"| {name_of(method)} | 1 | {line.best_top1:.2f} | {over.mean():.2f} | {categories:.2f} |" in page
