import pytest
import torch

from smoothmix.corruptions.spatter import SPATTER


@pytest.fixture
def images():
    return torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_without_drops_the_image_stays(images, severity):
    noise = torch.full((2, 32, 32), -100.0)
    assert torch.equal(SPATTER.apply(images, SPATTER.cifar[severity - 1], (noise,)), images)


def test_mud_covers_the_image_in_its_colour(images):
    noise = torch.full((2, 32, 32), 100.0)
    corrupted = SPATTER.apply(images, SPATTER.cifar[3], (noise,))
    mud = torch.tensor([63.0, 42.0, 20.0])[:, None, None].expand(2, 3, 32, 32)
    torch.testing.assert_close(corrupted.float(), mud, atol=1, rtol=0)


def test_water_adds_its_colour_in_proportion():
    black = torch.zeros(8, 3, 32, 32, dtype=torch.uint8)
    noise = SPATTER.sample(black, SPATTER.cifar[2], torch.Generator().manual_seed(0))
    corrupted = SPATTER.apply(black, SPATTER.cifar[2], noise).float()
    # The strongest drop of each image has half the water's colour.
    torch.testing.assert_close(
        corrupted.amax((2, 3)), torch.tensor([[87.0, 119.0, 119.0]]).expand(8, 3), atol=1, rtol=0
    )
    torch.testing.assert_close(corrupted[:, 1] * 175 / 238, corrupted[:, 0], atol=1, rtol=0)
    assert torch.equal(corrupted[:, 1], corrupted[:, 2])
