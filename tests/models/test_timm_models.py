import pickle
from pathlib import Path

import pytest
import torch

from models import timm_model
from smoothmix.utils.errors import UserError


def on_meta(*args, **kwargs):
    with torch.device("meta"):
        return timm_model(*args, **kwargs)


def test_resnet50_halves_the_sides_in_its_3x3():
    model = on_meta("resnet50", 1000, zero_init_last=False)
    assert model.layer2[0].conv2.stride == (2, 2)
    assert model.layer2[0].conv1.stride == (1, 1)


@pytest.mark.parametrize(("options", "gamma"), [({"zero_init_last": False}, 1.0), ({}, 0.0)])
def test_zero_init_last_decides_the_last_gammas(options, gamma):
    model = timm_model("resnet26", 10, **options)  # bottleneck blocks as ResNet-50's, fewer of them
    last = [block.bn3.weight for stage in (model.layer1, model.layer2, model.layer3, model.layer4) for block in stage]
    assert len(last) == 8
    for weight in last:
        assert torch.equal(weight, torch.full_like(weight, gamma))


def test_models_are_from_scratch_and_have_the_asked_head():
    torch.manual_seed(0)
    first = timm_model("test_resnet", 7).eval()
    torch.manual_seed(1)
    second = timm_model("test_resnet", 7).eval()
    images = torch.randn(2, 3, 64, 64)
    assert first(images).shape == (2, 7)
    assert not torch.equal(next(first.parameters()), next(second.parameters()))


def test_options_reach_the_model():
    assert on_meta("resnet18", 10, drop_rate=0.25).drop_rate == 0.25
    assert on_meta("resnet18", 10, in_chans=1).conv1.in_channels == 1
    assert on_meta("resnet18.a1_in1k", 10).fc.out_features == 10  # a weight tag may stay on the name


def test_pretrained_is_handed_on(monkeypatch):
    import timm

    seen = []
    monkeypatch.setattr(timm, "create_model", lambda name, **kwargs: seen.append((name, kwargs)))
    monkeypatch.setattr("models.timm_models._notice_a_missing_network", lambda: None)
    timm_model("resnet18", 10)
    timm_model("resnet18", 10, pretrained=True)
    assert seen == [
        ("resnet18", {"pretrained": False, "num_classes": 10}),
        ("resnet18", {"pretrained": True, "num_classes": 10}),
    ]


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("resnet5O", "resnet50"), ("ResNet50", "resnet50"), ("efficientnet-b0", "efficientnet_b0")],
)
def test_unknown_name_suggests_the_nearest(name, nearest):
    with pytest.raises(UserError, match=rf"timm has no model '{name}'; the nearest: .*\b{nearest}\b.*\.$"):
        timm_model(name, 10)


@pytest.mark.parametrize("name", ["", "qqqqzzzz", "resnet*"])
def test_name_like_no_other_is_refused_too(name):
    with pytest.raises(UserError, match="timm has no model"):
        timm_model(name, 10)


def test_unknown_weight_tag_suggests_the_nearest():
    with pytest.raises(UserError, match=r"timm has no weights 'resnet50\.a1_in2k'; the nearest: resnet50\.a1_in1k"):
        timm_model("resnet50.a1_in2k", 10)


@pytest.mark.parametrize(
    "name",
    ["hf-hub:timm/resnet18", "hf_hub:timm/resnet18", "HF-HUB:timm/resnet18", "hf-hub:resnet18", "local-dir:weights",
     "timm/resnet18", "./resnet18", "/tmp/resnet18", "..\\resnet18", "C:\\resnet18", "https://example.org/resnet18"],
)  # fmt: skip
def test_names_of_hubs_and_folders_are_refused(name, monkeypatch):
    import timm

    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("timm was asked for the model"))
    with pytest.raises(UserError, match="points to a hub or a folder"):
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
    with pytest.raises(UserError, match=f"'{option}' chooses where weights are read from"):
        timm_model("resnet18", 10, pretrained=pretrained, **{option: value})
    assert not mark.exists()


@pytest.mark.parametrize(
    "name", ["resnet18", "regnety_002", "hrnet_w18_small", "efficientnet_b0", "vit_tiny_patch16_224"]
)
def test_unknown_option_is_one_sentence(name):
    with pytest.raises(UserError, match=rf"^The timm model '{name}' has no option 'drop_raet'.*\.$"):
        on_meta(name, 10, drop_raet=0.1)


def test_unknown_option_suggests_the_nearest():
    with pytest.raises(UserError, match="has no option 'zero_init_lst'; the nearest: zero_init_last"):
        on_meta("resnet18", 10, zero_init_lst=False)


def test_other_type_errors_keep_their_traceback():
    with pytest.raises(TypeError):
        on_meta("resnet18", 10, drop_rate=0.1, act_layer=3)


@pytest.mark.parametrize("num_classes", [0, -1])
def test_num_classes_must_be_positive(num_classes):
    with pytest.raises(UserError, match=f"num_classes is {num_classes}"):
        timm_model("resnet18", num_classes)
