"""Networks: `build_model` turns `conf/model` into a Keras model that returns logits."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from unet3d.config.schema import ModelConfig
from unet3d.config.target import OWN
from unet3d.errors import ConfigError

if TYPE_CHECKING:
    import keras

# One line a network: the module, imported only when chosen because it imports keras.
NETWORKS: dict[str, str] = {
    "unet3d": "unet3d.models.unet3d",
    "resunet": "unet3d.models.resunet",
    "resenc": "unet3d.models.resenc",
    "segresnet": "unet3d.models.segresnet",
    "mednext": "unet3d.models.mednext",
    OWN: "unet3d.models.own",
}


def network_name(model: ModelConfig) -> str:
    """The network in a word: its choice, or the function that builds it."""
    return model._target_ or model.name


def build_model(model: ModelConfig, *, channels: int, outputs: int, seed: int) -> keras.Model:
    """The network that `model.name` chooses, with weights that depend on `seed` alone.

    Maps (batch, x, y, z, channels) to float32 logits (batch, x, y, z, outputs); each spatial size
    must be a multiple of that axis' `model.stride`. With `model.deep_supervision` the model returns
    a list: full resolution first, then each coarser level of the decoder, see `model.level_stride`.
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
    build: Callable[..., keras.Model] = import_module(NETWORKS[model.name]).build
    return build(model, channels=channels, outputs=outputs, seed=seed)
