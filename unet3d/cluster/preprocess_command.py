"""`unet3d preprocess`: build the store of a data set, here or over a cluster, or verify it."""

from __future__ import annotations

from dataclasses import replace

from unet3d.config.schema import Config, PreprocessConfig
from unet3d.errors import ConfigError
from unet3d.preprocessing.preprocess import preprocess


def build_or_verify(config: Config, own: PreprocessConfig) -> int:
    """Build or verify the store of `config.data` and print the outcome; returns the exit code.

    It is 1 for a damaged store. Raises ConfigError, DataError or RunError.
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
        from unet3d.cluster.preprocess import preprocess_in_cluster  # it imports Ray

        store = preprocess_in_cluster(replace(config, nodes=own.nodes))
    print(f"{len(store.cases)} cases in {store.path}")
    return 0


def _verify(config: Config) -> int:
    from unet3d.preprocessing.verify import built_store, verify

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
