"""The pieces that the networks share: seeded convolutions, norms, activations and the decoder."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from unet3d.config.schema import ModelConfig
from unet3d.config.schema.model import Sizes
from unet3d.errors import ConfigError
from unet3d.models.norms import BatchNormalization, GroupNormalization
from unet3d.models.paired_conv import Conv3D

NORMS = ("batch", "sync_batch", "group", "instance", "none")
LEAKY_SLOPE = 0.01  # nnU-Net's; Keras' own default is far steeper


@dataclass(frozen=True)
class Blocks:
    """Builds named, seeded layers for one network.

    Each layer's initial weights are a function of (seed, layer name), so that adding a layer or
    building a second model changes no other layer.
    """

    model: ModelConfig
    seed: int

    def filters(self, level: int) -> int:
        """Filters at `level`, 0 being the full resolution."""
        return int(min(self.model.filters * 2**level, self.model.max_filters))

    def layer_seed(self, name: str) -> int:
        """A seed for the layer called `name`."""
        return zlib.crc32(f"{self.seed}/{name}".encode())

    def conv(
        self,
        x: Any,
        filters: int,
        name: str,
        *,
        size: Sizes | int,
        stride: Sizes | int = 1,
        bias: bool = False,
    ) -> Any:
        """A 3-D convolution with 'same' padding; a norm that follows makes its bias redundant."""
        return Conv3D(
            filters,
            size,
            strides=stride,
            padding="same",
            use_bias=bias,
            kernel_initializer=keras.initializers.HeNormal(seed=self.layer_seed(name)),
            name=name,
        )(x)

    def upsample(self, x: Any, filters: int, name: str, *, stride: Sizes) -> Any:
        """`stride` times the resolution, by a learned transposed convolution of that size."""
        return layers.Conv3DTranspose(
            filters,
            stride,
            strides=stride,
            padding="same",
            kernel_initializer=keras.initializers.HeNormal(seed=self.layer_seed(name)),
            name=name,
        )(x)

    def norm(self, x: Any, name: str, *, scale: str = "ones") -> Any:
        """The configured normalisation. scale: what its factors begin as.

        Batch statistics are a replica's own, or with sync_batch those of the global batch.
        """
        kind = self.model.norm
        if kind == "none":
            return x
        if kind in ("batch", "sync_batch"):
            # Keras' momentum of 0.99 would leave the moving statistics near their initial values
            # for the first hundreds of steps, longer than a short run lasts.
            layer = BatchNormalization(
                momentum=0.9,
                epsilon=1e-5,
                gamma_initializer=scale,
                synchronized=kind == "sync_batch",
                name=name,
            )
        elif kind == "group":
            groups = dividing_groups(self.model.groups, x.shape[-1])
            layer = GroupNormalization(groups, epsilon=1e-5, gamma_initializer=scale, name=name)
        elif kind == "instance":  # a channel a group
            layer = GroupNormalization(
                x.shape[-1], epsilon=1e-5, gamma_initializer=scale, name=name
            )
        else:
            raise ConfigError(
                f"model.norm: {kind!r} is not known; choose one of {', '.join(NORMS)}"
            )
        return layer(x)

    def activate(self, x: Any, name: str) -> Any:
        """The configured activation."""
        kind = self.model.activation
        if kind == "leaky_relu":
            return layers.LeakyReLU(negative_slope=LEAKY_SLOPE, name=name)(x)
        try:
            return layers.Activation(kind, name=name)(x)
        except ValueError as error:
            raise ConfigError(
                f"model.activation: {kind!r} is not known; choose leaky_relu or a name of "
                "keras.activations, such as relu, elu, gelu, silu"
            ) from error

    def conv_norm_act(self, x: Any, level: int, name: str, *, stride: Sizes | int = 1) -> Any:
        """Convolution with filters and kernel of `level`, norm, activation."""
        bias, size = self.model.norm == "none", self.model.kernel(level)
        x = self.conv(x, self.filters(level), f"{name}_conv", size=size, stride=stride, bias=bias)
        return self.activate(self.norm(x, f"{name}_norm"), f"{name}_act")

    def dropout(self, x: Any, name: str) -> Any:
        """Drops whole channels (Tompson et al. 2015); the identity when the rate is 0."""
        if not self.model.dropout:
            return x
        return layers.SpatialDropout3D(
            self.model.dropout, seed=self.layer_seed(name), name=name, dtype=x.dtype
        )(x)

    def decode(self, x: Any, skips: Sequence[Any], *, convolutions: int) -> list[Any]:
        """From the deepest features up through `skips` (finest first).

        Returns the features of each level of the decoder, finest first.
        """
        features: list[Any] = []
        for level in reversed(range(len(skips))):
            stride = self.model.pooling(level + 1)
            x = self.upsample(x, self.filters(level), f"dec{level}_up", stride=stride)
            x = layers.Concatenate(name=f"dec{level}_concat")([skips[level], x])
            for index in range(convolutions):
                x = self.conv_norm_act(x, level, f"dec{level}_{index}")
            x = self.dropout(x, f"dec{level}_dropout")
            features.insert(0, x)
        return features

    def heads(self, features: Sequence[Any], outputs: int) -> Any:
        """Logits of the finest level, or a list with every level's under deep supervision."""
        if self.model.deep_supervision:
            return [self.head(x, outputs, level) for level, x in enumerate(features)]
        return self.head(features[0], outputs, 0)

    def head(self, x: Any, outputs: int, level: int) -> Any:
        """1x1x1 convolution to float32 logits, whatever the precision of the rest."""
        name = f"logits{level}"
        return layers.Conv3D(
            outputs,
            1,
            kernel_initializer=keras.initializers.GlorotUniform(seed=self.layer_seed(name)),
            dtype="float32",
            name=name,
        )(x)


def dividing_groups(groups: int, channels: int) -> int:
    """The most groups, at most `groups`, that divide `channels` evenly."""
    return next(n for n in range(min(groups, channels), 0, -1) if channels % n == 0)
