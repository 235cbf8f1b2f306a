"""batch_per_replica: the global batch by the number of replicas."""

from __future__ import annotations

from dataclasses import fields, replace

from unet3d.config.schema import AUTO, Config
from unet3d.errors import ConfigError

DEFAULT = next(field.default for field in fields(Config) if field.name == "batch_size")


def set_batch(config: Config) -> None:
    """Put the batch that follows from batch_per_replica in the place of batch_size, if it is set.

    For the replicas that the settings name; GPUs that a run finds by itself come later, by
    `with_replicas`. Raises ConfigError for a batch_size beside it that says something else.
    """
    each = config.batch_per_replica
    if each is None or each < 1:  # which the rule of its own refuses
        return
    replicas = _named_replicas(config)
    if config.batch_size not in (DEFAULT, each * replicas):
        raise ConfigError(
            f"batch_size: {config.batch_size} is not possible beside batch_per_replica={each}, "
            f"which makes it {each} times the replicas; type batch_per_replica=null, or leave "
            "batch_size out"
        )
    config.batch_size = each * replicas
    if config.parallel.name == AUTO:  # what is chosen must not change the result
        config.batch_per_replica = None


def with_replicas(config: Config, replicas: int) -> Config:
    """The settings of a run on so many replicas: its batch_size alone."""
    if config.batch_per_replica is None:
        return config
    return replace(config, batch_size=config.batch_per_replica * replicas, batch_per_replica=None)


def _named_replicas(config: Config) -> int:
    if config.parallel.name != "data":
        return 1
    devices = config.parallel.gpus_per_node if config.nodes > 1 else config.parallel.devices
    return config.nodes * max(1, devices or 1)
