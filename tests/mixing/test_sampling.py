"""The draws: shares against exact values, laws of centre, pairs and Beta, defaults, and the surroundings of a call."""

import inspect

import pytest
import torch
from torch import nn

import smoothmix
from smoothmix import CenterGaussian, CutMix, Cutout, HideAndSeek, ManifoldMixup, Mixup, SmoothMixC, SmoothMixS
from tests.mixing.strategies import ALL, seeded


@pytest.mark.parametrize(
    ("strategy", "share"),
    [
        # Exact by quadrature for 32x32; SmoothMix_S lies below the hard square, so 0.003 tells the two apart.
        (SmoothMixC(num_classes=2, generator=seeded()), 0.4291),
        (SmoothMixS(num_classes=2, generator=seeded()), 0.2156),
        (SmoothMixS(num_classes=2, k=0.0, generator=seeded()), 0.2209),
        (CutMix(num_classes=2, generator=seeded()), 1 - 0.299),
        (Mixup(num_classes=2, generator=seeded()), 0.5),
    ],
    ids=repr,
)
def test_mean_share_of_the_image_itself(strategy, share):
    means = [strategy.sample(10_000, (32, 32), "cpu").mean(dim=(1, 2, 3)) for _ in range(10)]
    assert torch.cat(means).mean().item() == pytest.approx(share, abs=0.003)


def test_smoothmix_centres_are_uniform_over_the_image():
    y, x = SmoothMixC(num_classes=2, generator=seeded()).sample_center(40_000, (10, 40), "cpu")
    for values, length in ((y, 10), (x, 40)):
        assert values.min() >= 0
        assert values.max() <= length
        frequencies = torch.histc(values, bins=10, min=0, max=length) / 40_000
        torch.testing.assert_close(frequencies, torch.full((10,), 0.1), atol=0.007, rtol=0)
    assert torch.corrcoef(torch.stack([y, x]))[0, 1].abs() < 0.02


@pytest.mark.parametrize(("size", "shorter"), [((32, 32), 32), ((10, 40), 10), ((40, 10), 10)])
def test_sigma_is_a_fraction_of_the_shorter_side(size, shorter):
    sigma = SmoothMixC(num_classes=2, generator=seeded()).sample_sigma(40_000, size, "cpu") / shorter
    assert 0.25 <= sigma.min() < 0.252
    assert 0.498 < sigma.max() <= 0.5
    assert sigma.mean().item() == pytest.approx(0.375, abs=0.002)
    assert sigma.var().item() == pytest.approx(0.25**2 / 12, rel=0.03)


def test_whole_centres_are_uniform_over_the_pixels():
    """With a side of 2 px the hole covers the pixels c - 1 and c, so its last row is the centre."""
    masks = Cutout(num_classes=2, size=2, generator=seeded()).sample(40_000, (5, 7), "cpu")
    for dim, length in ((3, 5), (2, 7)):
        hole = (masks == 0).any(dim=dim).squeeze(1)
        centers = (hole * torch.arange(length)).amax(dim=1)
        frequencies = torch.bincount(centers, minlength=length) / 40_000
        torch.testing.assert_close(frequencies, torch.full((length,), 1 / length), atol=0.008, rtol=0)


def test_cutmix_centre_is_uniform_over_an_oblong_image():
    """A large alpha fixes lam at 1/2: sides of 5 and 45 px, which cover 4 and 44, cut off at the border."""

    def mean_length(covered, length):
        return sum(min(c + covered // 2, length) - max(c - covered // 2, 0) for c in range(length)) / length

    cutmix = CutMix(num_classes=2, alpha=1e8, generator=seeded())
    area = (1 - cutmix.sample(40_000, (8, 64), "cpu")).sum(dim=(1, 2, 3))
    assert area.max() == 4 * 44
    assert area.mean().item() == pytest.approx(mean_length(4, 8) * mean_length(44, 64), rel=0.01)


def test_cutmix_box_is_the_partners():
    """The pasted box lies inside the image, and has sides floor(sqrt(1 - lam) * side), at most one pixel less."""
    images = torch.arange(2.0)[:, None, None, None].expand(2, 1, 32, 48)
    cutmix = CutMix(num_classes=2, p=1.0, generator=seeded(2))
    cutmix.draw_partner = lambda images: torch.tensor([1, 0])
    mixed, targets = cutmix(images, torch.arange(2))
    pasted = mixed[0, 0] == 1
    rows, columns = pasted.any(1), pasted.any(0)
    assert pasted.any()
    assert torch.equal(pasted, rows[:, None] & columns)  # a box
    assert torch.equal(mixed[1, 0] == 0, pasted)  # and the same one in the other image
    assert targets[0, 1].item() == pytest.approx(pasted.float().mean().item(), abs=1e-6)


def test_coin_at_the_ends_of_its_range():
    """U(0, 1) can be exactly 0: p = 0 leaves the batch alone even then."""
    images = torch.zeros(1, 1, 8, 8)
    for p in (0.0, 1.0):
        strategy = SmoothMixC(num_classes=2, p=p)
        strategy.uniform = lambda n, low, high, device: torch.full((n,), float(low))
        assert (strategy.draw_mask(images) == 1).all().item() == (p == 0)


def test_pairs_are_uniform_permutations():
    strategy = SmoothMixC(num_classes=2, generator=seeded())
    images = torch.zeros(3, 1, 1, 1)
    counts = {}
    for _ in range(6_000):
        partner = tuple(strategy.draw_partner(images).tolist())
        counts[partner] = counts.get(partner, 0) + 1
    assert len(counts) == 6
    assert all(sorted(partner) == [0, 1, 2] for partner in counts)
    assert all(abs(count / 6_000 - 1 / 6) < 0.02 for count in counts.values())
    many = strategy.draw_partner(torch.zeros(1001, 1, 1, 1))
    assert torch.equal(many.sort().values, torch.arange(1001))


@pytest.mark.parametrize("alpha", [1e-40, 1e-6, 1e-3, 0.2, 0.5, 1.0, 2.0, 50.0])
def test_beta_draws(alpha):
    values = Mixup(num_classes=2, generator=seeded()).beta(100_000, alpha, "cpu")
    assert values.dtype == torch.float32
    assert torch.isfinite(values).all()
    assert values.min() >= 0
    assert values.max() <= 1
    assert values.mean().item() == pytest.approx(0.5, abs=0.006)
    assert values.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.02)
    below = torch.distributions.Beta(alpha, alpha).sample((100_000,)).lt(0.1).float().mean() if alpha >= 0.2 else 0.5
    assert values.lt(0.1).float().mean().item() == pytest.approx(float(below), abs=0.01)


def test_defaults():
    defaults = {
        method: {name: parameter.default for name, parameter in inspect.signature(method).parameters.items()}
        for method in [*ALL, ManifoldMixup]
    }
    half = dict.fromkeys(("CenterGaussian", "CutMix", "SmoothMixC", "SmoothMixS"), 0.5)
    always = dict.fromkeys(("Identity", "LabelSmoothing", "ManifoldMixup", "Mixup"), 1.0)
    of_batches = {method.__name__: values["p"] for method, values in defaults.items() if not values["per_sample"]}
    assert of_batches == half | always
    assert defaults[Cutout]["p"] == defaults[HideAndSeek]["p"] == 1.0
    assert defaults[Cutout]["per_sample"] is defaults[HideAndSeek]["per_sample"] is True
    assert defaults[SmoothMixC]["sigma"] == defaults[CenterGaussian]["sigma"] == (0.25, 0.5)
    hide_and_seek = defaults[HideAndSeek]
    assert (hide_and_seek["grids"], hide_and_seek["image_size"]) == ((0, 16, 32, 44, 56), 224)
    assert (hide_and_seek["hide_prob"], defaults[smoothmix.LabelSmoothing]["smoothing"]) == (0.5, 0.1)
    assert (defaults[SmoothMixS]["sigma"], defaults[SmoothMixS]["k"]) == ((0.0, 1.0), 0.2)
    assert (defaults[CutMix]["alpha"], defaults[Mixup]["alpha"], defaults[Cutout]["size"]) == (1.0, 1.0, 16)
    manifold = defaults[ManifoldMixup]
    assert (manifold["alpha"], manifold["stages"]) == (1.0, ("stem", "layer1", "layer2", "layer3"))
    assert manifold.keys() == {"num_classes", "p", "per_sample", "alpha", "stages", "ignore_index", "generator"}
    assert all(values["generator"] is None for values in defaults.values())


@pytest.mark.parametrize("method", ALL)
def test_same_seed_same_output(method):
    images, labels = torch.randn(8, 3, 12, 12), torch.arange(8)

    def run(strategy):
        return [strategy(images, labels) for _ in range(3)]

    first = run(method(num_classes=8, p=0.5, generator=seeded(5)))
    again = method(num_classes=8, p=0.5)
    again.generator = seeded(5)  # a public attribute
    second = run(again)
    torch.manual_seed(7)
    default_first = run(method(num_classes=8, p=0.5))
    torch.manual_seed(7)
    default_second = run(method(num_classes=8, p=0.5))
    for a, b in ((first, second), (default_first, default_second)):
        assert all(torch.equal(x, y) for pair in zip(a, b, strict=True) for x, y in zip(*pair, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("per_sample", [False, True])
def test_the_surroundings_of_a_call_change_nothing(surroundings, per_sample, dtype):
    images, labels = torch.randn(6, 3, 40, 40).to(dtype), torch.arange(6)
    for method, arguments in [(method, {}) for method in ALL] + [(Mixup, {"alpha": 0.2}), (CutMix, {"alpha": 0.2})]:
        strategy = method(num_classes=6, per_sample=per_sample, **arguments)
        for seed in range(3):
            strategy.generator = seeded(seed)
            expected = strategy(images, labels)
            strategy.generator = seeded(seed)
            with surroundings():
                found = strategy(images, labels)
            for ours, theirs in zip(found, expected, strict=True):
                assert ours.dtype == theirs.dtype
                assert torch.equal(ours, theirs), strategy


def test_own_generator_leaves_the_global_one_alone():
    state = torch.get_rng_state()
    for method in ALL:
        method(num_classes=4, p=1.0, generator=seeded())(torch.zeros(4, 3, 12, 12), torch.arange(4))
    assert torch.equal(torch.get_rng_state(), state)


def test_another_law_of_the_centre_or_the_spread_is_one_method():
    class Corner(SmoothMixC):
        def sample_center(self, n, size, device):
            return torch.full((n,), -1.0, device=device), torch.full((n,), -1.0, device=device)

        def sample_sigma(self, n, size, device):
            return torch.full((n,), 8.0, device=device)

    mask = Corner(num_classes=2).sample(2, (16, 16), "cpu")
    assert mask[1, 0, 0, 0].item() == pytest.approx(torch.exp(torch.tensor(-(1.5**2) / 64)).item(), abs=1e-6)


def test_repr_shows_the_arguments():
    assert (
        repr(SmoothMixC(num_classes=100)) == "SmoothMixC(num_classes=100, p=0.5, per_sample=False, sigma=(0.25, 0.5))"
    )
    assert "sigma=(0.0, 1.0), k=0.2" in repr(SmoothMixS(num_classes=2, sigma=[0, 1]))
    assert repr(ManifoldMixup(num_classes=3, stages=["a"])) == (
        "ManifoldMixup(num_classes=3, p=1.0, per_sample=False, alpha=1.0, stages=('a',))"
    )
    assert repr(Cutout(num_classes=9, size=8)) == "Cutout(num_classes=9, p=1.0, per_sample=True, size=8)"


@pytest.fixture
def double_by_default():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double_by_default")
@pytest.mark.parametrize("method", [*ALL, ManifoldMixup])
def test_masks_are_float32_of_one_shape(method):
    strategy = method(num_classes=2, generator=seeded())
    masks = strategy.sample(3, (4, 5), "cpu")
    assert masks.dtype == torch.float32
    constant = method.__name__ in ("Identity", "LabelSmoothing", "ManifoldMixup", "Mixup")
    assert masks.shape == ((3, 1, 1, 1) if constant else (3, 1, 4, 5))
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert method.__name__ != "Identity" or (masks == 1).all()


@pytest.mark.usefixtures("double_by_default")
@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_draws_are_float32(alpha):
    strategy = Mixup(num_classes=2)
    assert strategy.beta(2, alpha, "cpu").dtype == torch.float32
    assert strategy.uniform(2, 0, 1, "cpu").dtype == torch.float32
    assert strategy.whole(2, 5, "cpu").dtype == torch.int64
    assert strategy.draw_partner(torch.zeros(2, 1, 1, 1)).dtype == torch.int64


def test_a_planned_layer_is_the_next_calls():
    strategy = ManifoldMixup(num_classes=2, stages=("a", "b"), generator=seeded())
    strategy.attach(nn.ModuleDict({"a": nn.Identity(), "b": nn.Identity()}))
    for layer in (0, 2, 0):
        strategy.draw_layer = lambda layer=layer: layer
        assert strategy.plan() == layer
        strategy.draw_layer = lambda: 1  # would be drawn if nothing were planned
        images = torch.randn(16, 1, 2, 2)
        mixed, _ = strategy(images, torch.arange(16) % 2)
        assert torch.equal(mixed, images) == (layer != 0)
        strategy._pending = None
