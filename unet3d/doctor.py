"""`unet3d doctor`: what is installed, what the data set holds, what the network needs."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from unet3d.config import Config
from unet3d.quiet import quiet_start

PACKAGES = ("tensorflow", "keras", "numpy", "hydra-core", "mlflow", "nibabel", "blosc2")
GB = 1e9


def doctor(config: Config) -> None:
    """Print what is found for `config`. Raises DataError where the data set cannot be used."""
    for rows in (_machine(), _devices(), _tracking(config)):
        _show(rows)
    channels, outputs = _data_shape(config)
    _show(_data(config))
    _show(_network(config, channels, outputs))


def _show(rows: Iterator[tuple[str, str]]) -> None:
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


def _data(config: Config) -> Iterator[tuple[str, str]]:
    data = config.data
    yield "data", f"{data.name} in {data.root}"
    if data.phantom and not Path(data.root, "dataset.json").exists():
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

    if config.data.phantom and not Path(config.data.root, "dataset.json").exists():
        return 4, len(config.data.regions or {}) or 3
    from unet3d.data.decathlon import read_dataset

    dataset = read_dataset(Path(config.data.root))
    return len(dataset.channels), len(make_targets(config.data, dataset.labels).names)


def _network(config: Config, channels: int, outputs: int) -> Iterator[tuple[str, str]]:
    from unet3d.models import build_model
    from unet3d.models.profile import profile

    model = build_model(config.model, channels=channels, outputs=outputs, seed=config.seed)
    yield "network", f"{config.model.name}, {model.count_params():,} parameters"
    if config.data.patch is None:
        yield "memory to train", "data.patch=null: depends on the largest volume, see the run's log"
        return
    cost = profile(model, config.data.patch, config.batch_size, config.precision)
    patch = "x".join(str(size) for size in config.data.patch)
    yield "operations", f"{cost.flops / 1e9:.1f} GFLOP forward for a patch of {patch}"
    yield "memory to train", f"about {cost.training_bytes / GB:.2f} GB at batch {config.batch_size}"
