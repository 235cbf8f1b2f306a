"""What settings must be to each other: checked right after composition, before any work."""

from __future__ import annotations

import math
import re
from typing import Any

from unet3d.config.allowed import is_name
from unet3d.config.schema import AUTO, NORMALIZE, Config, ModelConfig
from unet3d.config.target import OWN, OWN_GROUPS
from unet3d.config.walk import check_values
from unet3d.errors import ConfigError
from unet3d.machine import machine_memory


def check_config(config: Config) -> None:
    """Check each value by its rule, then the values that depend on each other.

    Raises ConfigError at the first that cannot work.
    """
    check_values(config)
    if config.batch_size % config.accumulate:
        raise ConfigError(
            f"accumulate: {config.accumulate} does not divide batch_size={config.batch_size}"
        )
    if config.schedule.warmup_epochs >= config.epochs:
        raise ConfigError(
            f"schedule.warmup_epochs: {config.schedule.warmup_epochs} is not possible; "
            f"it must be below epochs={config.epochs}"
        )
    if config.continue_from is not None and config.init is not None:
        raise ConfigError(
            "init: is not possible with continue_from, which has weights of its own; leave one out"
        )
    _check_parallel(config)
    check_regions(config.data.regions)
    check_labels(config.data.labels)
    check_normalize(config.data.normalize)
    _check_targets(config)
    check_shares(config.data.foreground_shares)
    check_class_weights(config.loss.class_weights)
    check_layer_lr(config.optimizer.layer_lr)
    check_metrics(config.validation.metrics)
    _check_topology(config.model)
    _check_recompute(config.model)
    _check_patch(config.data.patch, config.model)
    _check_batch_memory(config)


def _check_targets(config: Config) -> None:
    """ConfigError for a `_target_` beside a network, loss or optimizer of ours, or none of own."""
    for group in OWN_GROUPS:
        settings: Any = getattr(config, group)
        target, own = getattr(settings, "_target_", None), settings.name == OWN
        if own and target is None:
            raise ConfigError(
                f"{group}._target_: is not set; {group}=own needs a function of your own, as in "
                f"{group}._target_=mylab.nets.build"
            )
        if not own and (target is not None or getattr(settings, "params", None)):
            key = "_target_" if target is not None else "params"
            raise ConfigError(
                f"{group}.{key}: is not possible with {group}={settings.name}; type {group}=own"
            )


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
            f"parallel.devices: {devices} is only possible with nodes=1; with nodes={nodes} the "
            "replicas of a node are its GPUs, see parallel.gpus_per_node"
        )
    check_batch(config, nodes * (devices or 1))


def check_batch(config: Config, replicas: int) -> None:
    """ConfigError unless the global batch divides evenly among `replicas` and its parts."""
    parts = replicas * config.accumulate
    if config.batch_size % parts:
        below = config.batch_size // parts * parts
        sizes = [size for size in (below, below + parts) if size]
        fitting = " or ".join(f"batch_size={size}" for size in sizes)
        over = f"{replicas} replicas" + (
            f" in {config.accumulate} parts (accumulate)" if config.accumulate > 1 else ""
        )
        raise ConfigError(
            f"batch_size: {config.batch_size} is the global batch and cannot be shared by {over}; "
            f"type {fitting}"
        )


def _check_batch_memory(config: Config) -> None:
    """ConfigError where not even one sequence of the batch fits in memory: nothing would say so."""
    patch = config.data.patch
    sizes = patch if isinstance(patch, list) else config.model.stride  # at the least
    here = math.ceil(config.batch_size / config.nodes)
    needed, memory = here * math.prod(sizes) * 4, machine_memory()
    if needed > memory:
        raise ConfigError(
            f"batch_size: {config.batch_size} is not possible; its patches of "
            f"{' x '.join(map(str, sizes))} voxels take {needed / 1e9:,.0f} GB for each sequence, "
            f"and this machine has {memory / 1e9:,.0f}; type a smaller one"
        )


def check_regions(regions: Any, key: str = "data.regions") -> None:
    """ConfigError unless `regions` is None, or maps names to lists of label values."""
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


def check_labels(labels: Any) -> None:
    """ConfigError unless `labels` is None, or maps label values to names."""
    if labels is None:
        return
    valid = isinstance(labels, dict) and all(
        re.fullmatch(r"[0-9]{1,3}", str(value)) and isinstance(name, str)
        for value, name in labels.items()
    )
    if not valid or not labels:
        raise ConfigError(
            f"data.labels: {labels} is not possible; write {{1: edema, 2: tumour}}, a name for "
            "each label value"
        )


def check_normalize(methods: Any) -> None:
    """ConfigError unless `methods` is a way to normalise, or a list of them."""
    words = methods if isinstance(methods, list) else [methods]
    wrong = [word for word in words if word not in ("auto", *NORMALIZE)]
    if wrong or not words:
        raise ConfigError(
            f"data.normalize: {wrong[0] if wrong else methods} is not possible; it must be one of "
            f"auto, {', '.join(NORMALIZE)}, or a list with one for each sequence"
        )


def check_shares(shares: Any) -> None:
    """ConfigError unless `shares` is None, or maps label values to shares, one of them above 0."""
    if shares is None:
        return
    valid = isinstance(shares, dict) and all(
        re.fullmatch(r"[0-9]{1,3}", str(label)) and _is_weight(share)
        for label, share in shares.items()
    )
    if not valid or not any(shares.values()):
        raise ConfigError(
            f"data.foreground_shares: {shares} is not possible; write {{1: 0.2, 2: 0.8}}, a share "
            "of 0 or more for each label value"
        )


def check_class_weights(weights: Any) -> None:
    """ConfigError unless `weights` is None, or a list of weights, one of them above 0."""
    if weights is None:
        return
    if not isinstance(weights, list) or not all(map(_is_weight, weights)) or not any(weights):
        raise ConfigError(
            f"loss.class_weights: {weights} is not possible; write [0.5,1,2], a weight of 0 or "
            "more for each output"
        )


def check_layer_lr(factors: Any) -> None:
    """ConfigError unless `factors` is None, or maps regular expressions to factors above 0."""
    key = "optimizer.layer_lr"
    if factors is None:
        return
    if not isinstance(factors, dict) or not factors or not all(map(_is_weight, factors.values())):
        raise ConfigError(
            f"{key}: {factors} is not possible; write {{enc.*: 0.1}}, a factor for the layers of "
            "each regular expression"
        )
    for pattern, factor in factors.items():
        try:
            re.compile(str(pattern))
        except re.error as error:
            raise ConfigError(f"{key}: {pattern} is no regular expression ({error})") from error
        if factor == 0:
            raise ConfigError(f"{key}.{pattern}: is 0; type model.freeze={pattern} in its place")


def check_metrics(metrics: Any, key: str = "validation.metrics") -> None:
    """ConfigError unless `metrics` is None, or maps names of metrics to functions."""
    if metrics is None:
        return
    if not isinstance(metrics, dict) or not metrics:
        raise ConfigError(
            f"{key}: {metrics} is not possible; write {{volume: mylab.metrics.volume}}"
        )
    for name, given in metrics.items():
        target = given.get("_target_") if isinstance(given, dict) else given
        if not isinstance(target, str) or "." not in target:
            raise ConfigError(
                f"{key}.{name}: {given} is not possible; it must be a function such as "
                "mylab.metrics.volume, or {_target_: mylab.metrics.volume, argument: value}"
            )
        if not re.fullmatch(r"[A-Za-z]\w*", str(name)) or re.match(r"(loss|dice)(_|$)", name):
            raise ConfigError(
                f"{key}: {name} is not possible; a name is of letters, digits and _, and not one "
                "of unet3d's own: loss, dice, dice_..."
            )


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def check_names(config: Config) -> None:
    """ConfigError for an experiment or a region whose name is none; runs on disk keep theirs."""
    if not is_name(config.tracking.experiment):
        raise ConfigError(
            f"tracking.experiment: {config.tracking.experiment!r} is not possible; it must be a "
            "name, not a path: without / \\ : and not . or .."
        )
    check_region_names(config.data.regions)


def check_region_names(regions: Any, key: str = "data.regions") -> None:
    """ConfigError for regions whose names are paths, or one name for files and MLflow."""
    seen: dict[str, str] = {}
    for name in map(str, regions) if isinstance(regions, dict) else ():
        if not is_name(name):
            raise ConfigError(
                f"{key}: {name!r} is not possible; it must be a name, not a path: without / \\ : "
                "and not . or .."
            )
        same = re.sub(r"[^\w. -]", "_", name).casefold()
        if same in seen:
            raise ConfigError(
                f"{key}: {seen[same]!r} and {name!r} would be one name in MLflow, which takes only "
                "letters, digits and _ - . of it; rename one"
            )
        seen[same] = name


def _check_patch(patch: Any, model: ModelConfig) -> None:
    if patch is None or patch == AUTO:
        return
    sizes = patch if isinstance(patch, list) else []
    if len(sizes) != 3 or not all(type(size) is int and size >= 1 for size in sizes):
        raise ConfigError(
            f"data.patch: {patch} is not possible; it must be three sizes of 1 voxel or more, as "
            "in [96,96,96], or auto for what fits in memory, or null for whole volumes"
        )
    if model.topology == AUTO and model.strides is None:
        return  # the stride is not known yet; `make_stream` checks it
    pairs = list(zip(sizes, model.stride, strict=True))
    if all(size % step == 0 for size, step in pairs):
        return
    nearest = [max(step, round(size / step) * step) for size, step in pairs]
    stride = model.stride[0] if len(set(model.stride)) == 1 else list(model.stride)
    raise ConfigError(
        f"data.patch: {patch} is not divisible by {stride}, the network's stride "
        f"(2 to the power of model.depth); the nearest that is: {nearest}"
    )


def _check_recompute(model: ModelConfig) -> None:
    """ConfigError where blocks cannot be computed twice to the same features."""
    if not model.recompute:
        return
    for key, found, fix in (
        ("norm", model.norm in ("batch", "sync_batch"), "model.norm=instance or group"),
        ("dropout", model.dropout > 0, "model.dropout=0"),
        ("name", model.name == OWN, "model.recompute=false; the blocks of yours are not known"),
    ):
        if found:
            raise ConfigError(
                f"model.recompute: true is not possible with model.{key}={getattr(model, key)}; "
                f"type {fix}"
            )


def _check_topology(model: ModelConfig) -> None:
    """ConfigError unless strides and kernels, where they are set, fit the number of poolings."""
    for key, value, count, allowed in (
        ("strides", model.strides, model.depth, (1, 2)),
        ("kernels", model.kernels, model.depth + 1, (1, 3)),
    ):
        if value is None:
            continue
        levels = value if isinstance(value, list) else []
        sizes = [level if isinstance(level, list) else [] for level in levels]
        if len(sizes) != count or not all(len(s) == 3 and set(s) <= set(allowed) for s in sizes):
            raise ConfigError(
                f"model.{key}: {value} is not possible with model.depth={model.depth}; it must be "
                f"{count} lists of three sizes, each {allowed[0]} or {allowed[1]}"
            )
