"""Runs of one seed are pairs: their methods differ, and nothing else does."""

import pytest
import torch

from datasets.in_memory import InMemoryData
from smoothmix.config import build
from smoothmix.config.command_line import compose
from smoothmix.config.schema import check

ROWS = ["cutmix", "cutout", "mixup", "manifold_mixup", "smoothmix_c", "smoothmix_s", "label_smoothing", "sigma_8"]


def start(row, seed):
    """What a run begins with: its weights, and the first two epochs' images, crops and flips."""
    config = check(compose("train", [f"experiment=cifar100/{row}", f"seed={seed}", "model.depth=20", "model.alpha=8"]))
    torch.manual_seed(hash(row))  # what ran before in the process
    model = build.model(config, 100, 32)
    images = torch.randint(0, 256, (70, 32, 32, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    split = images, torch.arange(70) % 100
    options = {key: config.dataset.options[key] for key in ("augment", "workers", "val_split", "per_class")}
    data = InMemoryData(split, split, [str(i) for i in range(100)], (0.5,) * 3, (0.25,) * 3, **options)
    batches = data.train_batches(config.recipe.batch_size, config.seed)
    inputs = [tensor for epoch in range(2) for step in batches.inputs(epoch) for tensor in step]
    mixing = build.mixing(config, 100, torch.Generator(), model)
    assert callable(mixing)
    return [*model.state_dict().values(), *inputs]


@pytest.mark.parametrize("row", ROWS)
def test_every_method_of_a_seed_begins_with_the_same_weights_order_crops_and_flips(row):
    baseline, other, next_seed = start("baseline", 3), start(row, 3), start(row, 4)
    assert len(baseline) == len(other)
    assert all(torch.equal(a, b) for a, b in zip(baseline, other, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(other, next_seed, strict=True))
