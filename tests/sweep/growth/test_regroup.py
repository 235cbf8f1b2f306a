"""Which trials may grow, to what, and with which settings."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.small import small_config
from unet3d.sweep.growth.regroup import (
    ask_to_regroup,
    devices_of,
    grown_config,
    possible_slots,
    replica_setting,
    slots_after,
    worker_resources,
)
from unet3d.sweep.resources import TrialResources
from unet3d.sweep.running_trial import RunningTrial
from unet3d.sweep.sweep_folder import SweepFolder
from unet3d.sweep.trial import Trial
from unet3d.sweep.worker_pool import WorkerPool

CORE = TrialResources(cpus=1, gpus=0, workers_per_trial=1, at_once=4)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("model.norm=group",), None),
        (("model.norm=batch",), "model.norm=batch"),
        (("model.norm=group", "deterministic=true"), "deterministic=true"),
        (("model.norm=group", "parallel.lr_scaling=linear"), "parallel.lr_scaling=linear"),
        (("model.norm=group", "parallel.compression=bfloat16"), "parallel.compression=bfloat16"),
    ],
)
def test_settings_whose_result_depends_on_replicas(
    tmp_path: Path, overrides: tuple[str, ...], expected: str | None
) -> None:
    """By more than the order of a sum: such trials do not grow unless asked to."""
    assert replica_setting(small_config(tmp_path, *overrides)) == expected


@pytest.mark.parametrize(
    ("overrides", "resources", "expected"),
    [
        (("batch_size=8",), CORE, (1, 2, 4, 8)),
        (("batch_size=8", "accumulate=2"), CORE, (1, 2, 4)),
        (("batch_size=6",), CORE, (1, 2, 3, 6)),
        (("batch_size=3",), TrialResources(4, 2, 1, 4), (1,)),
        (("batch_size=8",), TrialResources(4, 2, 1, 4), (1, 2, 4)),  # two GPUs of each slot
        (("batch_size=8",), TrialResources(4, 0.5, 1, 4), (1,)),
        (("batch_size=8", "parallel=data", "parallel.devices=2"), CORE, (1,)),
        (("batch_size=8", "parallel=data", "nodes=2"), TrialResources(1, 0, 2, 4), (1, 2, 4)),
    ],
)
def test_the_global_batch_divides_by_the_replicas(
    tmp_path: Path, overrides: tuple[str, ...], resources: TrialResources, expected: tuple[int, ...]
) -> None:
    """With as many slots as there are; shares of GPUs and logical CPUs do not grow."""
    assert possible_slots(small_config(tmp_path, *overrides), resources, 8) == expected


def test_a_trial_goes_on_with_what_is_left(tmp_path: Path) -> None:
    """When it stops, others may have come back meanwhile."""
    config = small_config(tmp_path, "batch_size=8")
    assert [slots_after(config, CORE, 8, wanted=4, free=free) for free in (8, 4, 3, 1, 0, -1)] == [
        *(4, 4, 2, 1, 1, 1)
    ]


def test_a_grown_trial_is_a_group_of_slots(tmp_path: Path) -> None:
    """A worker a slot, each with what a slot has, on any node with room."""
    config, resources = small_config(tmp_path), TrialResources(3, 1, 1, 8)
    grown = grown_config(config, resources, 4)
    assert (grown.nodes, grown.parallel.name, grown.batch_size) == (4, "data", config.batch_size)
    assert (grown.parallel.cpus_per_node, grown.parallel.gpus_per_node) == (3, 1)
    worker = worker_resources(resources)
    assert worker.bundle == {"CPU": 3.0, "GPU": 1.0} and worker.strategy == "PACK"
    assert [devices_of(resources, config, slots) for slots in (1, 4)] == [1, 4]


EPOCH = {"perf/start_s": 1.0, "perf/trace_s": 1.0, "perf/step_s": 60.0, "perf/step_ms": 600.0}


class Situation:
    """A pool of four slots on which one trial of a hundred epochs has finished two."""

    def __init__(self, tmp_path: Path, *overrides: str, grow: str = "auto"):
        config = small_config(tmp_path, "epochs=100", "batch_size=4", *overrides)
        trial = Trial(0, (), {}, config)
        self.pool, self.folder, self.grow = (
            WorkerPool(config, CORE, True, {}),
            SweepFolder(tmp_path),
            grow,
        )
        self.folder.job(trial).path.mkdir(parents=True)
        self.running = RunningTrial(trial, last_epoch=2, metrics=[EPOCH, EPOCH], free_since=1)

    def look(self, waiting: int = 0) -> bool:
        """Whether the trial shall stop at the end of its epoch."""
        ask_to_regroup(self.grow, self.pool, self.folder, [self.running], waiting)
        return self.folder.job(self.running.trial).regroup_asked()


def test_a_request_is_withdrawn_when_a_trial_comes_back(tmp_path: Path) -> None:
    """A lost trial has the first right to the free slots."""
    now = Situation(tmp_path, "model.norm=group")
    assert now.look() and now.running.wanted == 4
    assert now.look()
    assert not now.look(waiting=1) and now.running.wanted is None
    assert not now.look()
    now.running.metrics += [EPOCH, EPOCH]
    assert now.look()


def test_the_pace_is_that_beside_free_slots(tmp_path: Path) -> None:
    """On CPUs: where the trial is fast enough once it has them to itself, it stays as it is."""
    now = Situation(tmp_path, "model.norm=group")
    now.running.free_since, now.pool.start_seconds = None, 300.0
    assert not now.look() and now.running.free_since == 3
    now.running.metrics += [EPOCH]  # began while the other trial was still there
    assert not now.look()
    fast = EPOCH | {"perf/step_s": 6.0, "perf/step_ms": 60.0}
    now.running.metrics += [fast]
    assert not now.look()
    now.running.metrics[-1] = EPOCH
    assert now.look()


def test_a_grown_trial_gives_back_for_one_that_waits(tmp_path: Path) -> None:
    """And goes on as it is when the other one has found a slot before its epoch ended."""
    now = Situation(tmp_path, "model.norm=group")
    now.running.slots = 4
    assert not now.look()
    assert now.look(waiting=1) and now.running.wanted == 2
    assert not now.look()


def test_a_trial_that_failed_as_a_group_stays_alone(tmp_path: Path) -> None:
    """It would fail again and again."""
    now = Situation(tmp_path, "model.norm=group")
    now.running.may_grow = False
    assert not now.look()


def test_batch_norm_stays_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Once; with sweep.grow=always it grows."""
    caplog.set_level(logging.INFO)
    now = Situation(tmp_path, "model.norm=batch")
    assert not now.look() and not now.look()
    assert caplog.text.count("model.norm=batch makes its result depend on their number") == 1
    assert Situation(tmp_path / "always", "model.norm=batch", grow="always").look()
