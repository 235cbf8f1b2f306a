"""`unet3d preprocess`: build the store of a data set, here or over a cluster, or verify it."""

from __future__ import annotations

from dataclasses import replace

from unet3d.config import Config, ConfigError, PreprocessConfig
from unet3d.data.preprocess import preprocess


def preprocess_command(config: Config, own: PreprocessConfig) -> int:
    """Do what is asked and print the outcome; returns the exit code, 1 for a damaged store.

    Raises ConfigError, DataError or RunError, each a line for the user.
    """
    if own.nodes < 1:
        raise ConfigError(f"nodes: {own.nodes} is not possible; it must be 1 or more")
    if own.nodes > 1 and config.parallel.name == "none":
        raise ConfigError(
            f"nodes: {own.nodes} is not possible with parallel=none; type parallel=experiment"
        )
    if own.verify:
        return _verify(config)
    if config.parallel.name == "none":
        store = preprocess(config.data)
    else:
        from unet3d.parallel.preprocess_job import preprocess_in_cluster

        store = preprocess_in_cluster(replace(config, nodes=own.nodes))
    print(f"{len(store.cases)} cases in {store.path}")
    return 0


def _verify(config: Config) -> int:
    from unet3d.data.verify import built_store, verify

    store = built_store(config.data)
    damaged = verify(store, config.data.workers)
    for case_id, problem in damaged.items():
        print(f"{case_id}: {problem}")
    if not damaged:
        print(f"{len(store.cases)} cases in {store.path}, all whole")
        return 0
    print(
        f"{len(damaged)} of {len(store.cases)} cases in {store.path} are damaged; "
        "unet3d preprocess builds them again"
    )
    return 1
