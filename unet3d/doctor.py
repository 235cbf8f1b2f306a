"""`unet3d doctor`: what is installed, what the data set holds, what the network needs."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from unet3d.config import AUTO, Config, ConfigError
from unet3d.data.fingerprint import read_cases
from unet3d.data.preprocess import find_store
from unet3d.data.split import make_split
from unet3d.data.store import Store
from unet3d.doctor_data import draw, print_fingerprint, suggestions
from unet3d.models import build_model
from unet3d.parallel.memory import GB, replica_memory
from unet3d.parallel.place import ALONE
from unet3d.quiet import quiet_start
from unet3d.training.patch import patches_at_once, plan_patch, step_cost, stored_volume, times

PACKAGES = ("tensorflow", "keras", "numpy", "hydra-core", "mlflow", "nibabel", "blosc2")


def doctor(config: Config, overrides: list[str]) -> None:
    """Print what is found for `config`, which `overrides` have made; nothing long is begun.

    Raises DataError where the data set cannot be used.
    """
    for rows in (_machine(), _devices(), _tracking(config)):
        _show(rows)
    channels, outputs = _data_shape(config)
    _show(_data(config))
    store = None if _to_be_generated(config) else find_store(config.data)
    cases = [] if store is None else read_cases(store)
    if store is None:
        command = shlex.join(["unet3d", "preprocess", *overrides])
        _show([("store", f"not built; this builds it: {command}")])
    else:
        _show([("store", str(store.path)), ("picture", draw(store, cases, config))])
        print_fingerprint(store, cases, config)
    model = build_model(config.model, channels=channels, outputs=outputs, seed=config.seed)
    _show(_network(config, model, store))
    if store is not None:
        local, replicas = _replicas(config)
        try:
            memory = replica_memory(config, ALONE, local)
            _show(suggestions(store, cases, config, model, memory, replicas))
        except ConfigError as error:  # the run itself may be good: only advice is lacking
            _show([("suggestion", f"none: {error}")])


def _show(rows: Iterable[tuple[str, str]]) -> None:
    for name, value in rows:
        print(f"{name:<16} {value}")


def _machine() -> Iterator[tuple[str, str]]:
    yield "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, "not installed: pip install -e ."
    memory = psutil.virtual_memory()
    yield "CPU cores", str(len(os.sched_getaffinity(0)))
    yield "memory", f"{memory.available / GB:.1f} GB free of {memory.total / GB:.1f}"


def _devices() -> Iterator[tuple[str, str]]:
    with quiet_start():
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        details = tf.config.experimental.get_device_details(gpu)
        yield gpu.name.removeprefix("/physical_device:"), details.get("device_name", "unknown")
    if not gpus:
        yield "GPUs", "none that TensorFlow can use; pip install -e '.[gpu]' brings the libraries"


def _tracking(config: Config) -> Iterator[tuple[str, str]]:
    if config.tracking.name == "none":
        yield "tracking", "none"
        return
    from unet3d.tracking.store import tracking_uri

    yield "tracking", tracking_uri(config)


def _to_be_generated(config: Config) -> bool:
    return bool(config.data.phantom) and not Path(config.data.root, "dataset.json").exists()


def _data(config: Config) -> Iterator[tuple[str, str]]:
    data = config.data
    yield "data", f"{data.name} in {data.root}"
    if data.phantom and _to_be_generated(config):
        yield "cases", f"{data.phantom.cases}, generated on first use"
        return
    from unet3d.data.decathlon import read_dataset

    dataset = read_dataset(Path(data.root))
    yield "cases", str(len(dataset.cases))
    yield "sequences", ", ".join(dataset.channels)
    yield "labels", ", ".join(f"{value} {name}" for value, name in sorted(dataset.labels.items()))


def _data_shape(config: Config) -> tuple[int, int]:
    """Numbers of image sequences and of outputs, from the data set when it is there."""
    from unet3d.data.targets import make_targets

    if _to_be_generated(config):
        return 4, len(config.data.regions or {}) or 3
    from unet3d.data.decathlon import read_dataset

    dataset = read_dataset(Path(config.data.root))
    return len(dataset.channels), len(make_targets(config.data, dataset.labels).names)


def _replicas(config: Config) -> tuple[int, int]:
    """Replicas on a machine like this one, and of the whole run."""
    import tensorflow as tf

    local = 1
    if config.parallel.name == "data":
        gpus = len(tf.config.list_physical_devices("GPU"))
        local = config.parallel.devices or config.parallel.gpus_per_node or gpus or 1
    return local, local * config.nodes


def _network(config: Config, model: Any, store: Store | None) -> Iterator[tuple[str, str]]:
    yield "network", f"{config.model.name}, {model.count_params():,} parameters"
    patch = config.data.patch
    if patch is None:
        yield "memory to train", "data.patch=null: depends on the largest volume, see the run's log"
        return
    local, replicas = _replicas(config)
    batch = patches_at_once(config, replicas)
    if patch == AUTO:
        if store is None:
            yield "memory to train", "data.patch=auto: is chosen once the store is built"
            return
        volume, spacing = stored_volume(store, make_split(store.cases, config.data).train)
        memory = replica_memory(config, ALONE, local)
        patch, told = plan_patch(config, volume, spacing, model, memory, batch)
        yield "data.patch=auto", told
    cost = step_cost(config, model, patch, batch)
    yield "operations", f"{cost.flops / 1e9:.1f} GFLOP forward for a patch of {times(patch)}"
    yield "memory to train", f"about {cost.training_bytes / GB:.2f} GB (patches at once: {batch})"
