import torch
from hypothesis import given
from hypothesis import strategies as st

from smoothmix.corruptions.glass import GLASS_BLUR, Glass, scatter


@given(st.data())
def test_copies_are_those_of_the_loop(data):
    distance = data.draw(st.integers(1, 4))
    side = data.draw(st.integers(2 * distance + 1, 14))
    setting = Glass(1.0, distance, data.draw(st.integers(1, 3)))
    written = side - 2 * distance
    seed, low = data.draw(st.integers(0, 2**31)), data.draw(st.integers(-distance, distance - 1))
    shape = (2, setting.passes, written, written, 2)
    offsets = torch.randint(low, distance, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.int8)
    shown = torch.arange(side * side).view(side, side).repeat(2, 1, 1)
    for image in range(2):
        for number in range(setting.passes):
            pairs = iter(offsets[image, number].flatten(0, 1).tolist())
            for row in range(side - distance, distance, -1):
                for column in range(side - distance, distance, -1):
                    right, down = next(pairs)
                    shown[image, row, column] = shown[image, row + down, column + right].clone()
    assert torch.equal(scatter(side, setting, offsets), shown.flatten(1))


def test_the_longest_chain_is_followed_to_its_end():
    offsets = torch.tensor([1, 0], dtype=torch.int8).expand(1, 1, 60, 60, 2)  # each pixel copies its right neighbour
    shown = scatter(64, Glass(1.0, 2, 1), offsets).view(64, 64)
    assert (shown[3:63, 3:63] == shown[3:63, 63:]).all()


def test_offsets_follow_the_seed_fill_the_range_and_differ_between_images():
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)

    def run(seed):
        return GLASS_BLUR.sample(images, Glass(1.0, 3, 2), torch.Generator().manual_seed(seed))[0]

    offsets = run(0)
    assert torch.equal(offsets, run(0))
    assert not torch.equal(offsets, run(1))
    assert not torch.equal(offsets[0], offsets[1])
    assert offsets.unique().tolist() == [-3, -2, -1, 0, 1, 2]
