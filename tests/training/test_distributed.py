import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


STEPS = Path(__file__).with_name("two_ranks.py")


def torchrun(ranks, *arguments, script=STEPS):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
    command = [*launcher, str(script), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("augment", ["none", "augmix"])
def test_two_ranks_take_the_steps_of_one_process(tmp_path, augment):
    """Weights and loss after two epochs, the last batch of each being partial; the network has no BatchNorm."""
    states = []
    for ranks in (1, 2):
        done = torchrun(ranks, "steps", tmp_path / str(ranks), augment)
        assert done.returncode == 0, done.stderr
        states.append(torch.load(tmp_path / str(ranks) / "last.pt", weights_only=True))
    one, two = states
    assert (one["world_size"], two["world_size"]) == (1, 2)
    for name, tensor in one["model"].items():
        torch.testing.assert_close(two["model"][name], tensor, rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(one["history"], two["history"], strict=True):
        assert theirs["train_loss"] == pytest.approx(ours["train_loss"], rel=1e-5)
        assert theirs["test_top1_error"] == ours["test_top1_error"]


def test_one_two_and_three_ranks_count_the_same_errors(tmp_path):
    results = []
    for ranks in (1, 2, 3):  # none but 1 divides 23 images
        out = tmp_path / f"{ranks}.pt"
        done = torchrun(ranks, "evaluate", out)
        assert done.returncode == 0, done.stderr
        results.append(torch.load(out, weights_only=True))
    one, two, three = results
    assert one["images"] == 23
    assert 0 < one["top5_error"] < one["top1_error"] < 100
    for other in (two, three):
        assert other == pytest.approx(one, rel=1e-6)
        assert (other["images"], other["top1_error"], other["top5_error"]) == tuple(
            one[name] for name in ("images", "top1_error", "top5_error")
        )


def test_a_sweep_on_two_ranks_and_its_evaluation_on_one_and_two(tmp_path):
    """Through the real commands."""
    options = ["mixing=identity,cutmix", "recipe.epochs=1", "recipe.batch_size=256", f"output={tmp_path}"]
    done = torchrun(2, "-m", *options, script=ROOT / "train.py")
    assert done.returncode == 0, done.stderr
    records = sorted(tmp_path.rglob("summary.json"))
    assert len(records) == 2

    refused = torchrun(2, *options[1:2], "recipe.batch_size=255", options[3], script=ROOT / "train.py")
    assert refused.returncode != 0
    assert "recipe.batch_size=255 cannot be shared evenly by 2 ranks" in refused.stderr
    assert "Traceback" not in refused.stderr.split("elastic")[0]

    printed = []
    for ranks in (1, 2):
        done = torchrun(ranks, f"run={records[0].parent}", script=ROOT / "eval.py")
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.partition(", loss")[0])
    assert printed[0] == printed[1]
    assert "360 images" in done.stdout
