"""The configuration, typed and checked before anything starts.

A run, its recipe and the options of the evaluations are dataclasses. `dataset`, `model` and `mixing` are open groups:
`_target_` names a callable that this repository exports, and the other keys are its arguments, checked against its
signature. Every mistake becomes one sentence that suggests the nearest valid name.
"""

import importlib
import inspect
import os
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue, OmegaConfBaseException

from smoothmix.training.recipe import Recipe, Settings
from smoothmix.utils.distributed import TIMEOUT
from smoothmix.utils.errors import UserError, nearest
from smoothmix.utils.files import is_small

# anything larger is a mistake, or a stranger's: pixels, pixels, layers, channels, processes per rank
LIMITS = {"image_size": 4096, "resize": 8192, "depth": 2000, "alpha": 10_000}
LIMITS["workers"] = max(16, 2 * (os.cpu_count() or 1))
GROUPS = ("dataset", "model", "mixing")
# keys of a group that other groups and the run directory read, and that are not arguments of its _target_
READ_BY_OTHERS: dict[str, set[str]] = {"dataset": {"mix_p", "cutout_size"}, "model": set(), "mixing": set()}
# arguments that the program supplies itself
SUPPLIED: dict[str, set[str]] = {
    "dataset": {"seed"},
    "model": {"num_classes"},
    "mixing": {"num_classes", "generator", "ignore_index"},  # the last is of label maps, which no data set here has
}
# whose exported names a _target_ may be: a stranger's file can run nothing else
EXPORTED_BY = {"dataset": "datasets", "model": "models", "mixing": "smoothmix"}
# what older runs called what is exported under another name now
RENAMED = {f"torchvision.transforms.v2.{name}": f"smoothmix.torchvision_{name.lower()}" for name in ("MixUp", "CutMix")}


@dataclass
class Component:
    """An open group: its name, the callable that `_target_` names and that is its `factory`, and every other key."""

    name: str
    target: str
    options: dict[str, Any]
    factory: Callable[..., Any] = field(compare=False, repr=False)

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The parameters of the factory."""
        return inspect.signature(self.factory, eval_str=True).parameters

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as they stand in the YAML file."""
        return {"name": self.name, "_target_": self.target, **self.options}


@dataclass(kw_only=True)
class RunConfig(Settings):
    """One training run: the top level of configs/train.yaml."""

    method: str  # the run directory's third folder: a row of the paper's tables
    output: str
    device: str = "auto"
    timeout: float = TIMEOUT
    recipe: Recipe
    dataset: Component
    model: Component
    mixing: Component

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: what config.yaml and the checkpoints hold."""
        return asdict(self) | {group: getattr(self, group).to_dict() for group in GROUPS}


@dataclass(kw_only=True)
class _Composed(RunConfig):
    """What OmegaConf checks of a run: the open groups are checked here."""

    dataset: Any
    model: Any
    mixing: Any


def rescale(value: Any, numerator: int, denominator: int) -> Any:
    """Return ``value * numerator / denominator``, rounded: how a size in a YAML file follows another."""
    return round(value * numerator / denominator) if type(value) is int else value


OmegaConf.register_new_resolver("rescale", rescale, replace=True)
OmegaConf.register_new_resolver("folder_name", lambda path: Path(path).expanduser().resolve().name, replace=True)


def check(composed: DictConfig | dict[str, Any]) -> RunConfig:
    """Return the configuration of a run, composed by Hydra or read from a run directory, resolved.

    Raises:
        UserError: an unknown or missing key, a value of the wrong type or out of range, a `_target_` outside the
            allowed packages or called with arguments it does not have.
    """
    if isinstance(composed, dict):
        composed = OmegaConf.create(composed)
    for group in ("recipe", *GROUPS):
        if not isinstance(composed.get(group), DictConfig):
            hint = " (mixing=identity mixes nothing)" if group == "mixing" else ""
            raise UserError(f"{group} must be one of configs/{group}/{hint}, not {composed.get(group)!r}")
    if not is_small(OmegaConf.to_container(composed)):
        raise UserError("the configuration has more than 1,000 values in a list, or is nested more than 16 deep")
    _check_keys(composed.recipe, Recipe, "recipe.")
    values = resolved(composed, _Composed)
    components = {group: check_component(group, values[group]) for group in GROUPS}
    config = RunConfig(**{**values, "recipe": Recipe(**values["recipe"]), **components})
    config.recipe.check()
    config.check()
    return config


def nearest_key(key: str, node: DictConfig, known: Iterable[str] = ()) -> str:
    """Return the end of a sentence about the unknown `key` of `node`, dotted from the root: what may be meant.

    A key of the same name elsewhere in the configuration, or else one of the `known` keys (by default the node's own).
    """
    name = key.rpartition(".")[2]
    paths = [path for path in _paths(OmegaConf.to_container(node._get_root())) if not path.startswith("hydra.")]
    same = [path for path in paths if path.rpartition(".")[2] == name and path != key]
    if same:
        return f"did you mean {' or '.join(same)}?"
    return nearest(name, known or {str(own) for own in node} - {"hydra"})


def _paths(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all keys that hold a value."""
    if not isinstance(node, dict):
        yield prefix[:-1]
        return
    for key, value in node.items():
        yield from _paths(value, f"{prefix}{key}.")


def resolved(composed: DictConfig, schema: type) -> dict[str, Any]:
    """Return `composed` as plain values, with the keys and types of the dataclass `schema`."""
    _check_keys(composed, schema)
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), composed)
        return typing.cast("dict[str, Any]", OmegaConf.to_container(merged, resolve=True, throw_on_missing=True))
    except MissingMandatoryValue as error:
        raise UserError(f"{error.full_key} has no value; give it, as in {error.full_key}=VALUE") from error
    except InterpolationResolutionError as error:
        if missing := re.search(r"Missing mandatory value: (\S+)", str(error)):  # what another key is made of
            raise UserError(f"{missing[1]} has no value; give it, as in {missing[1]}=VALUE") from error
        raise UserError(f"{error.full_key} refers to a missing value ({_first_line(error)})") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key}: {_first_line(error)}") from error


def _check_keys(node: DictConfig, schema: type, prefix: str = "") -> None:
    known = fields(schema)
    names = [entry.name for entry in known]
    for key in map(str, node):
        if key not in names:
            raise UserError(f"unknown key {prefix}{key}; {nearest_key(prefix + key, node, names)}")
    for entry in known:
        if entry.name not in node and entry.default is NO_DEFAULT and entry.default_factory is NO_DEFAULT:
            raise UserError(f"{prefix}{entry.name} is missing; give it, as in {prefix}{entry.name}=VALUE")
    values = typing.cast("dict[str, Any]", OmegaConf.to_container(node))
    for key in (entry.name for entry in known if _is_list(entry.type)):
        value = values.get(key)
        if not (value is None or isinstance(value, list) or OmegaConf.is_interpolation(node, key)):
            raise UserError(f"{prefix}{key} should be a list, as in '{prefix}{key}=[{value}]', not {value}")


def _is_list(hint: Any) -> bool:
    """Whether an annotation is ``list[...]`` or ``list[...] | None``."""
    return any(typing.get_origin(option) is list for option in (hint, *typing.get_args(hint)))


def arguments(group: str, component: Component) -> dict[str, Any]:
    """Return the keys of a group that are arguments of its `_target_`."""
    given = {key: value for key, value in component.options.items() if key not in READ_BY_OTHERS[group]}
    return given | ({"name": component.name} if "name" in component.parameters else {})


def find_target(group: str, path: str) -> Callable[..., Any]:
    """Return the callable that a group's `_target_` names: one that `datasets`, `models` or `smoothmix` exports.

    Raises:
        UserError: it lies elsewhere, or does not exist.
    """
    home = EXPORTED_BY[group]
    module_path, _, name = RENAMED.get(path, path).rpartition(".")
    if group == "model" and module_path == "torchvision.models":  # of older runs
        return partial(importlib.import_module(home).torchvision_model, name)
    if module_path != home:
        raise UserError(f"{group}._target_={path} is not allowed: it must be exported by {home}")
    exported = importlib.import_module(home)
    if name not in exported.__all__:
        raise UserError(f"{group}._target_={path}: {home} has no {name}; {nearest(name, exported.__all__)}")
    return typing.cast("Callable[..., Any]", getattr(exported, name))


def check_component(group: str, node: Any) -> Component:
    """Return the group that plain values describe.

    Raises:
        UserError: a `_target_` that is not exported, or arguments that it does not have or cannot take.
    """
    if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
        raise UserError(f"{group} must be one of configs/{group}/ or have a _target_, not {node!r}")
    name = node.get("name")
    if type(name) not in (str, int):
        raise UserError(f"{group}.name={name!r} should be a text: it names a folder of the run directory")
    options = {key: value for key, value in node.items() if key not in ("name", "_target_")}
    component = Component(str(name), node["_target_"], options, find_target(group, node["_target_"]))
    for key, parameter in component.parameters.items():
        if parameter.annotation is float and type(options.get(key)) is int:
            options[key] = float(options[key])  # so that p=1 and p=1.0 are the same run
    _check_arguments(group, component)
    return component


def _check_arguments(group: str, component: Component) -> None:
    parameters, given = component.parameters, arguments(group, component)
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for key, value in given.items():
        if key in SUPPLIED[group]:
            raise UserError(f"{group}.{key} is set by the program; leave it out")
        if key not in parameters and not open_ended:
            known = (set(parameters) | READ_BY_OTHERS[group] | {"name"}) - SUPPLIED[group]
            raise UserError(f"unknown key {group}.{key}; {nearest(str(key), known)}")
        if type(value) is int and value > (most := LIMITS.get(key, value)):
            raise UserError(f"{group}.{key}={value} is too large; give at most {most}")
        hint = parameters[key].annotation if key in parameters else Any
        if not _fits(value, hint):
            wanted = hint.__name__ if isinstance(hint, type) else hint
            raise UserError(f"{group}.{key}={value!r} should be of type {wanted}")
    for key, parameter in parameters.items():
        open_end = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if parameter.default is parameter.empty and not open_end and key not in {*given, *SUPPLIED[group]}:
            raise UserError(f"{group}.{key} is missing; {component.target} needs it")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a YAML value fits an annotation of plain types; other annotations are left to the callee."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    plain = [option for option in options if option in (int, float, bool, str, type(None))]
    if len(plain) < len(options):
        return True
    return type(value) in plain


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
