"""What a run tells while it trains: the picture of a batch, curves, a bar, plain lines."""

import re
import shlex

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from smoothmix import Identity, ManifoldMixup, SmoothMixC
from smoothmix.training import trainer as trainer_module
from smoothmix.training.log import clock, closing_line
from smoothmix.training.recipe import Settings
from smoothmix.utils.command import override
from smoothmix.utils.records import RunRecord
from tests.training.runs import TIMES, assert_same_run


def test_the_picture_is_of_the_batch_that_the_step_trains_on(make_trainer, monkeypatch):
    trainer = make_trainer(epochs=1)
    seen, pictures = [], []
    mixing, grid = trainer.mixing, trainer_module.grid

    def watched(images, labels):
        seen.append(mixing(images, labels))
        return seen[-1]

    def drawn_picture(rows, captions):
        pictures.append((rows, captions))
        return grid(rows, captions)

    monkeypatch.setattr(trainer, "mixing", watched)
    monkeypatch.setattr(trainer_module, "grid", drawn_picture)
    trainer.fit()
    ((rows, captions),) = pictures
    (drawn, _), (images, targets) = seen[:2]
    assert torch.equal(drawn, images)
    assert torch.allclose(rows[0], images * 0.3 + 0.4)
    assert len(captions) == 8
    largest = targets.max(dim=1)
    expected = zip(largest.values.tolist(), largest.indices.tolist(), strict=True)
    first_lines = [caption.splitlines()[0] for caption in captions]
    assert first_lines == [f"{100 * weight:.0f} % {'abcd'[number]}" for weight, number in expected]
    assert Image.open(trainer.directory / "mixed_batch.png").format == "PNG"


@pytest.mark.parametrize("strategy", [SmoothMixC, Identity, ManifoldMixup])
def test_pictures_change_nothing(make_trainer, strategy):
    """Neither the weights nor any later draw, at whatever steps a batch is shown."""

    def fit(name, every):
        generator = torch.Generator()
        options = {} if strategy is Identity else {"generator": generator}
        options |= {"stages": ["1", "2"]} if strategy is ManifoldMixup else {}
        mixing = strategy(num_classes=4, **options)
        trainer = make_trainer(name, mixing=mixing, generator=generator, settings=Settings(log_images_every=every))
        trainer.fit()
        return trainer

    trainers = [fit("never", 0), fit("often", 4)]
    assert_same_run(*trainers)
    board = EventAccumulator(str(trainers[1].directory / "tensorboard"), size_guidance={"images": 0})
    board.Reload()
    assert [image.step for image in board.Images("mixed batch")] == [0, 4, 8, 12, 16]


def test_curves_of_a_run_that_was_stopped_are_those_of_the_unbroken_one(make_trainer, stop):
    """Events after the checkpoint count no more, and TensorBoard shows each step once."""
    curves = []
    for name in ("unbroken", "stopped"):
        settings = Settings(log_every=1)
        if name == "stopped":
            stopped = make_trainer(name, settings=settings)
            stop(stopped, 9)
            stopped.log.begin(46)  # and a process that was killed before it saved
            stopped.log._boards[0].add_scalar("train/loss_so_far", 99.0, 11)
            stopped.log.close()
        make_trainer(name, settings=settings).fit()
        for folder in ("tensorboard", "tensorboard/by_epoch"):
            board = EventAccumulator(str(make_trainer(name).directory / folder), size_guidance={"scalars": 0})
            board.Reload()
            tags = [tag for tag in board.Tags()["scalars"] if tag.rpartition("/")[2] not in TIMES]
            curves.append({tag: [(event.step, event.value) for event in board.Scalars(tag)] for tag in tags})
    assert curves[2:] == curves[:2]
    assert [step for step, _ in curves[0]["train/loss_so_far"]] == [*range(1, 6), *range(7, 12), *range(13, 18)]
    assert [step for step, _ in curves[1]["test/top1_error"]] == [1, 2, 3]
    assert curves[0].keys() >= {"best/test_top1_error", "last/test_top1_error"}


class Bar:
    """A progress bar that notes what it is told."""

    def __init__(self, total, initial, desc, leave):
        self.told = [(desc, initial, total)]

    def update(self):
        self.told.append("step")

    def set_postfix_str(self, text, refresh):
        self.told.append(text.split()[0])

    def close(self):
        self.told.append("end")


def test_the_bar_moves_with_every_step_and_reads_the_loss_at_log_steps_only(make_trainer, stop, monkeypatch):
    bars = []
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("smoothmix.training.log.tqdm", lambda **options: bars.append(Bar(**options)) or bars[-1])
    stop(make_trainer(settings=Settings(log_every=4)), 2)
    trainer = make_trainer(settings=Settings(log_every=4), epochs=1)
    reads, mean_loss = [], trainer.state.mean_loss
    monkeypatch.setattr(trainer.state, "mean_loss", lambda: reads.append(trainer.state.step) or mean_loss())
    trainer.fit()
    assert bars[1].told == [("epoch 1/1", 2, 6), "step", "step", "loss", "step", "step", "end"]
    assert reads == [4, 6, 0]  # at the epoch's end for the row, and as it is saved


def test_a_run_says_what_it_will_do_where_it_resumes_and_each_epoch_in_80_columns(make_trainer, stop, capsys):
    stop(make_trainer(), 9)
    make_trainer().fit()
    make_trainer(epochs=4).fit()
    said = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("SIGTERM")]
    numbers = [[int(word) for word in re.findall(r"\d+", line)] for line in said if not line.startswith("epoch ")]
    assert numbers == [[18, 6, 46], [18, 6, 46], [2, 2, 6], [24, 6, 46], [3, 4]]  # steps; where it resumes
    pattern = re.compile(r"epoch (\d)/(\d)  loss \d\.\d\d  error (.+) \(best (.+)\)  \d+ img/s( .*)?")
    epochs = [pattern.fullmatch(line) for line in said]
    assert [match[1] for match in epochs if match] == ["1", "2", "3", "4"]
    assert [bool(match[5]) for match in epochs if match] == [True, True, False, False]


def test_a_long_line_fits_80_columns(make_trainer, tiny_data):
    log = make_trainer(data=tiny_data(val_split=12), epochs=300).log
    row = {"epoch": 123, "train_loss": 6.91, "val_top1_error": 99.9, "images_per_second": 12345.6, "seconds": 2000.0}
    log.state.history = [row]
    assert log._line(row) == "epoch 123/300  loss 6.91  val error 99.9 (best 99.9)  12346 img/s  98:20:00 left"
    assert len(log._line(row)) == 80


@pytest.mark.parametrize(("classes", "shown"), [(3, False), (5, False), (6, True)])
def test_the_last_line_has_both_errors_the_record_and_a_command_that_can_be_pasted(tmp_path, classes, shown):
    errors = {"last": (12.5, 1.25), "best": (10.0, 1.0)}
    rows = {when: {"test_top1_error": one, "test_top5_error": five} for when, (one, five) in errors.items()}
    names = dict.fromkeys(("dataset", "model", "method", "recipe", "config_hash"), "x")
    path = tmp_path / "a run" / "summary.json"
    line = closing_line(RunRecord(**names, seed=0, epochs=2, **rows), path, classes)
    assert ("last 12.50%" in line, "best 10.00%" in line, str(path) in line) == (True,) * 3
    assert ("top-5 1.25%" in line) == shown
    words = shlex.split(line.partition("next: ")[2])
    assert words[:2] == ["python", "eval_corruption.py"]
    assert words[2] == override("run", str(path.parent))


def test_a_time_left():
    assert [clock(time) for time in (4, 245.4, 43445, 360000)] == ["0:04", "4:05", "12:04:05", "100:00:00"]
