"""A U-Net with a residual encoder (He et al. 2016; Isensee et al. 2024)."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import layers

from unet3d.config.schema import ModelConfig
from unet3d.config.schema.model import Sizes
from unet3d.models.blocks import Blocks
from unet3d.models.tf_workarounds import FusionBarrier


def build(model: ModelConfig, *, channels: int, outputs: int, seed: int) -> keras.Model:
    """Strided residual blocks down, one convolution a level up, skips by concatenation.

    Shapes and errors: see `unet3d.models.build_model`.
    """
    blocks = Blocks(model, seed)
    image = keras.Input((None, None, None, channels), name="image")
    x, skips = blocks.conv_norm_act(image, 0, "stem"), []
    for level in range(model.depth + 1):
        if level:
            skips.append(x)
        x = residual(blocks, x, level, f"enc{level}_0", stride=model.pooling(level) if level else 1)
        x = residual(blocks, x, level, f"enc{level}_1")
        x = blocks.dropout(x, f"enc{level}_dropout")
    features = blocks.decode(x, skips, convolutions=1)
    return keras.Model(image, blocks.heads(features, outputs), name="resunet")


def residual(
    blocks: Blocks,
    x: Any,
    level: int,
    name: str,
    *,
    stride: Sizes | Literal[1] = 1,
    lean: bool = False,
) -> Any:
    """Two convolutions of `level` beside a shortcut, projected where the shape changes.

    lean: projected only where the filters change, and at first without a part of the convolutions.
    """
    bias, filters = blocks.model.norm == "none", blocks.filters(level)
    size = blocks.model.kernel(level)
    y = blocks.conv_norm_act(x, level, f"{name}a", stride=stride)
    y = blocks.conv(y, filters, f"{name}b_conv", size=size, bias=bias)
    y = blocks.norm(y, f"{name}b_norm", scale="zeros" if lean else "ones")
    if stride != 1:
        # Averaging keeps every voxel in the shortcut; a strided 1x1x1 would drop 7 of 8.
        x = layers.AveragePooling3D(stride, name=f"{name}_shortcut_pool")(x)
    if x.shape[-1] != filters or (stride != 1 and not lean):
        x = blocks.conv(x, filters, f"{name}_shortcut_conv", size=1, bias=bias)
        x = blocks.norm(x, f"{name}_shortcut_norm")
    total = layers.Add(name=f"{name}_add")([x, y])
    if blocks.model.norm == "none" and blocks.model.activation == "leaky_relu":
        total = FusionBarrier(name=f"{name}_barrier")(total)
    return blocks.activate(total, f"{name}_act")
