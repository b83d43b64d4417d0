"""Weights to take away: scripts/export.py, smoothmix.load_pretrained and torch.hub."""

import copy
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import smoothmix
from datasets import digits
from smoothmix.config import build, schema
from smoothmix.config.command_line import compose
from smoothmix.training import checkpoint
from smoothmix.utils.pictures import center_crop
from tests.commands import ROOT, here, python
from tests.mistakes import one_line, refused, refuses

SMALL = ["model.depth=8", "model.alpha=6", "+model.shake_drop=0.5"]


@pytest.fixture(scope="module")
def network():
    """A network with statistics of its own, in evaluation mode, and its configuration."""
    config = schema.check(compose("train", SMALL))
    model = build.model(config, 10, 32)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(3):
            model(torch.randn(8, 3, 32, 32))
    return model.eval(), config


@pytest.fixture(scope="module")
def images():
    data = digits()
    return next(iter(data.eval_batches("test", 40)))[0]


@pytest.fixture(scope="module")
def run(network, tmp_path_factory):
    """The directory of a run with these weights."""
    folder = tmp_path_factory.mktemp("run")
    state = {"config": network[1].to_dict(), "model": network[0].state_dict()}
    checkpoint.save_atomically(state, folder / "best.pt")
    return folder


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    done = here("scripts/export.py", f"run={run}", f"output={folder}")
    assert done.returncode == 0, done.stderr
    assert "the logits of 16 test images differ by at most 0 from" in done.stdout
    return folder


def copied(exported, folder, **changes):
    """A copy of the folder with a changed description, and its path."""
    (folder / "model.safetensors").write_bytes((exported / "model.safetensors").read_bytes())
    description = json.loads((exported / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(description))
    return folder


def logits(model, images):
    with torch.inference_mode():
        return model(images)


@pytest.mark.parametrize("load", ["smoothmix", "hub"])
def test_the_same_logits_to_the_bit(network, exported, images, load):
    before = torch.get_rng_state()
    if load == "hub":
        found = torch.hub.load(str(ROOT), "pretrained", str(exported), source="local")
    else:
        found = smoothmix.load_pretrained(exported)
    assert torch.equal(torch.get_rng_state(), before)
    assert not found.training
    assert torch.equal(logits(found, images), logits(network[0], images))
    assert found.description["class_names"] == [str(digit) for digit in range(10)]
    assert found.description["mean"] == list(digits().mean)
    assert found.description["image_size"] == 32


def test_the_folder_has_a_card_and_nothing_else(run, exported):
    assert sorted(os.listdir(exported)) == ["README.md", "config.json", "model.safetensors"]
    record = json.loads((run / "best.digits-test.json").read_text())
    text = (exported / "README.md").read_text()
    assert f"| digits test, 360 | {record['top1_error']:.2f} |" in text
    assert "torch.hub.load(" in text
    assert "half precision" not in text


def test_a_record_of_other_weights_is_made_again(network, run, exported, tmp_path):
    record = json.loads((run / "best.digits-test.json").read_text())
    stale = record | {"weights_sha256": "0" * 16, "top1_error": 12.34}
    checkpoint.save_atomically({"config": network[1].to_dict(), "model": network[0].state_dict()}, tmp_path / "best.pt")
    (tmp_path / "best.digits-test.json").write_text(json.dumps(stale))
    done = here("scripts/export.py", f"run={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "best.digits-test.json").read_text())["top1_error"] == record["top1_error"]
    assert "12.34" not in (tmp_path / "best-export" / "README.md").read_text()


def test_half_precision_is_that_of_the_file_alone(network, run, images, tmp_path):
    done = here("scripts/export.py", f"run={run}", "half=true", f"output={tmp_path}")
    assert done.returncode == 0, done.stderr
    stored = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16, torch.int64}
    model = build.model(network[1], 10, 32).eval()
    model.load_state_dict(
        {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in stored.items()}
    )
    found = smoothmix.load_pretrained(tmp_path)
    assert torch.equal(logits(found, images), logits(model, images))
    difference = (logits(found, images) - logits(network[0], images)).abs().max().item()
    assert 0 < difference < 0.05
    assert "stored in half precision" in (tmp_path / "README.md").read_text()


def test_weights_from_elsewhere_and_nothing_is_fetched(images, tmp_path, monkeypatch):
    torch.manual_seed(1)
    model = timm.create_model("test_resnet", num_classes=10).eval()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    asked = ["model=timm", "model.name=test_resnet", f"model.checkpoint={tmp_path / 'w.safetensors'}", "dataset=digits"]
    done = here("scripts/export.py", *asked)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "w-export"
    fetched, build_timm = [], timm.create_model

    def create_model(name, pretrained=False, **options):
        fetched.append(pretrained)
        return build_timm(name, **options)

    monkeypatch.setattr(timm, "create_model", create_model)
    description = json.loads((folder / "config.json").read_text())
    description["model"]["pretrained"] = True
    (folder / "config.json").write_text(json.dumps(description))
    assert torch.equal(logits(smoothmix.load_pretrained(folder), images), logits(model, images))
    assert fetched == [False]


ELSEWHERE = """
import sys
for name in ("hydra", "tqdm", "pandas", "matplotlib", "scipy", "sklearn", "cv2", "PIL", "torchvision"):
    sys.modules[name] = None  # as where only what the page names is installed
import torch
print(type(torch.hub.load({clone!r}, "pretrained", {folder!r}, source="local")).__name__)
"""


def test_another_program_in_another_folder_uses_the_hub(exported, tmp_path):
    script = ELSEWHERE.format(clone=str(ROOT), folder=str(exported))
    command = [sys.executable, "-W", "ignore", "-c", script]
    environment = os.environ | {"PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == "PyramidNet\n", done.stderr


BESIDE_THEIRS = """
import sys
if {imported}:
    import models, datasets.info
    models.mine += 10  # another import would not know
path = [*sys.path]
import torch
network = torch.hub.load({clone!r}, "pretrained", {folder!r}, source="local", trust_repo=True)
import models, datasets.info
print(type(network).__name__, models.mine, datasets.info.mine, sys.path == path)
"""


@pytest.mark.parametrize("imported", [True, False])
def test_a_users_own_packages_of_the_same_names_stay_theirs(exported, tmp_path, imported):
    """`models` is a usual name, and `datasets` Hugging Face's; imported before the network or after it."""
    (tmp_path / "models.py").write_text("mine = 1\n")
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("")
    (tmp_path / "datasets" / "info.py").write_text("mine = 2\n")
    script = BESIDE_THEIRS.format(imported=imported, clone=str(ROOT), folder=str(exported))
    done = python("-c", script, folder=tmp_path)
    assert done.stdout == f"PyramidNet {11 if imported else 1} 2 True\n", done.stderr


def test_it_classifies_a_photograph(exported, images, tmp_path):
    network, data = smoothmix.load_pretrained(exported), digits()
    pixels = data.arrays("test")[0][0].numpy()
    Image.fromarray(pixels).save(tmp_path / "digit.png")
    torch.testing.assert_close(network.preprocess(tmp_path / "digit.png"), images[:1])
    found = network.predict(Image.fromarray(pixels))
    assert list(found) == sorted(found, key=found.get, reverse=True)
    expected = logits(network, images[:1])[0].softmax(0)
    assert [found[name] for name in network.description["class_names"]] == pytest.approx(expected.tolist(), rel=1e-5)
    large = Image.fromarray(pixels).resize((90, 60)).convert("L")
    network.description["resize"] = 36
    square = center_crop(large.convert("RGB"), 32, 36)
    theirs = (torch.from_numpy(np.array(square)).permute(2, 0, 1) / 255 - data.mean[0]) / data.std[0]
    torch.testing.assert_close(copy.deepcopy(network).preprocess(large)[0], theirs)


@pytest.mark.parametrize("foreign", [False, True])
def test_the_package_without_the_clone_says_where_the_networks_are(exported, tmp_path, foreign):
    (tmp_path / "smoothmix").symlink_to(ROOT / "smoothmix")
    if foreign:
        (tmp_path / "models.py").write_text("x = 1\n")
    load = f"smoothmix.load_pretrained({str(exported)!r})"
    script = f"import smoothmix\ntry:\n    {load}\nexcept Exception as error:\n    print(error)"
    said = python("-c", script, folder=tmp_path, PYTHONPATH=tmp_path).stdout
    one_line(said[:-1], "clone")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": {"name": "x", "_target_": "os.system"}}, ["model._target_=os.system"]),
        ({"model": {"name": "x", "_target_": "models.PyramidNet", "depth": 10**9, "alpha": 3}}, ["depth", 10**9]),
        ({"model": {"name": "x", "_target_": "models.PyramidNet", "depth": 1001, "alpha": 9999}}, ["larger"]),
        ({"model": "pyramidnet8"}, ["model", "_target_"]),
        ({"model": None}, ["model", "_target_"]),
        ({"num_classes": -1}, ["num_classes"]),
        ({"std": [1, 0, 1]}, ["std"]),
        ({"class_names": ["a"]}, ["class_names"]),
        ({"num_classes": 11, "class_names": list("abcdefghijk")}, ["fc.bias", (10,)]),
        ({"model": {"name": "resnet18", "_target_": "models.timm_model"}}, ["model.safetensors", "architecture"]),
    ],
)
def test_a_description_that_does_not_fit(exported, tmp_path, changes, words, monkeypatch):
    ran = []
    monkeypatch.setattr(os, "system", ran.append)
    with refused(*words):
        smoothmix.load_pretrained(copied(exported, tmp_path, **changes))
    assert ran == []


def test_damaged_and_missing_files(exported, tmp_path):
    def is_refused(folder, *words):
        with refused(*words):
            smoothmix.load_pretrained(folder)

    is_refused(tmp_path / "nowhere", "scripts/export.py")
    folder = copied(exported, tmp_path)
    weights, description = folder / "model.safetensors", folder / "config.json"
    weights.write_bytes(weights.read_bytes()[:-9])
    is_refused(folder, weights, "damaged")
    weights.unlink()
    is_refused(folder, weights)
    description.write_text("{")
    is_refused(folder, description, "damaged")
    description.unlink()
    os.mkfifo(description)
    is_refused(folder, description, "regular file")


@pytest.mark.parametrize(("word", "named"), [("half=maybe", ["half", "'maybe'"]), ("onnx=true", ["onnx"])])
def test_a_wrong_word(run, word, named):
    refuses("scripts/export.py", f"run={run}", word, words=named)
