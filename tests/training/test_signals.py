"""SIGTERM and SIGUSR2: the step is finished, the state saved, and the process left as it was."""

import itertools
import os
import signal
import threading
import time

import pytest
from PIL.ImageFile import ImageFile

from datasets import class_folders
from smoothmix import Identity
from smoothmix.training import checkpoint
from smoothmix.utils.command import Stopped
from tests.mistakes import refused
from tests.training.runs import assert_same_run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_saves_and_leaves_and_the_handlers_are_put_back(make_trainer, number):
    before = signal.getsignal(number)
    trainer = make_trainer(epochs=10_000)
    train_step, steps = trainer.train_step, 0

    def step_and_kill(*inputs):
        nonlocal steps
        steps += 1
        if steps == 15:
            os.kill(os.getpid(), number)
        train_step(*inputs)

    trainer.train_step = step_and_kill
    with pytest.raises(SystemExit) as stopped:
        trainer.fit()
    assert stopped.value.code == 128 + number
    assert signal.getsignal(number) is before
    saved = checkpoint.load(trainer.directory / "last.pt")
    assert (saved["epoch"], saved["step"]) == (2, 3)  # the step that was under way, of 6 per epoch


def hang_at(number, batches):
    """Yield the batches; at the given one, hang and be signalled meanwhile."""
    for i, batch in enumerate(batches):
        if i == number:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
            threading.Event().wait(60)
        yield batch


class Hanging:
    """Evaluation batches of which the first never comes."""

    def __init__(self, batches):
        self.batches, self.pieces = batches, batches.pieces

    def __iter__(self):
        return hang_at(0, self.batches)


@pytest.mark.parametrize("where", ["training", "evaluation"])
def test_a_signal_while_a_batch_is_waited_for_saves_and_leaves_at_once(make_trainer, where):
    unbroken = make_trainer("unbroken")
    unbroken.fit()
    trainer = make_trainer()
    if where == "training":
        inputs = trainer.batches.inputs
        trainer.batches.inputs = lambda epoch, step: hang_at(2, inputs(epoch, step))
    else:
        trainer.eval_batches["test"] = Hanging(trainer.eval_batches["test"])
    start = time.monotonic()
    with pytest.raises(Stopped) as stopped:
        trainer.fit()
    assert time.monotonic() - start < 30
    assert stopped.value.code == 128 + signal.SIGTERM
    saved = checkpoint.load(trainer.directory / "last.pt")
    assert (saved["epoch"], saved["step"]) == (0, 2 if where == "training" else 6)
    resumed = make_trainer()
    resumed.fit()
    assert_same_run(unbroken, resumed)


def test_a_signal_in_the_midst_of_an_image_is_not_a_damaged_image(make_trainer, class_folder, monkeypatch):
    """What reads images takes any Exception for one."""
    data = class_folders(class_folder("abcd"), image_size=8, resize=10, workers=0)
    load, calls = ImageFile.load, itertools.count()

    def interrupted(image):
        if next(calls) == 40:
            os.kill(os.getpid(), signal.SIGTERM)
        return load(image)

    monkeypatch.setattr(ImageFile, "load", interrupted)
    trainer = make_trainer(data=data, batch_size=4)
    with pytest.raises(Stopped):
        trainer.fit()
    saved = checkpoint.load(trainer.directory / "last.pt")
    assert 0 < saved["epoch"] * 7 + saved["step"] < 21


def test_only_a_run_that_was_stopped_and_saved_writes_the_file(make_trainer, monkeypatch, tmp_path):
    """Not one that finished, and not one that failed."""
    file = tmp_path / "stopped.txt"
    monkeypatch.setenv("SMOOTHMIX_STOPPED", str(file))
    make_trainer("finished", epochs=1).fit()
    assert not file.exists()

    failing = make_trainer("failing", epochs=1, mixing=Identity(num_classes=4))
    failing.mixing = lambda images, labels: os.kill(os.getpid(), signal.SIGTERM) or images / 0
    with pytest.raises(Exception, match="unpack"):
        failing.fit()
    assert not file.exists()

    trainer = make_trainer("stopped", epochs=1)
    save = trainer.save
    monkeypatch.setattr(trainer, "save", lambda: (save(), os.kill(os.getpid(), signal.SIGTERM)))
    with pytest.raises(Stopped):  # a signal during the last save is not lost
        trainer.fit()
    assert file.read_text() == f"all 1 epochs in {trainer.directory}\n"

    monkeypatch.setenv("SMOOTHMIX_STOPPED", str(tmp_path / "nowhere" / "stopped"))
    trainer = make_trainer("unwritable", epochs=1)
    monkeypatch.setattr(trainer.checkpoints, "export_best", lambda: os.kill(os.getpid(), signal.SIGTERM))
    with refused(tmp_path / "nowhere" / "stopped"):
        trainer.fit()
