"""MedNeXt (Roy et al. 2023, "MedNeXt: transformer-driven scaling of ConvNets ...", MICCAI).

The sizes of MedNeXt-S are those of conf/model/mednext.yaml. Kernels of 5 (UpKern) are left out.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from unet3d.config.schema import ModelConfig
from unet3d.config.schema.model import Sizes
from unet3d.models.blocks import Blocks
from unet3d.models.depthwise import DepthwiseConv3D
from unet3d.models.resample import ZeroInsertion


def build(model: ModelConfig, *, channels: int, outputs: int, seed: int) -> keras.Model:
    """ConvNeXt blocks, two a level, also where the resolution changes; skips added.

    Shapes and errors: see `unet3d.models.build_model`.
    """
    blocks = Blocks(model, seed)
    image = keras.Input((None, None, None, channels), name="image")
    x = blocks.conv(image, blocks.filters(0), "stem_conv", size=1, bias=True)
    skips: list[Any] = []
    for level in range(model.depth + 1):
        if level:
            skips.append(x)
            x = _down(blocks, x, level, f"enc{level}_down")
        x = _level(blocks, x, level, f"enc{level}")
    features: list[Any] = []
    for level in reversed(range(model.depth)):
        x = _up(blocks, x, level, f"dec{level}_up")
        x = layers.Add(name=f"dec{level}_skip")([skips[level], x])
        x = _level(blocks, x, level, f"dec{level}")
        features.insert(0, x)
    return keras.Model(image, blocks.heads(features, outputs), name="mednext")


def _level(blocks: Blocks, x: Any, level: int, name: str) -> Any:
    """Two blocks that keep resolution and filters."""
    for index in range(2):
        block = f"{name}_{index}"
        x = layers.Add(name=f"{block}_add")([x, _block(blocks, x, level, block)])
    return blocks.dropout(x, f"{name}_dropout")


def _down(blocks: Blocks, x: Any, level: int, name: str) -> Any:
    """To the resolution of `level` from the one above, beside a strided 1x1x1 convolution."""
    stride, filters = blocks.model.pooling(level), blocks.filters(level)
    y = _block(blocks, x, level, name, stride=stride)
    x = blocks.conv(x, filters, f"{name}_shortcut_conv", size=1, stride=stride, bias=True)
    return layers.Add(name=f"{name}_add")([x, y])


def _up(blocks: Blocks, x: Any, level: int, name: str) -> Any:
    """To the resolution of `level` from the one below, by transposed convolutions.

    They are convolutions of the voxels with zeros between them, as Keras has no depthwise
    transposed one. The paper's leaves out the first plane, and pads it with zeros.
    """
    x = ZeroInsertion(blocks.model.pooling(level + 1), name=f"{name}_zeros")(x)
    y = _block(blocks, x, level, name)
    x = blocks.conv(x, blocks.filters(level), f"{name}_shortcut_conv", size=1, bias=True)
    return layers.Add(name=f"{name}_add")([x, y])


def _block(blocks: Blocks, x: Any, level: int, name: str, *, stride: Sizes = (1, 1, 1)) -> Any:
    """Depthwise convolution and norm, 1x1x1 to more channels, activation, 1x1x1 to `level`'s."""
    size, given, depthwise = blocks.model.kernel(level), x.shape[-1], f"{name}_depth_conv"
    seed = blocks.layer_seed(depthwise)
    x = DepthwiseConv3D(size, stride, seed, name=depthwise)(x)
    x = blocks.norm(x, f"{name}_norm")
    wide = blocks.model.expansion * given
    x = blocks.conv(x, wide, f"{name}_wide_conv", size=1, bias=True)
    x = blocks.activate(x, f"{name}_act")
    return blocks.conv(x, blocks.filters(level), f"{name}_narrow_conv", size=1, bias=True)
