"""A network of your own: `_target_: nets.build` in conf/model/mine.yaml names it."""

import keras
from keras import layers


def build(*, channels: int, outputs: int, width: int = 8) -> keras.Model:
    """Two levels: a strided convolution down, a transposed one up, the skip added.

    channels: sequences of a scan; outputs: logits of a voxel; width: from `params` of the settings.
    """
    image = keras.Input((None, None, None, channels))
    fine = layers.Conv3D(width, 3, padding="same", activation="relu")(image)
    deep = layers.Conv3D(2 * width, 3, strides=2, padding="same", activation="relu")(fine)
    up = layers.Conv3DTranspose(width, 2, strides=2, padding="same")(deep)
    logits = layers.Conv3D(outputs, 1, dtype="float32")(fine + up)
    return keras.Model(image, logits)
