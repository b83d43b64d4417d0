"""The command line: Hydra composes and sweeps, every mistake becomes one sentence, ``--help`` shows the YAML files."""

import os
import re
import sys
import tempfile
import textwrap
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from smoothmix.config.schema import nearest_key
from smoothmix.utils.command import override, run, shell_command, status_of
from smoothmix.utils.errors import UserError, nearest

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
MULTIRUN = {"-m", "--multirun"}
OF_REPRODUCE = ("table", "preset", "launcher", "seeds", "jobs")  # options of scripts/reproduce.py


def command(
    config_name: str, task: Callable[[DictConfig], Any], after_sweep: Callable[[list[Any]], None] = lambda _: None
) -> None:
    """Run `task` on the composed configuration, once or, with ``-m``, once per job of the sweep.

    A mistake is printed as one sentence; the other jobs of a sweep still run. The exit status is then 2. At its end
    `after_sweep` is called with what the jobs without a mistake returned.
    """
    if MULTIRUN & set(sys.argv[1:]):  # Hydra takes it before or behind all overrides only
        sys.argv[1:] = ["-m", *(word for word in sys.argv[1:] if word not in MULTIRUN)]
    if {"-h", "--help"} & set(sys.argv[1:]):
        run(lambda: print(help_text(config_name, sys.modules["__main__"].__doc__ or "", sys.argv[1:])))
        return
    run(lambda: _main(config_name, task, after_sweep), lossy=config_name == "train")


def _main(config_name: str, task: Callable[[DictConfig], Any], after_sweep: Callable[[list[Any]], None]) -> int:
    """Compose the configuration and run the jobs; return 2 if one of them ended in a mistake, else 0."""
    mistakes, results = 0, []

    def job(composed: DictConfig) -> None:
        nonlocal mistakes
        status = status_of(lambda: results.append(task(composed)))
        if status not in (None, 2):  # a bug, a signal or a closed pipe ends the sweep
            sys.exit(status)
        mistakes += status == 2

    _refuse_keys_of_others(sys.argv[1:])
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hand its exceptions to us instead of printing them
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["SMOOTHMIX_SWEEP_DIR"] = scratch  # Hydra insists on writing a sweep's multirun.yaml somewhere
        try:
            hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=config_name)(job)()
        except Exception as error:  # the jobs' own were dealt with: this one is about the configuration
            raise UserError(sentence(error)) from error
    if "-m" in sys.argv:
        after_sweep(results)
    return 2 if mistakes else 0


def compose(config_name: str, overrides: Collection[str] = ()) -> DictConfig:
    """Return the configuration that a command with these `overrides` composes.

    Raises:
        UserError: the command would refuse them.
    """
    shared = GlobalHydra.instance()
    running, shared.hydra = shared.hydra, None  # that of a command that calls this
    try:
        _refuse_keys_of_others(overrides)
        with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return hydra.compose(config_name, list(overrides))
    except UserError:
        raise
    except Exception as error:  # Hydra's own, about the overrides
        raise UserError(sentence(error)) from error
    finally:
        shared.hydra = running


def sentence(error: Exception) -> str:
    """Return what is wrong with the overrides, as Hydra or OmegaConf says it, in one sentence."""
    cause = error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return _no_such_choice(group, name)
    if isinstance(error, OverrideParseException):
        return _cannot_read(error.override)
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.parent_node is not None:
        group, _, rest = str(cause.full_key).partition(".")
        # Hydra composes once without the swept experiment, with the default data set and network
        swept = any("experiment=" in word and "," in word for word in sys.argv)
        hint = f" (in a sweep over experiments, name the group as well: {group}=...)" if swept and rest else ""
        if cause.full_key == "dataset.root":  # of the digits
            return "these images are built in; to train on those in a folder add dataset=folder, cifar100 or imagenet"
        return f"unknown key {cause.full_key}; {nearest_key(str(cause.full_key), cause.parent_node)}{hint}"
    if isinstance(error, ConfigCompositionException) and isinstance(cause, OmegaConfBaseException):
        return f"{cause.full_key}: {str(cause).splitlines()[0]}"
    text = " ".join(str(error).split())
    if ambiguous := re.match(r"Ambiguous value for argument '([^=]+)=(.*?)' 1\. ", text):
        key, values = ambiguous.groups()
        return (
            f"{key}={values} is several values: add -m to run each of them, or give one list, as in "
            f"{shell_command([f'{key}=[{values}]'])}, or one text, as in {shell_command([override(key, values)])}"
        )
    return "an override is nested too deeply" if "recursion" in text else text[:300]


def _cannot_read(word: str) -> str:
    key, equals, value = word.partition("=")
    if not equals or key.startswith("-"):
        return f"cannot use {word}: overrides are KEY=VALUE; see --help"
    quoted = shell_command([override(key, value)])
    return f"cannot read the value of {word}; if it is a text, quote it for Hydra and for the shell: {quoted}"


def _no_such_choice(group: str, name: str) -> str:
    folder = CONFIGS / group
    choices = [path.stem for path in folder.glob("*.yaml")]
    nested = sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.glob("*/*.yaml"))
    same = [choice for choice in nested if name in choice.split("/")]
    hint = f"choose from {', '.join(same)}" if same else nearest(name, choices or nested)
    return f"there is no {group or 'configuration'} {name}; {hint}"


def _refuse_keys_of_others(arguments: Iterable[str]) -> None:
    for word in arguments:
        key, equals, _ = word.partition("=")
        if re.match(r"[~+]*(.*@)?hydra\b", key):
            raise UserError(
                f"{word[:100]} configures Hydra itself, which may run any program; leave it out (to submit jobs to "
                "SLURM: python scripts/reproduce.py table=1 launcher=slurm)"
            )
        if equals and key.lstrip("+") in OF_REPRODUCE:
            raise UserError(
                f"{word} is an option of another command: python scripts/reproduce.py table=1 preset=quick; train.py "
                "trains one run, as in: python train.py experiment=cifar100/smoothmix_c"
            )


def help_text(config_name: str, description: str, arguments: list[str]) -> str:
    """Return the description, the groups with their choices, and all keys with their values and comments.

    Args:
        config_name: the command's own file in configs/.
        description: of the command, with examples.
        arguments: of the command line; the keys shown of a group are those of the choice there, or of the default.
    """
    texts = _read_with_defaults(config_name)
    entries = [entry for text in texts for entry in yaml.safe_load(text).get("defaults", ()) if isinstance(entry, dict)]
    chosen = {group: choice for entry in entries for group, choice in entry.items() if "override" not in group}
    chosen |= {key: value for key, _, value in (word.partition("=") for word in arguments) if key in chosen}
    example = "mixing=cutmix" if "mixing" in chosen else "dataset=cifar100"
    lines = [description.strip(), ""]
    lines.append(f"Groups, as in {example} (the keys of another choice: {config_name}.py --help {example})")
    for group in chosen:
        paths = (path.relative_to(CONFIGS / group) for path in (CONFIGS / group).rglob("*.yaml"))
        choices = f"  {group}: {', '.join(sorted(str(path.with_suffix('')) for path in paths))}"
        lines += textwrap.wrap(choices, 120, subsequent_indent="    ", break_on_hyphens=False)
    example = "recipe.epochs=30" if "recipe" in chosen else "weights=last"
    lines += ["", f"Keys, as in {example}, with their defaults"]
    own = re.sub(r"^(?:defaults|hydra):\n(?:[ \t]+.*\n)*", "", "".join(texts), flags=re.M)
    lines += [f"  {line}" for line in own.splitlines() if line and not line.startswith("#")]
    for group, choice in chosen.items():
        path = CONFIGS / group / f"{choice}.yaml"
        if path.is_file() and group != "experiment":
            lines += ["", f"  {group}:"]
            shown = path.read_text(encoding="utf-8").splitlines()
            lines += [f"    {line}" for line in shown if line and not line.startswith("_target_")]
    return "\n".join(lines)


def _read_with_defaults(name: str) -> list[str]:
    """Return the text of a file in configs/, and before it those of the files that its defaults list includes."""
    text = (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")
    included = [entry for entry in yaml.safe_load(text).get("defaults", ()) if isinstance(entry, str)]
    return [*(part for entry in included if entry != "_self_" for part in _read_with_defaults(entry)), text]
