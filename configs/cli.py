"""The command line: Hydra composes and sweeps, mistakes become one sentence."""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from configs import schema
from smoothmix.errors import UserError
from smoothmix.training import distributed

CONFIGS = Path(__file__).parent


def command(config_name: str, task: Callable[[DictConfig], Any]) -> None:
    """Run `task` on the composed configuration, once or, with ``-m``, once per cell of the sweep.

    A UserError is printed as one sentence; in a sweep the other cells go on. The exit status is then 2.
    """
    failures: list[UserError] = []

    def guarded(composed: DictConfig) -> None:
        try:
            task(composed)
        except UserError as error:
            failures.append(error)
            _complain(error)

    os.environ["HYDRA_FULL_ERROR"] = "1"  # hand its exceptions to us instead of printing them
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["SMOOTHMIX_SWEEP_DIR"] = scratch  # Hydra insists on writing a sweep's multirun.yaml somewhere
        try:
            hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=config_name)(guarded)()
        except HydraException as error:
            failures.append(UserError(_sentence(error)))
            _complain(failures[-1])
        except KeyboardInterrupt:
            print("interrupted; run the same command again to go on from the last checkpoint", file=sys.stderr)
            sys.exit(130)
        finally:
            distributed.part()
    if failures:
        sys.exit(2)


def _complain(error: UserError) -> None:
    rank, world_size = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    where = "" if world_size == "1" else f" [rank {rank}]"
    print(f"error{where}: {error}", file=sys.stderr, flush=True)


def _sentence(error: HydraException) -> str:
    cause = error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        choices = error.options or [path.stem for path in (CONFIGS / group).glob("*.yaml")]
        return f"there is no {group or 'configuration'} {name}; {schema.nearest(name, choices)}"
    if isinstance(cause, (ConfigKeyError, ConfigAttributeError)) and cause.parent_node is not None:
        return f"unknown key {cause.full_key}; {schema.nearest(str(cause.key), map(str, cause.parent_node))}"
    if isinstance(error, ConfigCompositionException) and isinstance(cause, OmegaConfBaseException):
        return f"{cause.full_key}: {str(cause).splitlines()[0]}"
    return " ".join(str(error).split())
