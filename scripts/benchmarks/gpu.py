"""All that only a GPU can show, the most valuable first, in calls of a few minutes, into the FOLDER.

A part that has ended, well or not, is not repeated (status.json names it, its output is in PART.log); one that the time
limit cuts is, and a training resumes. The data set of the trainings is CIFAR-100 in data/, or what the overrides say.
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from smoothmix.utils.distributed import init_distributed
from smoothmix.utils.environment import ROOT
from smoothmix.utils.files import write_text

SECONDS_TO_SAVE = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("data", nargs="*", metavar="KEY=VALUE", default=["dataset=cifar100"], help="of the trainings")
    parser.add_argument("--minutes", type=float, default=9, help="when to stop, at most (default: 9)")
    parser.set_defaults(run=run)


def parts(folder: Path, data: list[str]) -> dict[str, list[str]]:
    """Return the command of each part, in the order of their value."""
    step = [sys.executable, "scripts/benchmark.py", "step", "--device=cuda", f"--output={folder}/gpu.json"]
    train = [sys.executable, "train.py", *data, "mixing=smoothmix_c", f"output={folder}/runs"]
    # 60 seconds are enough to start and to train, not to finish
    long = shlex.join([*train, "model=pyramidnet200", "recipe=cifar_cutmix", "recipe.epochs=6"])
    pyramidnet200, many = ["--model=pyramidnet200", "--batch=64"], []
    if torch.cuda.device_count() > 1:
        many = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *step[1:]]
    forms = ["tf32,nchw,eager", "bf16,nchw,graph", "bf16,channels_last,eager", "fp16,channels_last,graph"]
    forms += ["bf16,channels_last,graph,untuned", "bf16,channels_last,graph"]
    peers = [sys.executable, "scripts/benchmark.py", "peers", "--device=cuda", f"--output={folder}/gpu.json"]
    return {
        "tests": [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "--continue-on-collection-errors"],
        "step of PyramidNet-200": [*step, *pyramidnet200, "auto"],
        "step of ResNet-50": [*step, "--model=resnet50", "--batch=256", "auto"],
        "SIGTERM and resume": ["sh", "-c", f"timeout --foreground -s TERM 60 {long}; test $? = 124 && {long}"],
        "forms of the step": [*step, *pyramidnet200, *forms, f"--profile={folder}/kernels.txt"],
        # test errors of three seeds, for the reader to compare
        "precision": [*train, "-m", "model=pyramidnet110", "recipe=short_cifar", "precision=fp32,auto", "seed=0,1,2"],
        "evaluation": [*peers, "evaluation"],
        "mixing": [*peers, "mixing"],
        **({"two ranks": [*many, "--model=pyramidnet200", "--batch=32", "auto"]} if many else {}),
    }


def run(args: argparse.Namespace) -> int:
    """Do what is left in the time that there is; return the number of parts that failed or are left.

    Raises:
        UserError: there is no GPU.
    """
    init_distributed("cuda")  # says why, where there is none
    folder, deadline = args.folder.absolute(), time.monotonic() + 60 * args.minutes
    folder.mkdir(parents=True, exist_ok=True)
    status_file = folder / "status.json"
    status = json.loads(status_file.read_text(encoding="utf-8")) if status_file.exists() else {}
    commands = parts(folder, args.data)
    for name in [name for name in commands if name not in status]:
        print(f"{name}: {shlex.join(commands[name])}", flush=True)
        if (code := in_time(commands[name], folder / f"{name}.log", deadline - time.monotonic())) is None:
            print(f"{name}: stopped by --minutes={args.minutes:g}; run the same command again")
            break
        status[name] = code
        write_text(status_file, json.dumps(status, indent=1))
    failed = [name for name, code in status.items() if code]
    print(f"ended: {len(status)} of {len(commands)}; failed, see their logs: {', '.join(failed) or 'none'}")
    return len(failed) + len(commands) - len(status)


def in_time(command: list[str], log: Path, seconds: float) -> int | None:
    """Run `command` in the repository's root and return its exit status, or None if the time was too short for it."""
    if seconds <= SECONDS_TO_SAVE:
        return None
    with log.open("a", encoding="utf-8") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True)
        try:
            return process.wait(seconds - SECONDS_TO_SAVE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(SECONDS_TO_SAVE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return None
