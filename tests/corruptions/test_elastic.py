import numpy as np
import pytest
import torch
from scipy import ndimage

from smoothmix.corruptions.elastic import ELASTIC_TRANSFORM


@pytest.fixture
def images():
    return torch.randint(0, 256, (3, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def test_three_points_moved_alike_move_the_image(images):
    points = torch.zeros(3, 3, 2)
    points[1, :, 0], points[2, :, 1] = 1, -1  # by 3 columns, by -3 rows
    setting = ELASTIC_TRANSFORM.cifar[0]._replace(shift=3)
    corrupted = ELASTIC_TRANSFORM.apply(images, setting, (points, torch.zeros(3, 2, 32, 32)))
    mirrored = np.pad(images.numpy(), [(0, 0), (0, 0), (3, 3), (3, 3)], mode="reflect")
    for index, (row, column) in enumerate([(3, 3), (3, 0), (6, 3)]):
        expected = mirrored[index, :, row : row + 32, column : column + 32]
        assert np.abs(corrupted[index].numpy() - expected.astype(float)).max() <= 1


def test_displacements_are_those_of_scipy(images):
    setting = ELASTIC_TRANSFORM.cifar[3]
    generator = torch.Generator().manual_seed(2)
    fields = torch.rand(3, 2, 32, 32, generator=generator, dtype=torch.float64) * 2 - 1
    corrupted = ELASTIC_TRANSFORM.apply(images, setting, (torch.zeros(3, 3, 2), fields))
    rows, columns = np.mgrid[:32, :32]
    for image, field, result in zip(images.double().numpy(), fields.numpy(), corrupted.numpy(), strict=True):
        along, down = (
            setting.alpha * ndimage.gaussian_filter(part, setting.sigma, mode="reflect", truncate=3) for part in field
        )
        for channel, found in zip(image, result, strict=True):
            expected = ndimage.map_coordinates(channel, [rows + down, columns + along], order=1, mode="reflect")
            assert np.abs(found - (expected - 0.5)).max() <= 0.51


def test_draws_fill_the_range():
    points, fields = ELASTIC_TRANSFORM.sample(torch.zeros(512, 3, 32, 32), None, torch.Generator().manual_seed(0))
    assert points.shape == (512, 3, 2)
    assert fields.shape == (512, 2, 32, 32)
    for values in (points, fields):
        assert -1 <= values.min() < -0.99
        assert 0.99 < values.max() <= 1
        assert values.mean().abs() < 0.03
