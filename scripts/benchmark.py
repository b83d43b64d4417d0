"""Measure speed: python scripts/benchmark.py corruption --benchmark cifar --output results/benchmarks/NAME.json."""

import argparse
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback

from scripts.benchmarks import corruption, evaluation, hours, input, memory, mixing, ranks, start_up, step, trainer
from smoothmix.utils.command import run
from smoothmix.utils.errors import UserError

ALL = {  # file name: arguments
    "corruption-cifar": "corruption",
    "corruption-imagenet": "corruption --benchmark imagenet",
    "evaluation": "evaluation",
    "mixing": "mixing",
    "start-up": "start-up",
    "trainer": "trainer",
}
STEPS = {
    "cpu": {"step": "step --threads 2"},
    "cuda": {
        f"step-{model}-{batch}": f"step --model {model} --batch {batch} --steps 20"
        for model, batch in (("pyramidnet200", 32), ("pyramidnet200", 64), ("pyramidnet200", 128), ("resnet50", 256))
    },
}


def main() -> None:
    """Parse the command line and run the chosen measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    corruption.add_arguments(commands.add_parser("corruption", help="images corrupted per second"))
    evaluation.add_arguments(commands.add_parser("evaluation", help="images evaluated per second"))
    hours.add_arguments(commands.add_parser("hours", help="GPU-hours of the paper's tables, from records of `step`"))
    input.add_arguments(commands.add_parser("input", help="images that the input pipeline prepares per second"))
    memory.add_arguments(commands.add_parser("memory", help="bytes of a train step, counted without a GPU"))
    mixing.add_arguments(commands.add_parser("mixing", help="milliseconds to mix a batch"))
    ranks.add_arguments(commands.add_parser("ranks", help="overhead of several ranks; start it with torchrun"))
    start_up.add_arguments(commands.add_parser("start-up", help="start-up time of the commands"))
    step.add_arguments(commands.add_parser("step", help="milliseconds per train step, compared with a plain one"))
    trainer.add_arguments(commands.add_parser("trainer", help="overhead of the trainer per step; growth of memory"))
    everything = commands.add_parser("all", help="all that need neither images nor torchrun")
    everything.add_argument("--folder", type=Path, required=True, help="where the records go, as NAME-cpu.json")
    everything.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    everything.set_defaults(run=run_all)
    args = parser.parse_args()
    args.run(args)


def run_all(args: argparse.Namespace) -> None:
    """Run each of `ALL` and `STEPS` in a process of its own; raise UserError at the end if some failed."""
    measurements, failed = ALL | STEPS[args.device], []
    for name, arguments in measurements.items():
        output = args.folder / f"{name}-{'gpu' if args.device == 'cuda' else 'cpu'}.json"
        command = [sys.executable, __file__, *arguments.split(), "--device", args.device, "--output", str(output)]
        if subprocess.run(command).returncode:
            failed.append(arguments)
    if failed:
        raise UserError(f"{len(failed)} of {len(measurements)} measurements failed: {', '.join(failed)}; see above")


if __name__ == "__main__":
    run(main)
