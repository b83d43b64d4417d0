"""Export a network: a folder with model.safetensors, config.json and the model card, README.md.

python scripts/export.py run=RUN_DIR                      # RUN_DIR/best-export/
python scripts/export.py run=RUN_DIR output=DIR half=true
python scripts/export.py checkpoint=model_best.pth.tar published=cifar100/cutmix dataset.root=/data
"""

import signal
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before any installed package named `models`


def main(composed):
    """Load the weights, evaluate them if no record is there, write the folder, compare the logits of what it holds."""
    import torch

    from scripts.reproduction.arguments import exit_with
    from smoothmix.config.load_run import load_run
    from smoothmix.config.options import ExportOptions, check_options
    from smoothmix.evaluation.clean import CleanRecord
    from smoothmix.pretrained import load_pretrained, save_pretrained
    from smoothmix.reporting.card import card, front_matter, of_weights, usage
    from smoothmix.reporting.frames import read_folders
    from smoothmix.utils.files import make_folder

    options = check_options(composed, ExportOptions)
    run = load_run(replace(options, output=None))  # the records are beside the weights
    folder = Path(options.output or run.output / f"{run.path.stem}-export").expanduser()
    make_folder(folder, "output=")
    path, digest = run.record_path(run.config.dataset.name, "test"), run.identity()["weights_sha256"]
    if not path.exists() or CleanRecord.read(path).weights_sha256 != digest:
        print("evaluating the test images, for the card")
        run.evaluate("test")[0].write(path)
    results = read_folders([run.output])
    found = of_weights(results.records, run.output, results.problems, run.path.stem, digest)
    save_pretrained(run.network, run.description(), folder, options.half)
    model, images = load_pretrained(folder), next(iter(run.eval_batches("test")))[0][:16].cpu()
    with torch.inference_mode():
        difference = (model(images) - run.network.cpu().eval()(images)).abs().max().item()
    print(f"the logits of {len(images)} test images differ by at most {difference:.2g} from those of {run.path}")
    card(found, usage(folder, options.half)).write(folder / "README.md", front_matter(found))
    print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    exit_with(results.problems)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback
    from smoothmix.config.command_line import command

    command("export", main)
