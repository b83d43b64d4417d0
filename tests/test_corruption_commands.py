"""eval_corruption.py on a run of the digits."""

import json
import os
import re
import signal
import socket
import time

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score

import eval_corruption
from datasets import digits
from datasets.sampling import hold_out
from models import PyramidNet
from smoothmix.config import load_run
from smoothmix.config.command_line import compose
from tests.commands import Command, here, python, ranks
from tests.mistakes import refused, refuses
from tests.models.test_published import random_weights, save, their_shapes

NAMES = ["contrast", "gaussian_noise"]
SEVERITIES = [1, 2, 3, 4, 5]


def evaluate(*overrides):
    """What the command does, in this process."""
    composed = compose("eval_corruption", overrides)
    eval_corruption.main(composed)
    return composed


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    output = tmp_path_factory.mktemp("trained")
    quick = ["recipe.batch_size=32", "recipe.epochs=2", "recipe.decay_epochs=[1]", "model.depth=8", "model.alpha=3"]
    done = here("train.py", *quick, "dataset.val_split=1200", "mixing=cutmix", f"output={output}")
    assert done.returncode == 0, done.stderr
    (path,) = output.rglob("best.pt")
    return path.parent


@pytest.fixture(scope="module")
def digits_c(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "DIGITS-C"
    one = ["--workers", "1", "--output", folder]
    done = python("scripts/make_corruptions.py", "digits_c", *one, "--corruptions", *NAMES)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """The run without records of corrupted images."""
    (tmp_path / "best.pt").symlink_to(trained / "best.pt")
    return tmp_path


def errors(run, source="files"):
    return json.loads((run / f"best.digits_c-{source}.json").read_text())["top1_errors"]


def predictions(run, source="generate"):
    return (run / f"best.digits_c-{source}.predictions.csv").read_bytes()


def test_files_and_generation_give_the_same_errors(run, digits_c, capsys):
    both = "corruptions=[contrast,gaussian_noise]"
    evaluate(f"run={run}", "benchmark=digits_c", f"files={digits_c}", both)
    printed = capsys.readouterr().out
    evaluate(f"run={run}", "benchmark=digits_c", "source=generate", both)
    found = errors(run)
    assert found == errors(run, "generate")
    assert {name: [int(key) for key in cells] for name, cells in found.items()} == dict.fromkeys(NAMES, SEVERITIES)

    record = json.loads((run / "best.digits_c-files.json").read_text())
    assert (record["method"], record["seed"], record["images"]) == ("cutmix", 0, 360)
    assert record["source"] == "generated files (seed 0)"
    mean = {name: sum(found[name].values()) / 5 for name in NAMES}
    for name in NAMES:
        cells = " ".join(f"{error:6.2f}" for error in found[name].values())
        assert f"{name:<18} {cells}  {mean[name]:6.2f}\n" in printed
    assert re.search(rf"^clean +{record['clean_top1_error']:.2f}$", printed, re.M)
    assert re.search(rf"^mean over 2 corruptions +{sum(mean.values()) / 2:.2f}$", printed, re.M)
    assert "incomplete" not in printed
    assert len(set(found["contrast"].values())) > 1  # the severities do something


def test_another_seed_is_another_evaluation(run):
    evaluate(f"run={run}", "benchmark=digits_c", "source=generate", "corruptions=[gaussian_noise]")
    before = (run / "best.digits_c-generate.json").read_text()
    with refused("best.digits_c-generate.json", "source"):
        evaluate(f"run={run}", "benchmark=digits_c", "source=generate", "corruptions=[gaussian_noise]", "seed=1")
    assert (run / "best.digits_c-generate.json").read_text() == before


def test_again_nothing_is_evaluated_and_the_same_is_printed(run, digits_c, capsys, monkeypatch):
    asked = [f"run={run}", "benchmark=digits_c", f"files={digits_c}"]
    evaluate(*asked, "corruptions=[contrast]")
    first, before = capsys.readouterr().out, (run / "best.digits_c-files.json").read_text()
    evaluated, original = [], load_run.predict
    monkeypatch.setattr(load_run, "predict", lambda *args, **kw: evaluated.append(1) or original(*args, **kw))
    evaluate(*asked, "corruptions=[contrast]", "batch_size=7")
    assert capsys.readouterr().out == first
    assert (run / "best.digits_c-files.json").read_text() == before
    assert len(evaluated) == 1  # the clean images
    evaluate(*asked, "corruptions=[contrast,gaussian_noise]")
    assert len(evaluated) == 2 + 5  # and the new severities


def test_predictions_and_record_have_the_same_pairs(run, digits_c, capsys, monkeypatch):
    asked = [f"run={run}", "benchmark=digits_c", f"files={digits_c}", "corruptions=[contrast,gaussian_noise]"]
    evaluate(*asked, "images=100")
    evaluated, original = [], load_run.predict
    monkeypatch.setattr(load_run, "predict", lambda *args, **kw: evaluated.append(1) or original(*args, **kw))
    evaluate(*asked, "images=100", "predictions=true")  # no file yet: all pairs are evaluated again
    assert len(evaluated) == 1 + 10
    path = run / "best.digits_c-files-100.predictions.csv"
    whole, record = path.read_bytes(), json.loads((run / "best.digits_c-files-100.json").read_text())
    told = re.search(rf"^predictions: {path}, 1,000 lines, about (\d+) kB$", capsys.readouterr().out, re.M)
    assert float(told[1]) == pytest.approx(len(whole) / 1e3, rel=0.05)

    frame = pd.read_csv(path, dtype={"class": str, "class_1": str})
    assert list(frame) == ["corruption", "severity", "image", "class", "class_1", "p_1", "nll", "correct"]
    index = hold_out(digits().fine_test_labels, 100)[1]
    for (name, severity), pair in frame.groupby(["corruption", "severity"]):
        assert pair["image"].tolist() == index.tolist()
        assert pair["class"].tolist() == [str(int(label)) for label in digits().fine_test_labels[index]]
        assert ((pair["class"] == pair["class_1"]) == pair["correct"]).all()
        found = 100 * accuracy_score(pair["class"], pair["class_1"])
        assert found == pytest.approx(100 - record["top1_errors"][name][str(severity)])
        assert pair["nll"].mean() == pytest.approx(record["calibration"]["loss"][name][str(severity)])
        right = pair[pair["correct"] == 1]
        assert right["nll"].to_numpy() == pytest.approx(-np.log(right["p_1"]), abs=1e-5)

    lines = whole.splitlines(keepends=True)
    other = lines[1].rpartition(b",")[0] + (b",0\n" if lines[1].endswith(b"1\n") else b",1\n")
    for damaged, again in ((whole, 0), (whole[:-15], 1), (b"".join([*lines[:-1]]), 1)):
        path.write_bytes(damaged)
        evaluated.clear()
        evaluate(*asked, "images=100", "predictions=true")
        assert len(evaluated) == 1 + again
        assert path.read_bytes() == whole
    for first in ([other, *lines[2:101]], 2 * lines[1:101]):  # of other weights; twice
        path.write_bytes(b"".join([lines[0], *first, *lines[101:]]))
        evaluate(*asked, "images=100", "predictions=true")
        assert sorted(path.read_bytes().splitlines()) == sorted(whole.splitlines())


def test_a_corruption_without_a_file_is_left_out_and_reported(run, digits_c, capsys):
    evaluate(f"run={run}", "benchmark=digits_c", f"files={digits_c}", "corruptions=[contrast,fog]")
    printed = capsys.readouterr().out
    assert list(errors(run)) == ["contrast"]
    assert f"not evaluated: fog: there is no {digits_c}/fog.npy" in printed
    assert "incomplete: these averages leave out fog\n" in printed
    assert "mean over 1 corruptions" in printed


def test_a_second_evaluation_at_the_same_time_is_refused(run, monkeypatch):
    record, original, refusals = run / "best.digits_c-generate.json", load_run.predict, []
    asked = [f"run={run}", "benchmark=digits_c", "source=generate"]
    composed = evaluate(*asked, "corruptions=[contrast]")
    record.unlink()

    def meanwhile(*args, **kw):
        if record.exists():  # the first severity is recorded
            before = record.read_text()
            with refused(record, f"process {os.getpid()}", socket.gethostname()):
                eval_corruption.main(composed)
            refusals.append(before)
            assert record.read_text() == before
        return original(*args, **kw)

    monkeypatch.setattr(load_run, "predict", meanwhile)
    eval_corruption.main(composed)
    assert len(refusals) == 4
    assert list(errors(run, "generate")["contrast"]) == ["1", "2", "3", "4", "5"]
    eval_corruption.main(composed)  # it is free again


def test_killed_it_resumes_and_ends_with_the_same_record(run, trained, tmp_path):
    asked = ["benchmark=digits_c", "source=generate", "corruptions=[snow,zoom_blur]", "predictions=true"]
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "best.pt").symlink_to(trained / "best.pt")
    evaluate(f"run={whole}", *asked)

    process = Command("eval_corruption.py", f"run={run}", *asked)
    record, until = run / "best.digits_c-generate.json", time.monotonic() + 60
    while not record.exists() and time.monotonic() < until:
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert 1 <= sum(map(len, errors(run, "generate").values())) < 10
    evaluate(f"run={run}", *asked)
    stored, expected = (json.loads((folder / "best.digits_c-generate.json").read_text()) for folder in (run, whole))
    assert len(stored["starts"]) == 2
    assert stored["starts"][1]["errors"] >= 1
    for fact in ("command", "git_commit", "starts"):
        del stored[fact], expected[fact]
    assert stored == expected
    assert predictions(run) == predictions(whole)
    assert predictions(run).count(b"\n") == 1 + 10 * 360


@pytest.mark.parametrize("source", ["files", pytest.param("generate", marks=pytest.mark.slow)])
def test_two_ranks_make_the_record_of_one(run, trained, digits_c, tmp_path, source):
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "best.pt").symlink_to(trained / "best.pt")
    asked = ["benchmark=digits_c", "corruptions=[contrast,gaussian_noise]", "device=cpu", f"source={source}"]
    asked += [f"files={digits_c}", "batch_size=250", "predictions=true"]  # of two batches, or one with both ranks
    evaluate(f"run={alone}", *asked)
    evaluate(f"run={run}", *asked, "corruptions=[contrast]")  # which two ranks resume
    done = ranks(2, "eval_corruption.py", f"run={run}", *asked)
    assert done.returncode == 0, done.stderr
    assert errors(run, source) == errors(alone, source)
    one, two = (pd.read_csv(folder / f"best.digits_c-{source}.predictions.csv") for folder in (alone, run))
    pd.testing.assert_frame_equal(two, one, rtol=1e-4)
    assert json.loads((run / f"best.digits_c-{source}.json").read_text())["world_size"] == 2
    assert done.stdout.count("record: ") == 1  # one rank prints


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["benchmark=digits_c", "corruptions=[contrst]"], ["contrst", "contrast?"]),
        (["benchmark=digits_c", "corruptions=fog"], ["'corruptions=[fog]'"]),
        (["benchmark=digits_c", "dataset.root=/x"], ["digits", "dataset.root=/x"]),
        (["benchmark=digits_c", "+dataset.val_spilt=2"], ["digits", "val_spilt"]),
        (["benchmark=digitsc"], ["digitsc", "digits_c?"]),
        (["benchmark=cifar100_c"], ["cifar100_c", "digits"]),
        (["benchmark=digits_c", "files=/nowhere"], ["/nowhere/labels.npy"]),
    ],
)
def test_a_mistake_leaves_no_record(run, overrides, words):
    refuses("eval_corruption.py", f"run={run}", *overrides, words=words)
    assert [path.name for path in run.iterdir()] == ["best.pt"]


def test_weights_of_the_cutmix_authors(tmp_path, published, monkeypatch, capsys):
    """Their names and CIFAR-100's layout, in a network that is small enough: PyramidNet-8 in place of 200."""
    published(tmp_path / "data")
    built = []

    def small(config, num_classes, image_size):
        built.append((config.model.name, num_classes))
        return PyramidNet(8, 12, num_classes, bottleneck=False)

    monkeypatch.setattr(load_run.build, "model", small)
    weights = random_weights(their_shapes(8, 12, 100, bottleneck=False))
    save(tmp_path / "model_best.pth.tar", weights)
    asked = [f"checkpoint={tmp_path / 'model_best.pth.tar'}", "benchmark=cifar100_c", "source=generate"]
    here = [f"dataset.root={tmp_path / 'data'}", "device=cpu", "corruptions=[contrast]"]
    evaluate(*asked, *here, "published=cifar100/cutmix")
    record = json.loads((tmp_path / "model_best.pth.cifar100_c-generate.json").read_text())
    assert built == [("pyramidnet200", 100)]
    assert (record["method"], record["recipe"], record["seed"]) == ("cutmix", "published", None)
    assert record["images"] == 100
    assert "CIFAR-100-C (generated (seed 0))" in capsys.readouterr().out

    for name, change in {"fc.bias": torch.ones(100), "fc.weight": torch.zeros(100, 28)}.items():
        assert weights[name].shape == change.shape
        weights[name] = change * (torch.arange(100) == 3).float().reshape(-1, *(1,) * (change.dim() - 1))
    save(tmp_path / "three.pth.tar", weights)  # says 3 always: every hundredth image is one
    evaluate(f"checkpoint={tmp_path / 'three.pth.tar'}", *asked[1:], *here, "published=cifar100/cutmix")
    record = json.loads((tmp_path / "three.pth.cifar100_c-generate.json").read_text())
    assert record["clean_top1_error"] == 99.0
    assert set(record["top1_errors"]["contrast"].values()) == {99.0}

    with refused(tmp_path / "model_best.pth.tar"):
        evaluate(*asked, *here)  # without published=
