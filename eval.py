"""Evaluate a checkpoint on clean images: `python eval.py run=RUN_DIR` or `python eval.py checkpoint=FILE`."""

from smoothmix.config.command_line import command


def main(composed):
    """Rebuild data set and network from the stored configuration, load the weights, print the errors."""
    from smoothmix.config import schema
    from smoothmix.config.load_run import restore
    from smoothmix.evaluation.classification import batch_size, evaluate
    from smoothmix.utils.errors import UserError

    asked = schema.typed(composed, schema.Evaluation)
    config, path, data, model, ranks = restore(asked)
    if asked["split"] not in data.sizes:
        raise UserError(f"split must be one of {', '.join(sorted(data.sizes))}, not {asked['split']}")
    size = asked["batch_size"] or batch_size(ranks.device)
    batches = data.eval_batches(asked["split"], size * ranks.world_size, ranks)
    result = evaluate(model, batches, ranks, channels_last=config["channels_last"])
    if ranks.is_main:
        print(
            f"{path} on {config['dataset']['name']} {asked['split']}: top-1 error {result['top1_error']:.2f}%, "
            f"top-5 error {result['top5_error']:.2f}%, loss {result['loss']:.4f}, {result['images']} images"
        )


if __name__ == "__main__":
    command("eval", main)
