"""Nodes with a Ray of the user's own, by `ray start` with a token, and no Slurm job."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests import REPOSITORY
from tests.rig.ray_nodes import ADDRESS, TOKEN, ray_nodes
from tests.rig.rig import Rig, only_run, status

pytestmark = [pytest.mark.rig, pytest.mark.timeout(1800)]


def test_workers_on_other_nodes_reach_the_server_of_a_run(cluster: Rig, tmp_path: Path) -> None:
    """tracking=server with nodes=2 listens where the nodes are, not on this machine alone.

    The chief is on whichever node Ray chooses; the command runs on neither.
    """
    train = ["python", str(REPOSITORY / "train.py"), "experiment=smoke", "validation.overlap=0"]
    train += ["tracking=server", "parallel=data", "nodes=2", f"parallel.address={ADDRESS}"]
    train += ["parallel.wait_for_nodes=120"]
    with ray_nodes(cluster, tmp_path):
        said = cluster.run("n2", "env", *TOKEN, *train, cwd=tmp_path)
    assert "tracking: http://10.99.0.2:5000 shows the runs" in said
    assert "2 replicas on 2 workers" in said
    run = only_run(tmp_path)
    assert status(run) == "FINISHED"
    with closing(sqlite3.connect(tmp_path / "outputs" / "mlflow.db")) as database:
        (found,) = database.execute("select run_uuid, status from runs").fetchall()
        assert found == (run.name, "FINISHED")
        metrics = database.execute("select count(*) from metrics where key = 'val/dice'")
        assert metrics.fetchone() == (1,)


def test_a_cluster_with_another_token_is_one_clear_line(cluster: Rig, tmp_path: Path) -> None:
    """Without the token a command ends soon, and says what it may need."""
    train = ["python", str(REPOSITORY / "train.py"), "experiment=smoke", "tracking=none"]
    train += ["parallel=data", "nodes=2", f"parallel.address={ADDRESS}"]
    train += ["parallel.wait_for_nodes=60"]
    with (
        ray_nodes(cluster, tmp_path),
        pytest.raises(AssertionError, match="started with a token, set RAY_AUTH_MODE=token"),
    ):
        cluster.run("n2", "env", f"HOME={tmp_path}", *train, cwd=tmp_path)
