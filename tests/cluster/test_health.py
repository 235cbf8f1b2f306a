"""Which workers count as lost: those that wait for a slower one do not."""

from __future__ import annotations

import time
from math import inf
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.small import small_config
from unet3d.cluster.health import HealthWatch, WatchedActor, _places, _Seen
from unet3d.distributed import progress as module
from unet3d.distributed.progress import (
    AT_LEAST,
    DATA,
    FIRST_STEP,
    SAVING,
    STEP,
    VALIDATION,
    Progress,
    begin,
    begin_progress,
    position,
    progress,
    step_done,
)


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HealthWatch:
    """Of workers whose steps take at most 10 s, and whose stop takes 5 s."""
    monkeypatch.setattr("unet3d.cluster.health._positions_of", dict)
    limits = ("parallel.step_timeout=10", "parallel.stop_timeout=5", "parallel.hang_timeout=7")
    return HealthWatch(small_config(tmp_path, *limits).parallel)


def reason(watch: HealthWatch, *workers: tuple[str, float, int], stop: float | None = None) -> Any:
    """Why workers (phase, seconds since they moved, stage) are lost; stop: seconds since asked."""
    now = 1e6
    watch.seen = {
        rank: _Seen(now, now - age, progress=Progress(phase, stage=stage))
        for rank, (phase, age, stage) in enumerate(workers)
    }
    names = {rank: f"here{rank}" for rank in watch.seen}
    return watch._stuck(names, now, None if stop is None else now - stop)


def test_a_step_may_take_so_long(watch: HealthWatch) -> None:
    """Of two that wait for each other, the one that has come less far is named."""
    assert reason(watch, (STEP, 9, 3), (STEP, 11, 3)) is None
    told = "worker 1 is stuck in a step, at here1"
    assert reason(watch, (STEP, 11, 4), (STEP, 12, 3)) == told
    assert watch._stuck({}, 1e6, None) is None


def test_places_of_those_that_came_equally_far(watch: HealthWatch) -> None:
    """Which of them waits for which is not known: all are told, the rarest place first."""
    two = (STEP, 11, 3), (STEP, 12, 3)
    assert reason(watch, *two) == "worker 0 is stuck in a step, at here0; worker 1 is at here1"
    assert _places(STEP, {0: "a", 1: "b", 2: "a"}) == (
        "worker 1 is stuck in a step, at b; 2 others are at a"
    )
    assert _places(STEP, {0: "a", 1: "a"}) == "worker 0 is stuck in a step, at a"


@pytest.mark.parametrize("phase", [FIRST_STEP, SAVING])
def test_what_is_slower_gets_longer_and_its_peers_wait(watch: HealthWatch, phase: str) -> None:
    """A compilation or a checkpoint of one worker is not the end of those that wait for it."""
    assert reason(watch, (phase, AT_LEAST - 1, 9), (STEP, AT_LEAST - 1, 9)) is None
    assert reason(watch, (phase, AT_LEAST + 1, 9), (STEP, AT_LEAST + 1, 9)) is not None


def test_a_copy_to_the_disk_of_a_node_may_take_for_ever(watch: HealthWatch) -> None:
    """It has no steps to watch; a request to stop ends it all the same."""
    assert reason(watch, (DATA, 1e5, 1)) is None
    assert "preparing data" in reason(watch, (DATA, 1e5, 1), stop=6)


def test_a_stop_is_answered_by_progress(watch: HealthWatch) -> None:
    """Workers that save after it are given time again; one that does nothing is not."""
    assert reason(watch, (STEP, 100, 1), stop=4) is not None  # stuck before it was asked
    assert reason(watch, (SAVING, 100, 1), stop=4) is None
    assert reason(watch, (SAVING, 4, 1), stop=60) is None
    assert reason(watch, (SAVING, 6, 1), stop=60) is not None


def test_no_limit(watch: HealthWatch) -> None:
    """parallel.step_timeout=0."""
    watch.limits.step_timeout = 0.0
    assert reason(watch, (STEP, 1e5, 1)) is None
    assert Progress(SAVING).allowed(inf) == inf


def test_progress_of_this_process() -> None:
    """Steps count, and whatever is done is a move; another training begins again."""
    begin_progress()
    before = progress()
    begin(FIRST_STEP)
    step_done()
    step_done()
    assert progress() == Progress(STEP, before.moves + 3, 2, 3)
    begin_progress()
    assert progress() == Progress(DATA, before.moves + 4, 0, 0)
    assert position().startswith("distributed/progress.py:") and position().endswith("position")
    module._thread = None
    assert position() == ""


def test_a_worker_with_more_cases_to_validate_has_not_come_further() -> None:
    """Its moves count as such, but stages, which compare workers, are the same on all."""
    begin_progress()
    begin(VALIDATION)
    alike = progress().stage
    begin(VALIDATION)
    assert progress().stage == alike


class Actor(WatchedActor):
    """It trains without a move."""

    def train(self, seconds: float) -> None:
        begin_progress()
        begin(STEP)
        time.sleep(seconds)


@pytest.mark.parametrize("held_up", [False, True])
def test_real_actors_are_asked(tmp_path: Path, held_up: bool) -> None:
    """A stuck one is found though it answers; a watcher that was itself held up blames nobody."""
    limits = small_config(tmp_path, "parallel.step_timeout=2").parallel
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        remote: Any = ray.remote(Actor)
        actor = remote.options(max_concurrency=2).remote()
        running = actor.train.remote(300)
        watch, told, deadline = HealthWatch(limits), None, time.monotonic() + 240
        while told is None and time.monotonic() < deadline:
            told = watch.look({0: actor})
            if held_up and watch.seen[0].progress.phase == STEP:
                watch.looked -= 30
                watch.seen[0].moved -= 30
                assert watch.look({0: actor}) is None
                break
            ray.wait([running], timeout=0.2)
        assert held_up or told == "worker 0 is stuck in a step"
    finally:
        ray.shutdown()
