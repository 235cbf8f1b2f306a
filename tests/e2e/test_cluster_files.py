"""examples/*.yaml, which need a cloud or Kubernetes to run: their form, variables and settings."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml
from ray.autoscaler._private.util import fillout_defaults

from tests import REPOSITORY
from tests.e2e.rayjob import RAY_JOB
from unet3d.config.compose import compose_config
from unet3d.config.schema import Config

EXAMPLES = REPOSITORY / "examples"


def settings_in(text: str) -> Config:
    """The settings of the train.py command in a text, as it would compose them."""
    command = text.partition("train.py ")[2].partition('"')[0].partition("'")[0]
    return compose_config(shlex.split(command))


def test_ray_up_fits_rays_own_schema_and_its_commands_need_nothing_of_this_shell() -> None:
    """What `ray up` checks first; on the nodes only Ray's variable of the head exists."""
    text = (EXAMPLES / "ray_up.yaml").read_text()
    config = yaml.safe_load(text)
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(fillout_defaults(config), schema)
    commands = [
        command for key, value in config.items() if key.endswith("commands") for command in value
    ]
    assert len(commands) == 7
    assert {name for command in commands for name in re.findall(r"\$\{?(\w+)", command)} == {
        "RAY_HEAD_IP"
    }
    workers = config["available_node_types"]["gpu"]
    assert settings_in(text).nodes == workers["min_workers"] <= config["max_workers"]


def kuberay() -> dict[str, Any]:
    """The example, read anew."""
    return yaml.safe_load((EXAMPLES / "kuberay.yaml").read_text())


def test_kuberay_is_whole_and_asks_for_what_its_command_needs() -> None:
    """It fits KubeRay's form, mounts have volumes, and the command fits nodes and GPUs."""
    job = kuberay()
    jsonschema.validate(job, RAY_JOB)
    cluster = job["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    for group in (cluster["headGroupSpec"], workers):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    entrypoint = job["spec"]["entrypoint"]
    assert "$" not in entrypoint
    config = settings_in(entrypoint)
    (container,) = workers["template"]["spec"]["containers"]
    gpus = container["resources"]["limits"]["nvidia.com/gpu"]
    assert workers["minReplicas"] <= config.nodes == workers["replicas"] <= workers["maxReplicas"]
    assert config.parallel.gpus_per_node == gpus
    assert config.batch_size % (config.nodes * gpus) == 0


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "shutdownAfterJobFinished"), True),  # finishes
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),  # not text
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "replica"), 4),
        (("spec", "backoffLimit"), "3"),
        (("metadata", "name"), "UNet3D"),
    ],
)
def test_what_kubernetes_would_refuse_is_found(path: tuple[Any, ...], value: Any) -> None:
    """A field that it does not know, or a value of another type."""
    job: Any = kuberay()
    place = job
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, RAY_JOB)
