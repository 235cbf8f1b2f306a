"""What does not need several devices: sums over workers, scaling and the baseline."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import REPOSITORY
from tests.e2e.commands import free_port
from tests.gpus import PretendedGpus
from tests.small import small_config
from unet3d import machine
from unet3d.distributed.strategy import (
    communication_options,
    make_strategy,
    warn_of_slow_bfloat16,
)
from unet3d.distributed.worker import WorkerContext
from unet3d.errors import ConfigError
from unet3d.training.schedule import scaled
from unet3d.training.setup import baseline_speed
from unet3d.training.validate import CaseResult, gather


def test_every_case_is_counted_once() -> None:
    """Five cases over three workers: the gathered results are those of one worker, exactly."""
    cases = tuple("abcde")
    results = [CaseResult(c, 0.1 * i, np.array([i / 7, i / 3])) for i, c in enumerate(cases)]
    tables: list[np.ndarray] = []

    def keep(values: np.ndarray) -> np.ndarray:
        tables.append(values)
        return values

    for rank in range(3):
        own = {i: results[i] for i in range(rank, 5, 3)}
        gather(own, cases, 2, keep)
    found = gather({}, cases, 2, lambda _: np.sum(tables, axis=0))
    for one, other in zip(found, results, strict=True):
        assert (one.case, one.loss) == (other.case, other.loss)
        np.testing.assert_array_equal(one.dice, other.dice)


@pytest.mark.parametrize(("kind", "factor"), [("none", 1), ("linear", 4), ("sqrt", 2)])
def test_lr_scales_with_the_replicas_and_warms_up(tmp_path: Path, kind: str, factor: float) -> None:
    """A larger rate has a warm-up where the schedule has none; its own one is kept."""
    config = small_config(tmp_path, f"parallel.lr_scaling={kind}", "lr=0.01", "epochs=10")
    schedule, lr = scaled(config, 4)
    assert lr == pytest.approx(0.01 * factor)
    assert schedule.warmup_epochs == (0 if factor == 1 else 1)
    config.schedule.warmup_epochs = 3.0
    assert scaled(config, 4)[0].warmup_epochs == 3


def test_baseline_that_is_not_there_is_named(tmp_path: Path) -> None:
    """parallel.baseline must be a run with a finished epoch."""
    config = small_config(tmp_path, "parallel.baseline=abc")
    with pytest.raises(ConfigError, match="parallel.baseline: abc has no finished epoch"):
        baseline_speed(config)


@pytest.mark.parametrize("gpus", [0, 4])
def test_auto_is_nccl_between_gpus_and_the_ring_between_cpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int
) -> None:
    """TensorFlow's own "auto" between nodes is the ring over gRPC, also between GPUs."""
    import tensorflow as tf

    PretendedGpus(gpus).put_in_place(monkeypatch)
    kinds = tf.distribute.experimental.CommunicationImplementation
    best = kinds.NCCL if gpus else kinds.RING
    for setting, expected in (("auto", best), ("ring", kinds.RING), ("nccl", kinds.NCCL)):
        config = small_config(tmp_path, f"parallel.communication={setting}")
        assert communication_options(config.parallel).implementation == expected
    if not gpus:
        with pytest.raises(ConfigError, match="communication: nccl needs GPUs, and this node"):
            make_strategy(config, WorkerContext(0, workers=2))


def test_bfloat16_is_refused_over_nccl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow's exchange over NCCL does not list it; over the ring between GPUs it may go."""
    PretendedGpus(2).put_in_place(monkeypatch)
    config = small_config(tmp_path, "parallel.compression=bfloat16")
    with pytest.raises(ConfigError, match="compression: bfloat16 is not possible over NCCL; type"):
        make_strategy(config, WorkerContext(0, workers=2))


@pytest.mark.parametrize(
    ("precision", "features", "gpus", "warns"),
    [
        ("mixed_bfloat16", {"sse2", "avx2"}, 0, True),
        ("mixed_bfloat16", {"sse2", "avx2"}, 1, False),
        ("mixed_bfloat16", {"sse2", "avx512f"}, 0, False),
        ("float32", {"sse2", "avx2"}, 0, False),
    ],
)
def test_slow_bfloat16_is_warned_of(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    precision: str,
    features: set[str],
    gpus: int,
    warns: bool,
) -> None:
    """A training that would take an hour in place of minutes says why."""
    monkeypatch.setattr(machine, "cpu_features", lambda: frozenset(features))
    with caplog.at_level(logging.WARNING, "unet3d"):
        warn_of_slow_bfloat16(precision, ["GPU"] * gpus)
    assert ("precision=float32" in caplog.text) is warns


@pytest.mark.parametrize(("seconds", "expected"), [("0", None), ("30", 30.0)])
def test_an_exchange_may_have_a_time_limit(
    tmp_path: Path, seconds: str, expected: float | None
) -> None:
    """TensorFlow raises DeadlineExceededError after it; 0 is none, as TensorFlow's own default."""
    config = small_config(tmp_path, f"parallel.collective_timeout={seconds}")
    assert communication_options(config.parallel).timeout_seconds == expected


PEER = """
import json, os, sys, time
rank, addresses, seconds = int(sys.argv[1]), sys.argv[2].split(","), sys.argv[3]
os.environ["TF_CONFIG"] = json.dumps(
    {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
)
import tensorflow as tf
from unet3d.config.compose import compose_config
from unet3d.distributed.strategy import communication_options, make_strategy
from unet3d.distributed.worker import WorkerContext
config = compose_config(["parallel=data", f"parallel.collective_timeout={seconds}"])
strategy = make_strategy(config, WorkerContext(rank, workers=2))

@tf.function
def add():
    def replica():
        context = tf.distribute.get_replica_context()
        options = communication_options(config.parallel)
        return context.all_reduce(tf.distribute.ReduceOp.SUM, [tf.ones(9)], options)[0]
    return strategy.run(replica)

print(float(tf.reduce_sum(add())), flush=True)
if rank:
    time.sleep(600)  # alive, and never there again
try:
    add()
except tf.errors.DeadlineExceededError as error:
    print("DeadlineExceededError", flush=True)
os._exit(0)
"""


def test_a_peer_that_is_not_there_becomes_an_error(tmp_path: Path) -> None:
    """Between two real processes, of which one stops taking part while it lives."""
    addresses = ",".join(f"127.0.0.1:{free_port()}" for _ in range(2))
    command = [sys.executable, "-c", PEER]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    arguments = [addresses, "3"]
    lost = subprocess.Popen(
        [*command, "1", *arguments],
        env=environment,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        told = subprocess.run(
            [*command, "0", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=200,
        )
    finally:
        lost.kill()
        lost.wait()
    assert told.stdout.split() == ["18.0", "DeadlineExceededError"]


DETERMINISM = """
import sys
import tensorflow as tf
from unet3d.config.compose import compose_config
from unet3d.distributed.strategy import set_up_devices
from unet3d.distributed.worker import WorkerContext

set_up_devices(compose_config(sys.argv[1:]), WorkerContext())
print(tf.config.experimental.tensor_float_32_execution_enabled())
try:
    tf.random.normal([1])  # an operation of which TensorFlow knows that it differs each time
except RuntimeError as error:
    print("refused" if "determinism is enabled" in str(error) else error)
else:
    print("allowed")
"""


@pytest.mark.parametrize(("wanted", "told"), [("true", "False refused"), ("false", "True allowed")])
def test_deterministic_operations_are_enforced(wanted: str, told: str) -> None:
    """TensorFlow itself then refuses what it cannot repeat, and does not round to TF32."""
    command = [sys.executable, "-c", DETERMINISM, f"deterministic={wanted}"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == told.split(), done.stderr
