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

MEASUREMENTS = {
    module.__name__.rpartition(".")[2].replace("_", "-"): module
    for module in (corruption, evaluation, hours, input, memory, mixing, ranks, start_up, step, trainer)
}
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
        f"step-{model}-{batch}": f"step --model {model} --batch {batch} --steps 20" for model, batch in memory.CASES
    },
}


def main() -> None:
    """Parse the command line and run the chosen measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    for name, module in MEASUREMENTS.items():
        module.add_arguments(commands.add_parser(name, help=module.__doc__.splitlines()[0], description=module.__doc__))
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
