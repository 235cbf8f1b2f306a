"""What model.recompute saves: peak memory and time of a step of each network, with and without.

    python benchmarks/recompute_blocks.py [edge of the patch, 80]

Each way runs in a process of its own; the largest difference of a gradient is printed beside. Time
is that of all cores together, as others may use the machine.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

NETWORKS = ("unet3d", "resunet", "resenc", "segresnet", "mednext")
SMALL = 16  # voxels a side of the patch that is traced first, so that the peak is the step's


def main() -> None:
    """A process for each network and way; prints a row for each network."""
    edge = sys.argv[1] if len(sys.argv) > 1 else "80"
    print(f"{edge}^3 voxels, 16 filters, 2 poolings, instance norm; kept against recomputed")
    for name in NETWORKS:
        figures = []
        with TemporaryDirectory() as folder:
            for way in ("keep", "recompute"):
                file = Path(folder) / f"{way}.npz"
                command = [sys.executable, __file__, edge, name, way, str(file)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                figures.append([float(word) for word in done.stdout.split()[-3:]])
            kept, again = (np.load(Path(folder) / f"{w}.npz") for w in ("keep", "recompute"))
            apart = max(float(np.abs(kept[key] - again[key]).max()) for key in kept.files)
        (keep, seconds, counted), (less, longer, estimated) = figures
        print(
            f"{name:<10} {keep:5.0f} MB, {less:5.0f} MB: {less / keep:.2f} of the memory (counted "
            f"{estimated / counted:.2f}), {longer / seconds:.2f} of the time; gradients apart by "
            f"{apart:.1g}",
            flush=True,
        )


def measure(edge: int, name: str, way: str, file: str) -> None:
    """One way in this process; prints MB, seconds a step and the bytes that are counted."""
    import resource

    import keras
    import tensorflow as tf

    from unet3d.config.schema import ModelConfig
    from unet3d.models import build_model
    from unet3d.models.recompute import recomputed
    from unet3d.planning.cost import training_cost

    settings = ModelConfig(name, 16, depth=2, norm="instance", deep_supervision=True)
    settings.activation = "leaky_relu"
    model = build_model(settings, channels=2, outputs=3, seed=0)
    call: Any = recomputed(model) if way == "recompute" else lambda x: model(x, training=True)
    weights = [weight.value for weight in model.trainable_variables]

    @tf.function(autograph=False)
    def step(images: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = keras.tree.flatten(call(images))
            loss = tf.add_n([tf.reduce_mean(level**2) for level in logits])
        return tape.gradient(loss, weights)

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    image = tf.random.stateless_normal((1, edge, edge, edge, 2), (0, 0))
    np.savez(file, *[g.numpy() for g in step(image[:, :SMALL, :SMALL, :SMALL])])
    before = peak()
    step(image)
    begun = time.process_time()
    step(image)
    seconds = time.process_time() - begun
    cost = training_cost(model, (edge, edge, edge), recompute=way == "recompute")
    print(peak() - before, seconds, cost.training_bytes)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        measure(int(sys.argv[1]), *sys.argv[2:])
    else:
        main()
