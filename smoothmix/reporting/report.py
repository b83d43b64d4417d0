"""The report: one page about the runs in the frames, from the answer to the records."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from smoothmix.evaluation.averages import CATEGORIES, wilson_interval
from smoothmix.evaluation.calibration import MEASURES
from smoothmix.reporting import claims as judged_claims
from smoothmix.reporting import curves, figures, predictions
from smoothmix.reporting.frames import LEVELS, TOP1, Results
from smoothmix.reporting.methods import name_of, place_of
from smoothmix.reporting.page import Block, Page, Picture, code, code_block, heading, items
from smoothmix.reporting.statistics import (
    ALPHA,
    Mean,
    averages,
    by_seed,
    differences,
    effect,
    number,
    over_seeds,
    p_value,
    paired,
)
from smoothmix.reporting.tables import Filled

BASELINE = "identity"
SETTING = ["dataset", "model", "recipe", "epochs", "selected_on", "precision", "data_fingerprint"]
IMAGES = ["benchmark", "source", "weights", "images"]  # what evaluations must have in common to be compared
AVERAGES = {
    "clean": "clean", **{name: name for name in CATEGORIES}, "corrupted": "all corruptions",
    "by_category": "mean of the categories", "mce": "mCE", "relative_mce": "relative mCE",
}  # fmt: skip
TITLES = {TOP1: ("top-1 error (%)", ".2f"), **MEASURES}


@dataclass
class Judged:
    """The verdicts about a table with claims: the title, what :func:`claims.judge` and `by_margin` returned."""

    title: str
    verdicts: pd.DataFrame
    margins: pd.DataFrame


@dataclass
class Contents:
    """What is shown beside the frames.

    `tables` are those of configs/table/, with or without runs, and `counted` {run: names of the tables it counts in};
    `strips` are pictures of mixed images, `predicted` {setting: what its runs predict}, `notes` paragraphs in Markdown,
    `folders` may hold a curves.csv.
    """

    command: str
    tables: Sequence[Filled] = ()
    judged: Sequence[Judged] = ()
    counted: Mapping[str, Sequence[str]] = field(default_factory=dict)
    strips: Sequence[Picture] = ()
    predicted: Mapping[str, Sequence[predictions.Predicted]] = field(default_factory=dict)
    thumbnails: predictions.Thumbnails | None = None
    attention: Picture | None = None
    audit: pd.DataFrame | None = None
    notes: Sequence[Block] = ()
    folders: Sequence[Path] = ()


def report(title: str, results: Results, contents: Contents) -> Page:
    """Return the page: the answer, the verdicts, the comparison, corrupted images, the tables, and the records."""
    page = Page(title)
    groups = list(settings(results))
    page.add(*(answer(name, runs) for name, runs, _ in groups))
    if not groups:
        page.add("There is no finished run here yet. Train one, for example with `python train.py`.".replace("`", ""))
    made = f"{len(results.runs)} finished runs" + _hours(results.runs)
    page.add(*contents.notes, code(contents.command), f"made this page from {made}.")
    page.add(*(f"Not counted: {sentence}." for sentence in results.problems), *_by_images(results.runs))
    for judged in contents.judged:
        page.add(heading(f"Verdicts: {judged.title}"), *judged_claims.blocks(judged.verdicts, judged.margins))
    for place, (name, runs, errors) in enumerate(groups):
        suffix = str(place or "")
        page.add(heading(name), *_comparison(runs, contents, suffix, results.problems), *_corrupted(errors, suffix))
        for kind, one in enumerate(contents.predicted.get(name, ())):
            page.add(*predictions.blocks(one, f"{suffix}{f'-{kind}' if kind else ''}", contents.thumbnails))
    if contents.strips:
        page.add(heading("What the network sees"))
        page.add("Four digits mixed by each strategy with the settings of its runs; in training, strategies mix a "
                 "batch with probability p.", *contents.strips)  # fmt: skip
    if contents.attention:
        page.add(heading("Where networks look"), contents.attention)
    _add_tables(page, contents.tables)
    if contents.audit is not None:
        page.add(heading("Audit of the paper"), "Its averages and claims, recomputed from the numbers that it prints.")
        page.add(contents.audit)
    _add_records(page, results, contents.counted)
    return page


def settings(results: Results) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Yield (title, runs, errors) of what may be compared, with the columns label and method in both frames.

    That is: runs of one data set (the same images), network, recipe, number of epochs and precision. A label is a row
    of a table or a method, with the hash of its configuration where a method has several.
    """
    names = [_name(key) for key, _ in results.runs.groupby(SETTING, dropna=False)]
    for key, runs in results.runs.groupby(SETTING, dropna=False):
        several = runs.groupby("method")["config_hash"].nunique()
        if "row" in runs:
            runs = runs.assign(label=runs["row"])
        else:
            hashes = runs["method"].map(several).gt(1)
            named = runs["method"].map(name_of)
            runs = runs.assign(label=named.where(~hashes, named + " (" + runs["config_hash"] + ")"))
            order = runs["method"].map(place_of)
            runs = runs.loc[order.sort_values(kind="stable").index]
        name = _name(key)
        if names.count(name) > 1:
            known = dict(zip(SETTING, key, strict=True))
            name += f" (precision {known['precision']}, images {known['data_fingerprint']})"
        labels = runs[["run", "label", "method", "seed"]]
        yield name, runs, labels.merge(results.errors.drop(columns="row", errors="ignore"), on="run")


def baseline_of(runs: pd.DataFrame) -> str | None:
    """Return the label of the baseline, None if there is none, or several."""
    labels = runs.loc[runs["method"] == BASELINE, "label"].unique()
    return str(labels[0]) if len(labels) == 1 else None


def compared(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the comparison of the runs of one setting as text, a line per label."""
    last, best = over_seeds(runs, "last_top1"), over_seeds(runs, "best_top1")
    baseline = baseline_of(runs)
    changes = differences(runs, "last_top1", baseline) if baseline else None
    lines = []
    for label, mean in last.items():
        line = {"method": label, "n": str(mean.n), "last epoch": str(mean), "best epoch": str(best[label])}
        if changes is not None:
            line |= dict.fromkeys((f"difference to {baseline}", "p", "exact p"), "")
            if label != baseline:
                of = changes.loc[label]
                star = " *" if of["p_holm"] < ALPHA else ""
                line[f"difference to {baseline}"] = effect(of["mean"], of["low"], of["high"]) + star
                line |= {"p": p_value(of["p_holm"]), "exact p": p_value(of["p_exact"])}
        lines.append(line)
    shown = pd.DataFrame(lines)
    return shown.loc[:, [name for name in shown if name not in ("p", "exact p") or (shown[name] > "-").any()]]


def comparison(results: Results) -> str:
    """Return what a terminal shows of the results: for each setting a table of errors, and one of corrupted images."""
    parts = []
    for name, runs, errors in settings(results):
        parts.append(f"{name}; top-1 error in %\n\n{compared(runs).to_string(index=False)}\n")
        for images, shown in corrupted_means(errors):
            over = "top-1 error in %, mean over severities 1 to 5"
            parts.append(f"{images}; {over}\n\n{shown.to_string(index=False)}\n")
    return "\n".join(parts or ["There is no finished run here yet; train one first, for example with python train.py"])


def corrupted_means(errors: pd.DataFrame, measure: str = TOP1) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (images, a line per label) of a measure on corrupted images: means over seeds, as text."""
    form = TITLES[measure][1]
    of_measure = errors[(errors["measure"] == measure) & errors["benchmark"].str.endswith("_c")]
    for key, alike in of_measure.groupby(IMAGES, dropna=False):
        means = alike[["run", "label", "method", "seed"]].drop_duplicates().merge(averages(alike), on="run")
        baseline, lines = baseline_of(means), []
        changes = differences(means, "corrupted", baseline) if baseline else None
        for label, of_label in means.groupby("label", sort=False):
            line = {"method": str(label), "n": str(len(of_label))}
            line |= {title: format(Mean.of(list(of_label[name])), form) for name, title in AVERAGES.items()}
            if changes is not None and label != baseline:
                of = changes.loc[label]
                line[f"difference to {baseline}"] = effect(of["mean"], of["low"], of["high"], f"+z{form}")
            lines.append(line)
        shown = pd.DataFrame(lines).fillna("")
        kept = [name for name in shown if name in ("method", "n") or (shown[name] != "-").any()]
        benchmark, source, weights, _ = key
        yield f"{benchmark}: {source}, {weights} weights", shown[kept]


def answer(name: str, runs: pd.DataFrame) -> str:
    """Return in a sentence or two which method has the lowest error, by how much, and how sure that is."""
    last, baseline = over_seeds(runs, "last_top1"), baseline_of(runs)
    label, best = min(last.items(), key=lambda item: item[1].mean if not math.isnan(item[1].mean) else math.inf)
    images = runs["test_images"].dropna()
    if len(last) == 1:
        return f"{name}: {label} has an error of {best} % (n = {best.n})."
    sentence = f"{name}: {label} has the lowest error after the last epoch, {best} % (n = {best.n})"
    if baseline and label == baseline:
        return f"{sentence}; no method is below it."
    if max(mean.n for mean in last.values()) == 1:
        against = f", {number(last[baseline].mean - best.mean)} points below {baseline}" if baseline else ""
        doubt = "With one seed each, this does not tell which method is better"
        if len(images):
            n = int(images.iloc[0])
            low, high = wilson_interval(best.mean, n)
            doubt += f": one of {n} images is {100 / n:.2f} points (Wilson's 95 % interval: {low:.2f} to {high:.2f} %)"
        return f"{sentence}{against}. {doubt}."
    parts = [sentence]
    if baseline:
        of = differences(runs, "last_top1", baseline).loc[label]
        p = p_value(of["p_holm"])
        parts.append(f"{effect(of['mean'], of['low'], of['high'])} points from {baseline}"
                     + (f" (p {p if p.startswith('<') else f'= {p}'})" if p != "-" else ""))  # fmt: skip
    others = {other: mean.mean for other, mean in last.items() if other not in (label, baseline)}
    if others:
        next_best = min(others, key=lambda other: others[other])
        wide = by_seed(runs, "last_top1")
        of_next = paired(wide[label], wide[next_best])
        gap = effect(of_next.mean, of_next.low, of_next.high)
        parts.append(f"{gap} from {next_best}, the next (chosen afterwards)")
    return f"{'; '.join(parts)}. Brackets: 95 % intervals over seeds, given these test images."


# ---- parts of the page


def _by_images(runs: pd.DataFrame) -> Iterator[Picture]:
    """Yield a picture of the error against the number of training images, where one recipe was run with several."""
    for place, (_, alike) in enumerate(runs.groupby(["dataset", "model", "recipe"])):
        settings_of = alike.groupby(["method", "train_images"])
        if alike["train_images"].nunique() < 2 or settings_of["config_hash"].nunique().gt(1).any():
            continue
        means = pd.DataFrame(
            {"method": method, "name": name_of(method), "train_images": n, **Mean.of(list(of["last_top1"]))._asdict()}
            for (method, n), of in settings_of
        )
        means = means.sort_values("method", key=lambda methods: methods.map(place_of), kind="stable")
        name, seeds = f"images{place or ''}.svg", "Top-1 error after the last epoch; bands: 95 % intervals over seeds."
        yield Picture(name, figures.svg(figures.by_images(means)), "error against the number of training images", seeds)


def _comparison(runs: pd.DataFrame, contents: Contents, suffix: str, problems: list[str]) -> list[Block]:
    chosen = "the test set, as in the paper" if runs["selected_on"].iloc[0] == "test" else "held-out images"
    blocks: list[Block] = [
        "Top-1 error in %, mean ± sample standard deviation over n seeds; lower is better. Differences are of the last "
        f"epoch, paired by seed, with 95 % intervals over seeds; * p < {ALPHA} (paired t test, Holm's correction over "
        f"the methods). The best epoch was chosen on {chosen}.",
        compared(runs),
    ]
    baseline = baseline_of(runs)
    several = baseline is not None and runs["seed"].nunique() > 1 and runs["label"].nunique() > 1
    if baseline and several:
        figure = figures.differences(runs, {"last_top1": "top-1 error after the last epoch"}, baseline)
        blocks.append(Picture(f"differences{suffix}.svg", figures.svg(figure), f"paired differences to {baseline}"))
    means = curves.mean_curves(runs, contents.folders, problems)
    if not means.empty:
        methods = dict(zip(runs["label"], runs["method"], strict=True))
        shown = {name: curves.MEASURES[name] for name in ("train_loss", "test_top1_error") if means[name].notna().any()}
        figure = figures.curves(means, methods, shown)
        caption = "Means over seeds; the training loss of a method that mixes is that of mixed images."
        blocks.append(Picture(f"curves{suffix}.svg", figures.svg(figure), "learning curves", caption))
    known = [name for name in MEASURES if runs[f"test_{name}"].notna().any()]
    if len(known) > 1:
        lines = {"method": list(runs["label"].drop_duplicates())}
        for name in known:
            title, form = MEASURES[name]
            lines[title] = [format(mean, form) for mean in over_seeds(runs, f"test_{name}").values()]
        blocks += ["Calibration after the last epoch; lower is better.", pd.DataFrame(lines)]
    return blocks


def _corrupted(errors: pd.DataFrame, suffix: str) -> list[Block]:
    blocks: list[Block] = []
    for images, shown in corrupted_means(errors):
        blocks += [heading(f"Corrupted images, {images}", 3), "Top-1 error in %, mean over severities 1 to 5.", shown]
    of_benchmarks = errors[errors["benchmark"].str.endswith("_c") & (errors["corruption"] != "clean")]
    for place, (_, alike) in enumerate(of_benchmarks[of_benchmarks["measure"] == TOP1].groupby(IMAGES, dropna=False)):
        name, baseline = f"{suffix}{f'-{place}' if place else ''}", baseline_of(alike)
        if baseline and alike["label"].nunique() > 1 and alike["mean"].notna().any():
            figure = figures.heat_map(alike, baseline)
            caption = f"Mean error in % by corruption; the colour is the paired difference to {baseline}."
            blocks.append(Picture(f"corruptions{name}.svg", figures.svg(figure), "errors by corruption", caption))
        if alike[LEVELS].notna().all(axis=1).any():
            figure = figures.severities(alike)
            blocks.append(Picture(f"severities{name}.svg", figures.svg(figure), "errors by severity"))
    for measure, (title, _) in MEASURES.items():
        for images, shown in corrupted_means(errors, measure):
            blocks += [f"{title}, {images}:", shown]
    return blocks


def _add_tables(page: Page, tables: Sequence[Filled]) -> None:
    if not tables:
        return
    page.add(heading("Tables"))
    for table in tables:
        there, wanted = table.runs
        if there:
            page.add(heading(table.title, 3), table.text, *table.notes, f"{there} of {wanted} runs are complete.")
            if table.commands:
                page.add("Missing:", code_block([f"{command}    # {row}" for row, command in table.commands]))
    empty = [table for table in tables if not table.runs[0]]
    if empty:
        page.add("Without a run yet:")
        lines = [(table.title, f"{table.runs[1]}", code(_reproduce(table.name))) for table in empty]
        page.add(pd.DataFrame(lines, columns=["table", "runs", "command"]))


def _reproduce(name: str) -> str:
    return f"python scripts/reproduce.py table={name.removeprefix('table')}"


def _add_records(page: Page, results: Results, counted: Mapping[str, Sequence[str]]) -> None:
    if len(results.runs):
        page.add(heading("Records"))
        lines = []
        for setting, runs in results.runs.groupby(results.runs["run"].str.rpartition("/seed")[0], sort=False):
            tables = dict.fromkeys(name for run in runs["run"] for name in counted.get(run, ()))
            commits = dict.fromkeys(str(commit)[:10] for commit in runs["git_commit"].dropna())
            seeds = sorted(int(seed) for seed in runs["seed"])
            batches = sorted(runs["batch_per_rank"].dropna().unique())
            lines.append(
                {
                    "run": code(str(setting)),
                    "seeds": _ranges(seeds),
                    "hours": f"{runs['seconds'].sum() / 3600:.1f}",
                    "device": ", ".join(dict.fromkeys(runs["device"].dropna())) or "-",
                    "per-rank batch": ", ".join(f"{size:g}" for size in batches) or "-",
                    "commit": ", ".join(commits) or "-",
                    "counts in": ", ".join(tables) or "no table",
                }
            )
        page.add(pd.DataFrame(lines))
    unfinished = [f"{directory}: {reason}" for directory, reason in results.unfinished.items()]
    partly = results.errors[(results.errors["corruption"] != "clean") & results.errors["mean"].isna()]
    unfinished += [f"{run}: {', '.join(of['corruption'].unique())} not evaluated at every severity"
                   for run, of in partly.groupby("run")]  # fmt: skip
    if unfinished:
        page.add(heading("Incomplete"), items(unfinished))


def _ranges(seeds: Sequence[int]) -> str:
    whole = list(range(seeds[0], seeds[-1] + 1)) == list(seeds)
    return f"{seeds[0]} to {seeds[-1]}" if whole and len(seeds) > 2 else ", ".join(map(str, seeds))


def _name(key: tuple[Any, ...]) -> str:
    dataset, model, recipe, epochs, *_ = key
    return f"{dataset}, {model}, recipe {recipe}, {epochs:g} epochs"


def _hours(runs: pd.DataFrame) -> str:
    hours = runs["seconds"].sum() / 3600
    return f" ({hours:.1f} hours of training)" if hours else ""
