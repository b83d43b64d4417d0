"""The command line: Hydra composes and sweeps, mistakes become one sentence."""

import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from smoothmix.utils import distributed
from smoothmix.utils.errors import UserError, nearest
from smoothmix.utils.signals import Stopped

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def command(config_name: str, task: Callable[[DictConfig], Any]) -> None:
    """Run `task` on the composed configuration, once or, with ``-m``, once per cell of the sweep.

    A UserError is printed as one sentence; in a sweep the other cells go on. The exit status is then 2. With several
    ranks it ends this one at once, since the others may be waiting for it and only its end tells them.
    """
    failed = False

    def guarded(composed: DictConfig) -> None:
        nonlocal failed
        try:
            task(composed)
        except UserError as error:
            failed = True
            _complain(str(error))
            if os.environ.get("WORLD_SIZE", "1") != "1":
                sys.stdout.flush()
                os._exit(2)
        except Exception as error:
            if distributed.is_loss(error):
                _complain_of_loss(error)
                os._exit(1)  # torchrun --max-restarts starts all ranks again
            traceback.print_exc()  # a bug: Hydra would go on with the sweep and report it later
            sys.exit(1)

    os.environ["HYDRA_FULL_ERROR"] = "1"  # hand its exceptions to us instead of printing them
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["SMOOTHMIX_SWEEP_DIR"] = scratch  # Hydra insists on writing a sweep's multirun.yaml somewhere
        try:
            hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=config_name)(guarded)()
            distributed.destroy_process_group()
        except Stopped:
            distributed.destroy_process_group()
            raise
        except KeyboardInterrupt:
            print("interrupted; run the same command again to go on from the last checkpoint", file=sys.stderr)
            sys.exit(130)
        except Exception as error:  # the task's own were dealt with above: this one is about the configuration
            failed = True
            _complain(sentence(error))
    if failed:
        sys.exit(2)


def compose(config_name: str, overrides: Iterable[str] = ()) -> DictConfig:
    """Return the configuration that a command with these `overrides` composes.

    Raises:
        UserError: the command would refuse them.
    """
    shared = GlobalHydra.instance()
    running, shared.hydra = shared.hydra, None  # that of a command that calls this
    try:
        with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return hydra.compose(config_name, list(overrides))
    except Exception as error:  # Hydra's own, about the overrides
        raise UserError(sentence(error)) from error
    finally:
        shared.hydra = running


def _complain_of_loss(error: Exception) -> None:
    try:
        lost = distributed.lost_ranks()
    except RuntimeError:
        lost = []
    which = f"rank {', '.join(map(str, lost))}" if lost else "another rank"
    _complain(
        f"{which} of {os.environ['WORLD_SIZE']} has ended or hangs ({str(error).splitlines()[0]}); run the same "
        "command again to go on from the last checkpoint"
    )


def _complain(text: str) -> None:
    rank, world_size = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    where = "" if world_size == "1" else f" [rank {rank}]"
    print(f"error{where}: {text}", file=sys.stderr, flush=True)


def sentence(error: Exception) -> str:
    """Return what Hydra or OmegaConf complains about, as one sentence."""
    cause = error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        choices = error.options or [path.stem for path in (CONFIGS / group).glob("*.yaml")]
        return f"there is no {group or 'configuration'} {name}; {nearest(name, choices)}"
    if isinstance(cause, (ConfigKeyError, ConfigAttributeError)) and cause.parent_node is not None:
        group, _, rest = str(cause.full_key).partition(".")
        # Hydra composes once without the swept experiment, with the default data set and network
        swept = any("experiment=" in word and "," in word for word in sys.argv)
        hint = f" (in a sweep over experiments, name the group as well: {group}=...)" if swept and rest else ""
        return f"unknown key {cause.full_key}; {nearest(str(cause.key), map(str, cause.parent_node))}{hint}"
    if isinstance(error, ConfigCompositionException) and isinstance(cause, OmegaConfBaseException):
        return f"{cause.full_key}: {str(cause).splitlines()[0]}"
    return " ".join(str(error).split())
