"""Ray on the nodes of a rig, as a user starts it there: by `ray start`, with a token."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.rig.rig import Rig, environment

ADDRESS = "10.99.0.1:6500"
TOKEN = ("RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN=" + 32 * "ab")


@contextmanager
def ray_nodes(cluster: Rig, folder: Path) -> Iterator[None]:
    """Ray on each node, a CPU each, while the block runs; the name of `folder` sets it apart."""
    options = f"--block --num-cpus=1 --temp-dir=/tmp/ray/{folder.name[:20]}"
    head = (
        f"ray start --head --node-ip-address=10.99.0.1 --port=6500 "
        f"--include-dashboard=false {options}"
    )
    other = (
        "until (exec 3<>/dev/tcp/10.99.0.1/6500); do sleep 1; done 2>/dev/null; "
        f"exec ray start --address={ADDRESS} --block --num-cpus=1"
    )
    started = [
        subprocess.Popen(
            cluster.on(f"n{index + 1}", "env", *TOKEN, "bash", "-c", other if index else head),
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for index in range(cluster.nodes)
    ]
    try:
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(60)
