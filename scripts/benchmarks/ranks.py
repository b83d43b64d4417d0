"""What several ranks cost: torchrun --nproc_per_node=2 scripts/benchmark.py ranks --output FILE."""

import argparse
import statistics
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist

from scripts.benchmarks.timing import add_common_arguments, in_turn, page, table
from scripts.benchmarks.trainers import MODELS, step_of, trainer_of
from smoothmix.training.cuda_graph import WARM_UP
from smoothmix.utils.command import StopSignal
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.errors import UserError

ALONE, TOGETHER, COLLECTIVE, FLAG = "a rank's step by itself", "the step of the run", "its all-reduce", "its signal"
FORMS = {"eager": "", "graph": ", as a graph"}  # what each adds to the names of the first two


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    parser.add_argument("--model", choices=MODELS, default="pyramidnet20")
    parser.add_argument("--batch", type=int, default=16, help="of each rank")
    add_common_arguments(parser, measure, to_markdown, ("batch",), repeats=25)


def measure(args: argparse.Namespace, ranks: Ranks) -> dict:
    """Return the record of these options.

    Raises:
        UserError: it was not started with torchrun and at least two processes.
    """
    if ranks.world_size == 1:
        raise UserError("one rank trains without DistributedDataParallel; start torchrun --nproc_per_node=2 or more")
    with tempfile.TemporaryDirectory() as folder:
        peers = {}
        for step in FORMS if ranks.device.type == "cuda" else ("eager",):
            for name, of in ((ALONE, Ranks(ranks.device)), (TOGETHER, ranks)):
                batch = args.batch * of.world_size
                trainer = trainer_of(args.model, batch, 4 * batch, of, Path(folder), step=step)
                trainer.network = trainer._wrapped()
                peers[name + FORMS[step]] = step_of(trainer, StopSignal(of).requested)
        gradients = torch.zeros(sum(w.numel() for w in trainer.model.parameters()), device=ranks.device)
        peers |= {COLLECTIVE: lambda: dist.all_reduce(gradients), FLAG: StopSignal(ranks).requested}
        times = in_turn(peers, args.repeats, ranks, warm_up=WARM_UP + 2, scale=1000)
    return {
        "model": args.model,
        "batch": args.batch,
        "ranks": ranks.world_size,
        "parameters": gradients.numel(),
        "ms": times,
    }


def to_markdown(record: dict) -> str:
    """Return a record as a table, and what is left of the difference without the collective, in each form."""
    median = {name: statistics.median(taken) for name, taken in record["ms"].items()}
    costs = []
    for form in FORMS.values():
        if TOGETHER + form in median:
            rest = median[TOGETHER + form] - median[ALONE + form] - median[COLLECTIVE]
            share = 100 * rest / median[ALONE + form]
            costs.append(
                f"Beyond the collective a step of the run{form} costs {rest:.2f} ms, {share:.1f} % of a rank's step by "
                "itself."
            )
    note = (
        f"Medians of {len(record['ms'][ALONE])} rounds after a warm-up, in turn, on all ranks at once. "
        f"The collective alone sums {record['parameters']:,} float32 gradients."
    )
    return page(
        record,
        f"{record['model']} on {record['ranks']} ranks, batch {record['batch']} each",
        note,
        table("", record["ms"], "ms", 3, {}),
        " ".join(costs) + " With one rank there is no DistributedDataParallel and no collective.",
        launcher=f"torchrun --nproc_per_node={record['ranks']}",
    )
