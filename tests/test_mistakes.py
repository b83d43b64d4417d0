"""What a mistake on the command line gets, command by command: exit status 2 and one line, in which these words are."""

import pytest

from tests.mistakes import refuses

LONG = f"/tmp/{'x' * 300}"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train.py recipe.epcohs=3", ["recipe.epcohs", "epochs?"]),
        ("train.py dataset=cifar100 dataset.root=nowhere", ["nowhere/cifar-100-python", "scripts/download.py"]),
        ("train.py output=/dev/null/runs", ["/dev/null/runs", "output="]),
        (f"train.py output={LONG}", [LONG, "output="]),
        ("train.py dataset=imagenet dataset.augment=augmxi", ["augment=augmxi", "augmix?"]),
        ("train.py dataset.root=/photos", ["dataset=folder"]),
        ("train.py experiment=finetune", ["dataset.root=VALUE"]),
        ("train.py experiment=finetune dataset.root=/nowhere", ["/nowhere"]),
        ("train.py -m experiment=cifar100/cutmix,cifar100/mixup dataset.per_class=3", ["per_class", "dataset=..."]),
        ("eval.py", ["run=RUN_DIR", "checkpoint=FILE"]),
        ("eval.py run=nowhere", ["nowhere/best.pt"]),
        ("eval.py +rnu=x", ["rnu", "run?"]),
        ("scripts/reproduce.py", ["table=1", "table=demo"]),
        ("scripts/reproduce.py table=9", [9, "1, 2, 3"]),
        ("scripts/reproduce.py table=demo preset=fast", ["fast", "quick"]),
        ("scripts/reproduce.py table=demo launcher=k8s", ["k8s", "slurm"]),
        ("scripts/reproduce.py table=demo seeds=0", ["seeds", 0]),
        ("scripts/reproduce.py table=demo jobs=two", ["jobs", "two"]),
        ("scripts/reproduce.py tabel=1", ["tabel", "table?"]),
        ("scripts/reproduce.py table=6 sorce=generate", ["sorce", "source?"]),
        ("scripts/reproduce.py table=6 seds=2", ["seds", "seeds?"]),
        ("scripts/reproduce.py table=demo source=web", ["'web'", "generate"]),
        ("scripts/reproduce.py table=demo seed=3", ["seed=3", "seeds=N"]),
        ("scripts/reproduce.py table=demo -m", ["-m", "KEY=VALUE"]),
        ("scripts/reproduce.py table=demo model.dept=3", ["model.dept", "depth?"]),
        ("scripts/reproduce.py table=demo recipe.lr=-1", ["recipe.lr", -1]),
        ("scripts/reproduce.py table=demo recipe=finetune", ["recipe=finetune", "recipe.epochs"]),
        ("scripts/reproduce.py table=1 dataset.root=/nowhere", ["/nowhere/", "scripts/download.py"]),
        ("scripts/report.py nowhere", ["nowhere"]),
        ("scripts/report.py table=low_date", ["low_date", "low_data"]),
        ("scripts/report.py table=1 recipe.epoch=3", ["recipe.epoch"]),
        ("scripts/report.py source=file", ["file", "files"]),
        ("scripts/download.py imagenet_c nois", ["'nois'", "noise?"]),
        ("scripts/download.py imagenet_c xyz", ["'xyz'", "extra"]),
        ("scripts/download.py cifar10_c noise", ["'noise'", "all"]),
        ("scripts/download.py cifar100 noise", ["'noise'", "all"]),
        ("scripts/make_corruptions.py digits_c --workers 0", ["--workers", 0]),
        ("scripts/make_corruptions.py digits_c --device tpu", ["device", "'tpu'"]),
        ("scripts/make_corruptions.py digits_c --output /dev/null/new", ["/dev/null/new", "--output"]),
        ("scripts/benchmark.py step --batch 0", ["--batch", 0]),
        ("scripts/benchmark.py peers --repeats 0", ["--repeats", 0]),
        ("scripts/benchmark.py peers speed", ["speed", "corruption"]),
        ("scripts/benchmark.py step fp32,nhwc", ["nhwc"]),
        ("scripts/benchmark.py step --device cuda", ["device=cuda"]),
        ("smoothmix/check/__main__.py smoothmix.nothing:make", ["smoothmix.nothing"]),
        ("smoothmix/check/__main__.py smoothmix", ["'smoothmix'", "package.module:make"]),
        ("smoothmix/check/__main__.py smoothmix:Nothing", ["'Nothing'"]),
    ],
)
def test_a_wrong_word(command, words, tmp_path):
    script, *arguments = command.split()
    refuses(script, *arguments, words=words, folder=tmp_path)
    assert not list(tmp_path.iterdir())
