"""The 3D U-Net (Cicek et al. 2016), in the form that Berral et al. 2022 train on brain tumours."""

from __future__ import annotations

from typing import Literal

import keras
from keras import layers

from unet3d.config.schema import ModelConfig
from unet3d.config.schema.model import Sizes
from unet3d.models.blocks import Blocks


def build(model: ModelConfig, *, channels: int, outputs: int, seed: int) -> keras.Model:
    """`depth` poolings and back, two convolutions a level, skips by concatenation.

    With model.downsampling=stride the first convolution of a level pools, as in nnU-Net.

    Shapes and errors: see `unet3d.models.build_model`.
    """
    blocks = Blocks(model, seed)
    image = keras.Input((None, None, None, channels), name="image")
    x, skips = image, []
    for level in range(model.depth + 1):
        stride: Sizes | Literal[1] = 1
        if level:
            skips.append(x)
            if model.downsampling == "stride":
                stride = model.pooling(level)
            else:
                x = layers.MaxPooling3D(model.pooling(level), name=f"enc{level}_pool")(x)
        x = blocks.conv_norm_act(x, level, f"enc{level}_0", stride=stride)
        x = blocks.conv_norm_act(x, level, f"enc{level}_1")
        x = blocks.dropout(x, f"enc{level}_dropout")
    features = blocks.decode(x, skips, convolutions=2)
    return keras.Model(image, blocks.heads(features, outputs), name="unet3d")
