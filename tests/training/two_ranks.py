"""Run by torchrun: `two_ranks.py steps|forms|manifold|evaluate OUT [EPOCHS [AUGMENT [DEVICE]]]`."""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from datasets.in_memory import InMemoryData
from smoothmix import Identity, ManifoldMixup
from smoothmix.evaluation.classification import evaluate
from smoothmix.training.recipe import Recipe, Settings
from smoothmix.training.trainer import Trainer
from smoothmix.utils.distributed import destroy_process_group, init_distributed
from tests.training import uncaptured


def data(augment="none"):
    rng = np.random.default_rng(0)
    parts = [(rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8), rng.integers(0, 7, n)) for n in (62, 23)]
    return InMemoryData(*parts, list("abcdefg"), (0.5,) * 3, (0.25,) * 3, padding=1, augment=augment, workers=1)


def network(norm):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6) if norm else nn.Identity(), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(216, 7))


def main(what, out, epochs=2, augment="none", device="cpu"):
    ranks = init_distributed(device)
    if what == "steps":
        recipe = Recipe(name="test", epochs=int(epochs), batch_size=12, lr=0.1)
        directory = Path(out)
        directory.mkdir(exist_ok=True)
        strategy = Identity(num_classes=7)
        trainer = Trainer(
            network(norm=False), strategy, data(augment), recipe, Settings(), directory, ranks, torch.Generator(), {}
        )
        trainer.fit()
    elif what == "forms":
        recipe = Recipe(name="test", epochs=2, batch_size=12, lr=0.1)
        states = {}
        for step in ("eager", "graph"):
            if device == "cpu":
                uncaptured.use(step)
            for precision in ("fp32", "bf16"):
                model, strategy = network(norm=True), Identity(num_classes=7)
                with torch.no_grad():
                    model[0].weight += ranks.rank  # those of rank 0 are taken
                directory = Path(out) / step / precision
                directory.mkdir(parents=True, exist_ok=True)
                settings = Settings(precision=precision, deterministic=True, step="auto" if device == "cpu" else step)
                generator = torch.Generator(ranks.device)
                Trainer(model, strategy, data(), recipe, settings, directory, ranks, generator, {}).fit()
                states[step, precision] = ranks.gather(model.cpu().state_dict())
        if ranks.is_main:
            torch.save(states, Path(out) / "states.pt")
    elif what == "manifold":
        recipe = Recipe(name="test", epochs=2, batch_size=12, lr=0.1)
        directory = Path(out)
        directory.mkdir(exist_ok=True)
        model, generator, layers = network(norm=False), torch.Generator(), []
        strategy = ManifoldMixup(num_classes=7, stages=["0", "1", "2"], generator=generator)
        strategy.attach(model)
        draw = strategy.draw_layer
        strategy.draw_layer = lambda: layers.append(draw()) or layers[-1]
        Trainer(model, strategy, data(), recipe, Settings(), directory, ranks, generator, {}).fit()
        weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
        gathered = ranks.gather({"weights": weights, "layers": layers})
        if ranks.is_main:
            torch.save(gathered, directory / "gathered.pt")
    else:
        # every rank has other BatchNorm statistics until rank 0's are copied
        model = network(norm=True)
        model[1].running_mean += ranks.rank
        ranks.copy_from_main(model.buffers())
        calls = []
        batches = data().eval_batches("test", 4 * ranks.world_size, ranks)
        result = evaluate(model, batches, ranks, after_batch=lambda: calls.append(1))
        assert len(set(ranks.gather(len(calls)))) == 1
        if ranks.is_main:
            torch.save(result, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
    destroy_process_group()
