"""Which images and classes networks get wrong, and two methods on the same images, from what ``predictions=true`` left.

Only files beside the records of runs that count, of clean test images, are read. A method is compared with the baseline
within each seed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from torch import Tensor

from smoothmix.evaluation.averages import wilson_interval
from smoothmix.evaluation.calibration import BINS, calibration_errors
from smoothmix.evaluation.clean import CleanRecord
from smoothmix.evaluation.predictions import agree, predictions_of
from smoothmix.reporting import figures
from smoothmix.reporting.frames import Results, run_name
from smoothmix.reporting.page import Block, Picture, heading
from smoothmix.reporting.statistics import DRAWS, Mean, effect, interval, over_images_and_seeds, p_value, paired
from smoothmix.utils.errors import UserError
from smoothmix.utils.pictures import grid

NEEDED = {"image": np.int64, "class": str, "class_1": str, "p_1": np.float32, "nll": np.float32, "correct": np.int64}
OTHERS = {"file": str, **{f"class_{k}": str for k in range(2, 6)}, **{f"p_{k}": np.float32 for k in range(2, 6)}}
ALL = 20  # classes, up to which all are shown; of more the worst and the best half of so many
PICTURED = 100  # classes, up to which the confusion matrix is a picture
THUMBNAILS = 8

Thumbnails = Callable[[Path, Sequence[int]], Tensor]  # (run directory, indices of test images) -> uint8 (n, 3, S, S)


@dataclass(frozen=True, eq=False)
class Predicted:
    """What R runs of one setting predict of the same N images.

    `runs` has a line per run (label, seed, directory), `images` one per image (image, class, and file if they have
    names). `names` are the classes, those of the images first; `guesses` int (R, N) are the predicted ones, with
    probabilities `confidences` (R, N). `baseline` is the label of what the others are compared with, if it is there.
    """

    title: str
    runs: pd.DataFrame
    images: pd.DataFrame
    names: list[str]
    guesses: Any
    confidences: Any
    baseline: str | None

    @cached_property
    def classes(self) -> Any:
        """The true class of each image: int (N,)."""
        return pd.Categorical(self.images["class"], self.names).codes.astype(int)

    @cached_property
    def wrong(self) -> Any:
        """Whether a run is wrong about an image: bool (R, N)."""
        return self.guesses != self.classes

    @cached_property
    def rows(self) -> dict[str, Any]:
        """{label: the rows of its runs}."""
        labels = self.runs["label"]
        return {label: np.flatnonzero(labels == label) for label in labels.drop_duplicates()}

    @property
    def best(self) -> str:
        """The label with the lowest error."""
        return min(self.rows, key=lambda label: self.wrong[self.rows[label]].mean())

    @property
    def shown(self) -> list[str]:
        """The best label and the baseline."""
        return [*dict.fromkeys(label for label in (self.best, self.baseline) if label)]

    def beside(self, label: str) -> tuple[list[Any], Any, Any]:
        """Return the seeds that a label shares with the baseline, if it is another, and where both are wrong.

        These are bool (S, N).
        """
        names = (label, self.baseline if self.baseline != label else None)
        of_seed = [{self.runs["seed"].iloc[row]: row for row in self.rows.get(str(name), ())} for name in names]
        seeds = [seed for seed in of_seed[0] if seed in of_seed[1]]
        own, others = (self.wrong[np.array([rows[seed] for seed in seeds], dtype=int)] for rows in of_seed)
        return seeds, own, others


def read(runs: pd.DataFrame, baseline: str | None, results: Results) -> list[Predicted]:
    """Return what the `runs` of a setting, with labels, predict of the test images, for each kind of evaluation.

    A file that cannot be counted gets a sentence among the problems of the `results`.
    """
    lines = runs.set_index("run")
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for record in results.records:
        name, path = run_name(record), predictions_of(record.path)
        if not isinstance(record, CleanRecord) or record.split != "test" or name not in lines.index:
            continue
        of_run = lines.loc[name, "data_fingerprint"]
        if path.exists() and (pd.isna(of_run) or of_run == record.data_fingerprint):
            over = f", over {classes} classes" if (classes := record.fact("classes")) else ""
            alike = found.setdefault(f"{record.images} test images{over}, {record.weights} weights", {})
            try:
                frame = _read(path, record)
                first = next(iter(alike.values()), frame)
                if not frame[["image", "class"]].equals(first[["image", "class"]]):
                    raise UserError(
                        f"{path} has other images, or other classes of them, than the first run's: it is not counted; "
                        "evaluate all runs on the same data set"
                    )
                alike.setdefault(name, frame)
            except UserError as error:
                results.problems.append(str(error))
    return [_predicted(title, lines, alike, baseline) for title, alike in found.items() if alike]


def _read(path: Path, record: CleanRecord) -> pd.DataFrame:
    """Return the predictions in a file; raise UserError unless they are those of the record beside it."""
    again = "evaluate again with predictions=true"
    kinds: dict[str, Any] = NEEDED | OTHERS
    try:
        frame = pd.read_csv(path, dtype=kinds, keep_default_na=False, encoding_errors="surrogateescape")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({' '.join(str(error).split())}); {again}") from error
    if differing := sorted(NEEDED.keys() - {*frame}) or sorted({*frame} - kinds.keys()):
        known = "no" if differing[0] in NEEDED else "an unknown"
        raise UserError(f"{path} has {known} column {differing[0]}; {again}")
    if len(frame) != record.images or not frame["image"].is_unique:
        raise UserError(f"{path} has {len(frame)} images, and its record {record.images}; {again}")
    if not agree(frame["nll"].astype(float), frame["class"] == frame["class_1"], record.top1_error, record.loss):
        raise UserError(f"{path} has other errors than {record.path.name}: it is of other weights or images; {again}")
    return frame


def _predicted(title: str, lines: pd.DataFrame, frames: dict[str, pd.DataFrame], baseline: str | None) -> Predicted:
    runs = lines.loc[[name for name in lines.index if name in frames], ["label", "seed", "directory"]].reset_index()
    of_runs = [frames[name] for name in runs["run"]]
    images = of_runs[0].filter(["image", "file", "class"])
    true = sorted(images["class"].unique(), key=lambda name: (int(name) if name.isdecimal() else -1, name))
    names = true + sorted({*pd.concat([frame["class_1"] for frame in of_runs])} - {*true})
    guesses = np.stack([pd.Categorical(frame["class_1"], names).codes.astype(int) for frame in of_runs])
    confidences = np.stack([frame["p_1"].astype(float) for frame in of_runs])
    there = baseline if baseline in set(runs["label"]) else None
    return Predicted(title, runs, images, names, guesses, confidences, there)


# ---- frames


def versus(one: Predicted) -> pd.DataFrame:
    """Return a line per label: its error, and its difference to the baseline on the same images, as text."""
    lines: list[dict[str, Any]] = []
    tests: dict[int, float] = {}
    for label, rows in one.rows.items():
        errors = 100 * one.wrong[rows].mean(1)
        line = {"method": label, "n": str(len(rows)), "error": str(Mean.of(list(errors)))}
        if len(rows) == 1:
            line["error"] += f" {interval(*wilson_interval(errors[0], len(one.images)))}"
        seeds, own, others = one.beside(label)
        if seeds:
            gained, lost = (~own & others).sum(1), (own & ~others).sum(1)
            difference = 100.0 * own - 100.0 * others
            line |= {"only it is right": f"{gained.mean():.5g}", f"only {one.baseline} is right": f"{lost.mean():.5g}"}
            line[f"difference to {one.baseline}"] = effect(difference.mean(), *over_images_and_seeds(difference))
            if len(seeds) == 1:
                tests[len(lines)] = mcnemar([[0, gained[0]], [lost[0], 0]], exact=True).pvalue
            else:
                of = paired(*(pd.Series(100 * wrong.mean(1), seeds) for wrong in (own, others)))
                line["interval over seeds"] = interval(of.low, of.high)
        lines.append(line)
    if tests:
        for place, p in zip(tests, multipletests([*tests.values()], method="holm")[1], strict=True):
            lines[place]["p (McNemar)"] = p_value(p)
    return pd.DataFrame(lines).fillna("")


def by_class(one: Predicted) -> pd.DataFrame:
    """Return a line per class, the worst of the best label first: images, and error, low, high of each shown label.

    With a baseline: the images that the best label alone (`gained`) or the baseline alone (`lost`) gets right, as means
    over seeds; of one seed also `p`, McNemar's, with Holm's correction over the classes.
    """
    images = np.bincount(one.classes)

    def counts(values: Any) -> Any:
        return np.bincount(one.classes, values, len(images))

    frame = pd.DataFrame({"class": one.names[: len(images)], "images": images})
    for label in one.shown:
        frame[label] = 100 * counts(one.wrong[one.rows[label]].mean(0)) / images
        ends = [wilson_interval(*of) for of in zip(frame[label], images, strict=True)]
        frame[[f"{label} low", f"{label} high"]] = ends
    seeds, own, others = one.beside(one.best)
    if seeds:
        frame["gained"], frame["lost"] = counts((~own & others).mean(0)), counts((own & ~others).mean(0))
        if len(seeds) == 1:
            of = zip(frame["gained"], frame["lost"], strict=True)
            raw = [mcnemar([[0, gained], [lost, 0]], exact=True).pvalue for gained, lost in of]
            frame["p"] = multipletests(raw, method="holm")[1]
    return frame.sort_values([one.best, "class"], ascending=[False, True], kind="stable", ignore_index=True)


def confusion(one: Predicted, label: str) -> Any:
    """Return how often an image of each class (row) is taken for each (column), over the seeds of a label."""
    k = len(one.names)
    pairs = (one.classes * k + one.guesses[one.rows[label]]).ravel()
    return np.bincount(pairs, minlength=k * k).reshape(k, k)


def most_confused(one: Predicted, most: int = 20) -> pd.DataFrame:
    """Return the pairs of classes that the best label confuses most: class, taken for, and the share of its images."""
    shares = {}
    for label in one.shown:
        matrix = confusion(one, label)
        shares[label] = 100 * matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
        np.fill_diagonal(shares[label], 0)
    true, seen = np.divmod(np.argsort(-shares[one.best], axis=None, kind="stable")[:most], len(one.names))
    named = np.array([*one.names, None], dtype=object)
    columns = {f"{label} (%)": share[true, seen] for label, share in shares.items()}
    return pd.DataFrame({"class": named[true], "taken for": named[seen], **columns})


def most_wrong(one: Predicted, most: int = THUMBNAILS) -> pd.DataFrame:
    """Return the images about which the best label is most confidently wrong, by the mean of its seeds' confidence."""
    rows = one.rows[one.best]
    score = (one.confidences * one.wrong)[rows].mean(0)
    places = np.argsort(-score, kind="stable")[: min(most, int((score > 0).sum()))]
    worst = rows[one.wrong[rows][:, places].argmax(0)]  # the first seed that is wrong
    taken = [one.names[guess] for guess in one.guesses[worst, places]]
    return one.images.iloc[places].assign(**{"taken for": taken, "confidence": score[places]})


def only_one(one: Predicted) -> pd.DataFrame:
    """Return a line for each image that either a method or the baseline alone gets right, by seed."""
    parts = []
    for label in one.rows:
        for seed, own, other in zip(*one.beside(label), strict=True):
            differing = own != other
            right = np.where(own[differing], str(one.baseline), label)
            parts.append(one.images[differing].assign(method=label, seed=seed, right=right))
    return pd.concat(parts).assign(evaluation=one.title) if parts else pd.DataFrame()


def reliability(one: Predicted, label: str) -> pd.DataFrame:
    """Return confidence, accuracy and images of each bin of the ECE, over the seeds of a label; empty bins are NaN."""
    confidence, right = one.confidences[one.rows[label]].ravel(), ~one.wrong[one.rows[label]].ravel()
    bins = np.digitize(confidence, np.linspace(0, 1, BINS + 1)[1:-1], right=True)
    of_bins = pd.DataFrame({"confidence": confidence, "accuracy": right, "images": 1.0}).groupby(bins)
    return of_bins.agg({"confidence": "mean", "accuracy": "mean", "images": "sum"}).reindex(range(BINS))


def ece(one: Predicted, label: str) -> Mean:
    """Return the ECE in % over the seeds of a label."""
    pairs = [(one.confidences[row], (~one.wrong[row]).astype(float)) for row in one.rows[label]]
    return Mean.of([calibration_errors(*map(torch.from_numpy, pair))["ece"] for pair in pairs])


# ---- on the page


def blocks(one: Predicted, suffix: str, thumbnails: Thumbnails | None = None) -> list[Block]:
    """Return what the page says of predictions; names of pictures end in `suffix`."""
    n, classes = len(one.images), by_class(one)
    found: list[Block] = [heading(f"Image by image: {one.title}", 3)]
    if one.baseline:
        found.append(
            f"Differences to {one.baseline} are paired by seed and image; brackets behind them: 95 % bootstrap "
            f"intervals over images and seeds, which are both resampled ({DRAWS} draws), or over the images of one "
            "seed; with few seeds they are too narrow. McNemar's p is exact, with Holm's correction over the methods. "
            "Other brackets are Wilson's."
        )
    found += [versus(one), f"Error in % by class{'' if len(classes) <= ALL else ', the worst and the best'}, with "
              "Wilson's 95 % interval as of one network."]  # fmt: skip
    half = ALL // 2
    shown = classes if len(classes) <= ALL else pd.concat([classes.head(half), classes.tail(half)])
    found.append(_by_class_text(one, shown))
    if "p" in classes and len(classes) > ALL:
        found += ["The classes that differ most:", _by_class_text(one, classes.sort_values("p", kind="stable")[:half])]
    if len(one.names) <= PICTURED:
        figure = figures.confusion({label: confusion(one, label) for label in one.shown}, one.names)
        found.append(Picture(f"confusion{suffix}.svg", figures.svg(figure), "confusion matrix in % of each class"))
    else:
        found += ["The classes that are confused most:", most_confused(one)]
    worst = most_wrong(one)
    if len(worst):
        found += [f"The images about which {one.best} is most confidently wrong:", worst]
        found += _thumbnails(one, worst, suffix, thumbnails)
    curves = {label: reliability(one, label) for label in one.rows}
    methods = dict(zip(one.runs["label"], one.runs["run"].str.split("/").str[2], strict=True))
    named = {label: f"{label}: ECE {ece(one, label)} %" for label in curves}
    figure = figures.reliability(curves, methods, named)
    caption = f"Accuracy by confidence in the {BINS} bins of the ECE, {n} images; below the diagonal: overconfident."
    return [*found, Picture(f"reliability{suffix}.svg", figures.svg(figure), "reliability diagram", caption)]


def _by_class_text(one: Predicted, classes: pd.DataFrame) -> pd.DataFrame:
    text = classes[["class", "images"]].copy()
    for label in one.shown:
        columns = [classes[f"{label}{end}"] for end in ("", " low", " high")]
        text[label] = [f"{error:.2f} {interval(low, high)}" for error, low, high in zip(*columns, strict=True)]
    if "gained" in classes:
        text[f"only {one.best} is right"], text[f"only {one.baseline} is right"] = classes["gained"], classes["lost"]
    if "p" in classes:
        text["p (Holm)"] = classes["p"].map(p_value)
    return text


def _thumbnails(one: Predicted, worst: pd.DataFrame, suffix: str, thumbnails: Thumbnails | None) -> list[Block]:
    directory = one.runs["directory"].iloc[one.rows[one.best][0]]
    if thumbnails is None:
        return []
    try:
        images = thumbnails(directory, worst["image"].tolist())
    except UserError as error:
        return [f"They are not shown ({error})."]
    captions = [f"{true[:18]}\nnot {seen[:14]}" for true, seen in zip(worst["class"], worst["taken for"], strict=True)]
    return [Picture(f"wrong{suffix}.png", grid([images.float() / 255], captions), "the images most confidently wrong")]
