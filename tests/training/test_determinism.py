"""The same seed gives the same bits in every process; no two streams of random numbers are the same."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from datasets import class_folders
from datasets.augment import draw_crop_flip
from datasets.sampling import epoch_order
from smoothmix import SmoothMixC
from smoothmix.config import build, schema
from smoothmix.config.command_line import compose
from smoothmix.training.recipe import Recipe, Settings
from smoothmix.training.trainer import Trainer
from smoothmix.utils.distributed import Ranks
from smoothmix.utils.numerics import derive_seed
from tests.batches import epoch_of
from tests.training.runs import state_of

ROOT = Path(__file__).parents[2]
SMALL = ["recipe.epochs=2", "recipe.decay_epochs=[]", "recipe.batch_size=8", "dataset.val_split=1410", "device=cpu"]


def start(output, hash_seed):
    """Start to train 27 digits in a fresh process."""
    environment = os.environ | {"PYTHONHASHSEED": str(hash_seed), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "train.py"), *SMALL, "seed=3", f"output={output}"]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)


def test_two_fresh_processes_end_with_the_same_bits(tmp_path):
    processes = [start(tmp_path / str(hash_seed), hash_seed) for hash_seed in (1, 2)]
    assert [process.wait(120) for process in processes] == [0, 0]
    (one, history), (other, other_history) = state_of(tmp_path / "1"), state_of(tmp_path / "2")
    assert len(one) == len(other) > 20
    assert all(map(torch.equal, one, other))
    assert history == other_history


def all_differ(numbers):
    assert len(numbers) > 5
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(numbers, 2))


def test_seeds_epochs_and_ranks_mix_with_numbers_of_their_own(tmp_path, tiny_data, tiny_model):
    """The mixing and the layers (dropout): 3 seeds, 4 epochs, 3 ranks, each drawn twice."""
    mixing, layers = [], []
    for seed, rank in itertools.product(range(3), range(3)):
        generator = torch.Generator()
        trainer = Trainer(
            tiny_model(), SmoothMixC(num_classes=4, generator=generator), tiny_data(),
            Recipe(name="test", epochs=4, batch_size=9, lr=0.05), Settings(seed=seed), tmp_path,
            Ranks(torch.device("cpu"), rank, 3), generator, {},
        )  # fmt: skip
        for trainer.state.epoch in range(4):
            with torch.random.fork_rng():
                drawn = []
                for _ in range(2):
                    trainer.state.seed_streams(seed)
                    drawn.append((torch.rand(4, generator=generator), torch.rand(4)))
                assert all(map(torch.equal, *drawn))
                mixing.append(drawn[0][0])
                layers.append(drawn[0][1])
    all_differ(mixing + layers)


def test_seeds_begin_order_and_augment_differently():
    configs = [schema.check(compose("train", [f"seed={seed}"])) for seed in range(6)]
    all_differ([next(build.model(config, 10, 32).parameters()).detach() for config in configs])
    places = list(itertools.product(range(3), range(3)))
    all_differ([torch.tensor(epoch_order(50, *place)) for place in places])
    generators = [torch.Generator().manual_seed(derive_seed(seed, "augment", epoch)) for seed, epoch in places]
    all_differ([draw_crop_flip(50, 4, True, generator)[0] for generator in generators])


@pytest.mark.parametrize("augment", ["none", "augmix"])
def test_no_draw_of_an_image_is_another_s(tmp_path, augment):
    """Sixteen copies of one image, two epochs, two seeds, two ranks with two workers each: 64 different crops."""
    picture = torch.randint(0, 256, (40, 50, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for split, count in (("train", 16), ("val", 1)):
        (tmp_path / split / "a").mkdir(parents=True)
        for i in range(count):
            Image.fromarray(picture.numpy()).save(tmp_path / split / "a" / f"{i}.png")
    data = class_folders(tmp_path, image_size=8, resize=10, workers=2, augment=augment)
    seen = []
    for seed, rank in itertools.product(range(2), range(2)):
        batches = data.train_batches(8, seed, Ranks(rank=rank, world_size=2))
        for epoch in range(2):
            seen += [image for images, _ in epoch_of(batches, epoch) for image in images]
    assert len(seen) == 64 * data.views
    all_differ(seen)
