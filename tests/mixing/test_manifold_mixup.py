"""Manifold Mixup: at the image it is Mixup, at a stage a forward pass split by hand, elsewhere it does nothing."""

import copy
import pickle

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from models import PyramidNet
from smoothmix import ManifoldMixup, Mixup
from smoothmix.mixing.manifold_mixup import _Permuted
from tests.mistakes import refused
from tests.mixing.strategies import seeded

N, CLASSES = 6, 5
PYRAMIDNET, RESNET = ("stem", "layer1", "layer2", "layer3"), ("bn1", "layer1", "layer2", "layer3")


def pyramidnet():
    torch.manual_seed(0)
    return PyramidNet(8, 6, CLASSES, bottleneck=False)


def resnet():
    torch.manual_seed(0)
    return timm.create_model("resnet18", num_classes=CLASSES)


def batch(side=16, n=N):
    return torch.randn(n, 3, side, side, generator=seeded(1)), torch.arange(n) % CLASSES


def attached(model, layer=None, **arguments):
    """A strategy on `model`; with `layer`, always mixing there."""
    strategy = ManifoldMixup(**{"num_classes": CLASSES, "generator": seeded(3), "stages": PYRAMIDNET} | arguments)
    strategy.attach(model)
    if layer is not None:
        strategy.draw_layer = lambda: layer
    return strategy


def parts_of_pyramidnet(model):
    return [model.stem, model.layer1, model.layer2, model.layer3], lambda x: model.fc(
        F.relu(model.norm(x)).mean(dim=(2, 3))
    )


def parts_of_resnet(model):
    first = nn.Sequential(model.conv1, model.bn1)
    second = nn.Sequential(model.act1, model.maxpool, model.layer1)
    return [first, second, model.layer2, model.layer3], lambda x: model.fc(model.global_pool(model.layer4(x)))


def by_hand(parts, head, images, layer, partner, weights):
    """The forward pass piece by piece, and after piece `layer` image by image."""
    x = images
    for i, part in enumerate(parts, 1):
        x = part(x)
        if i == layer:
            x = torch.stack([w * x[a] + (1 - w) * x[b] for a, (b, w) in enumerate(zip(partner, weights, strict=True))])
    return head(x)


@given(
    n=st.integers(1, 6),
    side=st.integers(1, 9),
    alpha=st.sampled_from([0.2, 1.0, 3.0]),
    p=st.sampled_from([0.0, 0.5, 1.0]),
    per_sample=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    seed=st.integers(0, 2**31),
)
def test_at_the_image_it_is_mixup(n, side, alpha, p, per_sample, dtype, seed):
    images, labels = torch.randn(n, 3, side, side).to(dtype), torch.arange(n) % CLASSES
    arguments = {"num_classes": CLASSES, "alpha": alpha, "p": p, "per_sample": per_sample}
    strategy = attached(nn.Sequential(nn.Identity()), 0, stages=["0"], generator=seeded(seed), **arguments)
    mixed, targets = strategy(images, labels)
    expected_images, expected_targets = Mixup(generator=seeded(seed), **arguments)(images, labels)
    assert torch.equal(mixed, expected_images)
    assert torch.equal(targets, expected_targets)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("layer", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("build", "stages", "parts", "side"),
    [(pyramidnet, PYRAMIDNET, parts_of_pyramidnet, 16), (resnet, RESNET, parts_of_resnet, 64)],
    ids=["pyramidnet", "resnet"],
)
def test_at_a_stage_it_is_the_forward_pass_split_by_hand(build, stages, parts, side, layer, per_sample):
    """Logits, gradients and BatchNorm statistics."""
    images, labels = batch(side)
    model, reference = build(), build()
    strategy = attached(model, layer, per_sample=per_sample, stages=stages)
    same, targets = strategy(images, labels)
    assert same is images
    logits = model(images)

    draws = Mixup(num_classes=CLASSES, per_sample=per_sample, generator=seeded(3))
    weights = draws.draw_mask(images).bfloat16().float().flatten().expand(N).tolist()
    partner = draws.draw_partner(images).tolist()
    assert partner != list(range(N))
    assert 0 < weights[0] < 1
    expected = by_hand(*parts(reference), images, layer, partner, weights)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(logits, build()(images), rtol=1e-3)
    for i, (j, weight) in enumerate(zip(partner, weights, strict=True)):
        one_hot = torch.eye(CLASSES)
        torch.testing.assert_close(targets[i], weight * one_hot[labels[i]] + (1 - weight) * one_hot[labels[j]])

    F.cross_entropy(logits, targets).backward()
    F.cross_entropy(expected, targets).backward()
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)
    for ours, theirs in zip(model.buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("stage", range(2))
def test_the_weight_of_a_label_is_the_share_of_its_activations(stage, per_sample, dtype):
    """In float32, and in bfloat16 where the hidden layer has it and the images do not, as under autocast."""

    class Cast(nn.Module):
        def forward(self, x):
            return x.to(dtype)

    images = torch.eye(N)[:, :, None, None].expand(N, N, 4, 4)
    model = nn.Sequential(Cast(), nn.Identity())
    strategy = attached(model, 1 + stage, per_sample=per_sample, num_classes=N, stages=("0", "1"))
    for _ in range(20):
        same, targets = strategy(images, torch.arange(N))
        hidden = model(same)
        assert hidden.dtype == dtype
        # 1 - weight may need more than eight bits
        torch.testing.assert_close(
            hidden.float().mean(dim=(2, 3)), targets, atol=2**-9 if dtype != torch.float32 else 0, rtol=0
        )
        torch.testing.assert_close(hidden.float().mean(dim=(2, 3)).diagonal(), targets.diagonal(), atol=0, rtol=0)


def test_layers_are_uniform():
    model = pyramidnet()
    strategy = attached(model)
    torch.manual_seed(0)
    counts = torch.bincount(torch.tensor([strategy.draw_layer() for _ in range(10_000)]), minlength=5)
    assert len(counts) == 5
    assert ((counts - 2_000) ** 2 / 2_000).sum() < 18.5  # chi-square, 4 degrees of freedom, 0.1 %


def test_the_layer_comes_from_torchs_own_cpu_generator():
    strategy, images_and_labels = attached(nn.Sequential(nn.Identity()), stages=["0"]), batch()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    layers = [strategy.draw_layer() for _ in range(50)]
    assert set(layers) == {0, 1}
    torch.set_rng_state(state)
    assert [strategy.draw_layer() for _ in range(50)] == layers
    # and weight and partners from the strategy's, as many numbers whatever the layer
    after = []
    for layer in (0, 1):
        strategy.draw_layer = lambda layer=layer: layer
        strategy.generator = seeded(4)
        strategy(*images_and_labels)
        after.append(strategy.generator.get_state())
    assert torch.equal(*after)


def test_the_mix_happens_once():
    images, labels = batch()
    model, reference = pyramidnet(), pyramidnet()
    strategy = attached(model, 2)
    strategy(images, labels)
    first = model(images)
    plain = [reference(images), reference(images)]
    assert not torch.allclose(first, plain[0], rtol=1e-3)
    torch.testing.assert_close(model(images), plain[1])


def test_evaluation_and_passes_without_a_call_are_untouched():
    images, labels = batch()
    model, reference = pyramidnet(), pyramidnet()
    strategy = attached(model, 3)
    assert torch.equal(model(images), reference(images))
    strategy(images, labels)
    assert torch.equal(model.eval()(images), reference.eval()(images))
    # the mix still waits for the training pass
    assert not torch.allclose(model.train()(images), reference.train()(images), rtol=1e-3)


@pytest.mark.parametrize("layer", range(5))
def test_with_probability_zero_nothing_changes_and_under_autocast_little(layer):
    images, labels = batch()
    model, reference = pyramidnet(), pyramidnet()
    same, targets = attached(model, layer, p=0.0)(images, labels)
    assert torch.equal(same, images)
    assert torch.equal(targets, torch.eye(CLASSES)[labels])
    assert torch.equal(model(same), reference(images))

    model, reference = pyramidnet(), pyramidnet()
    mixed, targets = attached(model, layer)(images, labels)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(mixed)
    F.cross_entropy(logits.float(), targets).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    mixed, targets = attached(reference, layer)(images, labels)
    torch.testing.assert_close(logits.float(), reference(mixed), atol=0.15, rtol=0.1)


class Checkpointed(nn.Module):
    def __init__(self, part, reentrant):
        super().__init__()
        self.part, self.reentrant = part, reentrant

    def forward(self, x):
        return checkpoint(self.part, x, use_reentrant=self.reentrant)


def gradients(model, layer):
    images, targets = attached(model, layer)(*batch())
    F.cross_entropy(model(images.requires_grad_()), targets).backward()
    return [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("layer", range(5))
def test_gradient_checkpointing_inside_the_stages_gives_the_same_gradients(layer, reentrant):
    model = pyramidnet()
    for stage in (model.stem, model.layer1, model.layer2, model.layer3):
        for index, block in enumerate(stage):
            stage[index] = Checkpointed(block, reentrant)
    for ours, theirs in zip(gradients(model, layer), gradients(pyramidnet(), layer), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("layer", range(5))
def test_gradient_checkpointing_of_a_stage_or_around_it_is_refused(layer, reentrant):
    inside, around = pyramidnet(), pyramidnet()
    inside.forward_features = lambda x: F.relu(
        inside.norm(inside.layer3(checkpoint(inside.layer2, inside.layer1(inside.stem(x)), use_reentrant=reentrant)))
    )
    whole = around.forward_features
    around.forward_features = lambda x: checkpoint(whole, x, use_reentrant=reentrant)
    with refused("checkpoint", error=RuntimeError):
        gradients(around, layer)
    if reentrant or layer == 3:
        with refused("checkpoint", error=RuntimeError):
            gradients(inside, layer)
    else:  # without a mix in the stage, the recomputation stops inside it, early enough
        for ours, theirs in zip(gradients(inside, layer), gradients(pyramidnet(), layer), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_gradient_of_the_partners_is_one_gather_with_the_bits_of_indexing(memory_format):
    x = torch.randn(7, 3, 5, 4, generator=seeded(3)).contiguous(memory_format=memory_format).requires_grad_()
    partner, weights = torch.randperm(7, generator=seeded(3)), torch.randn(7, 3, 5, 4, generator=seeded(4))
    found, expected = (
        torch.autograd.grad((permuted * weights).sum(), x) for permuted in (_Permuted.apply(x, partner), x[partner])
    )
    assert torch.equal(*found, *expected)
    with torch.profiler.profile(acc_events=True) as profile:
        _Permuted.apply(x, partner).sum().backward()
    assert "aten::index_put_" not in {event.name for event in profile.events()}


def test_attaching_again_takes_the_first_hooks_off():
    images, labels = batch()
    first, second = pyramidnet(), pyramidnet()
    strategy = attached(first, 1)
    strategy.attach(second)
    strategy.attach(second)
    assert [len(module._forward_hooks) for module in (first.stem, second.stem)] == [0, 1]
    strategy(images, labels)
    reference = pyramidnet()
    assert torch.equal(first(images), reference(images))
    assert not torch.allclose(second(images), pyramidnet()(images), rtol=1e-3)


def test_the_network_stays_what_it_was():
    """The same weights and names, and it can be copied and pickled."""
    model, reference = pyramidnet(), pyramidnet()
    strategy = attached(model, 1)
    assert list(model.state_dict()) == list(reference.state_dict())
    strategy(*batch())
    images = batch()[0]
    twin = copy.deepcopy(model)
    twin.stem._forward_hooks.clear()
    assert torch.equal(twin(images), reference(images))
    strategy._pending = None
    del strategy.draw_layer
    strategy.generator = None
    assert torch.equal(pickle.loads(pickle.dumps(model)).eval()(images), pyramidnet().eval()(images))


def test_stages_of_any_number_of_dimensions():
    """Tokens (N, T, C) and features (N, C) too."""
    images, labels = batch(4)
    for flatten in (nn.Flatten(2), nn.Flatten(1)):
        model = nn.Sequential(flatten)
        attached(model, 1, stages=["0"], per_sample=True)(images, labels)
        hidden = model(images)
        draws = Mixup(num_classes=CLASSES, per_sample=True, generator=seeded(3))
        weights = draws.draw_mask(images).bfloat16().float().flatten()
        partner = draws.draw_partner(images)
        for i in range(N):
            expected = weights[i] * images[i] + (1 - weights[i]) * images[partner[i]]
            torch.testing.assert_close(hidden[i].flatten(), expected.flatten())
