"""What a wrong word on the command line gets: the value, and the key or the value that is right."""

import pytest

from smoothmix.config import build
from smoothmix.config.command_line import compose
from smoothmix.config.options import EvalCorruptionOptions, EvalOptions, LoadOptions
from smoothmix.config.schema import check
from tests.mistakes import refused

ELSEWHERE = [  # timm's create_model can unpickle
    *[("model", target) for target in ("torch.nn.Linear", "timm.create_model", "modelsx.PyramidNet")],
    *[("model", "smoothmix.SmoothMixC"), ("mixing", "smoothmix.utils.files.write_text")],
    *[("mixing", "torchvision.transforms.v2.MixUpp"), ("dataset", "torchvision.datasets.CIFAR100")],
    ("dataset", "datasets.os"),
]
TIMM = "model=timm model.name="


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        # the words themselves
        ("experiment=smoothmix_c", ["cifar100/smoothmix_c", "imagenet/smoothmix_c"]),
        ("experiment=cifar100/smothmix_c", ["smothmix_c", "smoothmix_c?"]),
        ("mixing=cutmx", ["cutmx", "cutmix?"]),
        ("mixng=cutmix", ["mixng", "mixing?"]),
        *[(word, ["lr", "recipe.lr?"]) for word in ("lr=0.1", "+lr=0.1", "dataset.lr=0.1")],
        ("table=1", ["python scripts/reproduce.py table=1"]),
        ("hydra/launcher=submitit_slurm", ["python scripts/reproduce.py", "launcher=slurm"]),
        ("+hydra.callbacks.x={_target_:torch.hub.load}", ["Hydra"]),
        ("+mixing@hydra.callbacks.x=cutmix", ["Hydra"]),
        ("~hydra.run", ["Hydra"]),
        ("recipe.epochs", ["recipe.epochs", "KEY=VALUE"]),
        ("seed=0,1", ["seed=0,1", "-m", "'seed=[0,1]'"]),
        ("output=a=b", ["'output="]),
        # keys
        ("~mixing", ["mixing", "mixing=identity"]),
        ("+mixing.sgima=1", ["mixing.sgima", "sigma?"]),
        ("+dataset.val_spilt=1", ["dataset.val_spilt", "val_split?"]),
        ("+model.alhpa=1", ["model.alhpa", "alpha?"]),
        ("~recipe.lr", ["recipe.lr"]),
        ("~model.depth", ["model.depth"]),
        ("~mixing.name", ["method"]),
        ("~model.name", ["model.name=None"]),
        ("~recipe", ["recipe", "None"]),
        ("model=timm", ["model.name=VALUE"]),
        ("+mixing.num_classes=3", ["mixing.num_classes"]),
        ("+model.num_classes=3", ["model.num_classes"]),
        *[(f"{group}._target_={target}", [f"{group}._target_={target}"]) for group, target in ELSEWHERE],
        # values
        ("model.name=1.5", ["model.name=1.5"]),
        ("recipe.epochs=abc", ["recipe.epochs", "'abc'"]),
        ("recipe.nesterov=7.5", ["recipe.nesterov", 7.5]),
        ("recipe.decay_epochs=[a]", ["recipe.decay_epochs"]),
        ("recipe.decay_epochs=3", ["'recipe.decay_epochs=[3]'"]),
        ("seed=-1", ["seed", -1]),
        ("precision=fp64", ["precision", "fp64", "bf16"]),
        ("model.depth=2.5", ["model.depth=2.5", "int"]),
        ("model.bottleneck=1", ["model.bottleneck=1", "bool"]),
        ("dataset.val_split=true", ["dataset.val_split=True", "int"]),
        ("mixing.p=${nothing}", ["mixing.p"]),
        ("+model.drop_path_rate=a", ["model.drop_path_rate='a'", "float"]),
        ("+model.drop_block_size=4.5", ["model.drop_block_size=4.5", "int"]),
        ("dataset.workers=400", ["dataset.workers=400"]),
        ("model.depth=600000", ["model.depth=600000", 2000]),
        (f"mixing.sigma=[{'0.1,' * 1001}0.1]", ["1,000"]),
        (f"mixing.sigma={'[' * 20}{']' * 20}", ["16"]),
        (f"mixing.sigma={'[' * 150}{']' * 150}", ["nested"]),
        # what the parts refuse: the group is named
        *[(f"mixing.p={p}", ["mixing=smoothmix_c", "p is", p]) for p in (2, -0.1)],
        *[(f"mixing.sigma={sigma}", ["mixing", "sigma"]) for sigma in ("[0.5,0.1]", "[0.1]", "[a,b]")],
        ("mixing=hide_and_seek mixing.grids=[0]", ["mixing=hide_and_seek"]),
        ("mixing=manifold_mixup mixing.stages=[layr1]", ["mixing=manifold_mixup", "'layr1'", "layer1"]),
        (f"mixing=manifold_mixup {TIMM}resnet18", ["mixing=manifold_mixup", "'stem'", "bn1"]),
        ("model.depth=21", ["model=pyramidnet8", 21, 20]),
        ("+model.shake_drop=2", ["model=pyramidnet8", "shake_drop", 2.0]),
        ("+model.drop_block_keep=0.9", ["model=pyramidnet8", "drop_block_keep", 0.9]),
        (f"{TIMM}vit_tiny_patch16_224", ["model=vit_tiny_patch16_224", "32x32"]),
        (f"{TIMM}resnet18 +model.features_only=true", ["model=resnet18", 10]),
        (f"{TIMM}resnet18 +model.output_stride=7", ["model=resnet18"]),
        ("~model +model={name:a,_target_:torchvision.models.densenet121}", ["densenet121"]),
    ],
)
def test_a_word_of_train(overrides, words):
    with refused(*words):
        config = check(compose("train", [*["dataset=imagenet"] * ("workers" in overrides), *overrides.split()]))
        build.mixing(config, 10, network=build.model(config, 10, 32))


EXTERNAL = {"dataset": {"_target_": "a"}, "model": {"_target_": "b", "checkpoint": "c"}}


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (LoadOptions, {}, ["run=RUN_DIR"]),
        (LoadOptions, {"run": "x", "checkpoint": "y"}, ["run=RUN_DIR"]),
        (LoadOptions, {"run": "x", **EXTERNAL}, ["run=RUN_DIR"]),
        (LoadOptions, {"model": {"_target_": "a"}}, ["run=RUN_DIR"]),
        (LoadOptions, EXTERNAL | {"model": {"_target_": "b"}}, ["model.checkpoint=FILE"]),
        (LoadOptions, EXTERNAL | {"model": EXTERNAL["model"] | {"pretrained": True}}, ["model.checkpoint=FILE"]),
        (LoadOptions, EXTERNAL | {"mean": [1, 2]}, ["mean=[1, 2]"]),
        (LoadOptions, EXTERNAL | {"std": [1, 0, 1]}, ["std=[1, 0, 1]"]),
        (LoadOptions, {"run": "x", "mean": [0.5] * 3}, ["mean=", "model=NAME"]),
        (LoadOptions, {"run": "x", "published": "cifar100/cutmix"}, ["checkpoint=FILE"]),
        (LoadOptions, {"run": "x", "weights": "worst"}, ["'worst'", "last"]),
        (LoadOptions, {"run": "x", "classes": "some"}, ["'some'", "subset"]),
        (LoadOptions, {"run": "x", "batch_size": 0}, ["batch_size", 0]),
        (EvalOptions, {"run": "x", "images": 12, "split": "train"}, ["split=train"]),
        (EvalCorruptionOptions, {"run": "x", "source": "web"}, ["'web'", "generate"]),
        (EvalCorruptionOptions, {"run": "x", "source": "files"}, ["benchmark=cifar100_c"]),
    ],
)
def test_options_of_evaluations(kind, options, words):
    with refused(*words):
        kind(**options).check()
