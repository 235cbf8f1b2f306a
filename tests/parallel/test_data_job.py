"""When a job of workers starts again, and what is told where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.small import small_config
from unet3d.parallel.data_job import Loss, _worth_another
from unet3d.parallel.worker import Job, work
from unet3d.training.errors import RunError


def test_no_restart_where_it_would_end_the_same_way(tmp_path: Path) -> None:
    """The same reason again is final only when no epoch was finished in between."""
    config = small_config(tmp_path, "parallel=data", "nodes=2", "parallel.max_failures=2")
    assert _worth_another(config, [Loss("killed", 1)])
    assert _worth_another(config, [Loss("killed", 1), Loss("killed", 2)])
    assert not _worth_another(config, [Loss("killed", 1), Loss("killed", 1)])
    assert not _worth_another(config, [Loss("killed", n) for n in range(3)])


def test_a_folder_that_a_node_does_not_see_is_final(tmp_path: Path) -> None:
    """output_dir that is not shared is told by name, as an error that would come again."""
    config = small_config(tmp_path, "parallel=data", "nodes=2")
    job = Job(config, [], tmp_path / "not here", tmp_path, {}, threads=1, restarts=0)
    with pytest.raises(RunError, match=f"output_dir: {tmp_path} is not seen by node"):
        work(job, 0, ["here:1", "there:1"])
