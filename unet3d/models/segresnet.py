"""SegResNet (Myronenko 2018, "3D MRI brain tumor segmentation using autoencoder regularization").

Without the paper's variational branch, which serves the training alone, as MONAI's SegResNet.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from unet3d.config.schema import ModelConfig
from unet3d.models.blocks import Blocks
from unet3d.models.resample import LinearUpsampling


def build(model: ModelConfig, *, channels: int, outputs: int, seed: int) -> keras.Model:
    """Residual blocks with norms first, strided convolutions down, interpolation up, skips added.

    One block at full resolution, two at each level below, four at the deepest, one a level up.
    Shapes and errors: see `unet3d.models.build_model`.
    """
    blocks = Blocks(model, seed)
    image = keras.Input((None, None, None, channels), name="image")
    x = blocks.conv(image, blocks.filters(0), "stem_conv", size=model.kernel(0), bias=_bias(model))
    x, skips = blocks.dropout(x, "stem_dropout"), []
    for level in range(model.depth + 1):
        if level:
            skips.append(x)
            x = _conv(blocks, x, level, f"enc{level}_down_conv", stride=model.pooling(level))
        for index in range(_blocks_at(level, model.depth)):
            x = residual(blocks, x, level, f"enc{level}_{index}")
    features: list[Any] = []
    for level in reversed(range(model.depth)):
        up, filters = f"dec{level}_up", blocks.filters(level)
        x = blocks.conv(x, filters, f"{up}_conv", size=1, bias=_bias(model))
        x = LinearUpsampling(model.pooling(level + 1), name=up)(x)
        x = layers.Add(name=f"dec{level}_add")([skips[level], x])
        x = residual(blocks, x, level, f"dec{level}_0")
        features.insert(0, x)
    if not model.deep_supervision:
        features = features[:1]
    ends = [_norm_act(blocks, x, f"end{level}") for level, x in enumerate(features)]
    return keras.Model(image, blocks.heads(ends, outputs), name="segresnet")


def residual(blocks: Blocks, x: Any, level: int, name: str) -> Any:
    """x plus what two convolutions make of it, each behind a norm and an activation."""
    y = _conv(blocks, _norm_act(blocks, x, f"{name}a"), level, f"{name}a_conv")
    y = _conv(blocks, _norm_act(blocks, y, f"{name}b"), level, f"{name}b_conv")
    return layers.Add(name=f"{name}_add")([x, y])


def _blocks_at(level: int, deepest: int) -> int:
    if level == deepest:
        return 4
    return 2 if level else 1


def _norm_act(blocks: Blocks, x: Any, name: str) -> Any:
    return blocks.activate(blocks.norm(x, f"{name}_norm"), f"{name}_act")


def _conv(blocks: Blocks, x: Any, level: int, name: str, *, stride: Any = 1) -> Any:
    size, bias = blocks.model.kernel(level), _bias(blocks.model)
    return blocks.conv(x, blocks.filters(level), name, size=size, stride=stride, bias=bias)


def _bias(model: ModelConfig) -> bool:
    return model.norm == "none"
