"""What a mistake with a network gets: a value out of range, an unknown name, a file of other weights."""

import math
import pickle
from functools import partial
from pathlib import Path

import pytest
import timm
import torch

from models import PyramidNet, timm_model
from models.dropblock import DropBlock
from models.published import load_published
from models.shakedrop import ShakeDrop
from smoothmix.utils.errors import UserError
from tests.mistakes import one_line, refused

KEEP = [0.9] * 3


def pyramidnet(**options):
    return PyramidNet(20, 48, 10, **options)


@pytest.mark.parametrize(
    ("build", "options", "words"),
    [
        *[(pyramidnet, {"drop_path_rate": rate}, ["drop_path_rate", rate]) for rate in (1.0, -0.1)],
        (pyramidnet, {"shake_drop": 1.5}, ["shake_drop", 1.5]),
        (pyramidnet, {"drop_block_keep": 0.9}, ["drop_block_keep", 0.9, "3 stages"]),
        *[
            (pyramidnet, {"drop_block_keep": keep}, ["drop_block_keep", keep, [1.0, 0.9, 0.9]])
            for keep in ([0.9], [1.0, 0.9, 0.0], [1.0, "a", 0.9])
        ],
        (pyramidnet, {"drop_block_keep": KEEP, "drop_block_size": 0}, ["block_size", 0]),
        (pyramidnet, {"drop_block_keep": KEEP, "drop_block_schedule": "x"}, ["schedule", "'x'", "linear"]),
        (pyramidnet, {"drop_path_rate": 0.25, "shake_drop": 0.5}, ["drop_path_rate=0.25", "shake_drop=0.5"]),
        *[(partial(PyramidNet, 20, alpha, 10), {}, ["alpha", alpha]) for alpha in (0, -1, math.nan, math.inf)],
        *[(partial(PyramidNet, 20, 48, classes), {}, ["num_classes", classes]) for classes in (0, -10)],
        *[(partial(timm_model, "resnet18", classes), {}, ["num_classes", classes]) for classes in (0, -1)],
        (partial(timm_model, "resnet26", 5), {"drop_path_rate": 1.0}, ["drop_path_rate", 1.0]),
        (partial(timm_model, "resnet26", 5), {"drop_path_rate": "a"}, ["drop_path_rate", "'a'"]),
        (partial(timm_model, "resnet26", 5), {"drop_block_keep": KEEP}, ["4 stages", [1.0, 1.0, 0.9, 0.9]]),
        (partial(timm_model, "resnet26", 5), {"drop_block_rate": 0.1}, ["drop_block_rate=0.1", "drop_block_keep="]),
        (
            partial(timm_model, "resnet26", 5),
            {"drop_block_keep": [0.9] * 4, "drop_path_rate": 0.2},
            ["drop_block_keep", "drop_path_rate"],
        ),
        *[
            (partial(timm_model, name, 5), {"drop_block_keep": [0.9] * 4}, ["drop_block_keep", name])
            for name in ("vit_tiny_patch16_224", "res2net50_26w_4s")
        ],
        *[(DropBlock, {"keep_prob": keep, "block_size": 4}, ["keep_prob", keep]) for keep in (0.0, 1.1, math.nan)],
        (DropBlock, {"keep_prob": 0.9, "block_size": 0}, ["block_size", 0]),
        (DropBlock, {"keep_prob": 0.9, "block_size": 4, "schedule": "cosine"}, ["'cosine'", "linear"]),
        *[(ShakeDrop, {"drop_prob": drop}, ["drop_prob", drop]) for drop in (-0.1, 1.0, math.nan)],
        *[
            (partial(timm_model, name, 10), {}, [f"'{name}'", nearest])
            for name, nearest in (
                ("resnet5O", "resnet50"),
                ("ResNet50", "resnet50"),
                ("efficientnet-b0", "efficientnet_b0"),
                ("resnet50.a1_in2k", "resnet50.a1_in1k"),
                *((name, "timm") for name in ("", "qqqqzzzz", "resnet*")),
            )
        ],
        *[
            (partial(timm_model, name, 10), {"drop_raet": 0.1}, [name, "drop_raet"])
            for name in ("resnet18", "regnety_002", "hrnet_w18_small", "efficientnet_b0", "vit_tiny_patch16_224")
        ],
        (partial(timm_model, "resnet18", 10), {"zero_init_lst": False}, ["zero_init_lst", "zero_init_last"]),
    ],
)
def test_a_value_or_a_name(build, options, words):
    with torch.device("meta"), pytest.raises((UserError, ValueError)) as error:
        build(**options)
    one_line(str(error.value), *words)


@pytest.mark.parametrize(
    ("depth", "bottleneck", "nearest"),
    [
        *((201, True, 200), (198, True, 200), (5, True, 11), (0, True, 11)),
        *((111, False, 110), (18, False, 20), (2, False, 8)),
    ],
)
def test_a_depth_that_no_pyramidnet_has(depth, bottleneck, nearest):
    with refused(depth, nearest, error=ValueError):
        PyramidNet(depth, 240, 10, bottleneck)
    with torch.device("meta"):
        PyramidNet(nearest, 240, 10, bottleneck)


def test_other_type_errors_keep_their_traceback():
    with pytest.raises(TypeError):
        timm_model("resnet18", 10, drop_rate=0.1, act_layer=3)


@pytest.mark.parametrize(
    "name",
    ["hf-hub:timm/resnet18", "hf_hub:timm/resnet18", "HF-HUB:timm/resnet18", "hf-hub:resnet18", "local-dir:weights",
     "timm/resnet18", "./resnet18", "/tmp/resnet18", "..\\resnet18", "C:\\resnet18", "https://example.org/resnet18"],
)  # fmt: skip
def test_names_of_hubs_and_folders_are_not_looked_up(name, monkeypatch):
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("timm was asked for the model"))
    with refused("hub"):
        timm_model(name, 10)


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("pretrained", [False, True])
@pytest.mark.parametrize("option", ["checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"])
def test_options_that_name_weights_are_refused_unread(option, pretrained, tmp_path):
    checkpoint, mark = tmp_path / "weights.pth", tmp_path / "exploded"
    checkpoint.write_bytes(pickle.dumps(Bomb(mark)))
    value = {"file": str(checkpoint)} if option.startswith("pretrained_cfg") else str(checkpoint)
    with refused(option):
        timm_model("resnet18", 10, pretrained=pretrained, **{option: value})
    assert not mark.exists()


FINAL = {"bn_final.weight": torch.ones(1)}


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ([1], "state dict"),
        ({"format": 1, "model": {}, "config": {}}, "state dict"),
        ({"state_dict": [torch.ones(1)]}, "state dict"),
        ({"state_dict": {"conv1.weight": 3}}, "state dict"),
        ({"state_dict": {"features.0.weight": torch.ones(1)}}, "PyramidNet"),
        ({"state_dict": FINAL | {"layer4.0.bn1.weight": torch.ones(1)}}, "layer4.0.bn1.weight"),
        ({"state_dict": FINAL | {"layer1.0.conv9.weight": torch.ones(1)}}, "layer1.0.conv9.weight"),
    ],
)
def test_a_file_of_other_weights(tmp_path, content, word):
    path = tmp_path / "file.pt"
    torch.save(content, path)
    with refused(path, word):
        load_published(path)


def test_a_file_that_cannot_be_read(tmp_path):
    path = tmp_path / "best.pth.tar"
    with refused(path):
        load_published(path)
    torch.save({"state_dict": FINAL | {"conv1.weight": torch.zeros(1000)}}, path)
    path.write_bytes(path.read_bytes()[:-2000])
    with refused(path, "damaged"):
        load_published(path)
