"""Evaluate a checkpoint on corrupted images: `python eval_corruption.py run=RUN_DIR benchmark=cifar100_c`."""

from contextlib import nullcontext
from pathlib import Path

from smoothmix.config.command_line import command


def main(composed):
    """Rebuild data set and network, evaluate the cells that the record lacks, print the averages."""
    from datasets.augment import Normalized
    from datasets.corrupted import find_set, open_files
    from smoothmix.config import schema
    from smoothmix.config.load_run import restore
    from smoothmix.corruptions import CORRUPTIONS
    from smoothmix.evaluation.averages import corruptions_of
    from smoothmix.evaluation.classification import batch_size, evaluate
    from smoothmix.evaluation.generated import GeneratedImages
    from smoothmix.evaluation.robustness import CellRecord, claim, evaluate_cells
    from smoothmix.utils.environment import environment
    from smoothmix.utils.errors import UserError

    asked = schema.typed(composed, schema.CorruptedEvaluation)
    corrupted_set, source = find_set(asked["benchmark"]), asked["source"]
    if asked["corruptions"] == []:
        raise UserError("corruptions=[] evaluates nothing; name some, as in corruptions=[fog,snow], or leave it out")
    names = asked["corruptions"] or corruptions_of(corrupted_set.constants)
    for name in names:
        if name not in CORRUPTIONS:
            raise UserError(f"there is no corruption {name}; {schema.nearest(name, CORRUPTIONS)}")
    if source not in ("files", "generate"):
        raise UserError(f"source must be files or generate, not {source!r}")
    config, path, data, model, ranks = restore(asked)
    if config["dataset"]["name"] != corrupted_set.dataset:
        raise UserError(
            f"{path} was trained on {config['dataset']['name']}, but {corrupted_set.title} is made of "
            f"{corrupted_set.dataset}; choose its own benchmark"
        )
    size = asked["batch_size"] or batch_size(ranks.device)
    if source == "files":
        root = config["dataset"].get("root", "data")
        folder = Path(asked["files"] or Path(root, corrupted_set.folder)).expanduser()
        images = open_files(corrupted_set, folder, data, ranks)
    else:
        images = GeneratedImages(data, corrupted_set.constants, asked["seed"], ranks)
    missing = images.missing(names)
    identity = _identity(asked, config, path) | {"source": images.source, "data_fingerprint": data.fingerprint}
    record_path = path.with_name(f"{path.stem}.{corrupted_set.name}-{source}.json")

    def batches(name, severity):
        return Normalized(images.batches(name, severity, size), data.mean, data.std)

    with claim(record_path) if ranks.is_main else nullcontext():
        ranks.any(False)  # the others read the record when it is ours
        record = CellRecord(record_path, identity)
        clean_batches = data.eval_batches("test", size * ranks.world_size, ranks)
        clean = evaluate(model, clean_batches, ranks, channels_last=config["channels_last"])
        facts = {
            "clean_top1_error": clean["top1_error"],
            "images": clean["images"],
            "world_size": ranks.world_size,
            **environment(ranks.device),
        }
        there = [name for name in names if name not in missing]
        evaluate_cells(
            model, batches, there, clean["images"], ranks, record.errors, lambda: record.save(**facts),
            config["channels_last"],
        )  # fmt: skip
    if ranks.is_main:
        _report(record, corrupted_set, clean["top1_error"], missing)


def _identity(asked, config, path):
    """Return whose errors the record holds."""
    from smoothmix.config.run_directory import config_hash
    from smoothmix.evaluation.robustness import weights_digest

    published = asked["published"] is not None
    digest = weights_digest(path)
    return {
        "benchmark": asked["benchmark"],
        "weights": path.stem,
        "weights_sha256": digest,
        "dataset": config["dataset"]["name"],
        "model": config["model"]["name"],
        "method": config["method"],
        "recipe": "published" if published else config["recipe"]["name"],
        "config_hash": digest[:8] if published else config_hash(config),
        "seed": None if published else config["seed"],
        "epochs": None if published else config["recipe"]["epochs"],
    }


def _report(record, corrupted_set, clean, missing):
    """Print the error of each corruption and severity, and the averages."""
    from smoothmix.evaluation.averages import means, summarize

    print(f"{corrupted_set.title} ({record.identity['source']}), top-1 error in %, severities 1 to 5 and their mean")
    for name, mean in means(record.errors).items():
        cells = " ".join(f"{error:6.2f}" for _, error in sorted(record.errors[name].items()))
        print(f"{name:<18} {cells}  {mean:6.2f}")
    print(f"{'clean':<53} {clean:6.2f}")
    for name, value in summarize(record.errors, clean, with_alexnet=corrupted_set.constants == "imagenet").items():
        print(f"{name:<53} {value:6.2f}")
    for name, reason in missing.items():
        print(f"not evaluated: {name}: {reason}")
    if missing:
        print(f"incomplete: these averages leave out {', '.join(missing)}")
    print(f"record: {record.path}")


if __name__ == "__main__":
    command("eval_corruption", main)
