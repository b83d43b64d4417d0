"""The configuration, typed and checked before anything starts.

The run and the recipe are dataclasses. `dataset`, `model` and `mixing` are open groups: `_target_` names a callable of
this repository, timm or torchvision, and the other keys are its arguments, checked against its signature. Every mistake
becomes one sentence that names the nearest right word.
"""

import difflib
import importlib
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, fields
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue, OmegaConfBaseException

from smoothmix.training.recipe import Recipe, Settings
from smoothmix.utils.distributed import TIMEOUT
from smoothmix.utils.errors import UserError


@dataclass
class Run(Settings):
    """The top level of configs/train.yaml."""

    method: str = MISSING  # the run directory's third folder: a row of the paper's tables
    output: str = MISSING
    device: str = "auto"
    timeout: float = TIMEOUT
    recipe: Recipe = MISSING
    dataset: Any = MISSING
    model: Any = MISSING
    mixing: Any = MISSING


# keys of a group that other groups and the run directory read, and that are not arguments of its _target_
READ_BY_OTHERS = {"dataset": {"mix_p", "cutout_size"}, "model": set(), "mixing": set()}
# arguments that the program supplies itself
SUPPLIED = {"dataset": set(), "model": {"num_classes"}, "mixing": {"num_classes", "generator"}}
# whose exported names, and whose classes, a _target_ may be: a stranger's file can run nothing else
EXPORTED_BY = {"dataset": "datasets", "model": "models", "mixing": "smoothmix"}
CLASSES_OF = {
    "dataset": (),
    "model": ("timm.models", "torchvision.models"),
    "mixing": ("torchvision.transforms.v2",),
}


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown `word`: the nearest of `choices`, or all of them."""
    choices = sorted(choices)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"there is {', '.join(choices)}"


@dataclass
class Evaluation:
    """The top level of configs/eval.yaml."""

    run: str | None = None
    checkpoint: str | None = None
    published: str | None = None
    weights: str = "best"
    split: str = "test"
    batch_size: int | None = None
    device: str = "auto"
    timeout: float = TIMEOUT
    dataset: Any = MISSING


@dataclass
class CorruptedEvaluation:
    """The top level of configs/eval_corruption.yaml."""

    benchmark: str = MISSING
    source: str = "files"
    files: str | None = None
    corruptions: list[str] | None = None
    seed: int = 0
    run: str | None = None
    checkpoint: str | None = None
    published: str | None = None
    weights: str = "best"
    batch_size: int | None = None
    device: str = "auto"
    timeout: float = TIMEOUT
    dataset: Any = MISSING


def check(composed: DictConfig) -> dict[str, Any]:
    """Return the composed configuration of a run as plain resolved values.

    Raises:
        UserError: an unknown or missing key, a value of the wrong type or out of range, a `_target_` outside the
            allowed places or called with arguments it does not have.
    """
    if not isinstance(composed.get("recipe"), DictConfig):
        raise UserError(f"recipe must be one of configs/recipe/, not {composed.get('recipe')!r}")
    _check_keys(composed.recipe, Recipe, "recipe.")
    config = typed(composed, Run)
    try:
        Recipe(**config["recipe"]).check()
        settings(config).check()
    except ValueError as error:
        raise UserError(str(error)) from error
    for group in ("dataset", "model", "mixing"):
        _check_group(group, config[group])
    return config


def typed(composed: DictConfig, schema: type) -> dict[str, Any]:
    """Return `composed` as plain resolved values, with the keys and types of the dataclass `schema`.

    Raises:
        UserError: a key is unknown or missing, or a value has another type.
    """
    _check_keys(composed, schema)
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), composed)
        return typing.cast("dict[str, Any]", OmegaConf.to_container(merged, resolve=True, throw_on_missing=True))
    except MissingMandatoryValue as error:
        raise UserError(f"{error.full_key} has no value; give it, as in {error.full_key}=VALUE") from error
    except InterpolationResolutionError as error:
        raise UserError(f"{error.full_key} refers to a value that is not there ({_first_line(error)})") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key}: {_first_line(error)}") from error


def _check_keys(node: DictConfig, schema: type, prefix: str = "") -> None:
    known = fields(schema)
    for key in node:
        if key not in {field.name for field in known}:
            raise UserError(f"unknown key {prefix}{key}; {nearest(str(key), (field.name for field in known))}")
    for field in known:
        if field.name not in node and field.default is NO_DEFAULT and field.default_factory is NO_DEFAULT:
            raise UserError(f"{prefix}{field.name} is missing; give it, as in {prefix}{field.name}=VALUE")
    values = OmegaConf.to_container(node)
    for key in (field.name for field in known if _is_list(field.type)):
        value = values.get(key)
        if not (value is None or isinstance(value, list) or OmegaConf.is_interpolation(node, key)):
            raise UserError(f"{prefix}{key} should be a list, as in {prefix}{key}=[{value}], not {value}")


def _is_list(hint: Any) -> bool:
    """Whether an annotation is ``list[...]`` or ``list[...] | None``."""
    return any(typing.get_origin(option) is list for option in (hint, *typing.get_args(hint)))


def settings(config: dict[str, Any]) -> Settings:
    """Return the settings among the top-level keys of a checked configuration."""
    return Settings(**{field.name: config[field.name] for field in fields(Settings)})


def arguments(group: str, node: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of a group that are arguments of its `_target_`."""
    dropped = {"_target_"} | READ_BY_OTHERS[group] | ({"name"} - set(parameters_of(group, node)))
    return {key: value for key, value in node.items() if key not in dropped}


def parameters_of(group: str, node: dict[str, Any]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a group's `_target_`; raises as :func:`find_target`."""
    return inspect.signature(find_target(group, node["_target_"])).parameters


def find_target(group: str, path: str) -> Callable[..., Any]:
    """Return the callable that a group's `_target_` names, if it is one that this group may call.

    That is: what `datasets`, `models` or `smoothmix` export, and classes of timm and torchvision. Functions of timm and
    torchvision are not admitted, since some of them unpickle files.

    Raises:
        UserError: it lies elsewhere, does not exist, or is not such a thing.
    """
    home, classes_of = EXPORTED_BY[group], CLASSES_OF[group]
    module_path, _, name = path.rpartition(".")
    if module_path != home and not _inside(module_path, classes_of):
        also = "".join(f" or be a class of {place}" for place in classes_of)
        raise UserError(f"{group}._target_={path} is not allowed: it must be exported by {home}{also}")
    try:
        module = importlib.import_module(module_path)
    except ModuleNotFoundError as error:
        raise UserError(f"{group}._target_={path}: there is no module {error.name}") from error
    public = module.__all__ if module_path == home else [word for word in vars(module) if not word.startswith("_")]
    if name not in public:
        raise UserError(f"{group}._target_={path}: {module_path} has no {name}; {nearest(name, public)}")
    target = getattr(module, name)
    if module_path != home and not (isinstance(target, type) and _inside(target.__module__, classes_of)):
        hint = "; use models.timm_model with the model's name" if group == "model" else ""
        raise UserError(f"{group}._target_={path} is not a class of {' or '.join(classes_of)}{hint}")
    return typing.cast("Callable[..., Any]", target)


def _inside(module_path: str, places: tuple[str, ...]) -> bool:
    return any(module_path == place or module_path.startswith(place + ".") for place in places)


def _check_group(group: str, node: Any) -> None:
    if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
        raise UserError(f"{group} must be one of configs/{group}/ or have a _target_, not {node!r}")
    if not isinstance(node.get("name"), str):
        raise UserError(f"{group}.name is missing: the run directory is named by it")
    target = find_target(group, node["_target_"])
    parameters = inspect.signature(target).parameters
    hints = typing.get_type_hints(target.__init__ if isinstance(target, type) else target)
    given = arguments(group, node)
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for key, value in given.items():
        if key in SUPPLIED[group]:
            raise UserError(f"{group}.{key} is set by the program; leave it out")
        if key not in parameters and not open_ended:
            known = (set(parameters) | READ_BY_OTHERS[group] | {"name"}) - SUPPLIED[group]
            raise UserError(f"unknown key {group}.{key}; {nearest(key, known)}")
        if hints.get(key) is float and type(value) is int:
            node[key] = value = float(value)  # so that p=1 and p=1.0 are the same run
        if not _fits(value, hints.get(key, Any)):
            raise UserError(f"{group}.{key}={value!r} should be of type {_type_name(hints[key])}")
    for key, parameter in parameters.items():
        optional = parameter.default is not parameter.empty or parameter.kind in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        )
        if not optional and key not in given and key not in SUPPLIED[group]:
            raise UserError(f"{group}.{key} is missing; {node['_target_']} needs it")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a YAML value fits an annotation of plain types; other annotations are left to the callee."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    plain = [option for option in options if option in (int, float, bool, str, type(None))]
    if len(plain) < len(options):
        return True
    return type(value) in plain


def _type_name(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint)) if isinstance(hint, type) else str(hint)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
