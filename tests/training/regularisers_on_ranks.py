"""Run by torchrun in test_progress.py: `regularisers_on_ranks.py OUT` trains each regulariser for two epochs."""

import sys
from pathlib import Path

import numpy as np
import torch

from datasets.in_memory import InMemoryData
from models import PyramidNet
from smoothmix import Identity
from smoothmix.training.recipe import Recipe, Settings
from smoothmix.training.trainer import Trainer
from smoothmix.utils.distributed import destroy_process_group, init_distributed

REGULARISERS = {
    "stochastic depth": {"drop_path_rate": 0.5},
    "DropBlock": {"drop_block_keep": [1.0, 0.6, 0.6], "drop_block_size": 2, "drop_block_schedule": "linear"},
    "ShakeDrop": {"shake_drop": 0.5},
}


def main(out):
    ranks = init_distributed("cpu")
    rng = np.random.default_rng(0)
    splits = [(rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8), rng.integers(0, 4, n)) for n in (32, 8)]
    data = InMemoryData(*splits, list("abcd"), (0.5,) * 3, (0.25,) * 3, padding=1)
    recipe = Recipe(name="test", epochs=2, batch_size=16, lr=0.05)
    results = {}
    for name, options in REGULARISERS.items():
        torch.manual_seed(0)
        model = PyramidNet(8, alpha=6, num_classes=4, bottleneck=False, **options)
        kept = []  # what is left of a branch of ones, in the steps of the second epoch
        layer = model.layer3[0].regulariser
        layer.register_forward_pre_hook(lambda _, inputs: (inputs[0] * 0 + 1,))
        layer.register_forward_hook(lambda module, _, out, kept=kept: kept.append(out) if module.training else None)
        directory = Path(out) / name
        directory.mkdir(parents=True, exist_ok=True)
        strategy = Identity(num_classes=4)
        Trainer(model, strategy, data, recipe, Settings(), directory, ranks, torch.Generator(), {}).fit()
        weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
        results[name] = {"kept": ranks.gather(torch.stack(kept[2:]).detach()), "weights": ranks.gather(weights)}
    if ranks.is_main:
        torch.save(results, Path(out) / "results.pt")
    destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
