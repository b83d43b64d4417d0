"""Evaluate a network on corrupted images: a run of this repository, a checkpoint, or one trained elsewhere.

python eval_corruption.py run=RUN_DIR benchmark=cifar100_c                # reads data/CIFAR-100-C/
python eval_corruption.py run=RUN_DIR 'corruptions=[fog,snow]'            # without benchmark=: corrupts the test images
python eval_corruption.py model=timm model.name=resnet50 +model.pretrained=true dataset=imagenet images=2000
"""

import signal
from pathlib import Path


def main(composed):
    """Rebuild data set and network, evaluate the corruptions missing from the record, print the averages."""
    from datasets.augment import Normalized
    from datasets.corrupted import open_files
    from datasets.corrupted_sets import find_set, set_for
    from datasets.sampling import TestSubset
    from smoothmix.config.load_run import load_run
    from smoothmix.config.options import EvalCorruptionOptions, check_options
    from smoothmix.evaluation.averages import calibration_table, corruptions_of, table
    from smoothmix.evaluation.generated import GeneratedImages
    from smoothmix.evaluation.predictions import PairsFile, predictions_of
    from smoothmix.evaluation.robustness import evaluate_benchmark

    options = check_options(composed, EvalCorruptionOptions)
    if options.benchmark is not None:  # before the weights are read
        find_set(options.benchmark)
    run = load_run(options)
    benchmark = set_for(options.benchmark, run.config.dataset.name, run.data.image_size, options.source)
    names = corruptions_of(benchmark.constants, options.corruptions)
    subset = TestSubset(run.data, options.images) if options.images is not None else None
    part = (f", {options.images} of {run.data.sizes['test']} images" if subset else "") + run.convention
    if options.source == "files":
        folder = Path(options.files or Path(run.config.dataset.options.get("root", "data"), benchmark.folder))
        corrupted = open_files(benchmark, folder.expanduser(), run.data, run.ranks, subset)
    else:
        corrupted = GeneratedImages(subset or run.data, benchmark.constants, options.seed, run.ranks)

    def batches(name, severity):
        return Normalized(corrupted.batches(name, severity, run.batch_size), run.data.mean, run.data.std)

    missing = corrupted.missing(names)
    path = run.record_path(benchmark.name, options.source, options.images)
    about = run.identity() | {"benchmark": benchmark.name, "source": corrupted.source + part}
    available = [name for name in names if name not in missing]
    file = PairsFile(predictions_of(path), run.output_names) if options.predictions else None
    if file and available and run.ranks.is_main:
        lines, size = file.size(available, (subset or run.data).sizes["test"])
        print(f"predictions: {file.path}, {lines:,} lines, about {size / 1e3:,.0f} kB")
    where = {"path": path, "ranks": run.ranks, "identity": about, "facts": run.about(), "file": file}
    clean = run.eval_batches("test", subset)
    record = evaluate_benchmark(run.predict, clean, batches, available, **where)
    if run.ranks.is_main:
        title = f"{benchmark.title} ({about['source']})"
        print(table(title, record.top1_errors, record.clean_top1_error, missing, benchmark.has_alexnet, options.images))
        print(calibration_table(record.clean_calibration, record.calibration))
        print(f"record: {path}")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback
    from smoothmix.config.command_line import command

    command("eval_corruption", main)
