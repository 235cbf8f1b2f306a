"""A U-Net with a residual encoder (He et al. 2016; Isensee et al. 2024)."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from unet3d.config.schema import ModelConfig
from unet3d.models.blocks import Blocks
from unet3d.models.tf_workarounds import FusionBarrier


def build(model: ModelConfig, *, channels: int, outputs: int, seed: int) -> keras.Model:
    """Strided residual blocks down, one convolution a level up, skips by concatenation.

    Shapes and errors: see `unet3d.models.build_model`.
    """
    blocks = Blocks(model, seed)
    image = keras.Input((None, None, None, channels), name="image")
    x, skips = blocks.conv_norm_act(image, blocks.filters(0), "stem"), []
    for level in range(model.depth + 1):
        if level:
            skips.append(x)
        filters = blocks.filters(level)
        x = residual(blocks, x, filters, f"enc{level}_0", stride=2 if level else 1)
        x = residual(blocks, x, filters, f"enc{level}_1")
        x = blocks.dropout(x, f"enc{level}_dropout")
    features = blocks.decode(x, skips, convolutions=1)
    return keras.Model(image, blocks.heads(features, outputs), name="resunet")


def residual(blocks: Blocks, x: Any, filters: int, name: str, *, stride: int = 1) -> Any:
    """Two convolutions beside a shortcut, which is projected where the shape changes."""
    bias = blocks.model.norm == "none"
    y = blocks.conv_norm_act(x, filters, f"{name}a", stride=stride)
    y = blocks.norm(blocks.conv(y, filters, f"{name}b_conv", bias=bias), f"{name}b_norm")
    if stride > 1 or x.shape[-1] != filters:
        if stride > 1:
            # Averaging keeps every voxel in the shortcut; a strided 1x1x1 would drop 7 of 8.
            x = layers.AveragePooling3D(stride, name=f"{name}_shortcut_pool")(x)
        x = blocks.conv(x, filters, f"{name}_shortcut_conv", size=1, bias=bias)
        x = blocks.norm(x, f"{name}_shortcut_norm")
    total = layers.Add(name=f"{name}_add")([x, y])
    if blocks.model.norm == "none" and blocks.model.activation == "leaky_relu":
        total = FusionBarrier(name=f"{name}_barrier")(total)
    return blocks.activate(total, f"{name}_act")
