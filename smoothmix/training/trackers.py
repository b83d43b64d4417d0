"""Experiment trackers beside TensorBoard: wandb, and trackio, which has the same interface and keeps its data local."""

import importlib
from collections.abc import Callable
from typing import Any

TRACKERS = ("none", "wandb", "trackio")
PROJECT = "smoothmix"


class Tracker:
    """Sends metrics to a tracker. Whatever it raises becomes one note, after which nothing more is sent.

    Args:
        package: one of TRACKERS but "none", installed or not.
        name: of the run: its directory, so that a resumed run continues its curves.
        config: hyper-parameters, shown beside the curves.
    """

    def __init__(self, package: str, name: str, config: dict[str, Any]) -> None:
        self.package, self.name, self.config = package, name, config
        self._module: Any = None

    def start(self) -> None:
        """Begin the run, or resume the one of this name."""

        def begin() -> None:
            module = importlib.import_module(self.package)
            # trackio knows a run by its name alone, wandb by an id without slashes
            identity = {"id": self.name.replace("/", "-")} if self.package == "wandb" else {}
            module.init(project=PROJECT, name=self.name, config=self.config, resume="allow", **identity)
            self._module = module

        self._attempt(begin)

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Send the metrics of an epoch."""
        if self._module is not None:
            self._attempt(lambda: self._module.log(metrics, step=step))

    def finish(self) -> None:
        """End the run."""
        if self._module is not None:
            self._attempt(lambda: self._module.finish())

    def _attempt(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except ModuleNotFoundError as error:
            self._give_up(f"{error.name} is not installed: pip install {self.package}")
        except Exception as error:  # a tracker must never end a run, whatever it raises
            self._give_up(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")

    def _give_up(self, reason: str) -> None:
        self._module = None
        print(f"note: logger={self.package} stopped ({reason}); the training goes on without it", flush=True)
