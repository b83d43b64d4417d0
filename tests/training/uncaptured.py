"""The step that several ranks capture, `step=graph`, on a CPU: all of it but the capture.

Run by torchrun as a script: train.py with that step.
"""

import runpy
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from smoothmix.training import trainer
from smoothmix.training.recipe import Settings


def use(step):
    """Have trainers made from here on take that step."""
    Settings.on = lambda self, ranks, on=Settings.on: replace(on(self, ranks), step=step)
    trainer.CudaGraphs = lambda: SimpleNamespace(
        warm_up=lambda step: step() or "", capture=lambda step, generator: step
    )


if __name__ == "__main__":
    use("graph")
    sys.argv[0] = str(Path(__file__).parents[2] / "train.py")
    runpy.run_path(sys.argv[0], run_name="__main__")
