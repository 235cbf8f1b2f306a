"""Which devices a run computes on."""

from __future__ import annotations

from typing import Any

from unet3d.config import Config, ConfigError


def make_strategy(config: Config) -> Any:
    """The tf.distribute.Strategy that `parallel` chooses; none is the first GPU, or the CPU.

    Raises ConfigError for a way that does not exist.
    """
    import tensorflow as tf

    if config.parallel.name != "none":
        raise ConfigError(f"parallel: {config.parallel.name} is not known; choose none")
    return tf.distribute.get_strategy()


def set_up_devices(config: Config) -> str:
    """Thread count, memory growth and precision, before any tensor; returns the device's name."""
    import keras
    import tensorflow as tf

    if config.threads:
        tf.config.threading.set_intra_op_parallelism_threads(config.threads)
        tf.config.threading.set_inter_op_parallelism_threads(min(2, config.threads))
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if config.precision == "mixed_float16" and not gpus:
        raise ConfigError(
            "precision: mixed_float16 needs a GPU, TensorFlow has no float16 pooling on CPU; "
            "choose float32 or mixed_bfloat16"
        )
    keras.config.set_dtype_policy(config.precision)
    if gpus:
        return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
    return "CPU"
