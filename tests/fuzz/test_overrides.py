"""Overrides on the command line: every value of an accepted configuration lies where the documentation says."""

import math
from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st

from smoothmix.config import build, schema
from smoothmix.config import run_directory as run_dir
from smoothmix.config.command_line import compose
from smoothmix.utils.errors import UserError

MIXINGS = ["identity", "cutout", "label_smoothing", "mixup", "cutmix", "smoothmix_s", "smoothmix_c", "center_gaussian"]
KEYS = [
    *["seed", "method", "output", "device", "precision", "channels_last", "step", "deterministic", "checkpoint_every"],
    *["log_every", "recipe.name", "recipe.epochs", "recipe.batch_size", "recipe.lr", "recipe.decay_epochs"],
    *["recipe.decay_factor", "recipe.momentum", "recipe.nesterov", "recipe.weight_decay", "dataset.val_split"],
    *["dataset.name", "model.name", "model.bottleneck", "mixing.p", "mixing.sigma", "mixing.alpha", "mixing.k"],
    *["mixing.size", "mixing.smoothing", "mixing.spread", "mixing.per_sample", "+mixing.new", "+new", "~recipe.lr"],
]
NUMBERS = st.one_of(st.integers(-(10**20), 10**20), st.floats(), st.floats(-3, 3), st.integers(-3, 400)).map(str)
TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["null", "true", "false", "", "''", "???", "${seed}", "${nothing}", "${oc.env:HOME}", "{a: 1}", "[]", "a/b"]
        + ["!!python/object/apply:os.system [ls]", "{_target_: os.system}", "..", "\\", "'", '"', "a=b", "[1,", "1,2"]
    ),
)
LISTS = st.lists(NUMBERS, max_size=3).map(lambda items: f"[{','.join(items)}]")
OVERRIDES = st.one_of(
    st.tuples(st.sampled_from(KEYS), st.one_of(NUMBERS, TEXTS, LISTS)).map("=".join),
    st.tuples(st.text(max_size=8), TEXTS).map("=".join),
    st.text(max_size=12),
)


def finite(value, least=-math.inf, most=math.inf):
    return type(value) in (int, float) and math.isfinite(value) and least <= value <= most


def check_rules(config):
    """The ranges as README.md, configs/train.yaml and the docstrings state them, independently of the program."""
    recipe = config.recipe
    assert isinstance(config.seed, int)
    assert 0 <= config.seed < 2**63
    assert config.precision in ("auto", "fp32", "tf32", "bf16", "fp16")
    assert config.channels_last in ("auto", True, False)
    assert config.step in ("auto", "eager", "graph")
    assert type(config.deterministic) is type(recipe.nesterov) is bool
    assert config.checkpoint_every >= 0 < config.log_every
    assert isinstance(recipe.epochs, int)
    assert isinstance(recipe.batch_size, int)
    assert recipe.epochs >= 1 <= recipe.batch_size
    assert finite(recipe.lr, 5e-324)
    assert finite(recipe.decay_factor, 5e-324)
    assert finite(recipe.weight_decay, 0)
    assert finite(recipe.momentum, 0, 1 - 1e-16)
    assert all(type(epoch) is int and epoch >= 1 for epoch in recipe.decay_epochs)
    assert all(a < b for a, b in zip(recipe.decay_epochs, recipe.decay_epochs[1:], strict=False))


def check_folder(config, directory):
    """Five folders below the output, each with a name that can be typed."""
    parts = directory.relative_to(Path(config.output).expanduser()).parts
    assert len(parts) == 5
    assert all(part.isprintable() and part not in ("", ".", "..") for part in parts)


def check_mixing(config):
    """One batch: finite images in the range of the given ones, labels that are probabilities."""
    mixing = build.mixing(config, 5, torch.Generator())
    for _ in range(4):
        images, targets = mixing(torch.rand(4, 3, 16, 16), torch.arange(4))
        assert images.isfinite().all()
        assert 0 <= images.min() <= images.max() <= 1 + 1e-6
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(4))
        assert targets.min() >= 0


def outcome(overrides):
    """Return the checked configuration of the command line `overrides`, or the sentence that refuses it."""
    try:
        config = schema.check(compose("train", overrides))
        directory = run_dir.run_directory(config)
    except UserError as error:
        return error
    check_rules(config)
    check_folder(config, directory)
    try:
        check_mixing(config)
    except UserError as error:
        return error
    return config


def test_overrides_are_accepted_with_right_values_or_one_sentence(fuzz):
    seen = {"accepted": 0, "refused": 0}

    @given(st.sampled_from(MIXINGS), st.lists(OVERRIDES, min_size=1, max_size=2))
    def property(mixing, overrides):
        found = outcome([f"mixing={mixing}", *overrides])
        seen["accepted" if isinstance(found, schema.RunConfig) else "refused"] += 1
        if isinstance(found, UserError):
            assert str(found).strip()
            assert str(found).isprintable()

    fuzz(property)
    assert min(seen.values()) >= 3, seen
