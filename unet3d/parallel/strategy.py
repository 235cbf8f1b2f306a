"""Which devices a run computes on, and what its workers add up."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from unet3d.config import Config, ConfigError, ParallelConfig
from unet3d.parallel.place import Place

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)


def make_strategy(config: Config, place: Place) -> Any:
    """The tf.distribute.Strategy of this worker.

    One device: TensorFlow's default. Several devices of one machine: MirroredStrategy. Several
    workers: MultiWorkerMirroredStrategy over all the GPUs of each, found through TF_CONFIG.
    Raises ConfigError where fewer devices are there than asked for.
    """
    import tensorflow as tf

    if place.workers > 1:
        return tf.distribute.MultiWorkerMirroredStrategy(
            communication_options=communication_options(config.parallel)
        )
    devices = _devices(config)
    if len(devices) < 2:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy(devices)


def communication_options(parallel: ParallelConfig) -> Any:
    """How gradients travel: over NCCL or TensorFlow's ring, in packs of a size."""
    import tensorflow as tf

    kinds = tf.distribute.experimental.CommunicationImplementation
    return tf.distribute.experimental.CommunicationOptions(
        bytes_per_pack=round(parallel.pack_mb * 2**20),
        implementation={"auto": kinds.AUTO, "ring": kinds.RING, "nccl": kinds.NCCL}[
            parallel.communication
        ],
    )


def _devices(config: Config) -> list[str]:
    """The devices of a run on one machine."""
    import tensorflow as tf

    if config.parallel.name != "data":
        return []
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    there = len(tf.config.list_logical_devices(kind))
    wanted = config.parallel.devices or there
    if wanted > there:
        raise ConfigError(
            f"parallel.devices: {wanted} is more than the {there} {kind}s of this machine; "
            f"type parallel.devices={there}"
        )
    if wanted == 1:
        log.info("parallel=data: one %s is all there is, hence one replica", kind)
    return [f"{kind}:{index}" for index in range(wanted)]


def set_up_devices(config: Config, place: Place) -> str:
    """Threads, memory growth, logical devices and precision, before any tensor.

    Returns the device's name. Raises ConfigError for a precision that the device does not have.
    """
    import keras
    import tensorflow as tf

    threads = config.threads or place.threads
    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(min(2, threads))
    if place.workers > 1 and threads == 1:
        # A collective that waits for its peers must not hold the only thread.
        tf.config.threading.set_inter_op_parallelism_threads(2)
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if config.precision == "mixed_float16" and not gpus:
        raise ConfigError(
            "precision: mixed_float16 needs a GPU, TensorFlow has no float16 pooling on CPU; "
            "choose float32 or mixed_bfloat16"
        )
    if config.parallel.devices and not gpus:
        cpu = tf.config.list_physical_devices("CPU")[0]
        if len(tf.config.get_logical_device_configuration(cpu) or ()) != config.parallel.devices:
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * config.parallel.devices
            )
    keras.config.set_dtype_policy(config.precision)
    if gpus:
        return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
    return "CPU"


def local_replicas(strategy: Any, place: Place) -> int:
    """Replicas of this worker."""
    return strategy.num_replicas_in_sync // place.workers


def sum_over_workers(values: np.ndarray, strategy: Any, place: Place) -> np.ndarray:
    """The element-wise sum, float64, of the array that each worker gives; all must call it."""
    if place.workers == 1:
        return values
    import numpy as np
    import tensorflow as tf

    replicas = local_replicas(strategy, place)

    def of_replica(context: Any) -> Any:
        first = context.replica_id_in_sync_group % replicas == 0
        return tf.constant(values if first else np.zeros_like(values), tf.float64)

    each = strategy.experimental_distribute_values_from_function(of_replica)
    return strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None).numpy()


def time_all_reduce(model: Any, strategy: Any, parallel: ParallelConfig) -> float:
    """Milliseconds to add up a gradient of `model` over the replicas; all workers must call it.

    Median of five, with nothing else going on: in a step it may overlap with the backward pass.
    """
    if strategy.num_replicas_in_sync == 1:
        return 0.0
    import time
    from statistics import median

    import tensorflow as tf

    weights = model.trainable_variables

    def replica_sum() -> Any:
        context = tf.distribute.get_replica_context()
        zeros = [tf.zeros(weight.shape) for weight in weights]
        if parallel.compression == "float16":
            zeros = [tf.cast(zero, tf.float16) for zero in zeros]
        options = communication_options(parallel)
        sums = context.all_reduce(tf.distribute.ReduceOp.SUM, zeros, options)
        return tf.add_n([tf.reduce_sum(tf.cast(total, tf.float32)) for total in sums])

    @tf.function
    def bare_sum() -> Any:
        return strategy.experimental_local_results(strategy.run(replica_sum))[0]

    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        bare_sum().numpy()
        seconds.append(time.perf_counter() - start)
    return 1000 * median(seconds[1:])  # the first call compiles
