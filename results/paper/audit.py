"""The paper against itself, and against our runs: python results/paper/audit.py

It recomputes every average and claim that the paper's own tables, equations and definitions can answer (audit.csv here,
../audit.md), and joins claims.csv, the list of its claims, with that and with the verdicts of our studies
(../claims.md).
"""

import math
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from scipy import stats

PAPER = Path(__file__).resolve().parent
RESULTS = PAPER.parent
sys.path.insert(0, str(RESULTS.parent))

from smoothmix.corruptions import SEVERITIES
from smoothmix.evaluation.averages import ALEXNET, mean_corruption_error
from smoothmix.mixing.masks import box_mask, square_mask
from smoothmix.reporting.claims import comparison, effect_of
from smoothmix.reporting.page import Markdown, Page
from smoothmix.reporting.statistics import p_value
from smoothmix.reporting.tables import read_corrupted

CONFIRMED, REFUTED, INSIGNIFICANT, DOUBTFUL, UNPRINTED = (
    "confirmed",
    "refuted",
    "not significant",
    "doubtful",
    "not printed",
)
OURS, THEIRS = "smoothmix_c", "cutmix"
TITLES = {THEIRS: "CutMix", OURS: "SmoothMix_C"}
RUNS = 5  # behind each mean of Tables 6 to 8 (Sec. 4.2.3 and 4.3)
ROUNDING = 0.005 + 1e-9  # the tables print two decimals

# What the CutMix paper prints in its Table 5 (top-1, top-5 error in %).
CUTMIX_STOCHASTIC_DEPTH = 15.86, 3.33
CUTMIX_LABEL_SMOOTHING = 16.73, 3.37


class Row(NamedTuple):
    """A claim, where the paper prints it, what it prints, what comes out, and the verdict."""

    claim: str
    where: str
    printed: str
    recomputed: str
    verdict: str


def audit(folder: Path) -> pd.DataFrame:
    """Recompute the claims from ``table1.csv`` to ``table8.csv`` in `folder`.

    Returns:
        columns claim, where, printed, recomputed, verdict, all text.
    """
    table = {number: pd.read_csv(folder / f"table{number}.csv").set_index("row") for number in (1, 2, 3, 6, 7, 8)}
    rows = [
        *_cited(table),
        *_cifar(table[1], table[2]),
        *_imagenet(table[3]),
        *_several_runs(table),
        *_cifar_c(read_corrupted(folder / "table4.csv")),
        *_imagenet_c(read_corrupted(folder / "table5.csv")),
        *_equations(),
    ]
    return pd.DataFrame(rows, columns=Row._fields)


def welch(mean_a: float, std_a: float, mean_b: float, std_b: float) -> tuple[float, float]:
    """Return Welch's t and the two-sided p-value of two means of five runs with these sample deviations."""
    result = stats.ttest_ind_from_stats(mean_a, std_a, RUNS, mean_b, std_b, RUNS, equal_var=False)
    return float(result.statistic), float(result.pvalue)


def _cited(table: dict[int, pd.DataFrame]) -> Iterator[Row]:
    rows = pd.concat([table[number] for number in (1, 2, 3)])
    others = rows[~rows.index.str.startswith("SmoothMix")]
    own = int((others["origin"] == "theirs").sum())
    claim = "All models are implemented and experimented: the rows of other methods are own runs"
    found = f"{len(others) - own} equal numbers published before, digit for digit"
    verdict = CONFIRMED if own == len(others) else DOUBTFUL
    yield Row(claim, "Sec. 4, Tables 1 to 3", f"{len(others)} rows", found, verdict)


def _cifar(table1: pd.DataFrame, table2: pd.DataFrame) -> Iterator[Row]:
    depth = tuple(table1.loc["Stochdepth", ["top1", "top5"]])
    printed, published = (" / ".join(f"{error:.2f}" for error in pair) for pair in (depth, CUTMIX_STOCHASTIC_DEPTH))
    printed += " (equal to its label smoothing row)" if depth == CUTMIX_LABEL_SMOOTHING else ""
    claim = "Stochastic depth, cited from Table 5 of the CutMix paper"
    yield Row(claim, "Table 1", printed, published, _verdict(depth == CUTMIX_STOCHASTIC_DEPTH))
    c, s = table1.loc["SmoothMix_C"], table1.loc["SmoothMix_S"]
    yield _best("CIFAR-100: state of the art, top-1", "Sec. 1, 4.1.2 and 5", table1["top1"], "SmoothMix_C")
    yield _best("CIFAR-100: state of the art, top-5", "Sec. 4.1.2", table1["top5"], "SmoothMix_C")
    worse = table1.loc[["Cutout", "DropBlock"], "top1"]
    claim = "SmoothMix_S is better than Cutout and DropBlock and behind SmoothMix_C"
    found = f"against {_listed(worse)}, and {c.top1:.2f}"
    yield Row(claim, "Sec. 4.1.2", f"{s.top1:.2f}", found, _verdict(c.top1 < s.top1 < worse.min()))
    c10 = table2.loc["SmoothMix_C", "top1"]
    yield _best("CIFAR-10: state of the art, top-1", "Sec. 1 and 5", table2["top1"], "SmoothMix_C")
    yield _number("CIFAR-10: loss against CutMix", "Sec. 4.1.2", 0.1, c10 - table2.loc["Cutmix", "top1"])
    gain = table2.loc["Baseline(PyramidNet-200)", "top1"] - c10
    yield _number("CIFAR-10: gain over the baseline", "Sec. 4.1.2", 0.87, gain)
    others = table2.loc[["Cutout", "Mixup", "Manifold mixup"], "top1"]
    claim = "CIFAR-10: better than Cutout, Mixup and Manifold Mixup"
    yield Row(claim, "Sec. 4.1.2", f"{c10:.2f}", f"against {_listed(others)}", _verdict(c10 < others.min()))


def _imagenet(table3: pd.DataFrame) -> Iterator[Row]:
    ours, baseline = table3.loc["SmoothMix_C"], table3.loc["Baseline(Resnet-50)"]
    yield _number("ImageNet: top-1 error of SmoothMix_C", "Sec. 1 and 5; Table 3 has another", 22.25, ours.top1)
    yield _number("ImageNet: top-1 gain over the baseline", "Sec. 4.1.2", 1.34, baseline.top1 - ours.top1)
    yield _number("ImageNet: top-5 gain over the baseline", "Sec. 4.1.2", 0.68, baseline.top5 - ours.top5)
    yield _best("ImageNet: state of the art, top-1", "Sec. 1 and 5", table3["top1"], "SmoothMix_C")


def _several_runs(table: dict[int, pd.DataFrame]) -> Iterator[Row]:
    stable, location, size = table[6], table[7], table[8]
    cutmix, ours, five = stable.loc["CutMix"], stable.loc["SmoothMix_C"], size.loc["SmoothMix(sigma=[8,16])"]
    headline, cited = table[1].loc["SmoothMix_C", "top1"], table[1].loc["Cutmix", "top1"]
    means = f"{ours.top1:.2f} against {cutmix.top1:.2f}"
    claim = "CIFAR-100: SmoothMix_C, as a mean over runs like the row above it, equals CutMix"
    found = (
        f"{five.top1:.2f} is the mean of its five runs and {five.best:.2f} their best; CutMix's is a mean of three. "
        f"Both as means of five (Table 6): {means}"
    )
    yield Row(claim, "Table 1", f"{headline:.2f} against {cited:.2f}", found, _verdict(headline == five.top1))
    t, p = welch(cutmix.top1, cutmix["std"], ours.top1, ours["std"])
    claim, found = "SmoothMix_C has the smaller mean error in five runs each", f"Welch t = {t:.2f}, p = {p:.2f}"
    yield Row(claim, "Sec. 4.2.3, Table 6", means, found, _significant(t > 0, p))
    ratio = (cutmix["std"] / ours["std"]) ** 2
    p = 2 * float(stats.f.sf(ratio, RUNS - 1, RUNS - 1))
    claim, printed = "SmoothMix_C is more stable over five runs", f"{ours['std']:.3f} against {cutmix['std']:.3f}"
    found = f"ratio of variances F = {ratio:.2f}, p = {p:.2f}"
    yield Row(claim, "Sec. 4.2.3, Table 6", printed, found, _significant(ratio > 1, p))
    population = ours["std"] * math.sqrt((RUNS - 1) / RUNS)
    claim = "The same five runs: Table 6 prints the sample deviation, Tables 7 and 8 the population's"
    found = f"{ours['std']:.3f} x sqrt(4/5) = {population:.3f}; the means are {ours.top1:.2f} and {five.top1:.2f}"
    verdict = _verdict(abs(population - five["std"]) <= ROUNDING)
    yield Row(claim, "Tables 6 to 8", f"{ours['std']:.3f} and {five['std']:.2f}", found, verdict)
    spreads = location["top1"].iloc[1:]
    claim, verdict = "The wider the centres spread, the smaller the mean error", spreads.is_monotonic_decreasing
    yield Row(claim, "Sec. 4.3, Table 7", "sigma = 4, 12, uniform", _listed(spreads), _verdict(verdict))
    fixed = size.drop(index=["Baseline(PyramidNet-200)", five.name])
    extremes = fixed.sort_values("top1").iloc[[-1, 0]]
    # Tables 7 and 8 print deviations of divisor n
    (high, std_high), (low, std_low) = zip(
        extremes["top1"], extremes["std"] * math.sqrt(RUNS / (RUNS - 1)), strict=True
    )
    t, p = welch(high, std_high, low, std_low)
    claim = "Fixed sizes of the mask give comparable errors"
    significant = f"{'not ' * (p >= 0.05)}significant (Welch t = {t:.2f}, p = {p:.2f})"
    found = f"largest difference {high - low:.2f}, {significant}"
    yield Row(claim, "Sec. 4.3, Table 8", _listed(fixed["top1"]), found, _verdict(p >= 0.05))
    for title, column in (("mean", "top1"), ("best run", "best")):
        claim, best = f"Randomised sigma is better than every fixed one ({title} of five)", fixed[column].min()
        found = f"the best fixed one, {fixed[column].idxmin()}, has {best:.2f}"
        yield Row(claim, "Sec. 4.3, Table 8", f"{five[column]:.2f}", found, _verdict(five[column] < best))


def _cifar_c(table4: pd.DataFrame) -> Iterator[Row]:
    errors = table4.pivot(index="corruption", columns="method", values="top1_error")
    printed, errors = errors.loc["average"], errors.drop(index="average")
    for method, title in TITLES.items():
        claim = f"CIFAR-100-C: mean of {title} over 19 corruptions"
        yield _number(claim, "Table 4", printed[method], errors[method].mean())
    gain = errors[THEIRS].mean() - errors[OURS].mean()
    yield _number("CIFAR-100-C: mean gain over CutMix", "Sec. 1, 4.2.2 and 5", 1.03, gain)
    wins = int((errors[OURS] < errors[THEIRS]).sum())
    yield _number(f"CIFAR-100-C: better on how many of {len(errors)}", "Sec. 4.2.2", 14, wins)
    categories = table4.drop_duplicates("corruption").set_index("corruption")["category"]
    yield from _noise_and_blur("CIFAR-100-C", "Sec. 4.2.2, Table 4", errors, categories)
    yield _number("CIFAR-100-C: levels of severity (its files hold 50,000 images)", "Sec. 4.2.1", 1, len(SEVERITIES))


def _imagenet_c(table5: pd.DataFrame) -> Iterator[Row]:
    cells = table5[(table5["corruption"] != "average") & (table5["severity"] != "average")]
    level = table5[(table5["corruption"] == "average") & (table5["category"] == "")]
    total = level.pivot(index="severity", columns="method", values="top1_error")
    errors = {
        method: rows.pivot(index="corruption", columns="severity", values="top1_error")
        for method, rows in cells.groupby("method")
    }
    category = cells.drop_duplicates("corruption").set_index("corruption")["category"]
    for method, title in TITLES.items():
        table = errors[method].assign(average=errors[method].mean(axis=1))
        by_category = table.groupby(category).mean()
        printed = table5[table5["method"] == method].pivot(
            index=["category", "corruption"], columns="severity", values="top1_error"
        )
        rows = printed.drop(index="average", level="corruption")["average"].droplevel("category")
        yield _largest(f"ImageNet-C: 15 row averages of {title}", rows - table["average"])
        averages = printed.xs("average", level="corruption").drop(index="")
        yield _largest(f"ImageNet-C: 24 category averages of {title}", (averages - by_category).stack())
        claim, overall = f"ImageNet-C: Average.All of {title}", total.loc["average", method]
        of_categories = f"{claim} at each level, as means of the 4 category means"
        yield _largest(of_categories, total[method] - by_category.mean())
        for of_what, mean in (("of the 4 category means", by_category), ("over the 15 corruptions", table)):
            yield _number(f"{claim} is the mean {of_what}", "Table 5", overall, mean["average"].mean())
        mce = mean_corruption_error(
            {name: {int(severity): error for severity, error in row.items()} for name, row in errors[method].iterrows()}
        )
        yield Row(f"ImageNet-C: mCE of {title} (by AlexNet's errors)", "nowhere", "-", f"{mce:.1f}", UNPRINTED)
    gain = total.loc["average", THEIRS] - total.loc["average", OURS]
    for where, value in (("Sec. 1", 2.96), ("Sec. 4.2.2", 2.97), ("Sec. 5", 2.98)):
        yield _number("ImageNet-C: mean gain over CutMix (Average.All)", where, value, gain)
    better = total.drop(index="average")
    wins = int((better[OURS] < better[THEIRS]).sum())
    yield _number("ImageNet-C: better at how many of 5 levels", "Sec. 4.2.2", 5, wins)
    wins = int((errors[OURS].mean(axis=1) < errors[THEIRS].mean(axis=1)).sum())
    yield _number("ImageNet-C: better on how many of 15", "Sec. 4.2.2", 9, wins)
    over_levels = pd.DataFrame({method: table.mean(axis=1) for method, table in errors.items()})
    yield from _noise_and_blur("ImageNet-C", "Sec. 4.2.2, Table 5", over_levels, category)
    noise, alexnet = max(errors[method].loc["gaussian_noise", "5"] for method in TITLES), ALEXNET["gaussian_noise"][4]
    printed, shot = (
        " and ".join(f"{errors[method].loc[name, '5']:.2f}" for method in TITLES)
        for name in ("gaussian_noise", "shot_noise")
    )
    found = f"AlexNet has {alexnet:.2f}, and shot noise of level 5 gives {shot}: likely a fault in the data"
    verdict = CONFIRMED if noise < alexnet else DOUBTFUL
    yield Row("ImageNet-C: Gaussian noise of level 5", "Table 5", printed, found, verdict)


def _noise_and_blur(title: str, where: str, errors: pd.DataFrame, category: pd.Series) -> Iterator[Row]:
    means = errors.groupby(category).mean()
    for name, word, holds in (
        ("noise", "lower", means.loc["noise", OURS] < means.loc["noise", THEIRS]),
        ("blur", "higher", means.loc["blur", OURS] > means.loc["blur", THEIRS]),
    ):
        found = f"{means.loc[name, OURS]:.2f} against {means.loc[name, THEIRS]:.2f}"
        yield Row(f"{title}: {word} mean error than CutMix under {name}", where, "in words", found, _verdict(holds))


def _equations() -> Iterator[Row]:
    s, cutmix = mean_share_of_square(k=0.2, side=32), mean_share_of_cutmix(side=32)
    claim, verdict = "SmoothMix_S blends as much as the conventional methods", _verdict(abs(s - cutmix) < 0.01)
    found = f"mean share of the second image on 32 x 32: {s:.3f} against {cutmix:.3f} (CutMix)"
    yield Row(claim, "Sec. 3.3", "the same amount", found, verdict)
    claim = "Mixing happens 'if probability > p', with p = 1 on ImageNet"
    found = "no batch: a number in [0, 1) is never above 1; the sense asks for < p"
    yield Row(claim, "Alg. 1, Sec. 4.1.1", "every batch", found, REFUTED)
    claim, printed = "The label is lambda y_i + (1 - lambda) y_i", "weights lambda and 1 - lambda"
    found = "weights 1 and 0 as printed; Algorithm 1 has y_j in the second place"
    yield Row(claim, "Eq. 4", printed, found, REFUTED)
    sigma, k = 0.5, 0.2
    claim = "The smooth border is proportional to the patch (half-width for sigma = 0.5, k = 0.2, in image sides)"
    found = f"{k:.2f} by the slope 1/(2k), whatever sigma is, and {sigma / k:.2f} by the limits sigma/k"
    yield Row(claim, "Sec. 3.3, Eq. 5", f"{k * sigma:.2f} (k sigma)", found, _verdict(k * sigma == k == sigma / k))


@cache
def mean_share_of_square(k: float, side: int) -> float:
    """Return the mean share of the masked image under SmoothMix_S, sigma ~ U(0, `side`), by the midpoint rule.

    The mask is a product of two independent, equally distributed profiles, so for each sigma its mean is the square of
    a profile's.
    """
    points = (torch.arange(400) + 0.5) * side / 400
    ones = torch.ones_like(points)
    # a row of pixels through the centre: there the vertical profile is 1
    rows = [square_mask((1, side), (0.5 * ones, points), sigma * ones, k) for sigma in points]
    return torch.stack([row.double().mean() ** 2 for row in rows]).mean().item()


@cache
def mean_share_of_cutmix(side: int) -> float:
    """Return the mean area that CutMix pastes: lambda ~ U(0, 1), whole centres, the box cut off at the border."""
    centers = torch.arange(side).float()
    width = torch.floor((1 - (torch.arange(4000) + 0.5) / 4000).sqrt() * side)
    areas = {
        value: box_mask((1, side), (0.5, centers), (1.0, float(value))).double().mean() ** 2
        for value in range(side + 1)
    }
    return torch.stack([areas[int(value)] for value in width]).mean().item()


def _listed(errors: "pd.Series[float]") -> str:
    return ", ".join(f"{error:.2f}" for error in errors)


def _verdict(holds: bool) -> str:
    return CONFIRMED if holds else REFUTED


def _significant(holds: bool, p: float) -> str:
    if not holds:
        return REFUTED
    return CONFIRMED if p < 0.05 else INSIGNIFICANT


def _number(claim: str, where: str, printed: float, value: float) -> Row:
    """Return the row of a number that is a count (int) or an error in % with two decimals."""
    form = "{}" if isinstance(value, int) else "{:.2f}"
    holds = printed == value if isinstance(value, int) else abs(printed - value) <= ROUNDING
    return Row(claim, where, form.format(printed), form.format(value), _verdict(holds))


def _largest(claim: str, differences: pd.Series) -> Row:
    """Return the row of several averages, from the differences of the printed ones."""
    largest = float(differences.abs().max())
    right = "all" if largest <= ROUNDING else f"{(differences.abs() <= ROUNDING).sum()} of {len(differences)}"
    found = f"{right} agree; largest difference {largest:.3f}"
    return Row(claim, "Table 5", "as printed", found, _verdict(right == "all"))


def _best(claim: str, where: str, errors: pd.Series, name: str) -> Row:
    """Return the row of a claim to have the lowest of `errors`, alone."""
    better = errors[errors < errors[name]].sort_values()
    tied = [other for other in errors.index[errors == errors[name]] if other != name]
    place = f"place {len(better) + 1} of {errors.notna().sum()}"
    ahead = "".join(f", behind {other} {error:.2f}" for other, error in better.items())
    level = "".join(f", level with {other}" for other in tied)
    return Row(claim, where, f"{errors[name]:.2f}", place + ahead + level, _verdict(better.empty and not tied))


# ---- the ledger: the list of the paper's claims beside the audit and our studies


def ledger(listed: pd.DataFrame, audited: pd.DataFrame, judged: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a line for each claim of the paper, all text.

    Args:
        listed: claims.csv: claim, where, and separated by semicolons the claims of the `audit` and the ``study:id`` of
            the claims `judged` that are about a part of it; `tested` says which part that is, empty if it is the
            claim itself in a smaller setting, and "not tested" stands where there is none.
        audited: what :func:`audit` returns.
        judged: the claims.csv of each study, by the name of its folder.

    Raises:
        KeyError: `listed` names a claim that the audit or a study has not.
    """
    rows = []
    of_audit = audited.set_index("claim")
    for place, line in enumerate(listed.fillna("").itertuples(), 1):
        own = [
            f"{row.verdict} (printed: {row.printed}; recomputed: {row.recomputed})"
            for claim in filter(None, line.audit.split(";"))
            for row in of_audit.loc[[claim]].itertuples()
        ]
        ours = [_of_study(judged, *part.split(":")) for part in filter(None, line.judged.split(";"))]
        rows.append(
            {
                "": str(place),
                "claim": line.claim,
                "where": line.where,
                "the paper's own numbers": "; ".join(own) or "-",
                "what was tested": line.tested or ("this, in the study's setting" if ours else "-"),
                "our runs": Markdown("; ".join(ours) or "not tested"),
            }
        )
    return pd.DataFrame(rows)


def _of_study(judged: Mapping[str, pd.DataFrame], study: str, name: str) -> str:
    if name == "corruptions":  # no test: how many means are lower
        return f"{_lower_means(study)} (means over seeds, no test; [{study}]({study}/README.md))"
    lines = judged[study].set_index("id").loc[[name]]
    verdict = {"supported": "supported here", "contradicted": "contradicted here"}.get(
        lines["verdict"].iloc[0], lines["verdict"].iloc[0]
    )
    found = "; ".join(f"{comparison(line)} {effect_of(line)}, n = {line.n}" for line in lines.itertuples())
    primary = bool(lines["primary"].iloc[0])
    p = p_value(lines["p_holm" if primary else "p"].iloc[0])
    family = "primary, Holm" if primary else "secondary, not corrected"
    return f"{verdict}: {found}, p {p if p.startswith('<') else f'= {p}'} ({family}; [{study}]({study}/README.md))"


def _lower_means(study: str) -> str:
    errors = pd.read_csv(RESULTS / study / "errors.csv")
    errors = errors[errors["corruption"] != "clean"]
    method = errors["run"].str.split("/").str[2]
    means = errors.filter(like="severity_").mean(axis=1).groupby([errors["corruption"], method]).mean().unstack()
    return f"SmoothMix_C has the lower mean on {(means[OURS] < means[THEIRS]).sum()} of {len(means)} corruptions"


def main() -> None:
    """Write audit.csv, ../audit.md and ../claims.md."""
    audited = audit(PAPER)
    audited.to_csv(PAPER / "audit.csv", index=False, lineterminator="\n")
    made = Markdown("Made by `python results/paper/audit.py`; do not edit.")
    page = Page("The paper, recomputed")
    page.add(made, "From the numbers that the paper prints, its text and its equations. Errors are in %.", audited)
    (RESULTS / "audit.md").write_text(page.markdown(), encoding="utf-8")
    judged = {path.parent.name: pd.read_csv(path) for path in sorted(RESULTS.glob("*/claims.csv"))}
    listed = judged.pop("paper")
    page = Page("The paper's claims")
    page.add(made, Markdown((PAPER / "claims.md").read_text(encoding="utf-8").strip()), ledger(listed, audited, judged))
    (RESULTS / "claims.md").write_text(page.markdown(), encoding="utf-8")


if __name__ == "__main__":
    main()
