"""Evaluate a checkpoint on corrupted images.

python eval_corruption.py run=RUN_DIR benchmark=cifar100_c                # reads data/CIFAR-100-C/
python eval_corruption.py run=RUN_DIR benchmark=cifar100_c source=generate 'corruptions=[fog,snow]'
python eval_corruption.py checkpoint=best.pt benchmark=digits_c source=generate
"""

import signal
from pathlib import Path


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
    whole, size = run.data, options.images
    subset = None if size is None else TestSubset(whole, size)
    data, part = (whole, "") if subset is None else (subset, f", {size} of {whole.sizes['test']} images")
    if options.source == "files":
        folder = Path(options.files or Path(run.config.dataset.options.get("root", "data"), benchmark.folder))
        corrupted = open_files(benchmark, folder.expanduser(), whole, run.ranks, subset)
    else:
        corrupted = GeneratedImages(data, benchmark.constants, options.seed, run.ranks)
    missing = corrupted.missing(names)

    def batches(name, severity):
        return Normalized(corrupted.batches(name, severity, run.batch_size), whole.mean, whole.std)

    clean_batches = data.eval_batches("test", run.batch_size * run.ranks.world_size, run.ranks)
    names = [name for name in names if name not in missing]
    path = run.path.with_name(f"{run.path.stem}.{benchmark.name}-{options.source}{f'-{size}' if size else ''}.json")
    about = {"benchmark": benchmark.name, "source": corrupted.source + part, "data_fingerprint": whole.fingerprint}
    record, clean = evaluate_benchmark(
        run.model, batches, names, clean_batches, run.ranks, path, run.identity() | about, run.channels_last
    )
    if run.ranks.is_main:
        print(f"{benchmark.title} ({about['source']}), top-1 error in %, severities 1 to 5 and their mean")
        print(table(record.errors, clean, missing, with_alexnet=benchmark.constants == "imagenet"))
        print(f"record: {record.path}")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback
    from smoothmix.config.command_line import command

    command("eval_corruption", main)
