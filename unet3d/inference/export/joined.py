"""Several networks as one: the weighted mean of their logits, for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from unet3d.errors import RunError
from unet3d.inference.export.savedmodel import finest
from unet3d.inference.network import TrainedNetwork


def joined(networks: Sequence[TrainedNetwork], name: str) -> TrainedNetwork:
    """One network that gives the weighted mean logits of several. name: in place of a run's id.

    Over windows of one size that is what predicting with all of them gives, as blending is linear.
    Raises RunError where their patches, strides or scales differ.
    """
    import keras
    import tensorflow as tf

    from unet3d.inference.predictor import make_predictor

    first = networks[0]
    for other in networks[1:]:
        for what, ours, theirs in (
            ("data.patch", first.config.data.patch, other.config.data.patch),
            ("stride", first.config.model.stride, other.config.model.stride),
            ("scales of CT", first.scales, other.scales),
        ):
            if ours != theirs:
                raise RunError(
                    f"export: {other.run} and {first.run} cannot be one network: their {what} "
                    f"differ, {theirs} and {ours}; unet3d predict takes them together"
                )
    image = keras.Input((None, None, None, len(first.channels)), name="image")
    total, whole = None, sum(network.weight for network in networks)
    for number, network in enumerate(networks):
        member = finest(network)
        own = keras.Model(member.inputs[0], member.outputs[0], name=f"member_{number}")
        share: Any = own(image) * (network.weight / whole)
        total = share if total is None else total + share
    model = keras.Model(image, total, name="ensemble")
    predictor = make_predictor(model, tf.distribute.get_strategy(), 1, first.predictor.batch_size)
    return replace(first, run=name, predictor=predictor, model=model, weight=1.0)
