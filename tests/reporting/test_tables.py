import math
import statistics
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from smoothmix.reporting.tables import METHODS, place_of, summarize, to_markdown
from smoothmix.utils.records import RunRecord

RESULTS = Path(__file__).parents[2] / "results"


def record(method="cutmix", seed=0, best=10.0, last=12.0, **changes):
    errors = {"best": best, "last": last}
    content = {
        "dataset": "cifar100",
        "model": "pyramidnet200",
        "method": method,
        "recipe": "cifar",
        "epochs": 300,
        "config_hash": method,
        "seed": seed,
        "selected_on": "test",
        **{when: {"test_top1_error": error, "test_top5_error": error / 4} for when, error in errors.items()},
    }
    return RunRecord.parse(content | changes)


def test_mean_and_sample_deviation_over_seeds():
    values = [14.23, 14.50, 14.68]
    summary = summarize([record(seed=seed, best=value) for seed, value in enumerate(values)])
    (row,) = summary.to_dict("records")
    assert row["n"] == 3
    assert row["best_top1"] == pytest.approx(statistics.mean(values))
    assert row["best_top1_std"] == pytest.approx(statistics.stdev(values))
    assert row["best_top5"] == pytest.approx(statistics.mean(values) / 4)
    assert row["last_top1"] == 12.0
    assert f"| CutMix | 3 | {statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} |" in to_markdown(summary)


def test_one_seed_has_no_spread():
    summary = summarize([record()])
    assert math.isnan(summary["best_top1_std"].item())
    assert "| CutMix | 1 | 10.00 | 12.00 | 2.50 | 3.00 |" in to_markdown(summary)


def test_settings_are_never_mixed():
    records = [record(), record(recipe="cifar_cutmix"), record(epochs=30), record(config_hash="x"), record(model="m")]
    records.append(record(selected_on="val"))
    assert summarize(records)["n"].tolist() == [1] * 6


def test_methods_stand_in_the_papers_order():
    methods = ["smoothmix_c", "mine", "identity", "cutmix"]
    assert summarize([record(method) for method in methods])["method"].tolist() == [
        "identity",
        "cutmix",
        "smoothmix_c",
        "mine",
    ]


def test_the_order_is_that_of_the_names_and_then_the_alphabet():
    assert sorted(["zebra", "mine", *reversed(METHODS)], key=place_of) == [*METHODS, "mine", "zebra"]


def committed(name):
    """The table of the errors in results/<name>/errors.csv, as `summarize` makes it of records."""
    errors = pd.read_csv(RESULTS / name / "errors.csv")
    facts = {"dataset": name, "model": "pyramidnet8", "recipe": "short_cifar"}
    records = []
    for line in errors.to_dict("records"):
        epochs = {
            when: {f"test_top{k}_error": line[f"{when}_top{k}"] for k in (1, 5)} for when in ("best", "last")
        }
        records.append(replace(record(line["method"], line["seed"]), **facts, **epochs))
    return to_markdown(summarize(records)).splitlines()[2:]


@pytest.mark.parametrize("name", ["cifar100_short", "cifar100_subset"])
def test_a_committed_table_is_the_one_that_the_committed_errors_make(name):
    assert "\n".join(committed(name)).strip() in (RESULTS / name / "README.md").read_text()
