"""Which devices a run computes on, and what its workers add up."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from unet3d import machine
from unet3d.config.schema import Config, ParallelConfig
from unet3d.distributed.gpus import open_own_gpus
from unet3d.distributed.worker import WorkerContext
from unet3d.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)


def make_strategy(config: Config, worker: WorkerContext) -> Any:
    """The tf.distribute.Strategy of this worker.

    One device: TensorFlow's default. Several devices of one machine: MirroredStrategy. Several
    workers: MultiWorkerMirroredStrategy over all the GPUs of each, found through TF_CONFIG.
    Raises ConfigError where the machine has fewer devices than parallel.devices, or where the
    replicas cannot exchange gradients as configured.
    """
    import tensorflow as tf

    if worker.workers > 1:
        _check_compression(config.parallel)
        if config.parallel.communication == "nccl" and not _has_gpus():
            raise ConfigError(
                "parallel.communication: nccl needs GPUs, and this node shows none to TensorFlow; "
                "type parallel.communication=auto"
            )
        return tf.distribute.MultiWorkerMirroredStrategy(
            communication_options=communication_options(config.parallel)
        )
    devices = _devices(config)
    if len(devices) < 2:
        return tf.distribute.get_strategy()
    _check_compression(config.parallel)
    return tf.distribute.MirroredStrategy(devices)


def _check_compression(parallel: ParallelConfig) -> None:
    """ConfigError for bfloat16 over NCCL: TensorFlow's source lists float16, 32 and 64 for it."""
    over_nccl = parallel.communication == "nccl" or (
        parallel.communication == "auto" and _has_gpus()
    )
    if parallel.compression == "bfloat16" and over_nccl:
        raise ConfigError(
            "parallel.compression: bfloat16 is not possible over NCCL; type "
            "parallel.compression=none, or parallel.communication=ring"
        )


def communication_options(parallel: ParallelConfig) -> Any:
    """How gradients travel: over NCCL or TensorFlow's ring.

    TensorFlow's own choice between nodes is the ring over gRPC, also between GPUs.
    """
    import tensorflow as tf

    kinds = tf.distribute.experimental.CommunicationImplementation
    best = kinds.NCCL if _has_gpus() else kinds.RING
    return tf.distribute.experimental.CommunicationOptions(
        timeout_seconds=parallel.collective_timeout or None,
        implementation={"auto": best, "ring": kinds.RING, "nccl": kinds.NCCL}[
            parallel.communication
        ],
    )


def _has_gpus() -> bool:
    return bool(machine.opened_gpus())


def _devices(config: Config) -> list[str]:
    """The devices of a run on one machine."""
    import tensorflow as tf

    if config.parallel.name != "data":
        return []
    kind = "GPU" if _has_gpus() else "CPU"
    available = len(tf.config.list_logical_devices(kind))
    wanted = config.parallel.devices or available
    if wanted > available:
        raise ConfigError(
            f"parallel.devices: {wanted} is more than the {available} {kind}s of this machine; "
            f"type parallel.devices={available}"
        )
    if wanted == 1:
        log.info("parallel=data: this machine has one %s, hence one replica", kind)
    return [f"{kind}:{index}" for index in range(wanted)]


def set_up_devices(config: Config, worker: WorkerContext) -> str:
    """Threads, GPUs, logical devices, precision and determinism, before any tensor.

    Returns the device's name. Raises ConfigError for a precision that the device does not have, or
    a GPU whose memory cannot be shared out.
    """
    import keras
    import tensorflow as tf

    threads = config.threads or worker.threads
    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(min(2, threads))
    if worker.workers > 1 and threads == 1:
        # A collective that waits for its peers must not hold the only thread.
        tf.config.threading.set_inter_op_parallelism_threads(2)
    gpus = open_own_gpus(config, worker.workers)
    if config.deterministic:  # there is no way back: later trials of this process have it too
        tf.config.experimental.enable_op_determinism()
    tf.config.experimental.enable_tensor_float_32_execution(not config.deterministic)
    if config.precision == "mixed_float16" and not gpus:
        raise ConfigError(
            "precision: mixed_float16 needs a GPU, TensorFlow has no float16 pooling on CPU; "
            "choose float32 or mixed_bfloat16"
        )
    warn_of_slow_bfloat16(config.precision, gpus)
    if config.parallel.devices and not gpus:
        cpu = tf.config.list_physical_devices("CPU")[0]
        if len(tf.config.get_logical_device_configuration(cpu) or ()) != config.parallel.devices:
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * config.parallel.devices
            )
    keras.config.set_dtype_policy(config.precision)
    return machine.gpu_name(gpus[0]) if gpus else "CPU"


def warn_of_slow_bfloat16(precision: str, gpus: Sequence[Any]) -> None:
    """Log a warning where bfloat16 is asked of a CPU that does not compute it."""
    if precision == "mixed_bfloat16" and not gpus and not machine.computes_bfloat16():
        log.warning(
            "precision: this CPU has no AVX-512, so mixed_bfloat16 is many times slower than "
            "float32; type precision=float32, or use a GPU"
        )


def local_replicas(strategy: Any, worker: WorkerContext) -> int:
    """Replicas of this worker."""
    return strategy.num_replicas_in_sync // worker.workers


def sum_over_workers(values: np.ndarray, strategy: Any, worker: WorkerContext) -> np.ndarray:
    """The element-wise sum, float64, of the workers' arrays; all workers must call it."""
    if worker.workers == 1:
        return values
    import numpy as np
    import tensorflow as tf

    replicas = local_replicas(strategy, worker)

    def of_replica(context: Any) -> Any:
        first = context.replica_id_in_sync_group % replicas == 0
        return tf.constant(values if first else np.zeros_like(values), tf.float64)

    each = strategy.experimental_distribute_values_from_function(of_replica)
    return strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None).numpy()
