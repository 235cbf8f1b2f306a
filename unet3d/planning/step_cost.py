"""The cost of a step, as figures that need no TensorFlow to be received from another process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """The cost of a network at one patch shape and batch size.

    parameters: weights, the norms' moving statistics included.
    flops: of one forward pass of one patch, a multiply-add counted as 2; convolutions only, as the
        rest is below 2%.
    activation_bytes: the outputs of all layers for a batch, which backpropagation needs again.
    training_bytes: weights, gradients, optimizer slots, activations and the two largest gradients
        of activations; an estimate, since the runtime adds its own workspace.
    """

    parameters: int
    flops: int
    activation_bytes: int
    training_bytes: int
