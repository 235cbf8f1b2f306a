"""Networks: `build_model` turns `conf/model` into a Keras model that returns logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from unet3d.config import ConfigError, ModelConfig
from unet3d.models.fusion import avoid_wrong_fusion

if TYPE_CHECKING:
    import keras

# One line a network: the module, imported only when chosen because it imports keras.
NETWORKS: dict[str, str] = {
    "unet3d": "unet3d.models.unet3d",
    "resunet": "unet3d.models.resunet",
}


def build_model(model: ModelConfig, *, channels: int, outputs: int, seed: int) -> keras.Model:
    """The network that `model.name` chooses, with weights that depend on `seed` alone.

    Maps (batch, x, y, z, channels) to float32 logits (batch, x, y, z, outputs); each spatial size
    must be a multiple of `stride(model)`. With `model.deep_supervision` the model returns a list:
    full resolution first, then each coarser level of the decoder, half the size each time.
    Layers compute in Keras' global dtype policy at the time of this call.

    Raises ConfigError for an unknown network, norm or activation, or an impossible size.
    """
    if model.name not in NETWORKS:
        raise ConfigError(
            f"model.name: {model.name!r} is not known; choose one of {', '.join(sorted(NETWORKS))}"
        )
    for key, least in (("depth", 1), ("filters", 1), ("max_filters", 1), ("groups", 1)):
        if getattr(model, key) < least:
            raise ConfigError(f"model.{key}: {getattr(model, key)} is below {least}")
    if not 0 <= model.dropout < 1:
        raise ConfigError(f"model.dropout: {model.dropout} must be at least 0 and below 1")
    avoid_wrong_fusion(model)
    build: Callable[..., keras.Model] = import_module(NETWORKS[model.name]).build
    return build(model, channels=channels, outputs=outputs, seed=seed)


def stride(model: ModelConfig) -> int:
    """Voxels of the input that one voxel of the deepest level covers along an axis."""
    return 2**model.depth


def check_patch(model: ModelConfig, patch: Sequence[int]) -> None:
    """Raise ConfigError unless every size of `patch` (voxels) is a multiple of the stride."""
    step = stride(model)
    if any(size < step or size % step for size in patch):
        nearest = [max(step, round(size / step) * step) for size in patch]
        raise ConfigError(
            f"data.patch: {list(patch)} must be multiples of {step} (2 ** model.depth); "
            f"use for example {nearest}"
        )
