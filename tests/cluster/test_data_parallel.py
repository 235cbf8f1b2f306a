"""When a job of workers starts again, and the message where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.small import small_config
from unet3d.cluster.data_parallel import MAX_NODES_LOST, Failure, _worth_another
from unet3d.cluster.train_worker import TrainJob, train_as_worker
from unet3d.config.schema import Config
from unet3d.distributed.job_folder import JobFolder
from unet3d.errors import RunError


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A job that may fail twice."""
    return small_config(tmp_path, "parallel=data", "nodes=2", "parallel.max_failures=2")


def test_no_restart_where_it_would_end_the_same_way(config: Config) -> None:
    """The same reason again is final only where no step was done in between."""
    assert _worth_another(config, [Failure("killed", 1, steps=0)])
    assert _worth_another(config, [Failure("killed", 1), Failure("killed", 1)])
    assert _worth_another(config, [Failure("other", 1, steps=0), Failure("killed", 1, steps=0)])
    assert not _worth_another(config, [Failure("killed", 1, steps=0)] * 2)


def test_restarts_are_counted_from_the_last_finished_epoch(config: Config) -> None:
    """A long run on many nodes loses some every day; one that does not get on ends."""
    assert _worth_another(config, [Failure("killed", n) for n in range(30)])
    assert not _worth_another(config, [Failure("killed", 1)] * 3)
    assert _worth_another(config, [*[Failure("killed", 1)] * 2, Failure("killed", 2)])


def test_lost_nodes_are_counted_apart(config: Config) -> None:
    """Spot nodes go away for no fault of the run; a run that none keeps ends all the same."""
    gone = Failure("its node was lost", 1, steps=0, node_lost=True)
    assert _worth_another(config, [gone] * MAX_NODES_LOST)
    assert _worth_another(config, [*[gone] * 9, Failure("killed", 1)])
    assert not _worth_another(config, [gone] * (MAX_NODES_LOST + 1))


def test_a_folder_that_a_node_does_not_see_is_final(config: Config, tmp_path: Path) -> None:
    """output_dir that is not shared is named, as an error that would come again."""
    folder = JobFolder(tmp_path / "not here")
    job = TrainJob(config, folder, tmp_path, {}, threads=1, restarts=0)
    with pytest.raises(RunError, match=f"output_dir: node .* cannot see {tmp_path}; choose"):
        train_as_worker(job, 0, ["here:1", "there:1"])
