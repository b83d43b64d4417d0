"""GPU-hours of the paper's tables, from the rates in the records of `step`."""

import argparse
import heapq
import json
import statistics
from pathlib import Path

from scripts.benchmarks.timing import markdown
from scripts.reproduction.tables import load_table, table_runs

RECORDS = Path(__file__).resolve().parents[2] / "results" / "benchmarks"
# what train.py does on one GPU unless told otherwise; on one without bfloat16; on one without tensor cores
FORMS = ("bf16, channels_last, graph", "fp16, channels_last, graph", "fp32, graph")
TABLES = ("1", "2", "3", "4", "5", "6", "7", "8")
IMAGES = {"cifar10": 50_000, "cifar100": 50_000, "imagenet": 1_281_167}  # training images
GPUS = 8

Recipe = tuple[str, int]  # a network and its batch size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--records", type=Path, default=RECORDS, help="folder of records (default: results/benchmarks)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the table."""
    print(to_markdown(runs_of_tables(), read_rates(args.records)))


def read_rates(folder: Path) -> dict[Recipe, tuple[float, str]]:
    """Return images per second on one GPU, and of which record, of each network and batch size that was measured."""
    rates = {}
    for path in sorted(folder.glob("step*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        form = next((form for form in FORMS if form in record["ms_per_step"]), None)
        if form:  # none is timed on a CPU
            rate = 1000 * record["batch"] / statistics.median(record["ms_per_step"][form])
            rates[record["model"], record["batch"]] = rate, f"{path.name}: {record['device']}"
    return rates


def runs_of_tables() -> dict[str, list[tuple[Recipe, int]]]:
    """Return, for each table, the runs that no table before it has: network and batch size, images to train on."""
    seen, new = set(), {}
    for name in TABLES:
        new[name] = []
        for needed in table_runs(load_table(name)):
            if needed.directory not in seen:
                seen.add(needed.directory)
                recipe, model = needed.config.recipe, needed.config.model.name
                images = recipe.epochs * IMAGES[needed.config.dataset.name]
                new[name].append(((model, recipe.batch_size), images))
    return new


def wall_hours(hours: list[float], gpus: int) -> float:
    """Return how long runs of so many hours take where each has a GPU of its own, the longest begun first."""
    busy = [0.0] * gpus
    for length in sorted(hours, reverse=True):
        heapq.heappush(busy, heapq.heappop(busy) + length)
    return max(busy)


def to_markdown(tables: dict[str, list[tuple[Recipe, int]]], rates: dict[Recipe, tuple[float, str]]) -> str:
    """Return hours of each table, training only; what is not measured is said so, with the command that measures it."""
    rows = []
    for name, runs in tables.items():
        alone = together = "not measured"
        if all(recipe in rates for recipe, _ in runs):
            hours = [images / rates[recipe][0] / 3600 for recipe, images in runs]
            alone, together = f"{sum(hours):.1f}", f"{wall_hours(hours, GPUS):.1f}"
        rows.append([name, len(runs), f"{sum(images for _, images in runs) / 1e6:.0f}", alone, together])
    heads = ["table", "runs that no table before it has", "million images"]
    heads += ["hours on one GPU", f"hours on {GPUS} GPUs"]
    sources = []
    for model, batch in sorted({recipe for runs in tables.values() for recipe, _ in runs}):
        if (model, batch) in rates:
            rate, source = rates[model, batch]
            sources.append(f"- {model}, batch {batch}: {rate:.0f} images/s ({source})")
        else:
            command = f"python scripts/benchmark.py step --device cuda --model {model} --batch {batch} --steps 20"
            output = f"--output results/benchmarks/step-{model}-{batch}-gpu.json"
            sources.append(f"- {model}, batch {batch}: not measured yet on a GPU; run `{command} {output}`")
    return "\n".join([markdown(rows, heads), "", *sources])
