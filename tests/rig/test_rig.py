"""The rig itself: nodes that are apart, can be cut and mended, and leave the machine as it was."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.rig.rig import SCRIPT, NoRig, Rig, rig

pytestmark = [pytest.mark.rig, pytest.mark.timeout(1800)]
CONNECT = "import socket; socket.create_connection(('n2', 6818), 3); print(socket.gethostname())"


def machine() -> list[str]:
    """What a rig might spoil: names, settings of Slurm and munge, network, mounts."""
    folders = [Path(folder) for folder in ("/etc/slurm", "/etc/munge")]
    files = [f for folder in folders if folder.is_dir() for f in sorted(folder.rglob("*"))]
    links = subprocess.run(["ip", "-o", "-br", "address"], capture_output=True, text=True)
    return [
        Path("/etc/hosts").read_text(),
        *(f"{file} {file.stat().st_mtime_ns}" for file in files),
        *sorted(line.split()[0] for line in links.stdout.splitlines()),
        Path("/proc/self/mounts").read_text(),
        os.uname().nodename,
    ]


def test_nodes_are_apart_and_the_machine_stays_as_it_was() -> None:
    """Names, addresses, processes and a job over both nodes; afterwards nothing has changed."""
    before = machine() if SCRIPT.exists() and os.getuid() == 0 else []
    try:
        with rig(2) as cluster:
            assert machine() == before
            assert cluster.run("n1", "python", "-c", CONNECT).strip() == "n1"
            names = cluster.run("head", "srun", "--nodes=2", "hostname").split()
            assert sorted(names) == ["n1", "n2"]
            assert "slurmctld" not in cluster.run("n1", "ps", "-e")
            check_cut(cluster)
    except NoRig as missing:
        pytest.skip(str(missing))
    assert machine() == before
    done = subprocess.run([str(SCRIPT), "on", "n1", "true"], capture_output=True, text=True)
    assert done.returncode == 2 and "n1 is not a node that runs" in done.stderr


def check_cut(cluster: Rig) -> None:
    """A node that is cut off cannot be reached until it is mended."""
    cluster.cut("n2")
    with pytest.raises(AssertionError, match="timed out|unreachable|No route"):
        cluster.run("n1", "python", "-c", CONNECT)
    cluster.mend("n2")
    assert cluster.run("n1", "python", "-c", CONNECT).strip() == "n1"


def test_a_rig_that_its_owner_has_left_is_replaced(cluster: Rig) -> None:
    """Another is refused while the first is in use; one whose owner has died is ended."""
    environment = {**os.environ, "RIG_WAIT": "0"}
    up = [str(SCRIPT), "up", "1"]
    second = subprocess.run(up, env=environment, stderr=subprocess.PIPE, text=True)
    assert second.returncode == 4 and "another rig is up" in second.stderr
    owner = Path("/run/unet3d-rig/owner")
    ended = subprocess.Popen(["true"])
    ended.wait()
    owner.write_text(str(ended.pid))
    taken = subprocess.run(
        up,
        env={**environment, "RIG_OWNER": str(os.getpid()), "RIG_WAIT": "60"},
        stderr=subprocess.PIPE,
        text=True,
        stdout=subprocess.DEVNULL,
    )
    assert taken.returncode == 0, taken.stderr
    assert cluster.run("head", "sinfo", "-h", "-o", "%D").strip() == "1"


def test_a_rig_that_waited_for_another_outlives_it(cluster: Rig) -> None:
    """It begins as soon as the first has ended, whose end must not take it along."""
    second = subprocess.Popen(
        [str(SCRIPT), "up", "1"],
        env={**os.environ, "SLURM": "0", "RIG_OWNER": str(os.getpid()), "RIG_WAIT": "60"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    waiting = "^flock -w 60 9$"
    while subprocess.run(["pgrep", "-f", waiting], stdout=subprocess.DEVNULL).returncode:
        assert second.poll() is None
    subprocess.run([str(SCRIPT), "down"], check=True, timeout=60)
    assert second.wait(60) == 0
    assert cluster.run("n1", "hostname").strip() == "n1"
