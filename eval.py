"""Evaluate a checkpoint on clean images.

python eval.py run=outputs/digits/pyramidnet8/smoothmix_c/demo-2601dcef/seed0
python eval.py checkpoint=best.pt dataset.root=/data split=train
python eval.py checkpoint=model_best.pth.tar published=cifar100/cutmix    # a file of the CutMix authors
"""

import signal


def main(composed):
    """Rebuild data set and network from the stored configuration, load the weights, print the errors."""
    from smoothmix.config.load_run import load_run
    from smoothmix.config.schema import EvalOptions, check_options
    from smoothmix.evaluation.classification import evaluate
    from smoothmix.utils.errors import UserError

    options = check_options(composed, EvalOptions)
    run = load_run(options)
    if options.split not in run.data.sizes:
        raise UserError(f"split must be one of {', '.join(sorted(run.data.sizes))}, not {options.split}")
    result = evaluate(run.model, run.eval_batches(options.split), run.ranks, channels_last=run.channels_last)
    if run.ranks.is_main:
        print(
            f"{run.path} on {run.config.dataset.name} {options.split}: top-1 error {result['top1_error']:.2f}%, "
            f"top-5 error {result['top5_error']:.2f}%, loss {result['loss']:.4f}, {result['images']} images; "
            f"Brier score {result['brier']:.4f}, ECE {result['ece']:.2f}%, adaptive ECE {result['adaptive_ece']:.2f}%"
        )


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback
    from smoothmix.config.command_line import command

    command("eval", main)
