"""`unet3d doctor`: what is installed, what the data set holds, what the network needs."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from unet3d import machine
from unet3d.config.schema import AUTO, Config
from unet3d.distributed.worker import SINGLE_WORKER
from unet3d.doctor.data_report import draw_picture, print_fingerprint, suggestions
from unet3d.doctor.gpus import gpu_rows
from unet3d.errors import ConfigError
from unet3d.models import build_model, network_name
from unet3d.planning.memory import GB, replica_memory
from unet3d.planning.patch import (
    format_sizes,
    patches_at_once,
    plan_patch,
    step_cost,
    stored_volume,
)
from unet3d.planning.topology import resolve_topology
from unet3d.preprocessing.fingerprint import read_cases
from unet3d.preprocessing.preprocess import find_store
from unet3d.preprocessing.store import Store
from unet3d.sampling.split import make_split

PACKAGES = ("tensorflow", "keras", "numpy", "hydra-core", "mlflow", "nibabel", "blosc2")


def doctor(config: Config, overrides: list[str]) -> None:
    """Print what is found for `config`, which came from `overrides`; starts nothing slow.

    Raises DataError where the data set cannot be used.
    """
    for rows in (_machine_rows(), gpu_rows(), _tracking_rows(config)):
        _show(rows)
    channels, outputs = _data_shape(config)
    _show(_data_rows(config))
    store = None if _to_be_generated(config) else find_store(config.data)
    cases = [] if store is None else read_cases(store)
    if store is None:
        command = shlex.join(["unet3d", "preprocess", *overrides])
        _show([("store", f"not built yet; this builds it: {command}")])
    else:
        _show([("store", str(store.path)), ("picture", draw_picture(store, cases, config))])
        print_fingerprint(store, cases, config)
    if store is not None:
        train = make_split(store.cases, config.data, store.source).train
        config = resolve_topology(config, store, train)
    model = build_model(config.model, channels=channels, outputs=outputs, seed=config.seed)
    _show(_network_rows(config, model, store))
    if store is not None:
        local, replicas = count_replicas(config)
        try:
            memory = replica_memory(config, SINGLE_WORKER, local)
            _show(suggestions(store, cases, config, model, memory, replicas))
        except ConfigError as error:  # only the suggestion fails; a run may still work
            _show([("suggestion", f"none: {error}")])


def _show(rows: Iterable[tuple[str, str]]) -> None:
    for name, value in rows:
        print(f"{name:<16} {value}")


def _machine_rows() -> Iterator[tuple[str, str]]:
    yield "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, "not installed: pip install -e ."
    memory = psutil.virtual_memory()
    slow = "" if machine.computes_bfloat16() else ", without AVX-512: mixed_bfloat16 is slow here"
    yield "CPU cores", f"{machine.cores()}{slow}"
    yield "memory", f"{memory.available / GB:.1f} GB free of {memory.total / GB:.1f}"


def _tracking_rows(config: Config) -> Iterator[tuple[str, str]]:
    if config.tracking.name == "none":
        yield "tracking", "none"
        return
    from unet3d.tracking.connection import tracking_uri

    yield "tracking", tracking_uri(config)


def _to_be_generated(config: Config) -> bool:
    return bool(config.data.phantom) and not Path(config.data.root, "dataset.json").exists()


def _data_rows(config: Config) -> Iterator[tuple[str, str]]:
    data = config.data
    yield "data", f"{data.name} in {data.root}"
    if data.phantom and _to_be_generated(config):
        yield "cases", f"{data.phantom.cases}, generated on first use"
        return
    from unet3d.datasets.read import read_dataset

    dataset = read_dataset(data)
    yield "cases", str(len(dataset.cases))
    yield "sequences", ", ".join(dataset.channels)
    yield "labels", ", ".join(f"{value} {name}" for value, name in sorted(dataset.labels.items()))


def _data_shape(config: Config) -> tuple[int, int]:
    """Numbers of image sequences and of outputs, from the data set where it exists."""
    from unet3d.sampling.targets import make_targets

    if _to_be_generated(config):
        return 4, len(config.data.regions or {}) or 3
    from unet3d.datasets.read import read_dataset, with_regions

    dataset = read_dataset(config.data)
    data = with_regions(config.data, dataset)
    return len(dataset.channels), len(make_targets(data, dataset.labels).names)


def count_replicas(config: Config) -> tuple[int, int]:
    """Replicas on one machine like this, and in the whole run."""
    local = 1
    if config.parallel.name == "data":
        gpus = len(machine.tensorflow_gpus())
        local = config.parallel.devices or config.parallel.gpus_per_node or gpus or 1
    return local, local * config.nodes


def _network_rows(config: Config, model: Any, store: Store | None) -> Iterator[tuple[str, str]]:
    yield "network", f"{network_name(config.model)}, {model.count_params():,} parameters"
    patch = config.data.patch
    if patch is None:
        yield "memory to train", "data.patch=null depends on the largest volume; see train.log"
        return
    local, replicas = count_replicas(config)
    batch = patches_at_once(config, replicas)
    if patch == AUTO:
        if store is None:
            yield "memory to train", "data.patch=auto is chosen once the store is built"
            return
        train = make_split(store.cases, config.data, store.source).train
        volume, spacing = stored_volume(store, train)
        memory = replica_memory(config, SINGLE_WORKER, local)
        patch, reason = plan_patch(config, volume, spacing, model, memory, batch)
        yield "data.patch=auto", reason
    cost = step_cost(config, model, patch, batch)
    yield "operations", f"{cost.flops / 1e9:.1f} GFLOP forward for a patch of {format_sizes(patch)}"
    yield "memory to train", f"about {cost.training_bytes / GB:.2f} GB (patches at once: {batch})"
