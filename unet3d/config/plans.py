"""data.plans: an nnUNetPlans.json, or a recipe of `unet3d plan`, as settings to begin with.

nnU-Net's sizes are along the axes of its arrays: those of the file in reverse, transposed so that
the coarsest comes first. They are turned back to x, y, z here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet3d.errors import ConfigError

RECIPES = (".yaml", ".yml")
CONFIGURATION = "3d_fullres"
METHODS = {"ZScoreNormalization": "zscore", "CTNormalization": "ct", "NoNormalization": "none"}
RESENC = "resenc"  # the choice of model for nnU-Net's residual encoders
TOPOLOGY = ("model.depth", "model.strides", "model.kernels", "model.topology")
Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Plans:
    """A 3D configuration. Sizes are along x, y and z; strides are without the input's own."""

    patch: Sizes
    spacing: tuple[float, ...]
    batch_size: int
    normalize: tuple[str, ...]
    strides: tuple[Sizes, ...]
    kernels: tuple[Sizes, ...]
    blocks: tuple[int, ...] = ()  # of a residual encoder

    def overrides(self) -> dict[str, str]:
        """The settings as they would be typed."""
        network = {"model": RESENC, "model.blocks": _text(self.blocks)} if self.blocks else {}
        return {
            **network,
            "data.patch": _text(self.patch),
            "data.spacing": _text(self.spacing),
            "data.normalize": _text(self.normalize),
            "batch_size": str(self.batch_size),
            "model.depth": str(len(self.strides)),
            "model.strides": _text(self.strides),
            "model.kernels": _text(self.kernels),
        }


def planned_overrides(file: str, typed: Sequence[str]) -> list[str]:
    """The overrides for the plans in `file`, without the keys that are `typed` already.

    A topology is of one piece: with one of its keys typed, none is taken over. Raises ConfigError
    for a file that is missing or holds no 3D plans, or plans that no network here can follow.
    """
    left = set(typed)
    if left & set(TOPOLOGY):
        left |= set(TOPOLOGY)
    if "model" in left:
        left.add("model.blocks")
    path = Path(file)
    is_recipe = path.suffix.lower() in RECIPES
    found = read_recipe(path) if is_recipe else read_plans(path).overrides()
    return [f"{key}={value}" for key, value in found.items() if key not in left]


def read_recipe(path: Path) -> dict[str, str]:
    """The settings in a YAML file, as they would be typed. Raises ConfigError."""
    import yaml

    text = _read(path)
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"data.plans: {path}: not a YAML file ({error})") from error
    if not isinstance(found, dict):
        raise ConfigError(f"data.plans: {path}: must map settings to values, as `unet3d plan` does")
    return {key: _text(value) for key, value in _flat(found)}


def _flat(settings: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"data.plans: {path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"data.plans: {path}: not a file of text") from error


def read_plans(path: Path) -> Plans:
    """The 3d_fullres configuration of an nnUNetPlans.json of nnU-Net v2. Raises ConfigError."""
    text = _read(path)
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"data.plans: {path}: not a JSON file ({error})") from error
    try:
        planned = _configuration(path, found)
        order = [int(axis) for axis in found.get("transpose_backward", (0, 1, 2))]
        strides, kernels = _topology(planned)
        return Plans(
            _xyz([int(size) for size in planned["patch_size"]], order),
            _xyz([round(float(mm), 6) for mm in planned["spacing"]], order),
            int(planned["batch_size"]),
            tuple(_method(path, name) for name in planned["normalization_schemes"]),
            tuple(_allowed(path, "stride", _xyz(s, order), (1, 2)) for s in strides),
            tuple(_allowed(path, "kernel", _xyz(k, order), (1, 3)) for k in kernels),
            _blocks(planned),
        )
    except ConfigError:  # also a ValueError
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"data.plans: {path}: its {CONFIGURATION} is not as nnU-Net v2 writes it "
            f"({type(error).__name__}: {error})"
        ) from error


def _configuration(path: Path, found: Any) -> dict[str, Any]:
    """The 3D configuration, with what it inherits."""
    configurations = found.get("configurations") if isinstance(found, dict) else None
    if not isinstance(configurations, dict) or not configurations:
        raise ConfigError(
            f"data.plans: {path}: holds no plans of nnU-Net v2, as it has no 'configurations'; "
            "nnUNetv2_plan_experiment writes them to nnUNet_preprocessed/<data set>"
        )
    if CONFIGURATION not in configurations:
        raise ConfigError(
            f"data.plans: {path}: has no {CONFIGURATION}, only {', '.join(configurations)}; "
            "networks here are 3D, type the patch and the spacing in place of the plans"
        )
    planned: dict[str, Any] = {}
    name = CONFIGURATION
    for _ in configurations:
        planned = {**configurations[name], **planned}
        if (parent := configurations[name].get("inherits_from")) is None:
            break
        name = parent
    return planned


def _topology(planned: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Strides of the poolings, and kernels of the levels; before nnU-Net 2.4 by other names."""
    if "architecture" in planned:
        network = planned["architecture"]["arch_kwargs"]
        strides, kernels = network["strides"], network["kernel_sizes"]
    else:
        strides, kernels = planned["pool_op_kernel_sizes"], planned["conv_kernel_sizes"]
    if len(strides) != len(kernels):
        raise ValueError(f"{len(strides)} strides, {len(kernels)} kernels")
    return strides[1:], kernels  # the first stride is that of the input, 1


def _blocks(planned: dict[str, Any]) -> tuple[int, ...]:
    """Residual blocks of each level of the encoder; none of nnU-Net's plain network."""
    network = planned.get("architecture", {})
    if not str(network.get("network_class_name", "")).endswith(".ResidualEncoderUNet"):
        return ()
    return tuple(int(count) for count in network["arch_kwargs"]["n_blocks_per_stage"])


def _xyz(sizes: Sequence[Any], backward: Sequence[int]) -> tuple[Any, ...]:
    """Sizes along nnU-Net's three axes, along x, y and z."""
    z, y, x = (sizes[axis] for axis in backward)
    return x, y, z


def _method(path: Path, name: str) -> str:
    if name not in METHODS:
        raise ConfigError(
            f"data.plans: {path}: normalises by {name}, which is not known here, only "
            f"{', '.join(METHODS)}; type data.normalize=<method>, and the other settings by hand"
        )
    return METHODS[name]


def _allowed(path: Path, what: str, sizes: Sizes, allowed: tuple[int, int]) -> Sizes:
    if not set(sizes) <= set(allowed):
        raise ConfigError(
            f"data.plans: {path}: has a {what} of {list(sizes)}; networks here know "
            f"{allowed[0]} and {allowed[1]}; type model.topology=auto, which plans its own"
        )
    return sizes


def _text(value: Any) -> str:
    """A value, or nested lists of them, in Hydra's grammar."""
    if isinstance(value, tuple | list):
        return f"[{','.join(map(_text, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
