"""Evaluate a checkpoint on clean images: `python eval.py run=RUN_DIR` or `python eval.py checkpoint=FILE`."""

from configs.cli import command


def main(composed):
    """Rebuild data set and network from the stored configuration, load the weights, print the errors."""
    from pathlib import Path

    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from configs import build, schema
    from smoothmix.errors import UserError
    from smoothmix.evaluation.classification import evaluate
    from smoothmix.training import checkpoint
    from smoothmix.training.distributed import join

    asked = schema.typed(composed, schema.Evaluation)
    if (asked["run"] is None) == (asked["checkpoint"] is None):
        raise UserError("give either run=RUN_DIR or checkpoint=FILE")
    if asked["weights"] not in ("best", "last"):
        raise UserError(f"weights must be best or last, not {asked['weights']!r}")
    if asked["batch_size"] < 1:
        raise UserError(f"batch_size must be at least 1, not {asked['batch_size']}")
    path = Path(asked["checkpoint"] or Path(asked["run"], f"{asked['weights']}.pt")).expanduser()
    state = checkpoint.load(path)
    changes = {"dataset": {key: value for key, value in asked["dataset"].items() if value is not None}}
    try:
        config = OmegaConf.merge(state["config"], changes)
        for group, key in (("dataset", "download"), ("model", "pretrained")):
            if OmegaConf.select(config, f"{group}.{key}"):  # nothing is fetched for what may be a stranger's file
                config[group][key] = False
    except OmegaConfBaseException as error:
        raise UserError(f"{path} holds no configuration of a run") from error
    config = schema.check(config)
    ranks = join(asked["device"])
    data = build.dataset(config)
    splits = data.sizes.keys() - {"train"}
    if asked["split"] not in splits:
        raise UserError(f"split must be one of {', '.join(sorted(splits))}, not {asked['split']}")
    model = build.model(config, data.num_classes, data.image_size)
    checkpoint.load_model(model, state["model"], path)
    share = asked["batch_size"] * ranks.world_size, ranks.rank, ranks.world_size, ranks.device
    batches = data.eval_batches(asked["split"], *share)
    result = evaluate(model.to(ranks.device), batches, ranks, channels_last=config["channels_last"])
    if ranks.is_main:
        print(
            f"{path} on {config['dataset']['name']} {asked['split']}: top-1 error {result['top1_error']:.2f}%, "
            f"top-5 error {result['top5_error']:.2f}%, loss {result['loss']:.4f}, {result['images']} images"
        )


if __name__ == "__main__":
    command("eval", main)
