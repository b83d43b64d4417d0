"""A train step in each FORM beside the step of the CutMix authors' code: float32, NCHW, torch's defaults, no graph.

A form joins a precision (fp32, tf32, bf16, fp16, auto) and, by commas, nchw or channels_last, eager or graph, untuned
(without cuDNN's search for the fastest kernels). Under torchrun: the step of all ranks beside a rank's step by itself.
"""

import argparse
import gc
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from types import MethodType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datasets.in_memory import InMemoryData
from models import PyramidNet, timm_model
from models.pyramidnet import PyramidBlock
from scripts.benchmarks.timing import Pair, compare
from smoothmix import SmoothMixC
from smoothmix.training.cuda_graph import WARM_UP
from smoothmix.training.recipe import Recipe, Settings
from smoothmix.training.trainer import Trainer
from smoothmix.utils.command import StopSignal
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.errors import UserError
from smoothmix.utils.numerics import full_precision, numerics, untuned

WORDS = {
    **{name: {"precision": name} for name in ("auto", "fp32", "tf32", "bf16", "fp16")},
    "nchw": {"channels_last": False},
    "channels_last": {"channels_last": True},
    "eager": {"step": "eager"},
    "graph": {"step": "graph"},
    "untuned": {},
}
# torch's defaults: on a GPU that has TF32 convolutions are in TF32, products of matrices are not
AUTHORS = {"cpu": "CutMix authors' step", "cuda": "CutMix authors' step, TF32 convolutions"}


class Model(NamedTuple):
    """A network, the side of its images in pixels, and the number of its classes."""

    side: int
    classes: int
    build: Callable[[], nn.Module]


MODELS = {
    "pyramidnet200": Model(32, 100, lambda: PyramidNet(200, 240, 100)),
    "pyramidnet20": Model(32, 100, lambda: PyramidNet(20, 24, 100, bottleneck=False)),
    "pyramidnet8": Model(32, 100, lambda: PyramidNet(8, 24, 100, bottleneck=False)),
    "resnet50": Model(224, 1000, lambda: timm_model("resnet50", 1000, zero_init_last=False)),
    "no network": Model(32, 100, lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 100))),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this measurement."""
    parser.add_argument("forms", nargs="*", metavar="FORM", help="default: fp32 and bf16; on a GPU auto")
    parser.add_argument("--model", choices=MODELS, default="pyramidnet200")
    parser.add_argument("--batch", type=int, default=16, help="of each rank")
    parser.add_argument("--profile", type=Path, help="write torch.profiler's table of the last form's operations here")
    parser.set_defaults(measure=measure)


def measure(args: argparse.Namespace, ranks: Ranks) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the rows of all forms, then profile the last one.

    Raises:
        UserError: a form that is none, or that the device does not have.
    """
    on_gpu, title = ranks.device.type == "cuda", f"step, {args.model}, batch {args.batch}"
    forms = {form: settings_of(form) for form in args.forms or (["auto"] if on_gpu else ["fp32", "bf16"])}
    many = f" on {ranks.world_size} ranks" if ranks.world_size > 1 else ""
    with tempfile.TemporaryDirectory() as folder, numerics(deterministic=False), full_precision():
        rows = []
        for form, settings in forms.items():
            gc.collect()  # the trainers before the last ones, with their graphs
            trainer = trainer_of(args.model, args.batch, ranks, folder, **settings)
            ours = step_of(trainer, tuned="untuned" not in form.split(","))
            if many:
                theirs = step_of(trainer_of(args.model, args.batch, Ranks(ranks.device), folder, **settings))
            else:
                theirs = authors_step(trainer_of(args.model, args.batch, ranks, folder, precision="fp32", step="eager"))
            pair = Pair(f"{title}{many}, {form}", "a rank alone" if many else AUTHORS[ranks.device.type], ours, theirs)
            # at first kernels are chosen and graphs captured
            rows.append(compare(pair, ranks, args.repeats, 1.0 if on_gpu else 0.02, WARM_UP + 2 if on_gpu else 1))
        yield title + many, rows
        if args.profile is not None and ranks.is_main:
            args.profile.write_text(profile(ours, ranks), encoding="utf-8")


def settings_of(form: str) -> dict[str, Any]:
    """Return the settings of the trainer that a form means."""
    found: dict[str, Any] = {}
    for word in form.split(","):
        if word not in WORDS:
            raise UserError(f"{word} of the form {form} is none of {', '.join(WORDS)}")
        found |= WORDS[word]
    return found


def trainer_of(model: str, batch: int, ranks: Ranks, directory: str, **settings: Any) -> Trainer:
    """Return a trainer of SmoothMix_C on random images, always initialised alike; `batch` is each rank's."""
    side, classes, build = MODELS[model]
    torch.manual_seed(0)
    generator = torch.Generator(ranks.device)
    recipe = Recipe(name="benchmark", epochs=1, batch_size=batch * ranks.world_size, lr=0.01)
    strategy, data = SmoothMixC(num_classes=classes, generator=generator), made_up(4 * recipe.batch_size, side, classes)
    trainer = Trainer(build(), strategy, data, recipe, Settings(**settings), Path(directory), ranks, generator, {})
    trainer.network = trainer._wrapped().train()
    trainer.state.seed_streams(trainer.settings.seed)
    return trainer


def made_up(images: int, side: int, classes: int) -> InMemoryData:
    """Return random images in the place of a data set: so many to train on, and 50 to test on."""
    draw = np.random.default_rng(0)
    parts = [
        (draw.integers(0, 256, (n, side, side, 3), dtype=np.uint8), draw.integers(0, classes, n)) for n in (images, 50)
    ]
    return InMemoryData(*parts, [str(label) for label in range(classes)], (0.5,) * 3, (0.25,) * 3)


def step_of(trainer: Trainer, tuned: bool = True) -> Callable[[], None]:
    """Return a function that does the trainer's next step, crops, flips and the look at signals included."""
    batches, stop = cycle(list(trainer.batches.inputs(0))), StopSignal(trainer.ranks)

    def step() -> None:
        with full_precision(trainer.execution.precision == "tf32"), untuned(not tuned):
            trainer.launch(trainer.train_step, None, *next(batches))
            stop.requested()

    return step


def authors_step(trainer: Trainer) -> Callable[[], None]:
    """Return the same step as the CutMix authors write it, with torch's defaults: nothing in place, no graph."""
    model, mixing = trainer.model, trainer.mixing
    for block in model.modules():
        if isinstance(block, PyramidBlock):
            block.forward = MethodType(_padded, block)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)
    batches = cycle(list(trainer.batches.inputs(0)))

    def step() -> None:
        with full_precision():
            torch.backends.cudnn.allow_tf32 = True  # until the end of the block
            images, labels = trainer.batches.prepare(*next(batches))
            images, targets = mixing(images.contiguous(), labels)
            loss = F.cross_entropy(model(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return step


def _padded(block: PyramidBlock, x: Tensor) -> Tensor:
    shortcut, residual = block.pool(x), block.regulariser(block.residual(x))
    return F.pad(shortcut, (0, 0, 0, 0, 0, residual.shape[1] - shortcut.shape[1])) + residual


def profile(step: Callable[[], None], ranks: Ranks, steps: int = 10) -> str:
    """Return torch.profiler's table of so many steps: the operations and kernels that take the most time."""
    with torch.profiler.profile() as profiler:
        for _ in range(steps):
            step()
        ranks.synchronize()
    order = f"self_{'device' if ranks.device.type == 'cuda' else 'cpu'}_time_total"
    return profiler.key_averages().table(sort_by=order, row_limit=20, max_name_column_width=90)
