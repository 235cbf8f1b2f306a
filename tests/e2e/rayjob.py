"""What KubeRay's RayJob (ray.io/v1) may hold, as far as examples/kuberay.yaml uses it.

After the types of KubeRay's API and of Kubernetes' pods: each object is closed, as the API server
drops or refuses what it does not know.
"""

from __future__ import annotations

from typing import Any

TEXT, WHOLE, YES = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
QUANTITY = {
    "anyOf": [
        WHOLE,
        {"type": "string", "pattern": r"^\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"},
    ]
}
QUANTITIES = {"type": "object", "additionalProperties": QUANTITY}


def closed(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """The schema of an object with these properties alone."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def several(item: dict[str, Any]) -> dict[str, Any]:
    """The schema of a list that is not empty."""
    return {"type": "array", "items": item, "minItems": 1}


CONTAINER = closed(
    {"name": TEXT, "image": TEXT},
    {
        "imagePullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
        "command": several(TEXT),
        "args": several(TEXT),
        "workingDir": TEXT,
        "env": several(closed({"name": TEXT}, {"value": TEXT, "valueFrom": {"type": "object"}})),
        "envFrom": several({"type": "object"}),
        "resources": closed({}, {"limits": QUANTITIES, "requests": QUANTITIES}),
        "volumeMounts": several(
            closed({"name": TEXT, "mountPath": TEXT}, {"readOnly": YES, "subPath": TEXT})
        ),
        "securityContext": {"type": "object"},
    },
)
VOLUME = closed(
    {"name": TEXT},
    {
        "persistentVolumeClaim": closed({"claimName": TEXT}, {"readOnly": YES}),
        "emptyDir": closed({}, {"medium": {"enum": ["", "Memory"]}, "sizeLimit": QUANTITY}),
        "configMap": {"type": "object"},
        "secret": {"type": "object"},
    },
)
POD = closed(
    {
        "spec": closed(
            {"containers": several(CONTAINER)},
            {
                "volumes": several(VOLUME),
                "nodeSelector": TEXTS,
                "tolerations": several({"type": "object"}),
                "serviceAccountName": TEXT,
                "imagePullSecrets": several(closed({"name": TEXT})),
                "terminationGracePeriodSeconds": WHOLE,
            },
        )
    },
    {"metadata": closed({}, {"labels": TEXTS, "annotations": TEXTS})},
)
HEAD = closed(
    {"rayStartParams": TEXTS, "template": POD},
    {"serviceType": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]}, "enableIngress": YES},
)
WORKERS = closed(
    {"groupName": TEXT, "minReplicas": WHOLE, "maxReplicas": WHOLE}
    | {"rayStartParams": TEXTS, "template": POD},
    {"replicas": WHOLE, "numOfHosts": WHOLE},
)
CLUSTER = closed(
    {"headGroupSpec": HEAD, "workerGroupSpecs": several(WORKERS)},
    {"rayVersion": TEXT, "enableInTreeAutoscaling": YES, "autoscalerOptions": {"type": "object"}},
)
RAY_JOB = closed(
    {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayJob"},
        "metadata": closed(
            {"name": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}},
            {"namespace": TEXT, "labels": TEXTS, "annotations": TEXTS},
        ),
        "spec": closed(
            {"entrypoint": TEXT, "rayClusterSpec": CLUSTER},
            {
                "shutdownAfterJobFinishes": YES,
                "ttlSecondsAfterFinished": WHOLE,
                "activeDeadlineSeconds": WHOLE,
                "backoffLimit": WHOLE,
                "runtimeEnvYAML": TEXT,
                "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
                "entrypointNumCpus": {"type": "number"},
                "entrypointNumGpus": {"type": "number"},
                "suspend": YES,
            },
        ),
    }
)
