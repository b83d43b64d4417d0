"""From folders and the names of tables to a page and its files."""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from sys import argv

import pandas as pd
import torch
from torch.nn import functional as F

from datasets import digits
from datasets.augment import normalize
from scripts.reproduction.tables import SOURCES, Table, load_table, table_names, table_runs
from smoothmix.config import build
from smoothmix.config.load_run import load_run
from smoothmix.config.options import LoadOptions
from smoothmix.config.run_directory import read
from smoothmix.config.schema import check
from smoothmix.evaluation import occlusion
from smoothmix.reporting import claims, curves, figures, frames, predictions, tables
from smoothmix.reporting.attention import attention
from smoothmix.reporting.card import card, of_weights
from smoothmix.reporting.frames import Results, read_folders
from smoothmix.reporting.methods import name_of, place_of
from smoothmix.reporting.page import Markdown, Page, Picture
from smoothmix.reporting.report import Contents, Judged, baseline_of, comparison, report, settings
from smoothmix.reporting.strips import strip
from smoothmix.utils.command import shell_command
from smoothmix.utils.errors import UserError, nearest
from smoothmix.utils.files import make_folder, write_text
from smoothmix.utils.records import RunRecord

PAPER = Path(__file__).resolve().parents[2] / "results" / "paper"
OF_THE_PAPER = [str(number) for number in range(1, 9)]
MADE = {"README.md", "only_one.csv", "tables.md", "runs.csv", "errors.csv", "curves.csv", "claims.csv", "tables.csv"}
KEYS = ("table", "preset", "source", "weights")
NOTES = "notes.md"  # written by hand: departures from a plan, what the numbers do not show


def write(args: Namespace) -> list[str]:
    """Write the page and its files, print the comparison; return what could not be counted."""
    own, overrides, folders = parse(args.words)
    results = read_folders(folders)
    names = own["table"].split(",") if own["table"] else []
    loaded = [load_table(name) for name in names or table_names()]
    runs = {one.name: table_runs(one, own["preset"], overrides) for one in loaded}
    title = "SmoothMix: results"
    if names:
        results = results.of(run.run for of_table in runs.values() for run in of_table)
    if len(names) == 1:
        results, title = tables.labelled(results, runs[names[0]]), loaded[0].title
    filled = [_filled(one, runs[one.name], results, own, overrides) for one in loaded]
    counted: dict[str, list[str]] = {}
    for one in loaded:
        for run in runs[one.name]:
            counted.setdefault(run.run, []).append(one.name)
    judged = [found for one in loaded if (found := _judged(one, runs[one.name], results)) is not None]
    predicted = {name: predictions.read(of, baseline_of(of), results) for name, of, _ in settings(results)}
    make_folder(args.output, "--output")
    page = report(
        title,
        results,
        Contents(
            command=shell_command(["python", "scripts/report.py", *argv[1:]]),
            tables=[one for one in filled if not names or one.name.startswith("table")],
            judged=judged,
            counted=counted,
            strips=list(_strips(results)) if not names else [],
            predicted=predicted,
            thumbnails=_thumbnails,
            attention=_attention(folders, args.attention) if args.attention is not None else None,
            audit=pd.read_csv(PAPER / "audit.csv").fillna("") if not names else None,
            notes=_notes(args.output),
            folders=folders,
        ),
    )
    html = args.html or args.output / "index.html"
    make_folder(html.parent, "--html")
    page.write(args.output / "README.md")
    write_text(html, page.html())
    _save_frames(results, judged, filled, folders, args.output)
    differing = [predictions.only_one(one).assign(setting=name) for name, of in predicted.items() for one in of]
    if any(map(len, differing)):
        write_text(args.output / "only_one.csv", pd.concat(differing).to_csv(index=False, lineterminator="\n"))
    print(comparison(results))
    for name, of in predicted.items():
        for one in of:
            print(f"{name}, {one.title}; top-1 error in %\n\n{predictions.versus(one).to_string(index=False)}\n")
    print(f"page: {html}")
    return results.problems


def cards(words: Sequence[str]) -> list[str]:
    """Write card.md in each folder; return what could not be read."""
    own, _, folders = parse(words)
    problems: list[str] = []
    for folder in folders:
        results = read_folders([folder])
        found = of_weights(results.records, folder, results.problems, own["weights"] or None)
        card(found).write(folder / "card.md")
        print(f"{folder / 'card.md'}: {len(found)} evaluations")
        problems += results.problems
    return problems


def parse(words: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...], list[Path]]:
    """Return the values of :data:`KEYS`, the overrides of train.py, and the folders.

    Raises:
        UserError: a word is none of these.
    """
    own, overrides, folders = dict.fromkeys(KEYS, "") | {"preset": "paper"}, [], []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            folders.append(Path(word))
        elif key in own:
            own[key] = value
        else:
            overrides.append(word)
    if own["source"] not in ("", *SOURCES):
        raise UserError(f"source={own['source']} is not one of {', '.join(SOURCES)}; {nearest(own['source'], SOURCES)}")
    usual = [folder for folder in (Path("outputs"), Path("results")) if folder.is_dir()]
    return own, tuple(overrides), folders or usual


def _filled(
    one: Table, runs: Sequence[tables.TableCell], results: Results, own: dict[str, str], overrides: Sequence[str]
) -> tables.Filled:
    of_paper = one.name in OF_THE_PAPER
    name, title = (f"table{one.name}", f"Table {one.name}: {one.title}") if of_paper else (one.name, one.title)
    if own["preset"] != "paper":
        name += f"-{own['preset']}"
        title += f" ({own['preset']} preset: scaled down, not the paper's recipe)"
    if overrides:
        title += f", with {' '.join(overrides)}"
    paper = PAPER / f"table{one.name}.csv" if of_paper else None
    compared, source = own["preset"] == "paper", own["source"] or None
    return tables.fill(name, title, runs, results, one.evaluation, paper, compared, source)


def _judged(one: Table, runs: Sequence[tables.TableCell], results: Results) -> Judged | None:
    found = tables.labelled(results, runs)
    if not one.claims or found.runs.empty:
        return None
    values = claims.endpoints(found, one.evaluation)
    return Judged(one.title, claims.judge(values, one.claims), claims.by_margin(values, one.claims))


def _notes(output: Path) -> list[Markdown]:
    """Return notes.md in the output folder, and links to the other pages and CSV files that lie there."""
    notes = [Markdown((output / NOTES).read_text(encoding="utf-8").strip())] if (output / NOTES).exists() else []
    others = sorted({path.name for path in output.glob("*.*") if path.suffix in (".md", ".csv")} - MADE - {NOTES})
    links = ", ".join(f"[{name}]({name})" for name in others)
    return notes + ([Markdown(f"Beside this page: {links}.")] if others else [])


def _save_frames(
    results: Results, judged: Sequence[Judged], filled: Sequence[tables.Filled], folders: Sequence[Path], output: Path
) -> None:
    frames.write(results, output)
    if "row" in results.runs:
        means = curves.mean_curves(results.runs.assign(label=results.runs["row"]), folders)
        if not means.empty:
            write_text(output / "curves.csv", means.to_csv(index=False, lineterminator="\n"))
    if judged:
        verdicts = pd.concat([one.verdicts for one in judged])
        write_text(output / "claims.csv", verdicts.to_csv(index=False, lineterminator="\n"))
    written = [one for one in filled if one.name.startswith("table")]
    if written:
        page = Page("Tables")
        for one in written:
            page.add(Markdown(f"## {one.title}"), one.text, *one.notes)
        write_text(output / "tables.md", page.markdown())
        write_text(output / "tables.tex", "\n".join(one.latex() for one in written))
        numbers = pd.concat([one.numbers.assign(table=one.name) for one in written])
        write_text(output / "tables.csv", numbers.to_csv(index=False, float_format="%.4f"))


def _strips(results: Results) -> Iterator[Picture]:
    """Yield a picture of four mixed digits for each strategy of the runs that changes images."""
    images, labels = digits().arrays("test")
    chosen = [int((labels == digit).nonzero()[0]) for digit in (0, 3, 4, 7)]
    ink = images[chosen].permute(0, 3, 1, 2).float() / 255
    colours = torch.tensor([[0.10, 0.25, 0.55], [0.75, 0.35, 0.05]]).repeat(2, 1)
    clean = ink + (1 - ink) * colours[:, :, None, None]  # on a background, or the edge of a box would not show
    shown = set()
    runs = results.runs.dropna(subset="directory")
    pairs = zip(runs["method"], runs["directory"], strict=True)
    for method, directory in sorted(pairs, key=lambda run: place_of(run[0])):
        path = directory / "config.yaml"
        if method in shown or not path.exists():
            continue
        try:
            config = check(read(path))
            side = int(config.dataset.options.get("image_size", clean.shape[-1]))
            batch = F.interpolate(clean, size=(side, side), mode="nearest")
            picture = strip(build.mixing(config, 10), batch, labels[chosen], "0123456789")
        except (UserError, TypeError, ValueError, RuntimeError):  # the strategy of another version of this program
            continue
        if picture is not None:
            shown.add(method)
            png, described = picture
            name = name_of(method)
            yield Picture(f"mixed-{method}.png", png, f"digits mixed by {name}", f"{name}: {described}")


def _thumbnails(directory: Path, indices: Sequence[int]) -> torch.Tensor:
    """Return test images of a run's data set; raise UserError if they are not there any more."""
    config, record = check(read(directory / "config.yaml")), RunRecord.read(directory / "summary.json")
    here = {"workers": 0, "download": False}  # nothing is fetched for a picture
    options = {key: here.get(key, value) for key, value in config.dataset.options.items()}
    data = build.dataset(replace(config, dataset=replace(config.dataset, options=options)))
    if data.fingerprint != record.data_fingerprint:
        raise UserError(f"the data set of {directory} has changed since")
    return torch.cat([images for images, _ in data.image_batches("test", [range(i, i + 1) for i in indices])])


def _attention(directories: Sequence[Path], images: int) -> Picture:
    """Return Figure 2 of the networks in run directories."""
    networks, data = [], None
    for directory in directories:
        loaded = load_run(LoadOptions(run=str(directory)))
        if data is not None and data.fingerprint != loaded.data.fingerprint:
            raise UserError(f"{directory} was trained on other images than {directories[0]}; give runs on one data set")
        data = loaded.data
        networks.append((name_of(loaded.config.method), loaded.model.cpu().eval()))
    if data is None:
        raise UserError("--attention needs run directories, as in outputs/digits/.../seed0")
    mean, std = data.mean, data.std
    sample = occlusion.sample(data, images, seed=0)
    figure = attention(networks, *sample, lambda batch: normalize(batch, mean, std), data.class_names)
    return Picture("figure2.svg", figures.svg(figure), "class activation maps on clean and occluded test images")
