"""Whether the nodes have what the workers import, asked before any work.

What runs there is sent whole, as a node that lacks unet3d could not import it.
"""

from __future__ import annotations

import sys
from typing import Any

from unet3d.cluster.local_ray import get_watched
from unet3d.errors import RunError

WORDS = {"unet3d": "unet3d (its files)", "python": "Python"}


def found_here() -> dict[str, str]:
    """The versions on a node, of unet3d a digest of its files; "" for what is missing."""
    import hashlib
    import importlib.metadata
    import importlib.util
    import pathlib
    import platform

    found = {"node": platform.node(), "python": ".".join(platform.python_version_tuple()[:2])}
    for name, packages in (
        ("ray", ("ray",)),
        ("keras", ("keras",)),
        ("tensorflow", ("tensorflow", "tensorflow-cpu", "tf-nightly")),
    ):
        found[name] = ""
        for package in packages:
            try:
                found[name] = found[name] or importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                continue
    spec = importlib.util.find_spec("unet3d")
    digest, files = hashlib.sha256(), 0
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        root = pathlib.Path(folder)
        for path in sorted(root.rglob("*.py")):  # a folder may be there without any
            digest.update(f"{path.relative_to(root)}".encode() + path.read_bytes())
            files += 1
    found["unet3d"] = digest.hexdigest()[:8] if files else ""
    return found


def check_versions(strategies: list[Any]) -> None:
    """RunError that names each node where something is missing or another version.

    strategies: Ray's scheduling strategies, one a node.
    """
    import ray
    from ray import cloudpickle

    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        ask: Any = ray.remote(found_here)
        references = [
            ask.options(num_cpus=0, scheduling_strategy=one, max_retries=0).remote()
            for one in strategies
        ]
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    found = []
    for reference in references:
        try:
            found += get_watched([reference])
        except ray.exceptions.RayError:  # a node lost meanwhile; the workers' start will tell
            continue
    problems = node_problems(found_here(), found)
    if problems:
        raise RunError("\n".join(problems))


def check_nodes(needs: dict[str, float]) -> None:
    """As `check_versions`, of all nodes that have these resources in Ray's words."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [
        node["NodeID"]
        for node in ray.nodes()
        if node["Alive"] and all(node["Resources"].get(k, 0) >= n for k, n in needs.items())
    ]
    check_versions([NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes])


def node_problems(here: dict[str, str], nodes: list[dict[str, str]]) -> list[str]:
    """A line for each node that differs from this one."""
    lines = []
    for node in nodes:
        for name, version in here.items():
            there = node.get(name, "")
            if name == "node" or there == version:
                continue
            word = WORDS.get(name, name)
            what = f"{word} {there}, here it is {version}" if there else f"no {name}"
            lines.append(
                f"node {node['node']} has {what}; install the same on all nodes, or start Ray "
                "there from the environment of this command"
            )
    return sorted(set(lines))
