"""Measure the effect of boxes over test images: python scripts/occlusion.py RUN_DIR... [--images 1000] [--seed 0].

Every network sees the same images and boxes. Measures the probability of the true class and the share of its class
activation map inside the box, clean and occluded. Writes occlusion.json, .md, .svg and .png.
"""

import argparse
import json
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before any installed package named `datasets`
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback

from datasets.augment import normalize
from smoothmix.config.load_run import load_run
from smoothmix.config.options import LoadOptions
from smoothmix.evaluation import occlusion
from smoothmix.reporting import occlusion as report
from smoothmix.reporting.figures import save
from smoothmix.utils.command import run
from smoothmix.utils.environment import environment
from smoothmix.utils.errors import UserError
from smoothmix.utils.files import make_folder, write_text

RUN_KEYS = ("dataset", "model", "recipe")


def measure(args: argparse.Namespace) -> dict:
    """Return the record: what was measured and how, and an entry for each network."""
    models, record = [], {}
    for directory in args.runs:
        loaded = load_run(LoadOptions(run=str(directory)))
        config, data = loaded.config, loaded.data
        images, labels, corners, side = occlusion.sample(data, args.images, args.seed)
        of_data = {"dataset": config.dataset.name, "data_fingerprint": data.fingerprint}
        if record and any(record[key] != value for key, value in of_data.items()):
            raise UserError(f"{directory} was trained on other data than {args.runs[0]}; give runs on one data set")
        facts = {"images": len(images), "seed": args.seed, "image_size": data.image_size, "box_side": side}
        record = environment(loaded.ranks.device) | record | of_data | facts
        found = occlusion.measure(
            loaded.model,
            *(tensor.to(loaded.ranks.device) for tensor in (images, labels, corners)),
            side,
            lambda batch, data=data: normalize(batch, data.mean, data.std),
            args.batch_size,
        )
        names = {key: getattr(config, key).name for key in RUN_KEYS}
        facts = {"method": config.method, "epochs": config.recipe.epochs, "seed": config.seed}
        models.append({"weights": str(loaded.path), **names, **facts, "results": occlusion.summarize(found)})
    return record | {"models": models}


def main() -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIR", help="run directories with best.pt")
    parser.add_argument("--images", type=int, default=1000, help="test images, drawn by the seed (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the images and the boxes (default: 0)")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--output", type=Path, default=Path("outputs/occlusion"))
    args = parser.parse_args()
    if args.batch_size < 1:
        raise UserError(f"--batch-size must be at least 1, not {args.batch_size}")
    if args.images < 2:
        raise UserError(f"--images must be at least 2 for a standard error, not {args.images}")
    record = measure(args)
    make_folder(args.output, "--output")
    write_text(args.output / "occlusion.json", json.dumps(record, indent=2) + "\n")
    write_text(args.output / "occlusion.md", report.to_markdown(record) + "\n")
    save(report.changes(record), args.output / "occlusion")
    print(report.to_markdown(record))


if __name__ == "__main__":
    run(main)
