"""What a run tells while it trains: the picture of a batch, metrics.csv, plain lines."""

import csv
import io
import json

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from smoothmix import Identity, ManifoldMixup, SmoothMixC
from smoothmix.training import trainer as trainer_module
from smoothmix.training.log import RunLog, Tracker
from smoothmix.training.recipe import Settings
from tests.training.runs import assert_same_run


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


def test_metrics_csv_has_the_lines_of_metrics_jsonl(make_trainer):
    trainer = make_trainer(settings=Settings(evaluate_every=2))
    trainer.fit()
    lines = [json.loads(line) for line in (trainer.directory / "metrics.jsonl").read_text().splitlines()]
    rows = list(csv.DictReader(io.StringIO((trainer.directory / "metrics.csv").read_text())))
    assert [{key: float(value) for key, value in row.items() if value} for row in rows] == lines
    assert [row["test_loss"] == "" for row in rows] == [True, False, False]


def test_a_line_says_the_best_error_and_how_long_the_rest_takes(tmp_path, capsys):
    log = RunLog(tmp_path, epochs=3, active=True, tracker=Tracker("none", "run", {}))
    log.begin([], 0, in_epoch=False)
    common = {"lr": 0.1, "train_loss": 2.0, "seconds": 3600.0, "images_per_second": 7.0}
    history = [common | {"epoch": 1}, common | {"epoch": 2, "test_top1_error": 30.0, "seconds": 1800.0}]
    log.end_epoch(history[:1], 6, None)
    log.end_epoch(history, 12, 30.0)
    log.end_epoch([*history, common | {"epoch": 3, "test_top1_error": 40.0}], 18, 30.0)
    log.close()
    assert capsys.readouterr().out.splitlines() == [
        "epoch 1/3  lr 0.1  train loss 2.000  7 images/s  2:00:00 left",
        "epoch 2/3  lr 0.1  train loss 2.000  test_top1_error 30.00%  best 30.00%  7 images/s  0:45:00 left",
        "epoch 3/3  lr 0.1  train loss 2.000  test_top1_error 40.00%  best 30.00%  7 images/s",
    ]
