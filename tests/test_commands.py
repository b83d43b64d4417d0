"""The commands as a user types them."""

import io
import json
import random
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

import eval
from smoothmix.config.command_line import compose
from smoothmix.config.load_run import load_run
from smoothmix.config.options import LoadOptions
from tests.commands import ROOT, Command, here, python
from tests.mistakes import one_line, refused

QUICK = ["recipe.batch_size=128", "recipe.epochs=2", "recipe.decay_epochs=[1]", "model.depth=8", "model.alpha=3"]
FEW = "dataset.val_split=1200"  # 237 images to train on


def train(output, *overrides):
    return here("train.py", *QUICK, f"output={output}", *overrides)


def the_run(output):
    (path,) = Path(output).rglob("config.yaml")
    return path.parent


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    output = tmp_path_factory.mktemp("finished")
    done = python("train.py", *QUICK, f"output={output}", "mixing=cutmix")
    assert done.returncode == 0, done.stderr
    return done, the_run(output)


def test_a_run_leaves_its_record_and_nothing_elsewhere(finished):
    done, directory = finished
    names = {path.name for path in directory.iterdir()}
    kept = {"config.yaml", "metrics.jsonl", "mixed_batch.png", "summary.json", "last.pt", "best.pt"}
    assert names == kept | {".lock", "tensorboard"}
    assert not (ROOT / "multirun.yaml").exists()
    assert not (ROOT / ".hydra").exists()

    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert [line["lr"] for line in lines] == pytest.approx([0.1, 0.01])
    record = json.loads((directory / "summary.json").read_text())
    assert record["last"] == lines[-1]
    assert record["best"] == min(lines, key=lambda line: line["test_top1_error"])
    assert record["images"] == {"train": 1437, "test": 360}
    assert record["method"] == "cutmix"
    assert "Traceback" not in done.stderr
    assert f"{lines[-1]['test_top1_error']:.2f}%" in done.stdout


def test_tensorboard_holds_the_same_numbers(finished):
    board = EventAccumulator(str(finished[1] / "tensorboard"))
    board.Reload()
    lines = [json.loads(line) for line in (finished[1] / "metrics.jsonl").read_text().splitlines()]
    by_epoch = EventAccumulator(str(finished[1] / "tensorboard" / "by_epoch"))
    by_epoch.Reload()
    for name, tag in {"test_top1_error": "test/top1_error", "train_loss": "train/loss", "lr": "run/lr"}.items():
        for curves in (board, by_epoch):
            assert [event.value for event in curves.Scalars(tag)] == pytest.approx([line[name] for line in lines])
    assert [event.step for event in by_epoch.Scalars("run/lr")] == [1, 2]
    record = json.loads((finished[1] / "summary.json").read_text())
    assert board.Scalars("best/test_top1_error")[0].value == pytest.approx(record["best"]["test_top1_error"])
    shown = Image.open(io.BytesIO(board.Images("mixed batch")[0].encoded_image_string))
    assert shown.tobytes() == Image.open(finished[1] / "mixed_batch.png").tobytes()
    start = HParamsPluginData.FromString(board.SummaryMetadata("_hparams_/session_start_info").plugin_data.content)
    shown = start.session_start_info.hparams
    assert (shown["recipe.lr"].number_value, shown["method"].string_value) == (0.1, "cutmix")


def test_a_finished_run_is_not_trained_again(finished):
    directory = finished[1]
    before = {path.name: path.stat().st_mtime_ns for path in directory.iterdir()}
    done = train(directory.parents[4], "mixing=cutmix")
    assert done.returncode == 0
    assert "is finished" in done.stdout
    assert {path.name: path.stat().st_mtime_ns for path in directory.iterdir()} == before


def test_evaluation_repeats_the_errors_of_both_checkpoints(finished):
    record = json.loads((finished[1] / "summary.json").read_text())
    for weights in ("best", "last"):
        done = here("eval.py", f"run={finished[1]}", f"weights={weights}")
        assert f"top-1 error {record[weights]['test_top1_error']:.2f}%" in done.stdout, done.stderr
    alone = python("eval.py", f"checkpoint={finished[1] / 'best.pt'}", "batch_size=7")
    assert f"top-1 error {record['best']['test_top1_error']:.2f}%" in alone.stdout


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1000])])
def test_without_the_best_weights_evaluation_names_a_remedy_that_works(finished, tmp_path, capsys, damage):
    run = Path(shutil.copytree(finished[1], tmp_path / "run"))
    damage(run / "best.pt")
    with refused(run / "best.pt") as refusal:
        eval.main(compose("eval", [f"run={run}"]))
    remedy = re.search(r"\bweights=\w+", refusal.sentence)[0]
    eval.main(compose("eval", [f"run={run}", remedy]))
    last = json.loads((run / "summary.json").read_text())["last"]
    assert f"last.pt on digits test: top-1 error {last['test_top1_error']:.2f}%" in capsys.readouterr().out


def test_the_report_compares_the_records(finished, tmp_path):
    record = json.loads((finished[1] / "summary.json").read_text())
    done = here("scripts/report.py", finished[1].parents[4], "--output", tmp_path)
    best, last = (record[when]["test_top1_error"] for when in ("best", "last"))
    assert re.search(rf"CutMix +1 +{last:.2f} +{best:.2f}\n", done.stdout)
    assert f"| CutMix | 1 | {last:.2f} | {best:.2f} |" in (tmp_path / "README.md").read_text()


def test_a_sweep_continues_after_a_bad_job_and_reports_it(tmp_path):
    done = here("train.py", *QUICK, "-m", FEW, f"output={tmp_path}", "recipe.epochs=1", "mixing.p=1,2,0")
    assert done.returncode == 2
    runs = re.findall(r"^ *\S+ \(\w{8}\) 1 +([\d.]+)", done.stdout, re.M)  # the comparison at the end
    assert sorted(runs) == sorted(re.findall(r"error last ([\d.]+)%", done.stdout))
    assert len(re.findall("^error: ", done.stderr, re.M)) == 1
    assert "p is 2" in done.stderr
    assert len(list(tmp_path.rglob("summary.json"))) == 2
    assert not (ROOT / "multirun.yaml").exists()


def test_a_signal_ends_a_whole_sweep_within_seconds(tmp_path):
    process = Command("train.py", "-m", *QUICK, FEW, "recipe.epochs=5000", "seed=0,1", f"output={tmp_path}")
    process.has_begun()
    process.send_signal(signal.SIGUSR2)
    sent = time.monotonic()
    rest = process.stdout.read()
    assert process.wait(20) == 128 + signal.SIGUSR2
    assert time.monotonic() - sent < 10
    assert "saved epoch" in rest
    directory = the_run(tmp_path)  # one only: the second job never began
    saved = torch.load(directory / "last.pt", weights_only=True)
    assert saved["epoch"] >= 1
    assert not (directory / "summary.json").exists()


def test_a_last_batch_of_one_image_where_batchnorm_needs_two(tmp_path):
    """17 images in batches of 16, and a network that ends in maps of one pixel."""
    asked = ["model=timm", "model.name=resnet18", "dataset.val_split=1420", "recipe.batch_size=16"]
    done = here("train.py", *asked, "recipe.epochs=1", "recipe.decay_epochs=[]", f"output={tmp_path}")
    assert done.returncode == 2
    one_line(done.stderr[:-1], "last batch", "recipe.batch_size", "dataset.val_split")
    assert not list(tmp_path.rglob("*.pt"))


def test_a_damaged_last_checkpoint_without_another_stops_the_run_and_loses_nothing(finished, tmp_path):
    shutil.copytree(finished[1].parents[4], tmp_path, dirs_exist_ok=True)
    directory = the_run(tmp_path)
    (directory / "summary.json").unlink()
    whole = (directory / "last.pt").read_bytes()
    (directory / "last.pt").write_bytes(whole[: len(whole) // 2])
    kept = [directory / name for name in ("last.pt", "best.pt", "metrics.jsonl")]
    before = [path.read_bytes() for path in kept]
    done = train(tmp_path, "mixing=cutmix")
    assert done.returncode == 2
    one_line(done.stderr[:-1], directory / "last.pt", "damaged")
    assert [path.read_bytes() for path in kept] == before


@pytest.fixture
def flowers(tmp_path):
    """Two classes of 24 drawn images each, in folders."""
    rng = random.Random(0)
    for split, count in (("train", 16), ("val", 8)):
        for name, hue in (("rose", (200, 30, 60)), ("violet", (90, 40, 190))):
            (tmp_path / "flowers" / split / name).mkdir(parents=True)
            for i in range(count):
                size = rng.randint(36, 60), rng.randint(36, 60)
                color = tuple(value + rng.randint(-20, 20) for value in hue)
                Image.new("RGB", size, color).save(tmp_path / "flowers" / split / name / f"{i}.png")
    return tmp_path / "flowers"


def train_on_folder(root, output, *overrides):
    folder = ["dataset=folder", "dataset.name=flowers", f"dataset.root={root}", "dataset.workers=1"]
    sizes = ["dataset.image_size=32", "dataset.resize=36", "recipe.batch_size=8", "recipe.lr=0.02"]
    return train(output, *folder, *sizes, "mixing=smoothmix_s", *overrides)


def test_a_users_own_class_folders(flowers, tmp_path):
    done = train_on_folder(flowers, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    record = json.loads((the_run(tmp_path / "out") / "summary.json").read_text())
    assert record["dataset"] == "flowers"
    assert record["images"] == {"train": 32, "test": 16}
    again = here("eval.py", f"run={the_run(tmp_path / 'out')}", "dataset.workers=0")
    assert f"top-1 error {record['best']['test_top1_error']:.2f}%" in again.stdout, again.stderr
    options = LoadOptions(run=str(the_run(tmp_path / "out")), device="cpu", dataset={"image_size": 64, "workers": 0})
    assert load_run(options).config.dataset.options["resize"] == 72  # 36 for images of 32


@pytest.mark.parametrize("recipe", [[], ["recipe.epochs=0", "recipe.batch_size=0"]])
def test_a_folder_without_training_images(flowers, tmp_path, recipe):
    shutil.rmtree(flowers / "train")
    done = train_on_folder(flowers, tmp_path / "out", *recipe)
    assert done.returncode == 2
    one_line(done.stderr[:-1], flowers / "train")


def test_an_image_that_a_worker_cannot_read_is_named(flowers, tmp_path):
    bad = flowers / "train" / "rose" / "3.png"
    bad.write_bytes(bad.read_bytes()[:60])
    done = train_on_folder(flowers, tmp_path / "out")
    assert done.returncode == 2
    one_line(done.stderr[:-1], bad)


@pytest.mark.slow
def test_resnet50_on_real_photographs(tmp_path):
    sample = ROOT.parent / "shared" / "data" / "imagenet-sample"
    if not sample.is_dir():
        pytest.skip(f"no sample of ImageNet at {sample}")
    for split in ("train", "val"):
        (tmp_path / split).symlink_to(sample)
    done = python(
        *["train.py", "experiment=imagenet/smoothmix_c", f"dataset.root={tmp_path}", "dataset.num_classes=160"],
        *["dataset.workers=1", "recipe.epochs=1", "recipe.batch_size=32", f"output={tmp_path / 'out'}"],
        OMP_NUM_THREADS="2",
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((the_run(tmp_path / "out") / "summary.json").read_text())
    assert record["parameters"] == 25_557_032 - 840 * 2049
    assert record["images"] == {"train": 160, "test": 160}
