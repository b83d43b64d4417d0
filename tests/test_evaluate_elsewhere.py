"""Networks that were trained elsewhere: eval.py, eval_corruption.py and report.py --card without a recipe."""

import json
import os
import re
from argparse import Namespace

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.metrics import accuracy_score, top_k_accuracy_score
from statsmodels.stats.proportion import proportion_confint
from timm.models import PretrainedCfg
from torch.nn import functional as F

from datasets import digits
from datasets.sampling import hold_out
from models import timm_models
from smoothmix.corruptions import corrupt
from smoothmix.evaluation.averages import ALEXNET
from smoothmix.utils.numerics import derive_seed
from tests.commands import here
from tests.mistakes import one_line, refuses

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NAMES = ["bee", "cat", "dog"]
EACH = 11


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """33 images in bare class folders: wide, high, smaller than the network's, every fourth of them grey."""
    root = tmp_path_factory.mktemp("animals")
    rng = np.random.default_rng(0)
    for label, name in enumerate(NAMES):
        (root / name).mkdir()
        for number in range(EACH):
            size = [(90, 70), (40, 55), (130, 200)][number % 3]
            pixels = rng.integers(0, 200, (*size, 3), dtype=np.uint8)
            pixels[:, : (1 + label) * size[1] // 4] //= 2
            image = Image.fromarray(pixels)
            (image.convert("L") if number % 4 == 0 else image).save(root / name / f"{number:02d}.png")
    return root


def read_images(root, side):
    """The images as Pillow resizes and crops them, uint8 (33, 3, S, S), and their labels."""
    images = []
    for path in sorted(root.glob("*/*.png")):
        image = Image.open(path).convert("RGB")
        short = min(image.size)
        width, height = (int(round(side * 256 / 224) * length / short) for length in image.size)
        left, top = round((width - side) / 2), round((height - side) / 2)
        image = image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + side, top + side))
        images.append(torch.from_numpy(np.array(image)).permute(2, 0, 1))
    return torch.stack(images), torch.arange(3).repeat_interleave(EACH)


@pytest.fixture(scope="module")
def network(folder):
    """A small network of timm that tells most of the images apart, in evaluation mode."""
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=3).eval()
    images, labels = read_images(folder, 64)
    taught = torch.where(torch.arange(len(labels)) % 4 == 1, (labels + 1) % 3, labels)  # a quarter of them wrong
    targets = F.one_hot(taught, 3).float()
    with torch.no_grad():
        for _ in range(3):  # statistics of the batch norms
            model.train()(normalized(images))
        features = model.eval().forward_head(model.forward_features(normalized(images)), pre_logits=True)
        features = torch.cat([features, torch.ones(len(features), 1)], 1)
        ridge = 0.05 * features.square().mean() * torch.eye(features.shape[1])
        solution = torch.linalg.solve(features.T @ features + ridge, features.T @ (4 * targets))
        model.get_classifier().weight.copy_(solution[:-1].T)
        model.get_classifier().bias.copy_(solution[-1])
    return model


def normalized(images, mean=MEAN, std=STD):
    return (images.float() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def write(network, path):
    weights = network.state_dict()
    if path.suffix == ".safetensors":
        save_file(weights, path)
    elif path.suffix == ".tar":  # as training code leaves it: timm's arguments, DataParallel's names, NumPy's best
        parallel = {f"module.{name}": tensor for name, tensor in weights.items()}
        state = {"state_dict": parallel, "args": Namespace(lr=0.1), "best": np.float64(3.5), "epoch": 3}
        torch.save(state, path)
    else:
        torch.save(weights, path)
    return path


@pytest.fixture
def checkpoint(network, tmp_path):
    return write(network, tmp_path / "w.pth")


def words(root, checkpoint, *more, side=64):
    return [
        "model=timm", "model.name=test_resnet", f"model.checkpoint={checkpoint}", "dataset=folder",
        "dataset.name=animals", f"dataset.root={root}", f"dataset.image_size={side}", "dataset.workers=0", *more,
    ]  # fmt: skip


def ran(script, *arguments):
    done = here(script, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def record(folder, name):
    return json.loads((folder / name).read_text())


@pytest.mark.parametrize("name", ["w.pth", "w.pth.tar", "w.safetensors"])
def test_errors_are_those_of_a_loop_over_the_images(network, folder, tmp_path, name):
    printed = ran("eval.py", *words(folder, write(network, tmp_path / name), "predictions=true"))
    images, labels = read_images(folder, 64)
    with torch.no_grad():
        logits = torch.cat([network(normalized(image[None])) for image in images])
    wrong = (logits.argmax(1) != labels).sum().item()
    assert 0 < wrong < 20
    found = record(tmp_path, f"{(tmp_path / name).stem}.animals-test.json")
    assert found["top1_error"] == pytest.approx(100 * wrong / 33)
    assert found["loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-4)
    brier = (logits.softmax(1) - F.one_hot(labels, 3)).square().sum(1).mean().item()
    assert found["brier"] == pytest.approx(brier, rel=1e-4)
    assert (found["images"], found["image_size"], found["weights_file"]) == (33, 64, name)
    assert found["method"] == found["recipe"] == "external"
    assert f"animals test: top-1 error {100 * wrong / 33:.2f}% (95 % interval " in printed
    assert "subset" not in printed

    frame = pd.read_csv(tmp_path / f"{(tmp_path / name).stem}.animals-test.predictions.csv")
    probabilities, order = logits.softmax(1).sort(1, descending=True)
    assert frame["image"].tolist() == list(range(33))
    assert frame["file"].tolist() == [f"{path.parent.name}/{path.name}" for path in sorted(folder.glob("*/*.png"))]
    assert frame["class"].tolist() == [NAMES[label] for label in labels]
    for k in range(3):
        assert frame[f"class_{k + 1}"].tolist() == [NAMES[label] for label in order[:, k]]
        assert frame[f"p_{k + 1}"].to_numpy() == pytest.approx(probabilities[:, k].numpy(), rel=1e-3)
    two = (frame["class"] == frame["class_1"]) | (frame["class"] == frame["class_2"])
    assert two.sum() == top_k_accuracy_score(labels, logits, k=2, normalize=False)
    assert list(frame)[9:] == ["nll", "correct"]
    assert frame["correct"].mean() == accuracy_score(labels, logits.argmax(1))
    assert frame["nll"].to_numpy() == pytest.approx(F.cross_entropy(logits, labels, reduction="none"), rel=1e-3)


def test_a_mean_and_a_deviation_of_ones_own(network, folder, checkpoint, tmp_path):
    ran("eval.py", *words(folder, checkpoint, "mean=[0.5,0.4,0.3]", "std=[0.2,0.3,0.25]"))
    images, labels = read_images(folder, 64)
    with torch.no_grad():
        loss = F.cross_entropy(network(normalized(images, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25))), labels).item()
    found = record(tmp_path, "w.animals-test.json")
    assert (found["loss"], found["mean"]) == (pytest.approx(loss, rel=1e-4), [0.5, 0.4, 0.3])


def test_a_subset_is_marked_and_has_wilsons_interval(folder, checkpoint, tmp_path):
    printed = ran("eval.py", *words(folder, checkpoint, "images=12"))
    found = record(tmp_path, "w.animals-test-12.json")
    assert (found["images"], found["split_images"]) == (12, 33)
    low, high = proportion_confint(round(found["top1_error"] * 12 / 100), 12, method="wilson")
    assert f"(95 % interval {100 * low:.2f} to {100 * high:.2f}%)" in printed
    assert "12 images, a subset of 33" in printed


@pytest.mark.parametrize(("side", "constants", "title"), [(64, "cifar", "CIFAR-C's"), (96, "imagenet", "ImageNet-C's")])
def test_corruptions_of_another_size_are_generated(network, folder, checkpoint, tmp_path, side, constants, title):
    asked = words(folder, checkpoint, "corruptions=[gaussian_noise]", "images=15", "predictions=true", side=side)
    printed = ran("eval_corruption.py", *asked)
    found = record(tmp_path, f"w.animals{side}_c-generate-15.json")
    assert found["source"] == f"generated (seed 0, {title} constants at {side} pixels), 15 of 33 images"
    assert found["source"] in printed
    assert "a subset of 15 images: 95 % interval of the clean error" in printed
    assert "mCE" not in printed

    images, labels = read_images(folder, side)
    chosen = hold_out(labels, 15)[1]
    pairs = pd.read_csv(tmp_path / f"w.animals{side}_c-generate-15.predictions.csv")
    assert pairs["image"].tolist() == 5 * chosen.tolist()
    assert pairs["class"].tolist() == 5 * [NAMES[label] for label in labels[chosen]]
    for severity in (1, 5):
        generator = torch.Generator().manual_seed(derive_seed(0, "gaussian_noise", severity, 0))
        noisy = corrupt(images[chosen], "gaussian_noise", severity, constants, generator)
        with torch.no_grad():
            wrong = (network(normalized(noisy)).argmax(1) != labels[chosen]).double().mean().item()
        assert found["top1_errors"]["gaussian_noise"][str(severity)] == pytest.approx(100 * wrong)


def test_published_weights_are_normalised_as_in_their_training(network, tmp_path, monkeypatch):
    """As if timm had published weights that tell ten classes: what is fetched is replaced."""
    build = timm.create_model

    def create_model(name, pretrained=False, **options):
        assert pretrained
        torch.manual_seed(0)
        model = build(name, **options)
        model.pretrained_cfg = {"num_classes": 10, "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7), "tag": "x"}
        return model

    monkeypatch.setattr(timm, "create_model", create_model)
    monkeypatch.setattr(timm_models, "_notice_a_missing_network", lambda: None)
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda name: PretrainedCfg(num_classes=10))
    asked = ["model=timm", "model.name=test_resnet", "+model.pretrained=true"]
    ran("eval.py", *asked, "dataset=digits", f"output={tmp_path / 'records'}")
    found = record(tmp_path / "records", "test_resnet.digits-test.json")
    assert (found["mean"], found["std"]) == ([0.1, 0.2, 0.3], [0.5, 0.6, 0.7])

    images, labels = digits().arrays("test")
    scaled = normalized(images.permute(0, 3, 1, 2), (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    with torch.no_grad():
        logits = create_model("test_resnet", pretrained=True, num_classes=10).eval()(scaled)
    assert found["loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-4)


@pytest.mark.parametrize(("published", "named"), [(1000, "'bee'"), (10, "finetune")])
def test_published_weights_of_other_classes_are_refused(folder, tmp_path, monkeypatch, published, named):
    """Of ImageNet's 1,000 the names are known, of others the number alone."""
    build = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **options: build(name, **options))
    monkeypatch.setattr(timm_models, "_notice_a_missing_network", lambda: None)
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda name: PretrainedCfg(num_classes=published))
    asked = [word for word in words(folder, "x") if not word.startswith("model.checkpoint")]
    refuses("eval.py", *asked, "+model.pretrained=true", f"output={tmp_path}", words=[named])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("script", "change", "named"),
    [
        ("eval.py", ["model.name=resnet18"], ["w.pth", "architecture"]),
        ("eval.py", ["model.name=resnett18"], ["'resnett18'", "resnet18"]),
        ("eval.py", ["model.checkpoint=/nowhere.pth"], ["/nowhere.pth"]),
        ("eval.py", ["images=33"], ["images=33", "0 to 32"]),
        ("eval.py", ["split=val"], ["split", "val", "test"]),
        ("eval_corruption.py", ["dataset.image_size=24"], [24, "dataset.image_size=32"]),
        ("eval_corruption.py", ["benchmark=imagenet_c", "source=generate"], ["imagenet_c", "animals"]),
        (
            "eval_corruption.py",
            ["benchmark=imagenet_c", "source=generate", "dataset.name=imagenet"],
            [224, 64, "benchmark=imagenet_c"],
        ),
    ],
)
def test_a_mistake_leaves_no_record(folder, checkpoint, tmp_path, script, change, named):
    refuses(script, *words(folder, checkpoint, *change), words=named)
    assert os.listdir(tmp_path) == ["w.pth"]


def test_other_images_of_the_same_weights_are_another_evaluation(folder, checkpoint, tmp_path):
    asked = ["corruptions=[contrast]", "images=6"]
    ran("eval_corruption.py", *words(folder, checkpoint, *asked))
    named = ["w.animals64_c-generate-6.json", "config_hash"]
    refuses("eval_corruption.py", *words(folder, checkpoint, *asked, "std=[1,1,1]"), words=named)


@pytest.fixture
def evaluated(folder, checkpoint, tmp_path):
    """A folder with the records of two evaluations."""
    ran("eval.py", *words(folder, checkpoint))
    ran("eval_corruption.py", *words(folder, checkpoint, "corruptions=[contrast,fog]", "images=6"))
    return tmp_path


def test_a_card_has_the_numbers_of_the_records(evaluated):
    printed = ran("scripts/report.py", evaluated, "--card")
    assert printed == f"{evaluated}/card.md: 2 evaluations\n"
    text = (evaluated / "card.md").read_text()
    clean, corrupted = record(evaluated, "w.animals-test.json"), record(evaluated, "w.animals64_c-generate-6.json")
    assert text.startswith("# test_resnet on animals\n")
    low, high = (100 * end for end in proportion_confint(round(clean["top1_error"] * 0.33), 33, method="wilson"))
    expected = f"| animals test, 33 | {clean['top1_error']:.2f} | [{low:.2f}, {high:.2f}] | {clean['top5_error']:.2f} |"
    assert f"{expected} {clean['loss']:.3f} | {clean['brier']:.3f} | {clean['ece']:.2f} |" in text
    cells = corrupted["top1_errors"]["fog"].values()
    loss = sum(corrupted["calibration"]["loss"]["fog"].values()) / 5
    line = " | ".join(f"{cell:.2f}" for cell in [*cells, sum(cells) / 5])
    assert f"| fog | weather | {line} | {loss:.3f} |" in text
    assert f"| mean of weather | {sum(cells) / 5:.2f} | {loss:.3f} |" in text
    assert "A subset of 6 images" in text
    assert "mCE and relative mCE are defined" in text
    assert clean["weights_sha256"] in text
    assert f"torch {torch.__version__.partition('+')[0]}" in text
    for script in ("eval.py", "eval_corruption.py"):
        assert f"\npython {script} model=timm " in text
    (picture,) = re.findall(r"!\[.*\]\((.*)\)", text)
    assert (evaluated / picture).read_text().lstrip().startswith("<?xml")


def test_mce_is_on_the_card_of_imagenet_c(evaluated):
    content = record(evaluated, "w.animals64_c-generate-6.json")
    content |= {"benchmark": "imagenet_c", "clean_top1_error": 43.48}
    content["top1_errors"] = {
        name: {str(severity): error / 2 for severity, error in enumerate(errors, 1)} for name, errors in ALEXNET.items()
    }
    (evaluated / "w.imagenet_c-files.json").write_text(json.dumps(content))
    ran("scripts/report.py", evaluated, "--card")
    text = (evaluated / "card.md").read_text()
    assert "| mCE | 50.00 | - |" in text
    relative = [(sum(e) / 2 - 5 * 43.48) / (sum(e) - 5 * 43.48) for e in ALEXNET.values()]
    assert f"| relative mCE | {100 * sum(relative) / 15:.2f} |" in text


def test_a_damaged_record_is_named_and_the_rest_is_shown(evaluated):
    (evaluated / "w.other_c-files.json").write_text('{"benchmark": 3')
    changed = record(evaluated, "w.animals-test.json") | {"weights_sha256": "0" * 16}
    (evaluated / "w.older-test.json").write_text(json.dumps(changed))
    done = here("scripts/report.py", evaluated, "--card")
    assert done.returncode == 2
    for line, name in zip(done.stderr.splitlines(), ("w.other_c-files.json", "w.older-test.json"), strict=True):
        one_line(line, name)
    text = (evaluated / "card.md").read_text()
    assert "## Corrupted images: animals64_c" in text
    assert text.count("| animals test, ") == 1


def test_cards_that_cannot_be_made(evaluated, tmp_path):
    (tmp_path / "empty").mkdir()
    refuses("scripts/report.py", tmp_path / "empty", "--card", words=[tmp_path / "empty", "eval.py"])
    refuses("scripts/report.py", evaluated, "weights=v", "--card", words=["v", "w"])
    refuses("scripts/report.py", "/nowhere", "--card", words=["/nowhere"])
