"""Run by torchrun: `two_ranks.py steps|manifold|regularisers|evaluate OUT [EPOCHS [AUGMENT]]`."""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from datasets.in_memory import InMemoryData
from models import PyramidNet
from smoothmix import Identity, ManifoldMixup
from smoothmix.evaluation import classification
from smoothmix.training.recipe import Recipe, Settings
from smoothmix.training.trainer import Trainer
from smoothmix.utils.distributed import init_distributed

REGULARISERS = {
    "stochastic depth": {"drop_path_rate": 0.5},
    "DropBlock": {"drop_block_keep": [1.0, 0.6, 0.6], "drop_block_size": 2, "drop_block_schedule": "linear"},
    "ShakeDrop": {"shake_drop": 0.5},
}


def data(augment="none"):
    rng = np.random.default_rng(0)
    parts = [(rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8), rng.integers(0, 7, n)) for n in (62, 23)]
    return InMemoryData(*parts, list("abcdefg"), (0.5,) * 3, (0.25,) * 3, padding=1, augment=augment, workers=1)


def network(norm):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6) if norm else nn.Identity(), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(216, 7))


def train(ranks, model, directory, mixing=None, images=None, epochs=2, generator=None):
    """Train in batches of twelve images; return the weights of the end."""
    directory.mkdir(parents=True, exist_ok=True)
    recipe = Recipe(name="test", epochs=epochs, batch_size=12, lr=0.1)
    mixing, generator = mixing or Identity(num_classes=7), generator or torch.Generator(ranks.device)
    Trainer(model, mixing, images or data(), recipe, Settings(), directory, ranks, generator, {}).fit()
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def manifold(ranks, out):
    """Return the weights and the drawn layers of all ranks."""
    model, layers, generator = network(norm=False), [], torch.Generator()
    strategy = ManifoldMixup(num_classes=7, stages=["0", "1", "2"], generator=generator)
    strategy.attach(model)
    draw = strategy.draw_layer
    strategy.draw_layer = lambda: layers.append(draw()) or layers[-1]
    return ranks.gather({"weights": train(ranks, model, out, strategy, generator=generator), "layers": layers})


def regularisers(ranks, out):
    """Return the weights of all ranks, and what was left of a branch of ones in the steps of the second epoch."""
    results = {}
    for name, options in REGULARISERS.items():
        torch.manual_seed(0)
        model, kept = PyramidNet(8, alpha=6, num_classes=7, bottleneck=False, **options), []
        layer = model.layer3[0].regulariser
        layer.register_forward_pre_hook(lambda _, inputs: (inputs[0] * 0 + 1,))
        layer.register_forward_hook(
            lambda module, _, out, kept=kept: kept.append(out.detach()) if module.training and len(out) == 6 else None
        )
        weights = ranks.gather(train(ranks, model, out / name))
        results[name] = {"kept": ranks.gather(torch.stack(kept[5:])), "weights": weights}
    return results


def errors(ranks):
    """Return errors and predictions; every rank has other BatchNorm statistics until rank 0's are copied."""
    model, calls = network(norm=True), []
    model[1].running_mean += ranks.rank
    ranks.copy_from_main(model.buffers())
    batches = data().eval_batches("test", 4 * ranks.world_size, ranks)
    predictions = classification.predict(model, batches, ranks, after_batch=lambda: calls.append(1))
    assert len(set(ranks.gather(len(calls)))) == 1
    return classification.errors(predictions), predictions._asdict()


def main(what, out, epochs=2, augment="none"):
    ranks, out = init_distributed("cpu"), Path(out)
    if what == "steps":
        train(ranks, network(norm=False), out, images=data(augment), epochs=int(epochs))
        return
    results = {
        "manifold": lambda: manifold(ranks, out),
        "regularisers": lambda: regularisers(ranks, out),
        "evaluate": lambda: errors(ranks),
    }[what]()
    if ranks.is_main:
        torch.save(results, out.with_suffix(".pt"))


if __name__ == "__main__":
    main(*sys.argv[1:])
