import pytest
import torch
from torchvision.ops import drop_block2d

from models.dropblock import DropBlock, draw_seeds, drop_blocks


def slow_drop_blocks(x, seeds, block):
    """Written out: each seed zeroes the block whose top left corner it is."""
    kept = torch.ones_like(x)
    for n, c, i, j in seeds.nonzero().tolist():
        kept[n, c, i : i + block, j : j + block] = 0
    return x * kept / kept.mean()


@pytest.mark.parametrize(
    ("keep_prob", "side", "block", "tolerance"),
    [
        *((0.9, side, block, 0.015) for side, block in [(7, 7), (14, 7), (8, 4), (32, 4), (5, 2)]),
        *((keep_prob, 8, 1, 0.01) for keep_prob in (0.5, 0.75, 0.975)),  # blocks of one pixel do not overlap
    ],
)
def test_the_dropped_share_is_the_nominal_one(keep_prob, side, block, tolerance):
    out = DropBlock(keep_prob, block).train()(torch.ones(40, 500, side, side))
    assert (out == 0).float().mean().item() == pytest.approx(1 - keep_prob, abs=tolerance)
    assert out.mean().item() == pytest.approx(1, abs=1e-5)  # what is left stands for all


@pytest.mark.parametrize(("height", "width", "block"), [(7, 7, 7), (14, 14, 7), (9, 12, 3), (5, 5, 1), (6, 11, 5)])
def test_it_is_torchvisions_for_odd_blocks(height, width, block, monkeypatch):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 6, height, width, generator=generator)
    corners = (4, 6, height - block + 1, width - block + 1)
    seeds = torch.bernoulli(torch.full(corners, 0.05 if block < 7 else 0.3), generator=generator)
    asked = []

    def injected(self, p):
        assert self.shape == corners
        asked.append(float(p))
        return self.copy_(seeds)

    monkeypatch.setattr(torch.Tensor, "bernoulli_", injected)
    ours, theirs = DropBlock(0.9, block).train()(x), drop_block2d(x, 0.1, block)
    torch.testing.assert_close(ours, theirs)
    assert asked[0] == pytest.approx(asked[1])  # the same gamma
    assert 0 < (ours == 0).float().mean() < 1


@pytest.mark.parametrize("size", [(7, 7), (8, 8), (6, 9), (4, 4)])
@pytest.mark.parametrize("block", [1, 2, 3, 4])
def test_blocks_are_cut_out_where_the_seeds_are(size, block):
    torch.manual_seed(2)
    x = torch.randn(3, 5, *size, dtype=torch.float64)
    seeds = (torch.rand(3, 5, size[0] - block + 1, size[1] - block + 1) < 0.1).double()
    torch.testing.assert_close(drop_blocks(x, seeds, block), slow_drop_blocks(x, seeds, block))
    assert seeds.sum() > 0


def test_seeds_are_drawn_with_gamma_for_each_image_and_channel_alone():
    torch.manual_seed(3)
    seeds = draw_seeds(torch.empty(100, 200, 8, 10), 0.1, 4)
    assert seeds.shape == (100, 200, 5, 7)
    assert seeds.mean().item() == pytest.approx(0.1 / 16 * 80 / 35, rel=0.02)
    flat = seeds.flatten(2).sum(-1)
    assert flat.std(dim=0).min() > 0  # images differ in every channel
    assert flat.std(dim=1).min() > 0  # and channels in every image


def test_all_dropped_is_zero_and_not_nan():
    assert torch.equal(drop_blocks(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 1, 1), 3), torch.zeros(1, 1, 3, 3))


@pytest.mark.parametrize("drop", [DropBlock(0.9, 3).eval(), DropBlock(1.0, 3).train(), DropBlock(1.0, 3, "linear")])
def test_evaluation_and_keep_prob_1_are_the_identity_and_draw_nothing(drop):
    x = torch.randn(2, 3, 8, 8)
    before = torch.get_rng_state()
    assert drop(x) is x
    assert torch.equal(torch.get_rng_state(), before)


def test_a_block_larger_than_the_map_drops_whole_channels():
    torch.manual_seed(4)
    out = DropBlock(0.5, 7).train()(torch.ones(10, 100, 4, 4))
    dropped = (out == 0).flatten(2)
    assert torch.equal(dropped.all(-1), dropped.any(-1))
    assert dropped.float().mean().item() == pytest.approx(0.5, abs=0.06)


def test_the_gradient_is_that_of_the_kept_units():
    torch.manual_seed(5)
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    out = DropBlock(0.7, 3).train()(x)
    out.sum().backward()
    torch.testing.assert_close(x.grad * x.detach(), out.detach())
    assert (x.grad == 0).any()


def test_the_linear_schedule_goes_from_nothing_to_the_whole_rate():
    torch.manual_seed(6)
    x = torch.ones(20, 200, 8, 8)
    drop = DropBlock(0.8, 1, "linear").train()
    for progress in (None, 0.0, 0.25, 0.5, 1.0):
        if progress is not None:
            drop.set_progress(progress)
        share = (drop(x) == 0).float().mean().item()
        assert share == pytest.approx(0.2 * (1.0 if progress is None else progress), abs=0.005)
        if progress == 0:
            assert torch.equal(drop(x), x)
    drop.set_progress(0.5)
    drop.set_progress(0.25)  # it depends on the last word alone
    assert drop.drop_rate.item() == pytest.approx(0.05)


def test_a_constant_rate_does_not_listen():
    drop = DropBlock(0.9, 4)
    drop.set_progress(0.0)
    assert drop.drop_rate.item() == pytest.approx(0.1)


def test_the_schedule_is_no_part_of_checkpoints():
    assert DropBlock(0.9, 4, "linear").state_dict() == {}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtype_and_memory_format_are_kept(dtype):
    torch.manual_seed(7)
    x = torch.ones(4, 64, 14, 14, dtype=dtype).to(memory_format=torch.channels_last)
    out = DropBlock(0.9, 7).train()(x)
    assert out.dtype is dtype
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert (out == 0).float().mean().item() == pytest.approx(0.1, abs=0.04)
    assert out.float().mean().item() == pytest.approx(1, abs=0.01)
