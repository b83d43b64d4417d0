"""A run directory of the code before the redesign: read, resumed to the same bits, its hash unchanged.

It was stopped in step 2 of 4 of its second and last epoch, and its best weights were evaluated on one of two
corruptions. What that commit made of it when it resumed is below. The network is torchvision's DenseNet with 804
parameters, batch norms and dropout.
"""

import hashlib
import json
import shutil

import pytest
import torch

from smoothmix.training import checkpoint
from smoothmix.utils.environment import environment
from tests.commands import ROOT, python

DATA = ROOT / "tests" / "data" / "run_before_redesign"
TRAIN = ["model.name=densenet", "model._target_=torchvision.models.DenseNet", "~model.depth", "~model.alpha"]
TRAIN += ["~model.bottleneck", "+model.growth_rate=2", "+model.block_config=[1,1]", "+model.num_init_features=4"]
TRAIN += ["+model.bn_size=1", "+model.drop_rate=0.1", "recipe.epochs=2", "recipe.decay_epochs=[1]"]
TRAIN += ["recipe.batch_size=64", "dataset.val_split=1200", "device=cpu"]
LAST = {"train_loss": 2.3063080733335473, "test_loss": 2.298131677839491, "val_loss": 2.2967319043477374,
        "test_top1_error": 92.22222222222223, "val_top1_error": 89.58333333333333}  # fmt: skip
STATE = "044aec94df98b899"  # of all weights, statistics and momentum, in order
MADE_BY = ("AMD EPYC", "2.12.1", "AVX512")
CONTRAST = [93.05555555555556, 92.5, 92.22222222222223, 91.38888888888889, 90.55555555555556]
PIXELATE = [91.38888888888889, 91.38888888888889, 93.05555555555556, 91.94444444444444, 90.55555555555556]


def command(*arguments):
    done = python(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def digest(state):
    momentum = [entry["momentum_buffer"] for entry in state["optimizer"]["state"].values()]
    content = b"".join(tensor.numpy().tobytes() for tensor in [*state["model"].values(), *momentum])
    return hashlib.sha256(content).hexdigest()[:16]


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    output = tmp_path_factory.mktemp("older") / "runs"
    shutil.copytree(DATA, output)
    said = command("train.py", *TRAIN, f"output={output}")
    assert "epoch 2/2" in said
    assert "epoch 1/2" not in said
    (directory,) = (path.parent for path in output.rglob("summary.json"))
    assert directory.relative_to(output).as_posix() == "digits/densenet/smoothmix_c/demo-968f5d42/seed0"
    return directory


def test_it_resumes_to_the_end_that_the_older_code_reached(resumed):
    state = checkpoint.load(resumed / "last.pt")
    assert {key: state["history"][1][key] for key in LAST} == pytest.approx(LAST, rel=1e-5)
    here = environment(torch.device("cpu"))
    capability = torch.backends.cpu.get_cpu_capability()
    if (here["device"], here["versions"]["torch"], capability) == MADE_BY:  # other kernels round otherwise
        assert {key: state["history"][1][key] for key in LAST} == LAST
        assert digest(state) == STATE
    record = json.loads((resumed / "summary.json").read_text())
    assert (record["config_hash"], record["best"]["epoch"], record["world_sizes"]) == ("968f5d42", 1, [1])
    assert [(start["epoch"], start["step"]) for start in record["starts"]] == [(2, 2)]  # the first was not recorded
    best = checkpoint.load(resumed / "best.pt")
    assert best["metrics"] == state["best"]["metrics"] == state["history"][0]  # from the older best.pt
    assert all(torch.equal(tensor, best["model"][name]) for name, tensor in state["best"]["model"].items())


def test_its_corrupted_record_is_completed_and_keeps_where_it_began(resumed):
    asked = ["benchmark=digits_c", "source=generate", "corruptions=[contrast,pixelate]", "device=cpu"]
    command("eval_corruption.py", f"run={resumed}", *asked)
    record = json.loads((resumed / "best.digits_c-generate.json").read_text())
    assert list(record["top1_errors"]["contrast"].values()) == CONTRAST
    assert list(record["top1_errors"]["pixelate"].values()) == pytest.approx(PIXELATE, abs=100 / 360 + 1e-9)
    assert record["git_commit"] == "15828af3fc04709cd117bb77e56615294a7f12da"
    first, second = record["starts"]
    assert (first["git_commit"], second["errors"]) == (record["git_commit"], 5)
    assert "corruptions=[contrast]" in first["command"]
