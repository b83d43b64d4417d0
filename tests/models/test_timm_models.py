import pytest
import torch

from models import timm_model


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
