"""Evaluate a checkpoint on corrupted images: `python eval_corruption.py run=RUN_DIR benchmark=cifar100_c`."""

from pathlib import Path

from smoothmix.config.command_line import command


def main(composed):
    """Rebuild data set and network, evaluate the corruptions that the record is missing, print the averages."""
    from datasets.augment import Normalized
    from datasets.corrupted import find_set, open_files
    from datasets.subsets import TestSubset
    from smoothmix.config.load_run import load_run
    from smoothmix.config.schema import EvalCorruptionOptions, check_options
    from smoothmix.evaluation.averages import corruptions_of, table
    from smoothmix.evaluation.generated import GeneratedImages
    from smoothmix.evaluation.robustness import evaluate_benchmark
    from smoothmix.utils.errors import UserError

    options = check_options(composed, EvalCorruptionOptions)
    benchmark = find_set(options.benchmark)
    names = corruptions_of(benchmark.constants, options.corruptions)
    run = load_run(options)
    if run.config.dataset.name != benchmark.dataset:
        raise UserError(
            f"{run.path} was trained on {run.config.dataset.name}, but {benchmark.title} is made of "
            f"{benchmark.dataset}; choose the benchmark of {run.config.dataset.name}"
        )
    subset = None if options.images is None else TestSubset(run.data, options.images)
    part = "" if subset is None else f", {options.images} of {run.data.sizes['test']} images"
    suffix = "" if subset is None else f"-{options.images}"
    if options.source == "files":
        folder = Path(options.files or Path(run.config.dataset.options.get("root", "data"), benchmark.folder))
        corrupted = open_files(benchmark, folder.expanduser(), run.data, run.ranks, subset)
    else:
        corrupted = GeneratedImages(subset or run.data, benchmark.constants, options.seed, run.ranks)
    missing = corrupted.missing(names)

    def batches(name, severity):
        return Normalized(corrupted.batches(name, severity, run.batch_size), run.data.mean, run.data.std)

    record, clean = evaluate_benchmark(
        run.model,
        batches,
        [name for name in names if name not in missing],
        (subset or run.data).eval_batches("test", run.batch_size * run.ranks.world_size, run.ranks),
        run.ranks,
        run.path.with_name(f"{run.path.stem}.{benchmark.name}-{options.source}{suffix}.json"),
        run.identity() | {
            "benchmark": benchmark.name,
            "source": corrupted.source + part,
            "data_fingerprint": run.data.fingerprint,
        },
        run.channels_last,
    )  # fmt: skip
    if run.ranks.is_main:
        print(f"{benchmark.title} ({corrupted.source}{part}), top-1 error in %, severities 1 to 5 and their mean")
        print(table(record.errors, clean, with_alexnet=benchmark.constants == "imagenet"))
        for name, reason in missing.items():
            print(f"not evaluated: {name}: {reason}")
        if missing:
            print(f"incomplete: these averages leave out {', '.join(missing)}")
        print(f"record: {record.path}")


if __name__ == "__main__":
    command("eval_corruption", main)
