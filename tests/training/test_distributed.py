import json
import signal
from pathlib import Path

import pytest
import torch

from tests.commands import ROOT, Command, ranks
from tests.mistakes import one_line

QUICK = ["recipe.decay_epochs=[]", "recipe.epochs=1", "model.alpha=3"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
STEPS = Path(__file__).with_name("two_ranks.py")


def on_ranks(count, *arguments, script=STEPS):
    """Run a script on some ranks, which must succeed; return what they printed."""
    done = ranks(count, script, *arguments, PYTHONPATH=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("augment", ["none", pytest.param("augmix", marks=pytest.mark.slow)])
def test_two_ranks_take_the_steps_of_one_process(tmp_path, augment):
    """Weights and loss after two epochs, the last batch of each being partial; the network has no BatchNorm."""
    states = []
    for count in (1, 2):
        on_ranks(count, "steps", tmp_path / str(count), 2, augment)
        states.append(torch.load(tmp_path / str(count) / "last.pt", weights_only=True))
    one, two = states
    assert (one["world_size"], two["world_size"]) == (1, 2)
    for name, tensor in one["model"].items():
        torch.testing.assert_close(two["model"][name], tensor, rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(one["history"], two["history"], strict=True):
        assert theirs["train_loss"] == pytest.approx(ours["train_loss"], rel=1e-5)
        assert theirs["test_top1_error"] == ours["test_top1_error"]


def test_manifold_mixup_on_two_ranks(tmp_path):
    """Each rank draws layers of its own, and the weights stay the same on both."""
    on_ranks(2, "manifold", tmp_path / "run")
    one, two = torch.load(tmp_path / "run.pt", weights_only=True)
    assert torch.isfinite(one["weights"]).all()
    assert torch.equal(one["weights"], two["weights"])
    assert one["layers"] != two["layers"]
    assert len(one["layers"]) == len(two["layers"]) == 12
    assert set(one["layers"] + two["layers"]) == {0, 1, 2, 3}


@pytest.mark.slow
def test_the_regularisers_of_two_ranks_draw_for_themselves_and_keep_the_same_weights(tmp_path):
    on_ranks(2, "regularisers", tmp_path / "run")
    results = torch.load(tmp_path / "run.pt", weights_only=True)
    assert len(results) == 3
    for name, result in results.items():
        assert torch.equal(*result["weights"]), name
        assert not torch.equal(*result["kept"]), name


def test_one_and_three_ranks_count_the_same_errors(tmp_path):
    results = []
    for count in (1, 3):  # 3 does not divide 23 images
        out = tmp_path / f"{count}.pt"
        on_ranks(count, "evaluate", out)
        results.append(torch.load(out, weights_only=True))
    (one, seen), (three, seen_by_three) = results
    assert seen["images"].tolist() == [*range(one["images"])] == [*range(23)]
    assert all(torch.equal(seen[name], seen_by_three[name]) for name in ("images", "labels", "classes"))
    torch.testing.assert_close(seen_by_three, seen)
    assert 0 < one["top5_error"] < one["top1_error"] < 100
    assert three == pytest.approx(one, rel=1e-6)
    assert [three[name] - one[name] for name in ("images", "top1_error", "top5_error")] == [0, 0, 0]


def test_a_sweep_on_two_ranks_and_its_evaluation(tmp_path):
    """Through the real commands."""
    options = ["mixing=identity,cutmix", "recipe.batch_size=256", f"output={tmp_path}"]
    on_ranks(2, "-m", *QUICK, *options, script="train.py")
    records = sorted(tmp_path.rglob("summary.json"))
    assert len(records) == 2

    refused = ranks(2, "train.py", *QUICK, "recipe.batch_size=255", options[2])
    assert refused.returncode != 0
    assert "recipe.batch_size=255" in refused.stderr
    assert "Traceback" not in refused.stderr

    said = on_ranks(2, f"run={records[0].parent}", script="eval.py")
    error = json.loads(records[0].read_text())["best"]["test_top1_error"]
    assert f"top-1 error {error:.2f}%" in said
    assert "360 images" in said


def stop_in_the_middle(output, *overrides):
    """Start two ranks, send SIGTERM to torchrun after the first epoch, and return the checkpoint they left."""
    command = [*TORCHRUN, "train.py", *QUICK, f"output={output}", *overrides]
    process = Command(*command, PYTHONPATH=ROOT, SMOOTHMIX_STOPPED=f"{output}.stopped")
    process.has_begun()
    process.send_signal(signal.SIGTERM)
    said = process.stdout.read()
    assert process.wait(30) != 0
    assert said.count("SIGTERM: saved epoch") == 1  # rank 0 only
    assert Path(f"{output}.stopped").read_text().startswith("epoch ")
    (path,) = Path(output).rglob("last.pt")
    return torch.load(path, weights_only=True)


LONGER = ["mixing=smoothmix_c", "recipe.epochs=8", "evaluate_every=8", "recipe.batch_size=64", "dataset.val_split=1100"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Return the last checkpoint of two ranks that nobody disturbed."""
    output = tmp_path_factory.mktemp("unbroken")
    said = on_ranks(2, *QUICK, *LONGER, f"output={output}", script="train.py")
    assert said.count("epoch 1/8") == 1  # rank 0 only
    (path,) = output.rglob("last.pt")
    return torch.load(path, weights_only=True)


def test_two_ranks_stopped_by_sigterm_go_on_to_the_unbroken_end(tmp_path, unbroken):
    stopped = stop_in_the_middle(tmp_path, *LONGER)
    assert stopped["epoch"] < 8
    assert len(stopped["streams"]) == 2
    on_ranks(2, *QUICK, *LONGER, f"output={tmp_path}", script="train.py")
    (path,) = tmp_path.rglob("last.pt")
    resumed = torch.load(path, weights_only=True)
    assert all(torch.equal(tensor, resumed["model"][name]) for name, tensor in unbroken["model"].items())
    assert [row["train_loss"] for row in unbroken["history"]] == [row["train_loss"] for row in resumed["history"]]


def test_another_number_of_ranks_goes_on_from_an_epochs_end_and_is_marked(tmp_path):
    for count, epochs in ((1, 1), (2, 3)):
        on_ranks(count, "steps", tmp_path, epochs)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert state["world_sizes"] == [1, 2]
    assert [row["epoch"] for row in state["history"]] == [1, 2, 3]


def test_a_mistake_that_only_one_rank_sees_ends_them_all(tmp_path):
    """Rank 0 alone makes the folder: in a sweep the others must not wait for it forever."""
    (tmp_path / "digits").write_text("in the way")
    done = ranks(2, "train.py", "-m", *QUICK, "seed=0,1", f"output={tmp_path}")
    assert done.returncode != 0
    (complaint,) = (line for line in done.stderr.splitlines() if line.startswith("error [rank 0]"))
    one_line(complaint, tmp_path / "digits", "output=")
