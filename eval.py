"""Evaluate a network on clean images: a run of this repository, a checkpoint, or one trained elsewhere.

python eval.py run=outputs/digits/pyramidnet8/smoothmix_c/demo-2601dcef/seed0
python eval.py checkpoint=model_best.pth.tar published=cifar100/cutmix    # a file of the CutMix authors
python eval.py model=timm model.name=resnet50 +model.pretrained=true dataset=imagenet images=2000
"""

import signal


def main(composed):
    """Rebuild data set and network, load the weights, print the errors and record them."""
    from datasets.sampling import TestSubset
    from smoothmix.config.load_run import load_run
    from smoothmix.config.options import EvalOptions, check_options
    from smoothmix.evaluation.predictions import predictions_of, write
    from smoothmix.utils.errors import UserError

    options = check_options(composed, EvalOptions)
    run = load_run(options)
    if options.split not in run.data.sizes:
        raise UserError(f"split must be one of {', '.join(sorted(run.data.sizes))}, not {options.split}")
    subset = None if options.images is None else TestSubset(run.data, options.images)
    record, predictions = run.evaluate(options.split, subset)
    if run.ranks.is_main:
        path = run.record_path(record.dataset, record.split, options.images)
        print(f"{run.path} on {record.dataset} {record.split}{run.convention}: {record}")
        if options.predictions:
            files = getattr(run.data, "files", lambda split: [])(options.split)  # images in memory have none
            write(predictions_of(path), predictions, run.output_names, files)
            print(f"predictions: {predictions_of(path)}")
        record.write(path)
        print(f"record: {path}")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback
    from smoothmix.config.command_line import command

    command("eval", main)
