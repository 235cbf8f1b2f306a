"""The network as an ONNX file, by tf2onnx; needs the optional packages of unet3d[export]."""

from __future__ import annotations

import json
import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from unet3d.errors import RunError, in_a_line
from unet3d.inference.export.savedmodel import compare, finest, random_patch
from unet3d.inference.network import TrainedNetwork

OPEN_AXES = ("batch", "x", "y", "z")


def check_installed() -> None:
    """Raise RunError where an optional package is missing."""
    missing = [name for name in ("tf2onnx", "onnx", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise RunError(
            f"format: onnx needs {', '.join(missing)}; type pip install 'unet3d[export]', or "
            "choose another format"
        )


def write_onnx(trained: TrainedNetwork, path: Path) -> float:
    """Write float32 (n, x, y, z, channels) -> logits (n, x, y, z, outputs), sizes left open.

    Returns the largest difference of ONNX Runtime's logits. Raises RunError where the network
    cannot be converted, or that difference is too large.
    """
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of NumPy names that tf2onnx uses
            network = finest(trained)
            network(random_patch(trained))  # Keras exports only what has been called
            network.export(str(path), format="onnx", verbose=False)
        _name_ends(path, trained)  # refuses a graph with what ONNX does not have
    except Exception as error:
        reason = in_a_line(error)
        raise RunError(f"{path.name}: the network cannot be converted ({reason})") from error
    session = _session(path)
    return compare(trained, path.name, lambda patch: session.run(["logits"], {"image": patch})[0])


def _session(path: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _name_ends(path: Path, trained: TrainedNetwork) -> None:
    """Name the input image, the output logits, and their open axes, which tf2onnx numbers."""
    import onnx

    model = onnx.load(str(path))
    graph = model.graph
    for end, name in ((graph.input[0], "image"), (graph.output[0], "logits")):
        _rename(graph, end.name, name)
        end.name = name
        for axis, size in zip(OPEN_AXES, end.type.tensor_type.shape.dim, strict=False):
            size.dim_param = axis
    onnx.helper.set_model_props(
        model,
        {
            "run": trained.run,
            "channels": json.dumps(trained.channels),
            "outputs": json.dumps(list(trained.targets.names)),
        },
    )
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _rename(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        for ends in (node.input, node.output):
            ends[:] = [new if end == old else end for end in ends]
