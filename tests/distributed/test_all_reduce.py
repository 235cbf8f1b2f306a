"""The sum over the replicas: in packs, while the backward pass goes on, and in 16 bits."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from unet3d.config.schema import ParallelConfig
from unet3d.distributed.all_reduce import all_reduce, packs

# Run by itself: devices are cut into logical ones before TensorFlow's first operation.
TWO_REPLICAS = """
import json
import numpy as np
import tensorflow as tf
from unet3d.config.schema import ParallelConfig
from unet3d.distributed.all_reduce import all_reduce

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
values = 10.0 ** np.random.default_rng(0).uniform(-30, 3, (2, 3, 40))  # of two replicas' gradients

def replica_sum(compression, pack_mb):
    rank = tf.distribute.get_replica_context().replica_id_in_sync_group
    grads = [tf.gather(tf.constant(values[:, k], tf.float32), rank) for k in range(3)]
    return all_reduce(grads, ParallelConfig(compression=compression, pack_mb=pack_mb))

found = {}
for compression in ("none", "bfloat16"):
    for pack_mb in (0, 0.0001, 1):  # 480 bytes: a pack each for 0 and 1e-4, one for 1
        summed = tf.function(lambda: strategy.run(replica_sum, args=(compression, pack_mb)))
        replicas = zip(*[strategy.experimental_local_results(grad) for grad in summed()])
        found[f"{compression} {pack_mb}"] = [
            [[grad.dtype.name, grad.numpy().tolist()] for grad in grads] for grads in replicas
        ]

weights = [tf.Variable(tf.eye(64)) for _ in range(3)]

def replica_gradients():
    with tf.GradientTape() as tape:
        values = tf.ones((64, 64))
        for weight in weights:
            values = tf.tanh(values @ weight.value())
    return all_reduce(tape.gradient(values, weights), ParallelConfig(pack_mb=0.01))

operations = (
    tf.function(lambda: strategy.run(replica_gradients)).get_concrete_function().graph
).get_operations()

def ancestors(operation):
    seen, left = set(), [operation]
    while left:
        for before in [t.op for t in left[0].inputs] + list(left.pop(0).control_inputs):
            if before.name not in seen:
                seen.add(before.name)
                left.append(before)
    return seen

multiplied = {o.name for o in operations if o.type == "MatMul"}
found["waits for"] = sorted(
    len(ancestors(o) & multiplied) for o in operations if o.type == "CollectiveReduceV2"
)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def two_replicas() -> dict[str, Any]:
    """What two replicas of one process have found."""
    done = subprocess.run(
        [sys.executable, "-c", TWO_REPLICAS], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_one_replica_sends_nothing() -> None:
    """Nor does it round: compression is of what travels."""
    grads = [tf.constant([1e-9, 1.0])]
    assert all_reduce(grads, ParallelConfig(compression="bfloat16")) is grads


@pytest.mark.parametrize("pack_mb", ["0", "0.0001", "1"])
@pytest.mark.parametrize(("compression", "rtol"), [("none", 1e-6), ("bfloat16", 2**-7)])
def test_two_replicas_have_the_sum(
    two_replicas: dict[str, Any], pack_mb: str, compression: str, rtol: float
) -> None:
    """On both, each weight's own, in the gradients' dtype, for any packs.

    bfloat16 rounds each addend and the sum by 2**-9; unlike float16 it makes no gradient 0.
    """
    values = 10.0 ** np.random.default_rng(0).uniform(-30, 3, (2, 3, 40))
    replicas = two_replicas[f"{compression} {pack_mb}"]
    assert len(replicas) == 2
    for grads in replicas:
        for k, (kind, found) in enumerate(grads):
            assert kind == "float32"
            np.testing.assert_allclose(found, values[:, k].sum(0), rtol=rtol)
    if compression == "bfloat16":  # it did travel in 16 bits
        assert np.any(np.array(replicas[0][0][1]) != np.float32(values[:, 0].sum(0)))


def test_a_pack_waits_for_its_own_gradients_only(two_replicas: dict[str, Any]) -> None:
    """Not for those of the layers before it, which the backward pass computes meanwhile.

    Three layers: three products forward; then, from the last layer, a product for its gradient and
    one to go on with, but none below the first.
    """
    assert two_replicas["waits for"] == [4, 4, 6, 6, 8, 8]  # of two replicas


@pytest.mark.parametrize(
    ("kilobytes", "pack_mb", "expected"),
    [
        ([], 0, []),
        ([1], 0, [(0, 1)]),
        ([16, 16, 64, 800, 100, 28], 0, [(4, 6), (3, 4), (2, 3), (0, 2)]),
        ([300] * 4, 0, [(3, 4), (2, 3), (1, 2), (0, 1)]),
        ([300] * 4, 0.5, [(2, 4), (0, 2)]),
        ([300] * 4, 1000, [(0, 4)]),
    ],
)
def test_packs(kilobytes: list[int], pack_mb: float, expected: list[tuple[int, int]]) -> None:
    """Last layers first; without a size, the first layers' pack is full at 32 KB."""
    assert packs([1024 * size for size in kilobytes], pack_mb) == expected


def test_packs_of_a_large_network() -> None:
    """At most 25 MB where one gradient allows it, and the last of them small."""
    sizes = [2**20] * 400
    found = packs(sizes, 0)
    assert [end - first for first, end in found[:3]] == [14, 25, 25]
    assert found[-1] == (0, 1)
    assert sorted(found) == found[::-1] and sum(end - first for first, end in found) == 400
