"""What each setting may be: checked right after composition, before any work."""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from typing import Any

from unet3d.config import AUTO, Config, ConfigError, as_dict, flatten

Rule = tuple[Callable[[Any], bool], str]

POSITIVE: Rule = (lambda v: v > 0, "must be above 0")
AT_LEAST_0: Rule = (lambda v: v >= 0, "must be 0 or more")
AT_LEAST_1: Rule = (lambda v: v >= 1, "must be 1 or more")
SHARE: Rule = (lambda v: 0 <= v <= 1, "must be from 0 to 1")
BELOW_1: Rule = (lambda v: 0 <= v < 1, "must be from 0 to below 1")
THREE_SPACINGS: Rule = (
    lambda v: len(v) == 3 and all(size > 0 for size in v),
    "must be three lengths above 0 in mm, as in [1,1,1]",
)
HEX_DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
RANGE: Rule = (
    lambda v: len(v) == 2 and 0 < v[0] <= v[1],
    "must be a range [low,high] with 0 < low <= high",
)


def one_of(*names: str) -> Rule:
    return lambda v: v in names, f"must be one of {', '.join(names)}"


def _is_checksum(value: str) -> bool:
    algorithm, _, digits = value.lower().partition(":")
    return len(digits) == HEX_DIGITS.get(algorithm) and set(digits) <= set(string.hexdigits)


RULES: dict[str, Rule] = {
    "lr": POSITIVE,
    "epochs": AT_LEAST_1,
    "batch_size": AT_LEAST_1,
    "accumulate": AT_LEAST_1,
    "steps_per_epoch": AT_LEAST_1,
    "seed": AT_LEAST_0,
    "precision": one_of("float32", "mixed_bfloat16", "mixed_float16"),
    "nodes": AT_LEAST_1,
    "val_every": AT_LEAST_1,
    "patience": AT_LEAST_1,
    "threads": AT_LEAST_1,
    "validation.overlap": BELOW_1,
    "validation.batch_size": AT_LEAST_1,
    "validation.cases": AT_LEAST_1,
    "data.target": one_of("regions", "classes"),
    "data.dtype": one_of("float16", "bfloat16"),
    "data.on_bad_case": one_of("fail", "skip"),
    "data.spacing": THREE_SPACINGS,
    "data.stage_to": (lambda v: bool(v.strip()), "must be a folder"),
    "data.workers": AT_LEAST_1,
    "data.split.train": SHARE,
    "data.split.val": SHARE,
    "data.split.test": SHARE,
    "data.folds": (lambda v: v >= 2, "must be 2 or more"),
    "data.fold": AT_LEAST_0,
    "data.patch_memory": POSITIVE,
    "data.patches_per_case": AT_LEAST_1,
    "data.foreground": SHARE,
    "data.prefetch": AT_LEAST_1,
    "data.phantom.cases": (lambda v: v >= 2, "must be 2 or more"),
    "data.phantom.shape": (
        lambda v: len(v) == 3 and all(size >= 16 for size in v),
        "must be three sizes of 16 voxels or more",
    ),
    "data.phantom.spacing": THREE_SPACINGS,
    "data.phantom.noise": AT_LEAST_0,
    "data.phantom.bias_field": BELOW_1,
    "data.source.url": (
        lambda v: re.match(r"https?://[^/\s]", v) is not None,
        "must be an address that begins with http:// or https://",
    ),
    "data.source.checksum": (
        _is_checksum,
        f"must be <algorithm>:<hex digits>, with one of {', '.join(HEX_DIGITS)}",
    ),
    "model.norm": one_of("batch", "sync_batch", "group", "instance", "none"),
    "model.filters": AT_LEAST_1,
    "model.max_filters": AT_LEAST_1,
    "model.depth": (lambda v: 1 <= v <= 8, "must be from 1 to 8"),
    "model.groups": AT_LEAST_1,
    "model.dropout": BELOW_1,
    "loss.smooth": AT_LEAST_0,
    "loss.ce_weight": AT_LEAST_0,
    "loss.gamma": AT_LEAST_0,
    "loss.alpha": SHARE,
    "loss.fp_weight": AT_LEAST_0,
    "loss.fn_weight": AT_LEAST_0,
    "optimizer.clip_norm": POSITIVE,
    "optimizer.ema": BELOW_1,
    "optimizer.beta_1": BELOW_1,
    "optimizer.beta_2": BELOW_1,
    "optimizer.epsilon": POSITIVE,
    "optimizer.momentum": BELOW_1,
    "optimizer.weight_decay": AT_LEAST_0,
    "schedule.name": one_of("constant", "poly", "cosine"),
    "schedule.warmup_epochs": AT_LEAST_0,
    "schedule.power": POSITIVE,
    "schedule.final": SHARE,
    **{
        f"augment.{name}": SHARE
        for name in ("flip", "rotate", "scale", "noise", "blur", "gamma", "contrast")
    },
    "augment.max_angle": (lambda v: 0 <= v <= 180, "must be from 0 to 180 degrees"),
    "augment.max_noise": AT_LEAST_0,
    "augment.scale_range": RANGE,
    "augment.blur_sigma": RANGE,
    "augment.gamma_range": RANGE,
    "augment.contrast_range": RANGE,
    "augment.intensity_on": one_of("auto", "host", "device"),
    "tracking.system_interval": POSITIVE,
    "parallel.devices": AT_LEAST_1,
    "parallel.gpus_per_node": AT_LEAST_0,
    "parallel.cpus_per_node": AT_LEAST_1,
    "parallel.wait_for_nodes": AT_LEAST_0,
    "parallel.max_failures": AT_LEAST_0,
    "parallel.hang_timeout": (lambda v: v >= 5, "must be 5 seconds or more"),
    "parallel.lr_scaling": one_of("none", "linear", "sqrt"),
    "parallel.warmup_epochs": AT_LEAST_0,
    "parallel.communication": one_of("auto", "ring", "nccl"),
    "parallel.pack_mb": AT_LEAST_0,
    "parallel.compression": one_of("none", "float16"),
    "parallel.gpus_per_trial": AT_LEAST_0,
    "parallel.cpus_per_trial": AT_LEAST_1,
    "parallel.trials_at_once": AT_LEAST_1,
    "sweep.name": (
        lambda v: re.fullmatch(r"[\w.-]+", v) is not None and not v.startswith("."),
        "must be letters, digits, and . _ - within, as it names a folder",
    ),
    "sweep.retries": AT_LEAST_0,
    "sweep.early_stopping": one_of("none", "asha", "median"),
    "sweep.min_epochs": AT_LEAST_1,
    "sweep.reduction_factor": (lambda v: v >= 2, "must be 2 or more"),
    "sweep.startup_trials": AT_LEAST_1,
    "sweep.trials": AT_LEAST_1,
    "sweep.sampler": one_of("tpe", "random", "qmc", "cmaes", "gp"),
    "sweep.seed": AT_LEAST_0,
}


def check_config(config: Config) -> None:
    """Check each value by its rule, then the values that depend on each other.

    Raises ConfigError at the first that cannot work.
    """
    from unet3d.models import stride

    for key, value in flatten(as_dict(config)).items():
        if key in RULES and value is not None:
            allowed, rule = RULES[key]
            if not allowed(value):
                raise ConfigError(f"{key}: {value} is not possible; it {rule}")
    if config.batch_size % config.accumulate:
        raise ConfigError(
            f"accumulate: {config.accumulate} does not divide batch_size={config.batch_size}"
        )
    if config.schedule.warmup_epochs >= config.epochs:
        raise ConfigError(
            f"schedule.warmup_epochs: {config.schedule.warmup_epochs} is not possible; "
            f"it must be below epochs={config.epochs}"
        )
    _check_parallel(config)
    check_regions(config.data.regions)
    _check_patch(config.data.patch, stride(config.model))


def _check_parallel(config: Config) -> None:
    nodes, devices = config.nodes, config.parallel.devices
    if config.parallel.name != "data":
        if nodes != 1:
            raise ConfigError(
                f"nodes: {nodes} is not possible with parallel={config.parallel.name}; "
                "type parallel=data, or nodes=1"
            )
        if devices not in (None, 1):
            raise ConfigError(
                f"parallel.devices: {devices} is not possible with "
                f"parallel={config.parallel.name}; type parallel=data"
            )
    if nodes > 1 and devices is not None:
        raise ConfigError(
            f"parallel.devices: {devices} is of nodes=1; with nodes={nodes} the replicas of a "
            "node are its GPUs, see parallel.gpus_per_node"
        )
    check_batch(config, nodes * (devices or 1))


def check_batch(config: Config, replicas: int) -> None:
    """ConfigError unless the global batch comes out even over `replicas` and its parts."""
    parts = replicas * config.accumulate
    if config.batch_size % parts:
        below = config.batch_size // parts * parts
        sizes = [size for size in (below, below + parts) if size]
        told = " or ".join(f"batch_size={size}" for size in sizes)
        over = f"{replicas} replicas" + (
            f" in {config.accumulate} parts (accumulate)" if config.accumulate > 1 else ""
        )
        raise ConfigError(
            f"batch_size: {config.batch_size} is the global batch and cannot be shared by {over}; "
            f"type {told}"
        )


def check_regions(regions: Any, key: str = "data.regions") -> None:
    """ConfigError unless `regions` maps names to lists of label values; None is as well."""
    if regions is None:
        return
    if not isinstance(regions, dict) or not regions:
        raise ConfigError(f"{key}: {regions} is not possible; write {{whole_tumour: [1,2,3], ...}}")
    for name, values in regions.items():
        if not isinstance(values, list) or not all(type(value) is int for value in values):
            raise ConfigError(
                f"{key}.{name}: {values} is not possible; "
                "it must be a list of label values, as in [1,2]"
            )


def _check_patch(patch: Any, stride: int) -> None:
    if patch is None or patch == AUTO:
        return
    sizes = patch if isinstance(patch, list) else []
    if len(sizes) != 3 or not all(type(size) is int and size >= 1 for size in sizes):
        raise ConfigError(
            f"data.patch: {patch} is not possible; it must be three sizes of 1 voxel or more, as "
            "in [96,96,96], or auto for what fits in memory, or null for whole volumes"
        )
    if all(size % stride == 0 for size in sizes):
        return
    nearest = [max(stride, round(size / stride) * stride) for size in sizes]
    raise ConfigError(
        f"data.patch: {patch} is not divisible by {stride}, the network's stride "
        f"(2 to the power of model.depth); the nearest that is: {nearest}"
    )
