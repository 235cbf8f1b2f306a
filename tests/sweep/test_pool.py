"""Workers that cannot start are told of, rather than waited for without end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import ray

from unet3d.sweep import pool
from unet3d.sweep.share import Share
from unet3d.training.errors import RunError


@pytest.fixture
def small_ray() -> Iterator[None]:
    """Ray with one CPU."""
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def test_a_share_that_is_nowhere_is_given_up(
    small_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the last node of a cluster is lost: an error says what to look at."""
    monkeypatch.setattr(pool, "START_SECONDS", 1.0)
    workers = pool.Pool(Share(cpus=64, gpus=0, gang=1, at_once=1), {})
    workers.start(1)
    with pytest.raises(RunError, match="no worker with 64 CPUs has started in 1 s; `ray status`"):
        for _ in range(20):
            assert workers.wait(0.2) == []
