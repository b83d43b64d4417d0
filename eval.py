"""Evaluate a network on clean images: a run of this repository, a checkpoint, or one that was trained elsewhere.

python eval.py run=outputs/digits/pyramidnet8/smoothmix_c/demo-2601dcef/seed0
python eval.py checkpoint=model_best.pth.tar published=cifar100/cutmix    # a file of the CutMix authors
python eval.py model=timm model.name=resnet50 +model.pretrained=true dataset=imagenet images=2000
"""

import signal


def main(composed):
    """Rebuild data set and network, load the weights, print the errors and record them."""
    from datasets.subsets import TestSubset
    from smoothmix.config.load_run import load_run
    from smoothmix.config.schema import EvalOptions, check_options
    from smoothmix.evaluation.classification import evaluate
    from smoothmix.evaluation.clean import CleanRecord
    from smoothmix.utils.environment import start
    from smoothmix.utils.errors import UserError

    options = check_options(composed, EvalOptions)
    run = load_run(options)
    split, sizes, ranks = options.split, run.data.sizes, run.ranks
    if split not in sizes:
        raise UserError(f"split must be one of {', '.join(sorted(sizes))}, not {split}")
    data = run.data if options.images is None else TestSubset(run.data, options.images)
    about = run.identity() | {"split": split, "split_images": sizes[split], "starts": [start(ranks.device)]}
    batches = data.eval_batches(split, run.batch_size * ranks.world_size, ranks)
    result = evaluate(run.model, batches, ranks, channels_last=run.channels_last)
    if ranks.is_main:
        path = run.record_path(run.config.dataset.name, split, options.images)
        record = CleanRecord(**about, **result, extra=run.about() | {"world_size": ranks.world_size})
        print(f"{run.path} on {record.dataset} {split}: {record}")
        record.write(path)
        print(f"record: {path}")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback
    from smoothmix.config.command_line import command

    command("eval", main)
