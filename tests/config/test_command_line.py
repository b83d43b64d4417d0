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

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("experiment=smoothmix_c", "choose from cifar10/smoothmix_c, cifar100/smoothmix_c, imagenet/smoothmix_c"),
        ("experiment=cifar100/smothmix_c", "there is no experiment/cifar100 smothmix_c; did you mean smoothmix_c?"),
        ("mixing=cutmx", "there is no mixing cutmx; did you mean cutmix?"),
        ("mixng=cutmix", "unknown key mixng; did you mean mixing?"),
        ("lr=0.1", "unknown key lr; did you mean recipe.lr?"),
        ("+lr=0.1", "unknown key lr; did you mean recipe.lr?"),
        ("dataset.lr=0.1", "unknown key dataset.lr; did you mean recipe.lr?"),
        ("table=1", "table=1 is an option of another command: python scripts/reproduce.py table=1 preset=quick"),
        ("~mixing", "mixing must be one of configs/mixing/ (mixing=identity mixes nothing), not None"),
        ("hydra/launcher=submitit_slurm", "python scripts/reproduce.py table=1 launcher=slurm"),
        ("+hydra.callbacks.x={_target_:torch.hub.load}", "configures Hydra itself"),
        ("+mixing@hydra.callbacks.x=cutmix", "configures Hydra itself"),
        ("~hydra.run", "configures Hydra itself"),
        ("recipe.epochs", "cannot use recipe.epochs: overrides are KEY=VALUE"),
        ("seed=0,1", "seed=0,1 is several values: add -m to run each of them, or give one list, as in 'seed=[0,1]'"),
        ("output=a=b", "quote it for Hydra and for the shell: 'output="),
        ("dataset.workers=400", "dataset.workers=400 is too large; give at most"),
        ("model.depth=600000", "model.depth=600000 is too large; give at most 2000"),
        (f"mixing.sigma=[{'0.1,' * 1001}0.1]", "more than 1,000 values in a list"),
        (f"mixing.sigma={'[' * 20}{']' * 20}", "nested more than 16 deep"),
        (f"mixing.sigma={'[' * 150}{']' * 150}", "an override is nested too deeply"),
    ],
)
def test_a_wrong_override_is_one_sentence_that_names_the_right_one(override, words):
    with pytest.raises(UserError) as error:
        check(compose("train", ["dataset=imagenet", override] if override.startswith("dataset.") else [override]))
    assert words in str(error.value)
    assert len(str(error.value)) < 320


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
        (lambda composed: torch.empty(2**55), "error: this machine is out of memory ("),
        (raises(torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB")), "error: the GPU is out of memory (CUDA"),
        (raises(UserError("lr=-1 is wrong")), "error: lr=-1 is wrong"),
    ],
)
def test_a_failure_that_the_user_can_mend_is_one_sentence(fail, task, words):
    status, complaint = fail(task)
    assert status == 2
    assert complaint.startswith(words)
    assert complaint.count("\n") == 1


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
    with pytest.raises(UserError, match=f"WORLD_SIZE=2, but {missing} is not set; start several ranks with torchrun"):
        init_distributed("cpu")


def test_pretrained_weights_without_a_network_are_one_sentence(monkeypatch):
    def unreachable(*args, **options):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr("timm.create_model", unreachable)
    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    config = check(compose("train", ["model=timm", "model.name=resnet18", "+model.pretrained=true"]))
    with pytest.raises(UserError, match=r"cannot load the pretrained weights \(Name or service not known\)"):
        build.model(config, 10, 32)
    assert sys.modules["huggingface_hub.constants"].HF_HUB_OFFLINE  # it does not try five times
