import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models import PyramidNet, timm_model
from smoothmix.evaluation.cam import class_activation_maps
from tests.mistakes import refused


def pyramidnet():
    torch.manual_seed(0)
    return PyramidNet(8, alpha=14, num_classes=5, bottleneck=False)


def resnet():
    torch.manual_seed(0)
    return timm_model("resnet18", num_classes=5)


def settled(model):
    """Give BatchNorm statistics of real activations, so that the maps are not all alike."""
    with torch.no_grad():
        model.train()(torch.randn(16, 3, 64, 64))
    return model.eval()


@pytest.mark.parametrize("make", [pyramidnet, resnet])
def test_the_mean_of_the_map_and_the_bias_make_the_logit(make):
    model = settled(make())
    images, classes = torch.randn(4, 3, 64, 64), torch.tensor([3, 0, 4, 3])
    maps, logits = class_activation_maps(model, images, classes)
    with torch.no_grad():
        torch.testing.assert_close(logits, model(images))
        features = model.forward_features(images)
    weight, bias = model.fc.weight, model.fc.bias
    for image, chosen in enumerate(classes.tolist()):
        small = torch.zeros(features.shape[2:])
        for channel in range(features.shape[1]):
            small += weight[chosen, channel].item() * features[image, channel]
        large = F.interpolate(small[None, None], size=(64, 64), mode="bilinear", align_corners=False)[0, 0]
        torch.testing.assert_close(maps[image], large, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(small.mean() + bias[chosen], logits[image, chosen], rtol=1e-4, atol=1e-5)
    assert maps.std() > 0.01


def test_the_surroundings_of_a_call_change_nothing(surroundings):
    model, images, classes = settled(pyramidnet()), torch.randn(4, 3, 32, 32), torch.tensor([3, 0, 4, 3])
    expected = class_activation_maps(model, images, classes)
    with surroundings():
        found = class_activation_maps(model, images, classes)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


class Flat(nn.Module):
    """Has forward_features and a linear layer, but takes the maximum of the map."""

    def __init__(self):
        super().__init__()
        self.convolution, self.fc = nn.Conv2d(3, 6, 3), nn.Linear(6, 5)

    def forward_features(self, images):
        return self.convolution(images)

    def forward(self, images):
        return self.fc(self.forward_features(images).amax(dim=(2, 3)))


@pytest.mark.parametrize(
    "make",
    [
        Flat,
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 5)),
        lambda: timm_model("vit_tiny_patch16_224", 5, img_size=32),
    ],
)
def test_another_kind_of_head_is_refused(make):
    torch.manual_seed(0)
    with refused("pooling"):
        class_activation_maps(make().eval(), torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))
