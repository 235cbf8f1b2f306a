"""examples/ray_start.sh on two nodes, as on machines that reach each other by ssh."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.commands import SMALL
from tests.rig.rig import Rig, environment, only_run, status

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
pytestmark = [
    pytest.mark.rig,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(SSHD is None, reason="no sshd: apt-get install openssh-server"),
]
SERVER = """
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
StrictModes no
UsePAM no
PidFile none
"""
CLIENT = """
IdentityFile {folder}/user
StrictHostKeyChecking no
UserKnownHostsFile /dev/null
LogLevel ERROR
"""


@contextmanager
def ssh_to(cluster: Rig, node: str, folder: Path) -> Iterator[Path]:
    """Yields a folder whose `ssh` reaches the node without a password."""
    (folder / "bin").mkdir(parents=True)
    for key in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
        subprocess.run(command, check=True)
    (folder / "server").write_text(SERVER.format(folder=folder))
    (folder / "client").write_text(CLIENT.format(folder=folder))
    ssh = folder / "bin" / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/client "$@"\n')
    ssh.chmod(0o755)
    Path("/run/sshd").mkdir(exist_ok=True)  # which sshd wants, and its service makes
    server = subprocess.Popen(
        cluster.on(node, str(SSHD), "-D", "-e", "-f", str(folder / "server")),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "server.log").open("w"),
    )
    try:
        yield folder / "bin"
    finally:
        server.terminate()
        server.wait(60)


def test_machines_train_together_by_ssh(cluster: Rig, folder: Path, tmp_path: Path) -> None:
    """The other node is started by ssh, trains, and is left without a process."""
    train = ["examples/ray_start.sh", "n1 n2", *SMALL, "tracking=none", "batch_size=2"]
    with ssh_to(cluster, "n2", tmp_path / "ssh") as programs:
        own = [f"PATH={programs}:{environment()['PATH']}", "RAY_NODE_OPTIONS=--num-cpus=1"]
        said = cluster.run("n1", "env", *own, *train, cwd=folder)
        cluster.gone("n2", "raylet", 30)
        assert "Accepted publickey" in (tmp_path / "ssh" / "server.log").read_text()
    assert "2 replicas on 2 workers" in said and "Traceback" not in said
    assert status(only_run(folder)) == "FINISHED"
    cluster.gone("n1", "raylet", 30)
