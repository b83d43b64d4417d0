"""What the commands say to a wrong override, in --help, and at their end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from smoothmix.config import build, command_line
from smoothmix.config.command_line import compose, help_text
from smoothmix.config.schema import check
from smoothmix.utils.distributed import init_distributed
from smoothmix.utils.errors import UserError
from tests.mistakes import one_line, refused

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("side", "resize", "hole"), [(224, 256, 112), (96, 110, 48), (32, 37, 16)])
def test_sizes_follow_the_image(side, resize, hole):
    config = check(compose("train", ["dataset=imagenet", "mixing=cutout", f"dataset.image_size={side}"]))
    options = config.dataset.options
    assert (options["resize"], options["cutout_size"], config.mixing.options["size"]) == (resize, hole, hole)
    given = ["dataset=imagenet", f"dataset.image_size={side}", "dataset.resize=300", "dataset.cutout_size=5"]
    options = check(compose("train", given)).dataset.options
    assert (options["resize"], options["cutout_size"]) == (300, 5)


@pytest.mark.parametrize("name", ["train", "eval", "eval_corruption"])
def test_help_has_three_examples_and_the_meaning_of_every_key(name):
    description = (ROOT / f"{name}.py").read_text().split('"""')[1]
    assert description.count(f"\npython {name}.py ") + description.count(f"\npython {name}.py\n") == 3
    shown = help_text(name, description, ["mixing=cutmix", "dataset=imagenet", "recipe=cifar"])
    keys = set(compose(name)) - {"dataset", "model", "mixing", "recipe"}
    if name == "train":
        groups = {group: getattr(check(compose("train", ["dataset=imagenet", "mixing=cutmix"])), group)
                  for group in ("dataset", "mixing", "model")}  # fmt: skip
        keys |= {key for component in groups.values() for key in component.options} | {"lr", "epochs"}
        assert "recipe: cifar, cifar_cutmix, data_size, demo" in shown
        assert "cifar100/smoothmix_c" in shown
    for key in keys:
        lines = [line for line in shown.splitlines() if line.strip().startswith(f"{key}:")]
        assert lines, key
        assert all("#" in line for line in lines), key


def test_a_closed_pipe_ends_a_training_without_a_word(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "train.py", "recipe.epochs=2", "recipe.decay_epochs=[]", f"output={tmp_path}"]
    settings = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=settings, stdout=writer, stderr=subprocess.PIPE, timeout=120)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.fixture
def fail(monkeypatch, capsys):
    """Return a function that runs a task as train.py runs its own: (exit status, what it complained)."""

    statuses, swept = [], []

    def run(task, *arguments):
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        monkeypatch.setenv("WORLD_SIZE", "1")
        monkeypatch.setattr(command_line, "run", lambda main, lossy: statuses.append(main()))
        command_line.command("train", task, swept.extend)
        return statuses.pop(), capsys.readouterr().err

    run.swept = swept  # what is compared at the end
    return run


def raises(error):
    def task(composed):
        raise error

    return task


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (lambda composed: torch.empty(2**55), ["memory", "batch_size"]),
        (raises(torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB")), ["GPU", "memory", "batch_size"]),
        (raises(UserError("lr=-1 is wrong")), ["error: lr=-1 is wrong"]),
    ],
)
def test_a_failure_that_the_user_can_mend_is_one_sentence(fail, task, words):
    status, complaint = fail(task)
    assert status == 2
    one_line(complaint.removesuffix("\n"), "error: ", *words)


def test_a_sweep_runs_its_other_jobs(fail):
    seeds = []

    def task(composed):
        seeds.append(composed.seed)
        if composed.seed == 1:
            raise MemoryError
        return composed.seed

    status, complaint = fail(task, "mixing=cutmix", "-m", "seed=0,1,2")
    assert (status, seeds, complaint.count("error: "), fail.swept) == (2, [0, 1, 2], 1, [0, 2])


def test_a_bug_keeps_its_traceback(fail):
    with pytest.raises(SystemExit) as stop:
        fail(raises(ZeroDivisionError("a bug")))
    assert stop.value.code == 1


@pytest.mark.parametrize("missing", ["RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_ranks_without_torchrun_are_one_sentence(monkeypatch, missing):
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(missing)
    with refused("WORLD_SIZE=2", missing, "torchrun"):
        init_distributed("cpu")


def test_pretrained_weights_without_a_network_are_one_sentence(monkeypatch):
    def unreachable(*args, **options):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr("timm.create_model", unreachable)
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    config = check(compose("train", ["model=timm", "model.name=resnet18", "+model.pretrained=true"]))
    with refused("model=resnet18", "Name or service not known", "model.pretrained"):
        build.model(config, 10, 32)
    assert sys.modules["huggingface_hub.constants"].HF_HUB_OFFLINE  # it does not try five times
