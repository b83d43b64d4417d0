"""Weights to take away: scripts/export.py, smoothmix.load_pretrained and torch.hub."""

import json
import os
import re
import subprocess
import sys

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import smoothmix
from datasets import digits
from smoothmix.config import build, schema
from smoothmix.config.command_line import compose
from smoothmix.training import checkpoint
from smoothmix.utils import onnx_file
from smoothmix.utils.errors import UserError
from tests.commands import ROOT, here

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


def refused(folder):
    with pytest.raises(UserError) as error:
        smoothmix.load_pretrained(folder)
    assert str(error.value).isprintable()
    return str(error.value)


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


@pytest.mark.parametrize("foreign", [False, True])
def test_the_package_without_the_clone_says_where_the_networks_are(exported, tmp_path, foreign):
    (tmp_path / "smoothmix").symlink_to(ROOT / "smoothmix")
    if foreign:
        (tmp_path / "models.py").write_text("x = 1\n")
    load = f"smoothmix.load_pretrained({str(exported)!r})"
    script = f"import smoothmix\ntry:\n    {load}\nexcept Exception as error:\n    print(error)"
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", script]
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True).stdout
    assert said.startswith("the networks are in the repository, not in the installed package: put a clone of it first")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": {"name": "x", "_target_": "os.system"}}, "model._target_=os.system is not allowed"),
        ({"model": {"name": "x", "_target_": "models.PyramidNet", "depth": 10**9, "alpha": 3}}, "is too large"),
        ({"model": {"name": "x", "_target_": "models.PyramidNet", "depth": 1001, "alpha": 9999}}, "is far larger"),
        ({"model": "pyramidnet8"}, "model must be one of configs/model/ or have a _target_"),
        ({"model": None}, "model must be one of configs/model/ or have a _target_"),
        ({"num_classes": -1}, "num_classes or model is missing or wrong"),
        ({"num_classes": 11}, r"holds another architecture: fc.bias is float32 of shape \(10,\) there"),
        (
            {"model": {"name": "resnet18", "_target_": "models.timm_model"}},
            "model.safetensors holds another architecture",
        ),
    ],
)
def test_a_description_that_does_not_fit(exported, tmp_path, changes, sentence, monkeypatch):
    ran = []
    monkeypatch.setattr(os, "system", ran.append)
    assert re.search(sentence, refused(copied(exported, tmp_path, **changes)))
    assert ran == []


def test_damaged_and_missing_files(exported, tmp_path):
    assert "give a folder that scripts/export.py wrote" in refused(tmp_path / "nowhere")
    folder = copied(exported, tmp_path)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-9])
    assert "model.safetensors is truncated or damaged" in refused(folder)
    (folder / "model.safetensors").unlink()
    assert "there is no checkpoint" in refused(folder)
    (folder / "config.json").write_text("{")
    assert "config.json is damaged" in refused(folder)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["output=/dev/null/x"], "cannot write to /dev/null/x .Not a directory.; choose another output="),
        (["half=maybe"], "half: Value 'maybe' is not a valid bool"),
        (["onyx=true"], "unknown key onyx; did you mean onnx?"),
    ],
)
def test_a_mistake_is_one_sentence(run, arguments, sentence):
    done = here("scripts/export.py", f"run={run}", *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert re.search(sentence, done.stderr)


def test_onnx_without_its_packages_is_one_sentence_before_anything_is_written(run, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "find_spec", lambda name: None if name == "onnxscript" else object())
    done = here("scripts/export.py", f"run={run}", "onnx=true", f"output={tmp_path / 'x'}")
    assert done.stderr == "error: ONNX files need onnxscript; run `pip install onnxscript`\n"
    assert not (tmp_path / "x").exists()


def test_onnx_has_the_same_logits_for_any_number_of_images(network, run, images, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    done = here("scripts/export.py", f"run={run}", "onnx=true", f"output={tmp_path}")
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for count in (1, 7):
        (found,) = session.run(None, {"images": images[:count].numpy()})
        torch.testing.assert_close(torch.from_numpy(found), logits(network[0], images[:count]), rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="torch cannot export this network as ONNX"):
        onnx_file.write_onnx(Unexportable(), images, tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()


class Unexportable(torch.nn.Module):
    """Its result depends on a value that an exporter does not know."""

    def forward(self, images):
        return images if images.sum().item() > 0 else -images
