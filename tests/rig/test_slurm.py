"""examples/*.sbatch on a real Slurm over two nodes: time limits, lost nodes, scancel, arrays."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests import REPOSITORY
from tests.e2e.commands import SMALL
from tests.rig.rig import Rig, epochs, only_run, status

pytestmark = [pytest.mark.rig, pytest.mark.timeout(1800)]
ONE_CORE = ("--gpus-per-node=0", "--cpus-per-task=1")
EPOCHS = 400


def wait_for(path: Path, text: str, seconds: float = 240) -> None:
    """Until `text` is in a file; fails with what the file says."""
    deadline = time.monotonic() + seconds
    while text not in (said := path.read_text() if path.exists() else ""):
        assert time.monotonic() < deadline, said
        time.sleep(0.5)


def test_a_job_goes_on_after_its_time_limit_and_a_lost_node(cluster: Rig, folder: Path) -> None:
    """Stopped by Slurm before its limit, then by a node that is cut off; queued again each time.

    One run, FINISHED in its third job, each epoch once, with the losses of an undisturbed run.
    """
    job = cluster.submit(
        folder,
        *("--nodes=2", *ONE_CORE, "--time=30", "--signal=B:TERM@60", "examples/slurm.sbatch"),
        *(*SMALL, f"epochs={EPOCHS}", "tracking=none"),
    )
    log = folder / f"slurm-{job}.out"
    wait_for(log, "epoch 3/")
    minutes = cluster.minutes(job) + 1
    cluster.run("head", "scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}")
    wait_for(log, "all saved; go on with", seconds=120)
    wait_for(log, "the job is queued again", seconds=60)
    cluster.run("head", "scontrol", "update", f"JobId={job}", "TimeLimit=30")
    run = only_run(folder)
    stopped = len(epochs(run))
    wait_for(log, f"epoch {stopped + 3}/")
    cluster.cut("n2")
    try:
        cluster.wait(job, ["PENDING"], 120, log)
    finally:
        cluster.mend("n2")
    # As an administrator does; the node would come back by itself, after two minutes.
    cluster.run("head", "scontrol", "update", "NodeName=n2", "State=RESUME")
    assert cluster.wait(job, ["COMPLETED", "FAILED"], 300, log) == "COMPLETED", log.read_text()
    assert only_run(folder) == run
    done = epochs(run)
    assert [record["epoch"] for record in done] == list(range(1, EPOCHS + 1))
    assert status(run) == "FINISHED" and cluster.restarts(job) == 2
    check_losses(cluster, folder, done)


def check_losses(cluster: Rig, folder: Path, done: list[dict]) -> None:
    """Of the first and of the last job's epochs, against a run that nobody disturbs."""
    (folder / "reference").mkdir()
    command = ("python", str(REPOSITORY / "train.py"), *SMALL, f"epochs={EPOCHS}", "tracking=none")
    cluster.run("head", *command, "parallel=data", "nodes=2", cwd=folder / "reference")
    reference = epochs(only_run(folder / "reference"))
    for ours, other in zip(done, reference, strict=True):
        for name in ("train/loss", "val/loss"):
            expected = pytest.approx(other["metrics"][name], rel=1e-4)
            assert ours["metrics"][name] == expected, (ours["epoch"], name)


def test_a_cancelled_job_saves_and_is_not_queued_again(cluster: Rig, folder: Path) -> None:
    """`scancel` over two nodes: Ray lives until the workers have saved, and the run is KILLED."""
    job = cluster.submit(
        folder,
        *("--nodes=2", *ONE_CORE, "examples/slurm.sbatch", *SMALL, "epochs=5000", "tracking=none"),
    )
    log = folder / f"slurm-{job}.out"
    wait_for(log, "epoch 3/")
    cluster.run("head", "scancel", job)
    wait_for(log, "all saved; go on with", seconds=60)
    assert cluster.wait(job, ["CANCELLED"], 60, log) == "CANCELLED"
    assert status(only_run(folder)) == "KILLED"
    assert len(epochs(only_run(folder))) >= 2
    assert "queued again" not in log.read_text()
    for node in ("n1", "n2"):
        cluster.gone(node, "raylet", seconds=60)


def test_an_array_of_trials_without_ray(cluster: Rig, folder: Path) -> None:
    """examples/slurm_array.sbatch: a run each; one that is queued again goes on with its own."""
    (folder / "trials.txt").write_text("lr=1e-3\nlr=2e-3 seed=5\n")
    job = cluster.submit(
        folder,
        *("--array=0-1", *ONE_CORE, "examples/slurm_array.sbatch", "@trials.txt"),
        *(*SMALL, "epochs=150", "tracking=none"),
    )
    logs = [folder / f"slurm-{job}_{task}.out" for task in range(2)]
    wait_for(logs[1], "epoch 3/")
    cluster.run("head", "scancel", "--batch", "--signal=TERM", f"{job}_1")
    wait_for(logs[1], "the job is queued again", seconds=60)
    for task, log in enumerate(logs):
        cluster.wait(f"{job}_{task}", ["COMPLETED"], 300, log)
    runs = list((folder / "outputs" / "runs").iterdir())
    assert len(runs) == 2
    assert all(status(run) == "FINISHED" and len(epochs(run)) == 150 for run in runs)
    assert "seed: 5" in "".join((run / "config.yaml").read_text() for run in runs)


def test_a_sweep_goes_on_after_it_is_queued_again(cluster: Rig, folder: Path) -> None:
    """Two trials, a node each: stopped by Slurm's signal, both go on in the next job, once each."""
    job = cluster.submit(
        folder,
        *("--nodes=2", *ONE_CORE, "examples/slurm.sbatch", "sweep.py", "-m"),
        *("lr=1e-3,2e-3", *SMALL, "epochs=150", "tracking=none", "sweep.name=two"),
    )
    log = folder / f"slurm-{job}.out"
    wait_for(log, "trial 1 (lr=0.002) starts")
    trials = folder / "outputs" / "sweeps" / "two" / "trials"
    deadline = time.monotonic() + 240
    while len(list(trials.glob("*/epochs"))) < 2:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.5)
    cluster.run("head", "scancel", "--batch", "--signal=TERM", job)
    wait_for(log, "the job is queued again", seconds=90)
    assert cluster.wait(job, ["COMPLETED", "FAILED"], 300, log) == "COMPLETED", log.read_text()
    assert log.read_text().count("starts, resumed") == 2, log.read_text()
    runs = list((folder / "outputs" / "runs").iterdir())
    assert len(runs) == 2
    assert all(status(run) == "FINISHED" and len(epochs(run)) == 150 for run in runs)
