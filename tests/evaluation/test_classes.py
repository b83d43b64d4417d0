"""A label is a number, so whatever evaluates a network compares its classes with the data set's by name."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from models import timm_models
from smoothmix.config import build, schema
from smoothmix.config.command_line import compose
from smoothmix.config.load_run import load_run
from smoothmix.config.options import LoadOptions
from smoothmix.evaluation.classes import Outputs, class_facts, outputs_for
from smoothmix.training import checkpoint
from tests.commands import here
from tests.mistakes import refused

WNIDS = [f"n{number:08d}" for number in range(1000)]


@pytest.mark.parametrize(
    ("data", "network", "subset", "everything"),
    [
        ("abc", "abc", None, None),
        ("cab", "abc", [2, 0, 1], [2, 0, 1]),
        ("db", "abcd", [3, 1], [3, 1, 0, 2]),
        ([str(number) for number in range(1000)], WNIDS, None, None),  # ImageNet-V2
        (WNIDS[3::5], WNIDS, [*range(3, 1000, 5)], [*range(3, 1000, 5), *(k for k in range(1000) if k % 5 != 3)]),
    ],
)
def test_outputs_are_found_by_name(data, network, subset, everything):
    assert outputs_for(data, network, "subset") == subset
    assert outputs_for(data, network, "all") == everything


@pytest.mark.parametrize(
    ("data", "network", "named"),
    [
        (["cheetah", "otter"], ["badger", "cheetah"], ["'otter'", "'badger'"]),
        ("abcx", "abc", ["'x'"]),
        ([str(number) for number in range(1000)], [f"c{number}" for number in range(1000)], ["'0'", "'c0'", "997"]),
        ([str(number) for number in range(3)], WNIDS, ["'2'", "'n00000000'"]),
    ],
)
def test_another_set_of_names_is_refused_with_the_names_that_differ(data, network, named):
    with refused(*named):
        outputs_for(data, network, "all")


def test_a_record_lists_few_names_and_has_a_digest_of_many():
    assert class_facts(["a", "b"]) == {"num_classes": 2, "classes_digest": "7e18f737", "class_names": ["a", "b"]}
    assert class_facts(WNIDS).keys() == {"num_classes", "classes_digest"}
    assert class_facts("ba")["classes_digest"] != class_facts("ab")["classes_digest"]


# ---- the commands


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """The checkpoint of a run on the classes a, b, c, d, and images of each, bright by class."""
    root = tmp_path_factory.mktemp("learnt")
    rng = np.random.default_rng(0)
    for label, name in enumerate("abcd"):
        (root / "all" / name).mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 60, (40, 40, 3), dtype=np.uint8) + np.uint8(60 * label)
            Image.fromarray(pixels).save(root / "all" / name / f"{number}.png")
    words = ["dataset=folder", "dataset.name=four", f"dataset.root={root / 'all'}", "dataset.image_size=32"]
    config = schema.check(compose("train", [*words, "dataset.workers=0", "dataset.num_classes=4"]))
    network = build.model(config, 4, 32).eval()
    state = {"config": config.to_dict(), "model": network.state_dict(), "class_names": list("abcd")}
    checkpoint.save_atomically(state, root / "best.pt")
    images, labels = next(iter(build.dataset(config).eval_batches("test", 24)))
    with torch.no_grad():
        return SimpleNamespace(root=root, config=config, network=network, logits=network(images), labels=labels)


def of_classes(learnt, tmp_path, **names):
    """A data set of the images of some classes, under the names that they are given here."""
    for own, given in names.items():
        (tmp_path / "images" / given).parent.mkdir(exist_ok=True)
        (tmp_path / "images" / given).symlink_to(learnt.root / "all" / own)
    return f"dataset.root={tmp_path / 'images'}"


def evaluated(learnt, tmp_path, *words, script="eval.py", status=0):
    done = here(script, f"checkpoint={learnt.root / 'best.pt'}", f"output={tmp_path / 'out'}", *words)
    assert done.returncode == status, done.stderr
    if status:
        return done.stderr
    (path,) = (tmp_path / "out").glob("*.json")
    return path.name, json.loads(path.read_text()), done.stdout


def test_a_network_with_its_classes_in_another_order_is_aligned(learnt, tmp_path):
    names = list("dbac")
    state = checkpoint.load(learnt.root / "best.pt")
    del state["format"]
    checkpoint.save_atomically(state | {"class_names": names}, tmp_path / "best.pt")
    done = here("eval.py", f"checkpoint={tmp_path / 'best.pt'}", "dataset.name=turned")
    record = json.loads((tmp_path / "best.turned-test.json").read_text())
    outputs = torch.tensor([names.index("abcd"[label]) for label in learnt.labels])
    assert record["top1_error"] == pytest.approx(100 * (learnt.logits.argmax(1) != outputs).double().mean().item())
    loss = torch.nn.functional.cross_entropy(learnt.logits, outputs).item()
    assert record["loss"] == pytest.approx(loss, rel=1e-5)
    assert abs(loss - torch.nn.functional.cross_entropy(learnt.logits, learnt.labels).item()) > 1e-3
    assert (record["dataset"], record["class_names"]) == ("turned", names)
    assert "classes" not in record
    assert "note" not in done.stdout


@pytest.mark.parametrize("classes", ["subset", "all"])
def test_a_part_of_the_networks_classes_has_two_conventions(learnt, tmp_path, classes):
    root = of_classes(learnt, tmp_path, b="b", d="d")
    name, record, said = evaluated(learnt, tmp_path, root, f"classes={classes}")
    kept = (learnt.labels == 1) | (learnt.labels == 3)
    logits, labels = learnt.logits[kept], learnt.labels[kept]
    if classes == "subset":
        logits = logits.masked_fill(torch.tensor([True, False, True, False]), -torch.inf)
    assert record["top1_error"] == pytest.approx(100 * (logits.argmax(1) != labels).double().mean().item())
    assert record["loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert (record["classes"], record["evaluated_classes"], record["num_classes"]) == (classes, 2, 4)
    assert name == f"best.four-test-{classes}_classes.json"
    assert "2 of the network's 4 classes" in said


def test_corrupted_images_of_a_part(learnt, tmp_path):
    root = of_classes(learnt, tmp_path, b="b", d="d")
    asked = [root, "corruptions=[contrast]", "classes=all"]
    name, record, _ = evaluated(learnt, tmp_path, *asked, script="eval_corruption.py")
    kept = (learnt.labels == 1) | (learnt.labels == 3)
    wrong = (learnt.logits[kept].argmax(1) != learnt.labels[kept]).double().mean().item()
    assert record["clean_top1_error"] == pytest.approx(100 * wrong)
    assert record["source"].endswith("2 of the network's 4 classes, argmax over all")
    assert name.endswith("-all_classes.json")


def test_other_classes_are_refused(learnt, tmp_path):
    root = of_classes(learnt, tmp_path, a="a", b="otter")
    assert "'otter'" in evaluated(learnt, tmp_path, root, status=2)


def test_weights_without_names_say_so_and_older_runs_keep_their_order(learnt, tmp_path):
    """Runs that stored no names numbered folders in the order of text: 10 was class 1, and 9 class 3."""
    state = checkpoint.load(learnt.root / "best.pt")
    del state["class_names"], state["format"]
    (tmp_path / "old").mkdir()
    checkpoint.save_atomically(state, tmp_path / "old" / "best.pt")
    root = of_classes(learnt, tmp_path, a="0", b="10", c="5", d="9")
    run = load_run(LoadOptions(checkpoint=str(tmp_path / "old/best.pt"), dataset={"root": root.partition("=")[2]}))
    assert run.class_names == ["0", "10", "5", "9"]
    assert run.data.class_names == ["0", "5", "9", "10"]
    done = here("eval.py", f"checkpoint={tmp_path / 'old/best.pt'}", root, f"output={tmp_path / 'out'}")
    assert done.stdout.count("note: ") == 1
    record = json.loads((tmp_path / "out/best.four-test.json").read_text())
    wrong = (learnt.logits.argmax(1) != learnt.labels).double().mean().item()
    assert record["top1_error"] == pytest.approx(100 * wrong)


def test_an_exported_network_knows_its_classes(learnt, tmp_path):
    here("scripts/export.py", f"checkpoint={learnt.root / 'best.pt'}", f"output={tmp_path / 'export'}")
    description = json.loads((tmp_path / "export/config.json").read_text())
    assert (description["class_names"], description["num_classes"]) == (list("abcd"), 4)
    network = [f"model.{key}={value}" for key, value in learnt.config.model.to_dict().items() if "_" not in key]
    words = ["model=pyramidnet8", *network[1:], f"model.checkpoint={tmp_path / 'export/model.safetensors'}"]
    words += ["dataset=folder", "dataset.name=x", "dataset.image_size=32", "dataset.workers=0"]
    done = here("eval.py", *words, of_classes(learnt, tmp_path, a="c"), f"output={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "out").glob("*.json")
    wrong = (learnt.logits[learnt.labels == 0][:, [2]].argmax(1) != 0).double().mean().item()
    assert json.loads(path.read_text())["top1_error"] == pytest.approx(100 * wrong)
    assert "note" not in done.stdout


def test_published_weights_tell_imagenets_classes(tmp_path, monkeypatch):
    """As if timm's weights could be fetched: 1,000 outputs, evaluated on folders of three of its classes."""
    build_timm = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **options: build_timm(name, **options))
    monkeypatch.setattr(timm_models, "_notice_a_missing_network", lambda: None)
    names = ["n01443537", "n01498041", "n01558993"]
    for name in names:
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(tmp_path / "images" / name / "1.png")
    words = ["model=timm", "model.name=test_resnet", "+model.pretrained=true", "dataset=imagenet"]
    words += [f"dataset.root={tmp_path / 'images'}", "dataset.workers=0", "dataset.name=imagenet_a"]
    done = here("eval.py", *words, f"output={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out/test_resnet.imagenet_a-test-subset_classes.json").read_text())
    assert (record["num_classes"], record["evaluated_classes"]) == (1000, 3)
    outputs = outputs_for(names, timm.data.ImageNetInfo().label_names(), "subset")
    assert outputs == [1, 6, 15]  # goldfish, stingray, robin


def test_a_network_of_which_some_outputs_are_used():
    network = Outputs(torch.nn.Flatten(), [2, 0])
    assert network(torch.arange(8.0).view(2, 2, 2)).tolist() == [[2, 0], [6, 4]]
