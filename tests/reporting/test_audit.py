import math
import shutil
import statistics
from pathlib import Path

import pandas as pd
import pytest
import torch

from results.paper.audit import audit, ledger, mean_share_of_cutmix, mean_share_of_square, welch
from smoothmix import CutMix, SmoothMixS

RESULTS = Path(__file__).parents[2] / "results"
PAPER = RESULTS / "paper"


@pytest.fixture(scope="module")
def table():
    return audit(PAPER)


def row(table, claim, where=""):
    (found,) = [row for row in table.itertuples() if claim in row.claim and where in row.where]
    return found


@pytest.mark.parametrize(
    ("claim", "where", "printed", "recomputed", "verdict"),
    [
        ("how many of 19", "", "14", "13", "refuted"),
        ("mean of CutMix over 19", "", "46.93", "46.93", "confirmed"),
        ("mean of SmoothMix_C over 19", "", "45.90", "45.90", "confirmed"),
        ("CIFAR-100-C: mean gain", "", "1.03", "1.03", "confirmed"),
        ("Average.All of CutMix is the mean of the 4", "", "59.61", "59.61", "confirmed"),
        ("Average.All of SmoothMix_C is the mean of the 4", "", "56.64", "56.64", "confirmed"),
        ("Average.All of CutMix is the mean over the 15", "", "59.61", "59.09", "refuted"),
        ("Average.All of SmoothMix_C is the mean over the 15", "", "56.64", "56.15", "refuted"),
        ("mCE of CutMix", "", "-", "74.7", "not printed"),
        ("mCE of SmoothMix_C", "", "-", "71.3", "not printed"),
        ("ImageNet-C: mean gain", "Sec. 1", "2.96", "2.97", "refuted"),
        ("ImageNet-C: mean gain", "Sec. 4.2.2", "2.97", "2.97", "confirmed"),
        ("ImageNet-C: mean gain", "Sec. 5", "2.98", "2.97", "refuted"),
        ("how many of 15", "", "9", "9", "confirmed"),
        ("how many of 5 levels", "", "5", "5", "confirmed"),
        ("ImageNet: top-1 error", "", "22.25", "22.34", "refuted"),
        ("ImageNet: top-1 gain", "", "1.34", "1.34", "confirmed"),
        ("ImageNet: top-5 gain", "", "0.68", "0.68", "confirmed"),
        ("Stochastic depth", "", "16.73 / 3.37 (equal to its label smoothing row)", "15.86 / 3.33", "refuted"),
        ("smaller mean error", "Table 6", "14.82 against 14.95", "Welch t = 0.58, p = 0.58", "not significant"),
        ("CIFAR-10: better than", "", "2.98", "against 3.10, 3.09, 3.15", "confirmed"),
        # the printed averages of Table 5's categories
        ("ImageNet-C: lower mean error", "", "in words", "64.04 against 67.33", "confirmed"),
        ("ImageNet-C: higher mean error", "", "in words", "65.89 against 65.47", "confirmed"),
        ("CIFAR-100-C: lower mean error", "", "in words", "85.12 against 85.95", "confirmed"),
        ("CIFAR-100-C: higher mean error", "", "in words", "43.77 against 42.62", "confirmed"),
        ("mean of five)", "Table 8", "14.81", "the best fixed one, SmoothMix(sigma=16), has 14.79", "refuted"),
    ],
)
def test_what_the_paper_prints_and_what_comes_out(table, claim, where, printed, recomputed, verdict):
    found = row(table, claim, where)
    assert (found.printed, found.recomputed, found.verdict) == (printed, recomputed, verdict)


@pytest.mark.parametrize(
    ("number", "line", "instead", "claim", "verdict"),
    [
        (4, "zoom_blur,average,smoothmix_c,35.07", "zoom_blur,average,smoothmix_c,31.0", "how many of 19", "confirmed"),
        (5, "shot_noise,3,cutmix,65.77", "shot_noise,3,cutmix,66.77", "15 row averages of CutMix", "refuted"),
        (5, "shot_noise,3,cutmix,65.77", "shot_noise,3,cutmix,66.77", "24 category averages of CutMix", "refuted"),
        (1, "Stochdepth,16.73,3.37", "Stochdepth,15.86,3.33", "Stochastic depth", "confirmed"),
        (1, "Cutmix,14.47", "Cutmix,14.48", "CIFAR-100: state of the art, top-1", "confirmed"),
        (3, "SmoothMix_C,22.34", "SmoothMix_C,22.25", "ImageNet: top-1 error", "confirmed"),
        (6, "SmoothMix_C,14.82", "SmoothMix_C,13.82", "smaller mean error", "confirmed"),
        (6, "SmoothMix_C,14.82", "SmoothMix_C,15.82", "smaller mean error", "refuted"),
        (2, "SmoothMix_C,2.98", "SmoothMix_C,3.1", "CIFAR-10: better than", "refuted"),
        (
            4,
            "impulse_noise,average,smoothmix_c,91.94",
            "impulse_noise,average,smoothmix_c,96",
            "CIFAR-100-C: lower",
            "refuted",
        ),
        (8, "(sigma=8),14.94", "(sigma=8),15.94", "Fixed sizes of the mask", "refuted"),
        (8, "(sigma=16),14.79", "(sigma=16),14.89", "fixed one (mean of five)", "confirmed"),
    ],
)
def test_verdicts_follow_the_numbers(tmp_path, number, line, instead, claim, verdict):
    for path in PAPER.glob("table?.csv"):
        shutil.copy(path, tmp_path)
    path = tmp_path / f"table{number}.csv"
    text = path.read_text()
    assert text.count(line) == 1
    path.write_text(text.replace(line, instead))
    assert row(audit(tmp_path), claim).verdict == verdict


def test_welch_by_the_formula():
    a, b = [14.2, 15.1, 15.3, 14.9, 15.25], [14.5, 14.9, 15.0, 14.7, 15.2]
    t, p = welch(statistics.mean(a), statistics.stdev(a), statistics.mean(b), statistics.stdev(b))
    variances = statistics.variance(a) / 5, statistics.variance(b) / 5
    assert t == pytest.approx((statistics.mean(a) - statistics.mean(b)) / math.sqrt(sum(variances)))
    # the two-sided tail of Student's t by the midpoint rule
    freedom = sum(variances) ** 2 / sum(value**2 / 4 for value in variances)
    scale = math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2) / math.sqrt(freedom * math.pi)
    step = t / 10_000
    inside = sum((1 + ((i + 0.5) * step) ** 2 / freedom) ** (-(freedom + 1) / 2) for i in range(10_000)) * step * scale
    assert p == pytest.approx(1 - 2 * inside, abs=1e-6)


@pytest.mark.parametrize(
    ("strategy", "exact"), [(SmoothMixS, mean_share_of_square(0.2, 32)), (CutMix, mean_share_of_cutmix(32))]
)
def test_mean_shares_are_those_of_the_strategies(strategy, exact):
    mix = strategy(num_classes=2, generator=torch.Generator().manual_seed(0))
    mask = mix.sample(20_000, (32, 32), "cpu").mean(dim=(1, 2, 3))
    share = 1 - mask if strategy is CutMix else mask
    assert share.mean().item() == pytest.approx(exact, abs=4 * share.std().item() / math.sqrt(20_000))


def test_the_ledger_says_only_what_was_tested(table):
    listed = pd.DataFrame(
        [
            {"claim": "A", "where": "-", "audit": "", "judged": "low_data:c-baseline;low_data:c-s", "tested": "a part"},
            {"claim": "B", "where": "-", "audit": "CIFAR-10: state of the art, top-1", "judged": "", "tested": ""},
        ]
    )
    judged = pd.read_csv(RESULTS / "low_data" / "claims.csv")
    first, second = ledger(listed, table, {"low_data": judged}).to_dict("records")
    line = judged.set_index("id").loc["c-s"]
    assert f"supported here: SmoothMix_C / SmoothMix_S {line['effect']:+.2f} [" in first["our runs"]
    assert f"p = {line['p_holm']:.3f} (primary, Holm" in first["our runs"]
    assert first["what was tested"] == "a part"
    assert (second["our runs"], second["what was tested"]) == ("not tested", "-")
    assert "refuted (printed: 2.98; recomputed: place 2 of 6" in second["the paper's own numbers"]
    with pytest.raises(KeyError, match="c-nothing"):
        ledger(listed.assign(judged="low_data:c-nothing"), table, {"low_data": judged})
