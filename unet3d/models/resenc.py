"""The residual encoder U-Net of nnU-Net's presets M and L (Isensee et al. 2024)."""

from __future__ import annotations

from typing import Literal

import keras

from unet3d.config.schema import ModelConfig
from unet3d.config.schema.model import Sizes
from unet3d.models.blocks import Blocks
from unet3d.models.resunet import residual


def build(model: ModelConfig, *, channels: int, outputs: int, seed: int) -> keras.Model:
    """`model.blocks` residual blocks a level down, one convolution a level up.

    A shortcut is projected only where the filters change, and each block begins as its shortcut.
    Shapes and errors: see `unet3d.models.build_model`.
    """
    blocks = Blocks(model, seed)
    image = keras.Input((None, None, None, channels), name="image")
    x, skips = blocks.conv_norm_act(image, 0, "stem"), []
    for level in range(model.depth + 1):
        if level:
            skips.append(x)
        for index in range(model.blocks_at(level)):
            stride: Sizes | Literal[1] = model.pooling(level) if level and index == 0 else 1
            x = residual(blocks, x, level, f"enc{level}_{index}", stride=stride, lean=True)
        x = blocks.dropout(x, f"enc{level}_dropout")
    features = blocks.decode(x, skips, convolutions=1)
    return keras.Model(image, blocks.heads(features, outputs), name="resenc")
