"""Does recomputing activations in the backward pass save memory? Peak memory of a step, each alone.

    python benchmarks/recompute.py [edge of the patch, 64]

Trains a chain of convolution, group norm and activation in a process of its own for each way, and
prints the peak memory of its steps over that before them, as ratios to keeping all activations.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

BLOCKS, FILTERS, STEPS = 8, 16, 3
WAYS = ("keep", "each layer", "each two blocks")


def main() -> None:
    """A process for each way; prints a table."""
    edge = sys.argv[1] if len(sys.argv) > 1 else "64"
    print(f"{BLOCKS} blocks of {FILTERS} filters on {edge}^3 voxels")
    first: list[float] = []
    for way in WAYS:
        command = [sys.executable, __file__, edge, way]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peak, seconds, loss = (float(word) for word in done.stdout.split()[-3:])
        first = first or [peak, seconds]
        print(
            f"{way:<16} {peak:7.0f} MB, {peak / first[0]:.2f} of the memory, "
            f"{seconds / first[1]:.2f} of the time, loss after {STEPS} steps {loss:.6f}"
        )


def measure(edge: int, way: str) -> None:
    """Train in this process; prints MB, seconds a step and the last loss."""
    import resource

    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    with keras.RematScope(mode="full" if way == "each layer" else None):
        layers = [layer for _ in range(BLOCKS) for layer in _block(keras)]
    for layer in layers:
        layer.build((1, edge, edge, edge, FILTERS))
    weights = [w.value for layer in layers for w in layer.trainable_weights]
    parts = _parts(tf, layers, way)
    image = tf.random.stateless_normal((1, edge, edge, edge, FILTERS), (0, 0))

    @tf.function(autograph=False)
    def step() -> Any:
        with tf.GradientTape() as tape:
            x = image
            for part in parts:
                x = part(x)
            loss = tf.reduce_mean(x**2)
        for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
            weight.assign_sub(0.1 * gradient)
        return loss

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step()
    begun = time.perf_counter()
    losses = [float(step()) for _ in range(STEPS)]
    seconds = (time.perf_counter() - begun) / STEPS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(peak / 1024, seconds, losses[-1])


def _block(keras: Any) -> list[Any]:
    layers = keras.layers
    return [
        layers.Conv3D(FILTERS, 3, padding="same"),
        layers.GroupNormalization(8),
        layers.Activation("gelu"),
    ]


def _parts(tf: Any, layers: list[Any], way: str) -> list[Callable[[Any], Any]]:
    if way != "each two blocks":
        return layers

    def chained(chain: list[Any]) -> Callable[[Any], Any]:
        def call(x: Any) -> Any:
            for layer in chain:
                x = layer(x)
            return x

        return call

    return [tf.recompute_grad(chained(layers[n : n + 6])) for n in range(0, len(layers), 6)]


if __name__ == "__main__":
    if len(sys.argv) > 2:
        measure(int(sys.argv[1]), sys.argv[2])
    else:
        main()
