"""What a node lacks is named before any work."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray

from unet3d.cluster import versions
from unet3d.cluster.versions import check_nodes, found_here, node_problems
from unet3d.errors import RunError


def test_each_node_that_differs_is_named() -> None:
    """With what it has and what is here; equal ones are not."""
    here = found_here()
    assert all(here.values()) and node_problems(here, [{**here, "node": "a"}]) == []
    told = node_problems(
        here, [{**here, "node": "b", "tensorflow": "2.20.0"}, {**here, "node": "c", "unet3d": ""}]
    )
    version = here["tensorflow"]
    assert told[0].startswith(f"node b has tensorflow 2.20.0, here it is {version}; install the")
    assert told[1].startswith("node c has no unet3d; install the same")


def test_a_node_without_unet3d_can_answer(tmp_path: Path) -> None:
    """What is sent to it imports nothing of the package."""
    import ray.cloudpickle as cloudpickle

    cloudpickle.register_pickle_by_value(versions)
    try:
        (tmp_path / "sent").write_bytes(cloudpickle.dumps(found_here))
    finally:
        cloudpickle.unregister_pickle_by_value(versions)
    code = (
        "import pickle, sys; ask = pickle.load(open(sys.argv[1], 'rb'));"
        "sys.stdout.buffer.write(pickle.dumps(ask()))"
    )
    packages = Path(ray.__file__).parents[1]
    answered = subprocess.run(  # -S: no .pth file of an editable install
        [sys.executable, "-S", "-c", code, str(tmp_path / "sent")],
        env={**os.environ, "PYTHONPATH": str(packages)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = pickle.loads(answered.stdout)
    here = found_here()
    assert found == {**here, "unet3d": ""}


def test_nodes_are_asked_by_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real node with the same files passes; where this machine has others, it is named."""
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        check_nodes({"CPU": 1})
        check_nodes({"CPU": 64})  # no node takes work, none is asked
        monkeypatch.setitem(versions.WORDS, "keras", "Keras")
        real = found_here()
        monkeypatch.setattr(versions, "node_problems", lambda here, nodes: [nodes[0]["unet3d"]])
        with pytest.raises(RunError, match=real["unet3d"]):
            check_nodes({"CPU": 1})
    finally:
        ray.shutdown()
