import numpy as np
import pytest
import torch

from smoothmix.corruptions.fog import FOG


def slow_cloud(kicks, decay):
    """Return the fractal point by point, in 0..1."""
    size = len(kicks)
    cloud = np.zeros((size, size))
    step, amplitude = size, 10000.0

    def set_mean(row, column, neighbours):
        values = [cloud[(row + down) % size, (column + along) % size] for down, along in neighbours]
        cloud[row, column] = sum(values) / 4 + amplitude * kicks[row, column]

    while step > 1:
        half = step // 2
        starts = [(row, column) for row in range(0, size, step) for column in range(0, size, step)]
        for row, column in starts:
            set_mean(row + half, column + half, [(-half, -half), (-half, half), (half, -half), (half, half)])
        for row, column in starts:
            for down, along in ((0, half), (half, 0)):
                set_mean(row + down, column + along, [(-half, 0), (half, 0), (0, -half), (0, half)])
        step, amplitude = half, amplitude / decay**2
    return (cloud - cloud.min()) / (cloud.max() - cloud.min())


def test_a_slow_loop():
    (kicks,) = FOG.sample(torch.zeros(2, 3, 12, 12), (1.0, 2.0), torch.Generator().manual_seed(0))
    assert kicks.shape == (2, 16, 16)
    images = torch.randint(0, 200, (2, 3, 12, 12), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    clouds = torch.stack([torch.from_numpy(slow_cloud(kick, 2.0))[:12, :12] for kick in kicks.double().numpy()])
    brightest = images.amax((1, 2, 3)).double()[:, None, None, None] / 255
    expected = (images / 255 + 1.5 * clouds[:, None]) * brightest / (brightest + 1.5) * 255
    corrupted = FOG.apply(images, (1.5, 2.0), (kicks,))
    torch.testing.assert_close(corrupted.double(), expected - 0.5, atol=0.501, rtol=0)


def test_kicks_fill_the_range():
    (kicks,) = FOG.sample(torch.zeros(64, 3, 32, 32), (1.0, 2.0), torch.Generator().manual_seed(0))
    assert -1 <= kicks.min() < -0.999
    assert 0.999 < kicks.max() <= 1
    assert kicks.mean().abs() < 0.01


@pytest.mark.parametrize(("side", "size"), [(32, 32), (33, 64), (64, 64), (65, 128), (224, 256)])
def test_the_fractal_is_made_on_the_next_power_of_two(side, size):
    (kicks,) = FOG.sample(torch.zeros(2, 3, side, side), FOG.cifar[0], torch.Generator())
    assert kicks.shape == (2, size, size)
