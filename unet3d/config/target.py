"""A function or class of the user's own, named in the settings as Hydra does: `_target_`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from unet3d.errors import ConfigError, in_a_line

OWN = "own"  # the choice of model, loss or optimizer that takes one
OWN_GROUPS = ("model", "loss", "optimizer")  # whose choice `own` takes a _target_ and params


def find_target(key: str, target: str | None) -> Callable[..., Any]:
    """What a setting such as model._target_=mylab.nets.build names.

    key: of the setting. Raises ConfigError for what cannot be imported, does not exist or cannot
    be called.
    """
    if not target:
        raise ConfigError(
            f"{key}: is not set; type {key}=<package.module.function> of a package of yours"
        )
    module, _, name = target.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise _not_imported(key, target, module, error) from error
        raise ConfigError(
            f"{key}: {target} is not found, as {sys.executable} has no module {error.name}; "
            "install its package there, on every node (pip install -e <its folder>), or add the "
            "folder that holds it to PYTHONPATH"
        ) from error
    except AttributeError as error:
        raise ConfigError(
            f"{key}: {target} is not found, as module {module} has no {name}"
        ) from error
    except Exception as error:  # whatever a module of the user's own raises
        raise _not_imported(key, target, module, error) from error
    if not callable(found):
        raise ConfigError(
            f"{key}: {target} is of type {type(found).__name__}; it must be a function or a class"
        )
    called: Callable[..., Any] = found
    return called


def call_target(
    key: str, target: str | None, params: Mapping[str, Any], *given: Any, **named: Any
) -> Any:
    """What the target returns for `given`, `named` and the user's own arguments.

    key: of the setting; params: what stands in `params` beside it. Raises ConfigError where it
    cannot be found, does not take these arguments, or fails.
    """
    function = find_target(key, target)
    check_arguments(key, target, function, params, *given, **named)
    try:
        return function(*given, **{**named, **params})
    except Exception as error:  # whatever code of the user's own raises
        raise ConfigError(f"{key}: {target} failed ({in_a_line(error)})") from error


def check_arguments(
    key: str,
    target: str | None,
    function: Callable[..., Any],
    params: Mapping[str, Any],
    *given: Any,
    **named: Any,
) -> None:
    """ConfigError unless `function` takes these arguments."""
    beside = f"{key.rpartition('.')[0]}.params"
    twice = sorted(named.keys() & params.keys())
    if twice:
        raise ConfigError(f"{beside}.{twice[0]}: {target} is given {twice[0]} anyway; leave it out")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of a class written in C, which has none
        return
    try:
        signature.bind(*given, **named, **params)
    except TypeError as error:
        names = ", ".join([*named, *params])
        positional = f"{len(given)} tensors and " if given else ""
        raise ConfigError(
            f"{key}: {target}{signature} cannot be called with {positional}{names} ({error}); "
            f"arguments of your own stand in {beside}, as in {beside}.width=32"
        ) from error


def _not_imported(key: str, target: str, module: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"{key}: {target} is not found, as {module} cannot be imported ({in_a_line(error)})"
    )
